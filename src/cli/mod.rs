//! Every flag of `scx_takt`, once: help, the manual page and completions are made from here.

mod stress;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use scx_utils::libbpf_clap_opts::LibbpfOpts;

use crate::bpf_abi::intf;
use crate::config::profile::Profile;
use crate::config::{Flags, keys};
pub use stress::{StressArgs, StressKind, WaitLimit};

/// A sched_ext CPU scheduler: latency first, closed loop, with the proof built in.
///
/// With no command it takes over scheduling from the kernel and keeps it until it is stopped
/// (ctrl-C, SIGTERM). However it ends, the kernel is back on its own scheduler.
#[derive(Debug, Parser)]
#[command(
    name = "scx_takt",
    version,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        sudo scx_takt                 schedule until ctrl-C\n  \
        sudo scx_takt --stats 1       the same, and say each second what happens\n  \
        sudo scx_takt --try 60        for a minute, unless Enter is pressed: a safe way to try it\n  \
        scx_takt check                can it run on this kernel?"
)]
pub struct Cli {
    /// What to do instead of scheduling.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to schedule, without a command.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Flags of the scheduler itself.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Print what happens every so many seconds (0.1 to 3600).
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub stats: Option<f64>,

    /// Read the configuration from this file instead of /etc/scx_takt/config.toml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What the machine is for (default: what the configuration says, or else auto).
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,

    /// Leave the tunables as they are set, whatever the goal.
    #[arg(long)]
    pub no_tune: bool,

    /// Go back to the kernel's scheduler after so many seconds unless it is kept: by Enter, or by
    /// `scx_takt keep`.
    #[arg(long = "try", value_name = "SECONDS", value_parser = parse_seconds)]
    pub try_for: Option<f64>,

    /// Do not schedule: print what the scx_takt that is active does, every so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub monitor: Option<f64>,

    /// Describe the statistics that the scheduler serves, and end.
    #[arg(long)]
    pub help_stats: bool,

    /// Serve OpenMetrics at http://ADDR/metrics; a port alone is one of 127.0.0.1.
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub metrics: Option<SocketAddr>,

    /// Print events one by one: long waits, preemptions, migrations, tunables, faults. Each
    /// as a line, or as JSON.
    #[arg(long, value_name = "FORMAT", value_enum, num_args = 0..=1, require_equals = true,
          default_missing_value = "lines")]
    pub events: Option<EventFormat>,

    /// Say more: libbpf's messages, what the kernel lacks, where CPUs belong.
    #[arg(short, long)]
    pub verbose: bool,

    /// Size of the kernel's debug dump when it ejects the scheduler, in bytes; 0: the kernel's
    /// choice.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub exit_dump_len: u32,

    /// The flags of the ecosystem for libbpf.
    #[command(flatten)]
    pub libbpf: LibbpfOpts,

    /// Set a tunable: NAME=VALUE in nanoseconds (for experiments; may be repeated).
    #[arg(long = "set", value_name = "TUNABLE=NS", hide = true)]
    pub tunables: Vec<String>,

    /// Write what the tuner sees and does to this file, one JSON object a line (for plots).
    #[arg(long, value_name = "FILE", hide = true)]
    pub record_tuning: Option<PathBuf>,
    /// Events of a type that a CPU may emit per 100 ms (for tests).
    #[arg(long, value_name = "N", hide = true)]
    pub event_limit: Option<u32>,

    /// Act as if the kernel lacked these callbacks or kfuncs (for tests).
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', hide = true)]
    pub pretend_lacks: Vec<String>,

    /// Leave out rules of the policy (to measure what each is worth).
    #[arg(
        long,
        value_name = "RULE,...",
        value_delimiter = ',',
        value_enum,
        hide = true
    )]
    pub without: Vec<PolicyRule>,
}

impl RunArgs {
    /// What these flags say of the configuration.
    pub(crate) fn config_flags(&self) -> Flags<'_> {
        Flags {
            file: self.config.as_deref(),
            profile: self.profile,
            no_tune: self.no_tune,
            settings: &self.tunables,
        }
    }
}

/// A rule of the policy that may be left out; what each does stands in `src/bpf/intf.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum PolicyRule {
    Preempt = intf::takt_without_TAKT_WITHOUT_PREEMPT,
    Protect = intf::takt_without_TAKT_WITHOUT_PROTECT,
    LagPreempt = intf::takt_without_TAKT_WITHOUT_LAG_PREEMPT,
    ParkCurrent = intf::takt_without_TAKT_WITHOUT_PARK_CURRENT,
    Handoff = intf::takt_without_TAKT_WITHOUT_HANDOFF,
    Sync = intf::takt_without_TAKT_WITHOUT_SYNC,
    SliceTimer = intf::takt_without_TAKT_WITHOUT_SLICE_TIMER,
    ContinueCurrent = intf::takt_without_TAKT_WITHOUT_CONTINUE_CURRENT,
    Cgroup = intf::takt_without_TAKT_WITHOUT_CGROUP,
    KeepSlice = intf::takt_without_TAKT_WITHOUT_KEEP_SLICE,
    LagBeforeParked = intf::takt_without_TAKT_WITHOUT_LAG_BEFORE_PARKED,
    ForkLag = intf::takt_without_TAKT_WITHOUT_FORK_LAG,
}

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EventFormat {
    /// One line each, for people.
    Lines,
    /// One JSON object a line.
    Json,
}

