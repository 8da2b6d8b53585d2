//! `cargo xtask vm`: runs a command on a real kernel in a virtual machine without hardware virtualization.
//!
//! The guest is in memory only: a kernel, a root file system for this run, and virtio ports for the
//! command's output, its status and files. It has no fixed names or numbers, so any number of guests
//! can run at the same time.

mod initramfs;
mod machine;
mod programs;
mod qemu;
mod relay;

use crate::arch::Arch;
use crate::cross::Target;
use crate::kernel;
use crate::setup::{self, Purpose};
use crate::side_by_side::{self, Caches};
use crate::topology::Topology;
use crate::tree::{self, Tree};
use crate::ui;
use anyhow::{Context, Result, bail};
use clap::Args;
pub use machine::Machine;
use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Working directory of the command, and base of relative `--copy` targets.
const GUEST_HOME: &str = "/root";
/// Folder of executables for which `--copy` has no target.
const GUEST_BIN: &str = "/usr/local/bin";

/// Prefix of a run's folder. The process ID and a unique suffix follow.
const FOLDER_PREFIX: &str = "takt-vm-";
/// Enough for schedulers that allocate maps for the largest number of tasks.
const DEFAULT_MEMORY_MIB: u32 = 2048;

/// The flags of `cargo xtask vm`.
#[derive(Args, Clone, Debug, Default)]
pub struct VmArgs {
    /// A series (6.16, 6.18, 7.0, 7.2 ...), an exact build (7.2.12+deb13), or the path of an image
    #[arg(long, value_name = "SERIES|PATH", default_value = kernel::DEFAULT_SERIES)]
    pub kernel: String,
    /// The guest's architecture [default: this machine's, or that of --machine]
    #[arg(long, value_enum, conflicts_with = "machine")]
    pub arch: Option<Arch>,
    /// A named machine: its architecture, CPUs, topology and memory
    #[arg(long, value_enum, value_name = "NAME", conflicts_with_all = ["cpus", "topology"])]
    pub machine: Option<Machine>,
    /// Number of CPUs [default: 2; with --deterministic 1; with --topology their product]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    pub cpus: Option<u32>,
    /// Topology of the CPUs: several sockets are NUMA nodes, each die has its own last-level cache
    #[arg(long, value_name = "SOCKETS:[DIES:]CORES:THREADS")]
    pub topology: Option<Topology>,
    /// The guest's memory [default: 2048, or that of --machine]
    #[arg(long = "memory", value_name = "MIB", value_parser = clap::value_parser!(u32).range(128..=65536))]
    pub memory_mib: Option<u32>,
    /// Count instructions instead of time: one instruction is one nanosecond, so results repeat. Several
    /// CPUs run side by side, unless --one-at-a-time is given
    #[arg(long)]
    pub deterministic: bool,
    /// Count instructions, and let all CPUs run at the same time: N busy CPUs do the work of N. The
    /// emulator for it is built once, in 5 to 10 minutes
    #[arg(long)]
    pub side_by_side: bool,
    /// With --deterministic, run one CPU at a time on one clock, as the stock emulator does: N busy CPUs do
    /// the work of one
    #[arg(long, requires = "deterministic", conflicts_with = "side_by_side")]
    pub one_at_a_time: bool,
    /// How far the clocks of CPUs may differ, in ns of guest time, while they run side by side
    #[arg(long = "quantum", value_name = "NS", default_value_t = side_by_side::DEFAULT_QUANTUM_NS, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pub quantum_ns: u32,
    /// Model the caches of a processor [default: that of --machine]: a memory access costs what it costs
    /// there, and SMT siblings share their core. Implies --side-by-side; three times slower
    #[arg(long, value_enum, value_name = "NAME", num_args = 0..=1, conflicts_with = "one_at_a_time")]
    pub caches: Option<Option<Caches>>,
    /// End the guest after this many seconds of real time, with status 124
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub timeout: Option<Duration>,
    /// Add a file or a folder, and the shared libraries it needs. Without DST, programs go to
    /// /usr/local/bin and everything else to /root. A DST that ends in / is a folder
    #[arg(long, value_name = "SRC[:DST]")]
    pub copy: Vec<Copy>,
    /// Further parameters of the kernel's command line
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub cmdline: Option<String>,
    /// Build an integration test of this tree for the guest and add it to the PATH there
    #[arg(long, value_name = "PACKAGE:TEST", value_parser = parse_test)]
    pub with_test: Vec<String>,
    /// Run CMD on the guest's console, connected to this terminal (a shell always is)
    #[arg(long, short)]
    pub tty: bool,
    /// Write the guest's whole kernel log to a file
    #[arg(long, value_name = "FILE")]
    pub kernel_log: Option<PathBuf>,
    /// Copy a file from the guest after CMD has ended
    #[arg(long, value_name = "GUESTPATH:HOSTPATH", hide = true)]
    pub fetch: Vec<Fetch>,
    /// Do not build the release binaries
    #[arg(long, hide = true, env = "TAKT_VM_NO_BUILD", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_build: bool,
    /// Leave the release binaries of this tree out
    #[arg(long, hide = true)]
    pub no_binaries: bool,
    /// The command to run in the guest; none for an interactive shell, or for a script on standard
    /// input
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

impl VmArgs {
    /// The arguments without any flag.
    pub fn new(kernel: &str, command: Vec<String>) -> Self {
        Self {
            kernel: kernel.to_owned(),
            quantum_ns: side_by_side::DEFAULT_QUANTUM_NS,
            command,
            ..Self::default()
        }
    }

