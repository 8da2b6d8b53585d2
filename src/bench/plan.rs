//! What shall be measured: flags turned into schedulers, workloads, rules and opened outputs.

use std::time::Duration;

use anyhow::{Result, bail};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use scx_ops::sched_ext::{self, Active};

use super::gate::{self, Rule};
use super::output::Output;
use super::scheduler::{self, Limits, Scheduler};
use super::workload::{self, Setting, Workload};
use crate::cli::BenchArgs;

/// Name of the kernel's own scheduler.
pub const EEVDF: &str = "eevdf";

/// A request that makes no sense: exit status 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Everything that is settled before the first measurement.
pub struct Plan {
    /// The schedulers under test; EEVDF comes first.
    pub schedulers: Vec<Scheduler>,
    /// Index of the one that all others are compared with.
    pub baseline: usize,
    /// What is run.
    pub workloads: Vec<&'static dyn Workload>,
    /// Rounds that count.
    pub rounds: u32,
    /// Where and with which seed.
    pub setting: Setting,
    /// Whether CPUs run at the same time while instructions are counted.
    pub side_by_side: bool,
    /// The processor whose caches are modelled.
    pub caches: Option<String>,
    /// Name of the VM harness's machine.
    pub machine: Option<String>,
    /// How long things may take.
    pub limits: Limits,
    /// Shall the cost per callback be measured?
    pub callbacks: bool,
    /// Shall the run-queue latency of all tasks be observed?
    pub waits: bool,
    /// Rules on the result.
    pub rules: Vec<Rule>,
    /// Where the results go as JSON.
    pub json: Option<Output>,
    /// Where the report goes.
    pub report: Option<Output>,
}

impl Plan {
    /// Checks the flags and the machine.
    pub fn new(args: &BenchArgs) -> Result<Self> {
        let rules = gate::parse(&args.gate).map_err(|error| Usage(format!("--gate: {error:#}")))?;
        let workloads = possible(chosen_workloads(args)?)?;
        check_rules(&rules, &workloads)?;
        let schedulers = schedulers(args)?;
        Ok(Self {
            baseline: baseline(&args.baseline, &schedulers)?,
            schedulers,
            workloads,
            rounds: args.rounds,
            setting: setting(args)?,
            side_by_side: args.side_by_side,
            caches: args.caches.clone(),
            machine: args.machine.clone(),
            limits: limits(args),
            callbacks: !args.no_callbacks,
            waits: !args.no_waits,
            rules,
            json: args.json.as_deref().map(Output::open).transpose()?,
            report: args.report.as_deref().map(Output::open).transpose()?,
        })
    }

    /// The schedulers of one round in random order, as indices.
    pub fn order(&self, round: u32) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.setting.seed.wrapping_add(u64::from(round)));
        let mut order: Vec<usize> = (0..self.schedulers.len()).collect();
        order.shuffle(&mut rng);
        order
    }

    /// The schedulers that `--gate` speaks of: scx_takt, or without it every one but the baseline.
    pub fn gated(&self) -> Vec<&str> {
        let own = env!("CARGO_PKG_NAME");
        let others = (0..self.schedulers.len()).filter(|index| *index != self.baseline);
        let names: Vec<&str> = others
            .filter_map(|index| self.schedulers.get(index))
            .map(|scheduler| scheduler.name.as_str())
            .collect();
        if names.contains(&own) {
            vec![own]
        } else {
            names
        }
    }
}

fn baseline(name: &str, schedulers: &[Scheduler]) -> Result<usize> {
    let found = schedulers
        .iter()
        .position(|scheduler| scheduler.name == name);
    found.ok_or_else(|| {
        let names: Vec<_> = schedulers
            .iter()
            .map(|scheduler| scheduler.name.as_str())
            .collect();
        Usage(format!(
            "--baseline: '{name}' is not compared; there are {}",
            names.join(", ")
        ))
        .into()
    })
}

/// Where the workloads of this process run.
pub fn setting(args: &BenchArgs) -> Result<Setting> {
    Ok(Setting {
        cpus: std::thread::available_parallelism()?.get(),
        seed: args.seed,
        deterministic: args.deterministic,
        command: args.command.clone(),
    })
}

fn limits(args: &BenchArgs) -> Limits {
    let usual_s = if args.deterministic { 15 } else { 120 };
    // The user's own command may take as long as it likes.
    let default_s = if args.command.is_empty() {
        usual_s
    } else {
        24 * 3600
    };
    let workload_s = args.workload_timeout.unwrap_or(default_s);
    Limits {
        load: Duration::from_secs(args.load_timeout),
        stop: Duration::from_secs(args.stop_timeout),
        workload: Duration::from_secs(workload_s),
    }
}

