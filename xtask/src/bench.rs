//! `cargo xtask bench`: `scx_takt bench` in a guest, against EEVDF and peers.
//!
//! Guests count instructions unless --wall is given: figures then repeat on any host under any load.

use crate::arch::Arch;
use crate::kernel;
use crate::side_by_side::Caches;
use crate::topology::Topology;
use crate::vm::{self, Copy, Fetch, Machine, VmArgs};
use crate::{peers, side_by_side, tree, ui};
use anyhow::{Context, Result};
use clap::Args;
use std::fs;
use std::path::PathBuf;

/// Path of the results in the guest.
const GUEST_RESULTS: &str = "/tmp/results.json";
/// Path of the report in the guest.
const GUEST_REPORT: &str = "/tmp/report.html";

/// The null scheduler, see `xtask/floor`.
const NULL_SCHEDULER: &str = "scx_floor";

/// The flags of `cargo xtask bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Peers to compare as well, with arguments if needed ("scx_lavd --performance"). scx_floor is the
    /// null scheduler: it has no callbacks and shows the cost of the kernel's side
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub peers: Vec<String>,
    /// Rounds that count; one warm-up round is run first and dropped
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Workloads to run [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// Write results.json and report.html to this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// A named machine: its architecture, CPUs, topology and memory
    #[arg(long, value_enum, value_name = "NAME", conflicts_with_all = ["cpus", "topology", "arch"])]
    pub machine: Option<Machine>,
    /// Topology of the CPUs: several sockets are NUMA nodes, each die has its own last-level cache
    #[arg(
        long,
        value_name = "SOCKETS:[DIES:]CORES:THREADS",
        conflicts_with = "cpus"
    )]
    pub topology: Option<Topology>,
    /// Number of CPUs of the guest
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub cpus: u32,
    /// The kernel: a series, an exact build, or the path of an image
    #[arg(long, value_name = "SERIES|PATH", default_value = kernel::DEFAULT_SERIES)]
    pub kernel: String,
    /// The guest's architecture
    #[arg(long, value_enum)]
    pub arch: Option<Arch>,
    /// Measure the host's real time instead of counting instructions
    #[arg(long)]
    pub wall: bool,
    /// Let all CPUs run at the same time: N busy CPUs do the work of N [default with several CPUs]
    #[arg(long, conflicts_with = "wall")]
    pub side_by_side: bool,
    /// Run one CPU at a time on one clock, as the stock emulator does: N busy CPUs do the work of one
    #[arg(long, conflicts_with_all = ["wall", "side_by_side"])]
    pub one_at_a_time: bool,
    /// How far the clocks of CPUs may differ, in ns of guest time, while they run side by side
    #[arg(long = "quantum", value_name = "NS", default_value_t = side_by_side::DEFAULT_QUANTUM_NS, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pub quantum_ns: u32,
    /// Model the caches of a processor [default: that of --machine]: a memory access costs what it costs
    /// there, and SMT siblings share their core. Three times slower
    #[arg(long, value_enum, value_name = "NAME", num_args = 0..=1, conflicts_with_all = ["wall", "one_at_a_time"])]
    pub caches: Option<Option<Caches>>,
    /// More flags for `scx_takt bench`
    #[arg(last = true, value_name = "FLAG")]
    pub flags: Vec<String>,
}

/// Runs `cargo xtask bench`.
pub fn run(args: &BenchArgs) -> Result<i32> {
    let cache = tree::cache()?;
    let mut vm = guest(args);
    let arch = vm.arch();
    let mut copies = Vec::new();
    for peer in &args.peers {
        let name = peer.split_whitespace().next().unwrap_or_default();
        if name == NULL_SCHEDULER {
            continue; // built with this tree: every guest has it
        }
        if arch != Arch::host() {
            return Err(ui::UsageError(format!(
                "{name} is built for this machine only: with --arch {} there is no peer but {NULL_SCHEDULER}",
                arch.name()
            ))
            .into());
        }
        copies.push(Copy::plain(peers::binary(&cache, name)?));
    }
    vm.copy = copies;
    if let Some(out) = &args.out {
        fs::create_dir_all(out)
            .with_context(|| format!("cannot create the folder {}", out.display()))?;
        vm.fetch = [
            (GUEST_RESULTS, "results.json"),
            (GUEST_REPORT, "report.html"),
        ]
        .map(|(guest, name)| Fetch {
            guest: guest.to_owned(),
            host: out.join(name),
        })
        .to_vec();
    }
    let status = vm::run(&vm)?;
    if let Some(out) = args
        .out
        .as_ref()
        .filter(|out| out.join("results.json").is_file())
    {
        ui::note(&format!("results in {}", out.display()));
    }
    Ok(status)
}