    /// The guest's architecture.
    pub fn arch(&self) -> Arch {
        let machine_arch = self.machine.map(Machine::arch);
        self.arch.or(machine_arch).unwrap_or_default()
    }

    fn guest_memory_mib(&self) -> u32 {
        let machine_mib = self.machine.map(Machine::memory_mib);
        self.memory_mib
            .or(machine_mib)
            .unwrap_or(DEFAULT_MEMORY_MIB)
    }

    /// The processor whose caches are modelled; none if accesses cost nothing.
    ///
    /// # Errors
    /// If it is neither named nor that of a named machine, or if the model has no room for the machine.
    pub fn cache_model(&self) -> Result<Option<Caches>> {
        let Some(caches) = self.caches else {
            return Ok(None);
        };
        let Some(caches) = caches.or_else(|| self.machine.map(Machine::caches)) else {
            return Err(ui::UsageError(
                "--caches: give the name of a processor, or a --machine".to_owned(),
            )
            .into());
        };
        caches.check(topology(self)?)?;
        Ok(Some(caches))
    }

    fn is_deterministic(&self) -> bool {
        self.deterministic || self.side_by_side || self.caches.is_some()
    }

    /// Are its CPUs to run side by side? One CPU has nothing to run beside: the stock emulator does.
    ///
    /// # Errors
    /// If it is not clear how many CPUs there are.
    pub fn needs_side_by_side(&self) -> Result<bool> {
        let several = topology(self)?.cpus() > 1;
        let requested = self.side_by_side || self.caches.is_some();
        Ok(requested || (self.deterministic && !self.one_at_a_time && several))
    }
}

/// A `--copy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    source: PathBuf,
    target: Option<String>,
}

impl Copy {
    /// A copy of `source` to its default target.
    pub fn plain(source: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            target: None,
        }
    }

    /// Its path in the guest.
    fn guest_path(&self, is_folder: bool, is_executable: bool) -> Result<String> {
        let name = self.source.canonicalize().ok();
        let name = name.as_deref().unwrap_or(&self.source).file_name();
        // A link keeps its own name, because that is what the user typed.
        let name = self.source.file_name().or(name);
        let Some(name) = name.map(|name| name.to_string_lossy().into_owned()) else {
            bail!(
                "cannot copy {}: it has no file name; give one with SRC:DST",
                self.source.display()
            );
        };
        let home = if is_executable && !is_folder {
            GUEST_BIN
        } else {
            GUEST_HOME
        };
        let path = match self.target.as_deref() {
            None => format!("{home}/{name}"),
            Some(target) => match target.strip_suffix('/') {
                Some(folder) => format!("{folder}/{name}"),
                None => target.to_owned(),
            },
        };
        Ok(if path.starts_with('/') {
            path
        } else {
            format!("{GUEST_HOME}/{path}")
        })
    }
}