/// What `scx_takt` can do beside scheduling.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Can scx_takt run on this kernel? Tests it, and says what to do if not.
    Check(CheckArgs),
    /// Check a configuration file, or show every key of one.
    #[command(after_help = keys::manual())]
    Config(ConfigArgs),
    /// The rules for tasks that the configuration has, or which of them a task matches, and why.
    #[command(after_help = "Examples:\n  \
        scx_takt rules                            every rule, and how many tasks match it now\n  \
        scx_takt rules --explain 1234             the rule that counts for a process, and the others\n  \
        scx_takt rules --config FILE              of a file that is not in force yet")]
    Rules(RulesArgs),
    /// Is this machine well, and if not, why? A live view of whatever scheduler is active.
    Top(TopArgs),
    /// What the active scheduler does, once: for people, or for programs.
    Stats(StatsArgs),
    /// Keep the scx_takt that was started with --try.
    Keep,
    /// A/B benchmark of schedulers on this machine.
    Bench(BenchArgs),
    /// How long the tasks of this machine wait for a CPU, under whatever scheduler runs.
    Observe(ObserveArgs),
    /// Why a task waited for a CPU: what had it, and what was the first cause. Under any scheduler.
    #[command(after_help = "Examples:\n  \
        sudo scx_takt why pipewire                all tasks of this name, for 10 s\n  \
        sudo scx_takt why 1234 --over 1ms         a process: waits of 1 ms and longer\n  \
        sudo scx_takt why --unit nginx --json     all tasks of a systemd unit")]
    Why(WhyArgs),
    /// A mixed load that tries to break a scheduler (for tests).
    #[command(hide = true)]
    Stress(StressArgs),
    /// One load with numbers of your own, measured under whatever scheduler runs (for tests).
    #[command(hide = true, disable_help_flag = true)]
    Load {
        /// Which load, and its flags: `scx_takt load --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Flags of `scx_takt check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `scx_takt config`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ConfigArgs {
    /// Check a file; exit status 2, and what is wrong in which line, if it cannot be used.
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,

    /// Print a file with every key: its default, its unit, its range and what it does.
    #[arg(long)]
    pub print_default: bool,
}

/// Flags of `scx_takt rules`.
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// Which rule counts for this process or thread, and why.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub explain: Option<u32>,

    /// Read this file instead of /etc/scx_takt/config.toml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Flags of `scx_takt top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Sample every so many seconds.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0, value_parser = parse_seconds)]
    pub interval: f64,

    /// Print a line each time instead of a screen (done by itself where there is no terminal).
    #[arg(long)]
    pub lines: bool,

    /// End after so many samples.
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,

    /// Use ASCII characters only (done by itself where the locale is not UTF-8).
    #[arg(long)]
    pub ascii: bool,
}

/// Flags of `scx_takt stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Print the whole snapshot as JSON.
    #[arg(long, conflicts_with = "openmetrics")]
    pub json: bool,

    /// Print it as OpenMetrics text.
    #[arg(long)]
    pub openmetrics: bool,

    /// The same with the 20 cgroups that use most CPU time: their weight, their limit, and how
    /// often and how long it has throttled them.
    #[arg(long)]
    pub cgroups: bool,

    /// Watch for so many seconds, and print what happens in them.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = parse_seconds)]
    pub seconds: f64,
}