/// The machine that measures, and its command.
fn guest(args: &BenchArgs) -> VmArgs {
    let mut vm = VmArgs::new(&args.kernel, guest_command(args));
    vm.side_by_side = args.side_by_side;
    vm.one_at_a_time = args.one_at_a_time;
    vm.quantum_ns = args.quantum_ns;
    vm.caches = args.caches;
    vm.arch = args.arch;
    vm.machine = args.machine;
    vm.topology = args.topology;
    if args.machine.is_none() && args.topology.is_none() {
        vm.cpus = Some(args.cpus);
    }
    vm.deterministic = !args.wall;
    vm
}

fn guest_command(args: &BenchArgs) -> Vec<String> {
    let mut against = vec!["eevdf".to_owned()];
    against.extend(args.peers.iter().cloned());
    let mut command: Vec<String> = [
        "scx_takt",
        "bench",
        "--against",
        &against.join(","),
        "--rounds",
        &args.rounds.to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    if !args.workloads.is_empty() {
        command.extend(["--workloads".to_owned(), args.workloads.join(",")]);
    }
    if args.out.is_some() {
        command.extend(["--json", GUEST_RESULTS, "--report", GUEST_REPORT].map(str::to_owned));
    }
    if !args.wall {
        command.push("--deterministic".to_owned());
    }
    if let Some(machine) = args.machine {
        command.extend(["--machine".to_owned(), machine.name().to_owned()]);
    }
    command.extend(args.flags.iter().cloned());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn vm(words: &[&str]) -> VmArgs {
        guest(&Line::parse_from([&["bench"], words].concat()).args)
    }

    fn command(words: &[&str]) -> String {
        vm(words).command.join(" ")
    }

    #[test]
    fn guest_command_has_the_requested_flags() {
        assert_eq!(
            command(&[
                "--peers",
                "scx_a,scx_b",
                "--workloads",
                "pipe",
                "--out",
                "x"
            ]),
            "scx_takt bench --against eevdf,scx_a,scx_b --rounds 3 --workloads pipe \
             --json /tmp/results.json --report /tmp/report.html --deterministic"
        );
        assert_eq!(
            command(&["--wall", "--rounds", "9", "--", "--seed", "4"]),
            "scx_takt bench --against eevdf --rounds 9 --seed 4"
        );
        assert_eq!(
            command(&["--side-by-side", "--rounds", "1", "--machine", "ryzen16"]),
            "scx_takt bench --against eevdf --rounds 1 --deterministic --machine ryzen16"
        );
    }

    #[test]
    fn caches_are_named_or_those_of_the_machine() {
        let caches = |words: &[&str]| vm(words).cache_model();
        for (words, expected) in [
            (&["--caches", "zen4"][..], Some(Caches::Zen4)),
            (
                &["--machine", "server32", "--caches"],
                Some(Caches::Icelake),
            ),
            (
                &["--machine", "server32", "--caches", "zen4"],
                Some(Caches::Zen4),
            ),
            (&["--machine", "server32"], None),
        ] {
            assert_eq!(caches(words).unwrap(), expected, "{words:?}");
        }
        assert!(caches(&["--caches"]).is_err());
        assert!(vm(&["--caches", "zen4"]).needs_side_by_side().unwrap());
    }

    #[test]
    fn several_cpus_run_side_by_side_by_default() {
        let runs_so = |words: &[&str]| vm(words).needs_side_by_side().unwrap();
        assert!(!runs_so(&[]));
        assert!(runs_so(&["--side-by-side"]));
        for several in [
            ["--cpus", "2"],
            ["--topology", "2:1:1"],
            ["--machine", "pi5"],
        ] {
            assert!(runs_so(&several), "{several:?}");
            for other in ["--one-at-a-time", "--wall"] {
                assert!(
                    !runs_so(&[&several[..], &[other]].concat()),
                    "{several:?} {other}"
                );
            }
        }
    }
}