impl FromStr for Copy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (source, target) = match text.rsplit_once(':') {
            // A colon may be part of a name that exists.
            Some((source, target)) if !Path::new(text).exists() => (source, Some(target)),
            _ => (text, None),
        };
        if source.is_empty() || target == Some("") {
            return Err(format!("`{text}` is not SRC or SRC:DST"));
        }
        Ok(Self {
            source: source.into(),
            target: target.map(str::to_owned),
        })
    }
}

/// A `--fetch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The file in the guest.
    pub guest: String,
    /// Its path on this machine.
    pub host: PathBuf,
}

impl FromStr for Fetch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((guest, host)) if guest.starts_with('/') && !host.is_empty() => Ok(Self {
                guest: guest.to_owned(),
                host: host.into(),
            }),
            _ => Err(format!(
                "`{text}` is not GUESTPATH:HOSTPATH with an absolute GUESTPATH"
            )),
        }
    }
}

/// How the guest's command is connected to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Standard output and error each on a port of its own, byte for byte.
    Stream,
    /// A terminal of this size.
    Console {
        /// Lines.
        rows: u16,
        /// Columns.
        columns: u16,
    },
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The command ended with this status.
    Exited(i32),
    /// The time-out expired.
    TimedOut,
    /// The guest ended before its command.
    Died,
    /// This process got a signal of this number, or the user left the console.
    Interrupted(i32),
    /// The reader of our output has closed it.
    OutputClosed,
}

impl End {
    /// The exit status of xtask.
    pub fn status(self) -> i32 {
        match self {
            Self::Exited(status) => status,
            Self::TimedOut => 124,
            Self::Died => 125,
            Self::Interrupted(signal) => 128 + signal,
            Self::OutputClosed => 0,
        }
    }
}

/// Runs `cargo xtask vm`.
pub fn run(args: &VmArgs) -> Result<i32> {
    let topology = topology(args)?;
    let caches = args.cache_model()?;
    let command = command(args)?;
    let cache = tree::cache()?;
    setup::ensure(Purpose::vm(args.arch()))?;
    let kernel = kernel::find(&cache, &args.kernel, args.arch())?;
    let (binaries, copies) = programs(args)?;
    let deterministic = args.is_deterministic();
    let emulator = emulator(args, &cache, topology, caches)?;
    let mode = mode(args, &command);
    remove_stale_folders();
    let folder = tempfile::Builder::new()
        .prefix(&format!("{FOLDER_PREFIX}{}-", std::process::id()))
        .tempdir()
        .context("no temporary folder")?;
    let root = folder.path().join("root.cpio");
    let fetch: Vec<String> = args.fetch.iter().map(|fetch| fetch.guest.clone()).collect();
    let mut setting = Vec::new();
    if emulator.is_side_by_side() {
        setting.push(("TAKT_GUEST_SIDE_BY_SIDE", "1"));
    }
    setting.extend(caches.map(|caches| ("TAKT_GUEST_CACHES", caches.name())));
    let content = initramfs::Content {
        arch: args.arch(),
        busybox: &programs::busybox(args.arch(), &cache)?,
        kernel: &kernel,
        binaries: &binaries,
        copies: &copies,
        command: &command,
        fetch: &fetch,
        capacities: &args.machine.map(Machine::capacities).unwrap_or_default(),
        setting: &setting,
        mode,
    };
    initramfs::write(&root, &content)?;
    let machine = qemu::Machine {
        arch: args.arch(),
        topology,
        memory_mib: args.guest_memory_mib(),
        deterministic,
        side_by_side: emulator.is_side_by_side(),
        shows_dies: emulator.shows_dies(),
        kernel: &kernel.image,
        initramfs: &root,
        extra_cmdline: args.cmdline.as_deref(),
        folder: folder.path(),
        console: mode != Mode::Stream,
        fetched_files: fetch.len(),
    };
    if io::stderr().is_terminal() {
        let time = match (machine.side_by_side, deterministic) {
            (true, _) => ", deterministic, side by side",
            (false, true) => ", deterministic",
            (false, false) => "",
        };
        ui::note(&format!(
            "kernel {}, {} CPU(s), {} MiB{time}",
            kernel.name(),
            topology.cpus(),
            args.guest_memory_mib()
        ));
    }
    let guest = qemu::Guest::start(&emulator, &machine)?;
    let outcome = relay::run(guest, mode, args.timeout)?;
    finish(args, &machine, &outcome)?;
    Ok(outcome.end.status())
}