fn chosen_workloads(args: &BenchArgs) -> Result<Vec<&'static dyn Workload>> {
    let names: Vec<&str> = args
        .workloads
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty())
        .collect();
    let unknown = names
        .iter()
        .find(|name| !["all", "wide"].contains(name) && workload::find(name).is_none());
    if let Some(name) = unknown {
        let known: Vec<_> = workload::ALL
            .iter()
            .map(|workload| workload.name())
            .collect();
        bail!(Usage(format!(
            "there is no workload '{name}'; there are {}",
            known.join(", ")
        )));
    }
    if names.contains(&workload::COMMAND) && args.command.is_empty() {
        bail!(Usage(
            "the workload 'command' needs a command: -- CMD".to_owned()
        ));
    }
    let all = names.contains(&"all") || (names.is_empty() && args.command.is_empty());
    let wide = names.contains(&"wide");
    let wanted = |name: &str| match name {
        workload::COMMAND => !args.command.is_empty(),
        name => all || names.contains(&name) || (wide && workload::WIDE.contains(&name)),
    };
    Ok(workload::ALL
        .iter()
        .copied()
        .filter(|workload| wanted(workload.name()))
        .collect())
}

/// Leaves out, with the reason, what this machine cannot run.
fn possible(chosen: Vec<&'static dyn Workload>) -> Result<Vec<&'static dyn Workload>> {
    let (mut possible, mut left_out) = (Vec::new(), Vec::new());
    for workload in chosen {
        match workload.obstacle() {
            None => possible.push(workload),
            Some(why) => left_out.push(format!("{} is left out: {why}", workload.name())),
        }
    }
    if possible.is_empty() {
        bail!("there is no workload to run: {}", left_out.join("; "));
    }
    for line in left_out {
        eprintln!("{line}");
    }
    Ok(possible)
}

fn check_rules(rules: &[Rule], workloads: &[&dyn Workload]) -> Result<()> {
    for rule in rules {
        if !workloads
            .iter()
            .any(|workload| workload.name() == rule.workload())
        {
            bail!(Usage(format!(
                "--gate: workload '{}' is not among --workloads",
                rule.workload()
            )));
        }
    }
    Ok(())
}

/// EEVDF, scx_takt, and the schedulers that the user named, as far as this machine lets them run.
fn schedulers(args: &BenchArgs) -> Result<Vec<Scheduler>> {
    let named = scheduler::parse_against(&args.against)?;
    let obstacle = obstacle();
    let mut schedulers = vec![Scheduler {
        name: EEVDF.to_owned(),
        command: None,
    }];
    match obstacle {
        None => scheduler::refuse_if_active()?,
        Some(why) if named.is_empty() => {
            eprintln!("only EEVDF is measured: {why}");
            return Ok(schedulers);
        }
        Some(why) => bail!("{why}; only EEVDF can be measured here: --against {EEVDF}"),
    }
    if !args.no_self {
        let command = Some((scheduler::this_program()?, Vec::new()));
        schedulers.push(Scheduler {
            name: env!("CARGO_PKG_NAME").to_owned(),
            command,
        });
    }
    schedulers.extend(beside_own(named, args.no_self));
    scheduler::make_names_unique(&mut schedulers);
    Ok(schedulers)
}

/// The named ones without scx_takt by its plain name, which takes part anyway. Named twice, it is compared with itself.
fn beside_own(mut named: Vec<Scheduler>, no_self: bool) -> Vec<Scheduler> {
    if !no_self && let Some(index) = named.iter().position(is_own) {
        named.remove(index);
    }
    named
}

/// Whether this is scx_takt without arguments.
fn is_own(scheduler: &Scheduler) -> bool {
    let arguments = scheduler.command.as_ref().map(|(_, arguments)| arguments);
    scheduler.name == env!("CARGO_PKG_NAME") && arguments.is_some_and(Vec::is_empty)
}

/// Why no scheduler can be loaded, if so.
fn obstacle() -> Option<&'static str> {
    if matches!(sched_ext::active(), Ok(Active::Unsupported)) {
        return Some("this kernel has no sched_ext");
    }
    (!nix::unistd::geteuid().is_root()).then_some("loading a scheduler takes root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wide_workload_exists() {
        for name in workload::WIDE {
            assert!(workload::find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn scx_takt_by_its_plain_name_takes_part_already() {
        let beside = |list: &str, no_self| -> Vec<String> {
            let named = scheduler::parse_against(&[list.to_owned()]).unwrap();
            let left = beside_own(named, no_self).into_iter();
            left.map(|scheduler| scheduler.name).collect()
        };
        let list = "eevdf,scx_takt,scx_takt --stats 1";
        assert_eq!(beside(list, false), ["scx_takt --stats 1"]);
        assert_eq!(beside(list, true), ["scx_takt", "scx_takt --stats 1"]);
        assert_eq!(beside("scx_takt,scx_takt", false), ["scx_takt"]);
    }
}