/// Flags of `scx_takt bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Schedulers to compare, comma separated: `eevdf` or a command, quoted when it has arguments
    /// ("scx_lavd --performance"). EEVDF and scx_takt always take part.
    #[arg(long, value_name = "LIST", default_value = "eevdf")]
    pub against: Vec<String>,

    /// The scheduler that all others are compared with, by its name in the results.
    #[arg(long, value_name = "NAME", default_value = "eevdf")]
    pub baseline: String,

    /// Workloads to run, comma separated (default: all; `--list` shows them; `wide`: those for
    /// many CPUs).
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub workloads: Vec<String>,

    /// Rounds that count; one more is run first as a warm-up and dropped.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Seed of the order of schedulers and of every random choice in a workload.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Write the results as JSON to this file (`-`: standard output).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a report with plots to this file; it is one HTML file that needs no network.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Fail (exit status 1) unless scx_takt's ratio to the baseline holds, e.g.
    /// 'messaging<=1.00,wakeup.p99<=0.5'.
    #[arg(long, value_name = "RULES")]
    pub gate: Vec<String>,

    /// List the workloads with their metrics and end.
    #[arg(long)]
    pub list: bool,

    /// A command of your own to measure: its wall time, and wakeup latency beside it.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,

    /// Leave scx_takt itself out.
    #[arg(long, hide = true)]
    pub no_self: bool,

    /// Leave out the pass that measures the cost per callback.
    #[arg(long, hide = true)]
    pub no_callbacks: bool,

    /// Leave out the pass that observes how long all tasks wait for a CPU.
    #[arg(long, hide = true)]
    pub no_waits: bool,

    /// Record that guest time counts instructions (set by the VM harness).
    #[arg(long, hide = true)]
    pub deterministic: bool,

    /// Record that CPUs ran at the same time while instructions were counted (set in the guests of the VM harness).
    #[arg(long, hide = true, env = "TAKT_GUEST_SIDE_BY_SIDE", value_parser = FalseyValueParser::new())]
    pub side_by_side: bool,

    /// Record the processor whose caches were modelled (set in the guests of the VM harness).
    #[arg(long, hide = true, value_name = "NAME", env = "TAKT_GUEST_CACHES")]
    pub caches: Option<String>,

    /// Record which of the VM harness's machines this is (set by the VM harness).
    #[arg(long, hide = true, value_name = "NAME")]
    pub machine: Option<String>,

    /// How long a scheduler may take to load, in seconds.
    #[arg(long, hide = true, value_name = "S", default_value_t = 60)]
    pub load_timeout: u64,

    /// How long a scheduler may take to stop before a harder signal, in seconds.
    #[arg(long, hide = true, value_name = "S", default_value_t = 10)]
    pub stop_timeout: u64,

    /// How long one run of one workload may take, in seconds (default: 120, or 15 in
    /// deterministic mode, where workloads are shorter and seconds dearer).
    #[arg(long, hide = true, value_name = "S")]
    pub workload_timeout: Option<u64>,

    /// Run one workload here and now and print its figures as JSON (the bench calls itself so).
    #[arg(long, hide = true, value_name = "WORKLOAD")]
    pub run_one: Option<String>,
}

/// Flags of `scx_takt observe`.
#[derive(Debug, Args)]
pub struct ObserveArgs {
    /// How long to observe, in seconds (0.1 to 3600); ctrl-C ends it early.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = parse_seconds)]
    pub seconds: f64,

    /// Print the result as JSON, with every bucket of the histograms.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `scx_takt why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// PID of a process or a thread, or a name: of all tasks that have it.
    #[arg(value_name = "PID|NAME", required_unless_present = "unit")]
    pub target: Option<String>,

    /// All tasks of this systemd unit.
    #[arg(long, value_name = "UNIT", conflicts_with = "target")]
    pub unit: Option<String>,

    /// How long to watch, in seconds (0.1 to 3600); ctrl-C ends it early.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = parse_seconds)]
    pub seconds: f64,

    /// Explain waits that are at least this long: 500us, 5ms, 1s.
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = parse_time)]
    pub over: Duration,

    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `PORT` or `ADDR:PORT`.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse()
        .map_err(|_| "takes a port, or ADDRESS:PORT such as 127.0.0.1:9101 or [::1]:9101".into())
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("takes a number of seconds from 0.1 to 3600".into()),
    }
}

/// A number with `us`, `ms` or `s`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let units = [("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    let unit = units
        .iter()
        .find_map(|(name, ns)| Some((text.strip_suffix(name)?, *ns)));
    let parsed = unit.and_then(|(number, ns)| number.parse::<u64>().ok()?.checked_mul(ns));
    match parsed {
        Some(ns @ 10_000..=60_000_000_000) => Ok(Duration::from_nanos(ns)),
        _ => Err("takes a time from 10us to 60s, such as 500us, 5ms or 1s".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_port_alone_is_local() {
        let address = |text| parse_address(text).map(|address| address.to_string());
        assert_eq!(address("9101"), Ok("127.0.0.1:9101".into()));
        assert_eq!(address("[::1]:80"), Ok("[::1]:80".into()));
        for wrong in ["", "70000", "localhost", "1.2.3.4"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        let time = |text| parse_time(text).map(|time| time.as_micros());
        assert_eq!(
            [time("500us"), time("5ms"), time("1s")],
            [Ok(500), Ok(5_000), Ok(1_000_000)]
        );
        for wrong in [
            "5",
            "ms",
            "1us",
            "61s",
            "-5ms",
            "1.5ms",
            "18446744073709551615s",
        ] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds_are_checked() {
        assert_eq!(parse_seconds("0.5"), Ok(0.5));
        for wrong in ["0", "abc", "-1", "nan", "inf", "3601"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