/// The emulator for this guest: the side-by-side one if needed and if it can be built, else the stock
/// one.
fn emulator(
    args: &VmArgs,
    cache: &Path,
    topology: Topology,
    caches: Option<Caches>,
) -> Result<qemu::Emulator> {
    if let Some(caches) = caches {
        // Without the emulator this fails: results of the stock one would not have the caches that they name.
        let program = side_by_side::emulator(cache, args.arch())?;
        let emulator = qemu::Emulator::side_by_side(program, args.quantum_ns);
        return emulator.with_caches(caches, topology, args.guest_memory_mib());
    }
    if args.needs_side_by_side()?
        && let Some(program) = side_by_side::emulator_or_warn(cache, args.arch())
    {
        return Ok(qemu::Emulator::side_by_side(program, args.quantum_ns));
    }
    let fine_counting = args.is_deterministic() && topology.cpus() > 1;
    qemu::Emulator::find(cache, args.arch(), fine_counting)
}

/// The release binaries of this tree, and everything to copy.
fn programs(args: &VmArgs) -> Result<(Vec<PathBuf>, Vec<Copy>)> {
    let mut copies = args.copy.clone();
    if args.no_binaries && args.with_test.is_empty() {
        return Ok((Vec::new(), copies));
    }
    let tree = Tree::find()?;
    let target = Target::new(args.arch())?;
    let binaries = match args.no_binaries {
        true => Vec::new(),
        false => target.release_binaries(&tree, !args.no_build)?,
    };
    for (package, test) in args
        .with_test
        .iter()
        .filter_map(|name| name.split_once(':'))
    {
        let source = target.test_binary(&tree, package, test)?;
        copies.push(Copy {
            source,
            target: Some(format!("{GUEST_BIN}/{test}")),
        });
    }
    Ok((binaries, copies))
}

/// Removes the folders that killed runs have left.
fn remove_stale_folders() {
    for entry in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let owner = name
            .strip_prefix(FOLDER_PREFIX)
            .and_then(|rest| rest.split('-').next());
        if owner
            .is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
        {
            // Another run may remove it at the same time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Reports why a guest failed, and copies its files to this machine.
fn finish(args: &VmArgs, machine: &qemu::Machine<'_>, outcome: &relay::Outcome) -> Result<()> {
    let log = machine.kernel_log();
    if let Some(target) = &args.kernel_log {
        fs::copy(&log, target)
            .with_context(|| format!("cannot write the kernel log to {}", target.display()))?;
    }
    match outcome.end {
        End::Died => {
            let what = match &outcome.guest_release {
                Some(release) => {
                    format!("the guest (kernel {release}) died before its command ended")
                }
                None => "the guest died before its command began".to_owned(),
            };
            eprint!(
                "{}{}",
                ui::tail(&machine.emulator_log(), 10),
                ui::tail(&log, 60)
            );
            ui::failure(&what);
        }
        End::TimedOut => {
            eprint!("{}", ui::tail(&log, 20));
            let seconds = args.timeout.unwrap_or_default().as_secs_f64();
            let step = if outcome.guest_release.is_some() {
                "command"
            } else {
                "boot"
            };
            ui::failure(&format!(
                "time-out: the guest's {step} did not end within {seconds} s"
            ));
        }
        End::Exited(_) | End::Interrupted(_) | End::OutputClosed => {}
    }
    for (index, fetch) in args.fetch.iter().enumerate() {
        if outcome.fetched.contains(&(index + 1)) {
            let data = fs::read(machine.fetched_file(index + 1))?;
            crate::files::write_atomically(&fetch.host, &data)?;
        } else {
            ui::failure(&format!(
                "cannot fetch {}: no such file in the guest",
                fetch.guest
            ));
        }
    }
    Ok(())
}

/// The CPUs of the guest, from `--cpus` and `--topology` together.
fn topology(args: &VmArgs) -> Result<Topology> {
    if let Some(machine) = args.machine {
        return Ok(machine.topology());
    }
    match (args.topology, args.cpus) {
        (Some(topology), Some(cpus)) if topology.cpus() != cpus => Err(ui::UsageError(format!(
            "--topology {topology} has {} CPUs and --cpus is {cpus}: leave one of them out",
            topology.cpus()
        ))
        .into()),
        (Some(topology), _) => Ok(topology),
        (None, Some(cpus)) => Ok(Topology::flat(cpus)),
        (None, None) => Ok(Topology::flat(if args.deterministic { 1 } else { 2 })),
    }
}

/// The command. Without one, standard input is a script unless it is a terminal.
fn command(args: &VmArgs) -> Result<Vec<String>> {
    if !args.command.is_empty() || io::stdin().is_terminal() {
        return Ok(args.command.clone());
    }
    let mut script = String::new();
    io::stdin()
        .read_to_string(&mut script)
        .context("cannot read the script from standard input")?;
    Ok(vec!["sh".to_owned(), "-c".to_owned(), script])
}

fn mode(args: &VmArgs, command: &[String]) -> Mode {
    if !args.tty && !command.is_empty() {
        return Mode::Stream;
    }
    let (rows, columns) = relay::terminal_size();
    Mode::Console { rows, columns }
}

fn parse_test(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((package, test)) if !package.is_empty() && !test.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not PACKAGE:TEST")),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e7 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give a number of seconds above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_target_depends_on_kind_and_dst() {
        let target = |text: &str, folder, executable| {
            text.parse::<Copy>()
                .unwrap()
                .guest_path(folder, executable)
                .unwrap()
        };
        assert_eq!(target("/x/tool", false, true), "/usr/local/bin/tool");
        assert_eq!(target("/x/data.txt", false, false), "/root/data.txt");
        assert_eq!(target("/x/folder", true, true), "/root/folder");
        assert_eq!(target("/x/tool:/opt/", false, true), "/opt/tool");
        assert_eq!(target("/x/tool:/opt/other", false, true), "/opt/other");
        assert_eq!(target("/x/tool:other", false, true), "/root/other");
        assert!(":x".parse::<Copy>().is_err());
        assert!("x:".parse::<Copy>().is_err());
    }

    #[test]
    fn fetch_needs_an_absolute_guest_path() {
        let fetch: Fetch = "/tmp/a:b".parse().unwrap();
        assert_eq!(
            fetch,
            Fetch {
                guest: "/tmp/a".into(),
                host: "b".into()
            }
        );
        assert!("tmp/a:b".parse::<Fetch>().is_err());
        assert!("/tmp/a".parse::<Fetch>().is_err());
    }

    #[test]
    fn each_end_has_its_exit_status() {
        let ends = [
            End::Exited(7),
            End::TimedOut,
            End::Died,
            End::Interrupted(2),
            End::OutputClosed,
        ];
        assert_eq!(ends.map(End::status), [7, 124, 125, 130, 0]);
    }

    #[test]
    fn timeout_is_positive() {
        assert_eq!(parse_seconds("1.5"), Ok(Duration::from_millis(1500)));
        for text in ["0", "-1", "x", "", "inf", "nan"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }
}
