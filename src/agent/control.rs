//! The closed loop around a running scheduler: configuration in, figures in, tunables and rules out.
//!
//! Everything here happens beside scheduling. If this process stalls, the last tunables hold.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::rules::Rules;
use super::{power, set_tunables};
use crate::base::clock;
use crate::bpf_abi::BpfSkel;
use crate::bpf_abi::intf::takt_tunables;
use crate::cli::RunArgs;
use crate::config::profile::Profile;
use crate::config::watch::Watch;
use crate::config::{Config, Goal, tunables};
use crate::snapshot::Counters;
use crate::tuner::{Change, Figures, Task, Tuner};
use crate::wakeups::{LATENCY, NORMAL, Wakeups};

/// How often rules, power source and, without a goal, the load are looked after.
const HOUSEKEEPING: Duration = Duration::from_secs(2);

/// Warnings of one kind that are printed, lest thousands of rules flood the log.
const MAX_WARNINGS: usize = 10;

/// The agent's side of the loop.
pub struct Control<'a> {
    args: &'a RunArgs,
    config: &'a mut Config,
    watch: Option<Watch>,
    rules: Rules,
    /// The programs that apply rules are in the kernel: only when there were rules at the start.
    can_rule: bool,
    must_load_again: bool,
    tuner: Tuner,
    last: Option<Counters>,
    last_at: Instant,
    kept_house_at: Instant,
    started_at: Instant,
    on_battery: bool,
    nr_cpus: u32,
    record: Option<File>,
    /// Adjustments that have not been emitted as events yet.
    unreported: Vec<Change>,
    /// The same for configurations that were read again.
    reloads: Vec<Reload>,
}

/// What became of a configuration that was read again.
#[derive(Debug)]
pub struct Reload {
    /// Was it taken over? If not, the one before stays in force.
    pub taken: bool,
    /// What is in force now, or what is wrong; one line.
    pub what: String,
}

impl<'a> Control<'a> {
    /// Puts the configuration into force. The tunables themselves were set before the scheduler was loaded.
    ///
    /// # Errors
    /// If the rules cannot be put into force, or the file to record to cannot be made.
    pub fn new(
        skel: &mut BpfSkel<'_>,
        args: &'a RunArgs,
        config: &'a mut Config,
        nr_cpus: u32,
    ) -> Result<Self> {
        let on_battery = power::on_battery();
        let record = args.record_tuning.as_ref().map(File::create).transpose();
        let now = Instant::now();
        let mut control = Self {
            args,
            watch: None,
            rules: Rules::default(),
            can_rule: !config.rules.is_empty(),
            must_load_again: false,
            tuner: Tuner::new(task(config, on_battery)),
            config,
            last: None,
            last_at: now,
            kept_house_at: now,
            started_at: now,
            on_battery,
            nr_cpus,
            unreported: Vec::new(),
            reloads: Vec::new(),
            record: record.context("cannot make the file for --record-tuning")?,
        };
        control.watch = match Watch::new(&control.config.path) {
            Ok(watch) => Some(watch),
            Err(error) => {
                control.say_more(&format!(
                    "changes of {} will not be noticed ({error:#}); SIGHUP has it read again",
                    control.config.path.display()
                ));
                None
            }
        };
        warn(&control.config.warnings);
        warn(&control.rules.replace(skel, &control.config.rules)?);
        control.hint_speed(skel);
        Ok(control)
    }

    /// What becomes readable when the configuration file changes.
    pub fn config_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(|watch| watch.as_fd())
    }

    /// When [`Self::tick`] is to be called next.
    pub fn due_in(&self) -> Duration {
        let period = if self.wants_wakeups() {
            self.config.period
        } else {
            HOUSEKEEPING
        };
        period.saturating_sub(self.last_at.elapsed())
    }

    /// The latest adjustment of the tunables, with its reason.
    pub fn last_change(&self) -> Option<&str> {
        self.tuner.last_change()
    }

    /// The tunables in force.
    pub fn tunables(&self) -> &takt_tunables {
        self.tuner.tunables()
    }

    /// The profile in force.
    pub fn profile(&self) -> Profile {
        self.config.profile
    }

    /// Are wakeups to be counted? They are only while they are used.
    pub fn wants_wakeups(&self) -> bool {
        self.config.tune && self.config.goal.is_set()
    }

    /// What was set since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.unreported)
    }

    /// Has something been asked for that takes loading the scheduler again?
    pub fn must_load_again(&self) -> bool {
        self.must_load_again
    }

    /// What became of configurations that were read again since the last call.
    pub fn take_reloads(&mut self) -> Vec<Reload> {
        std::mem::take(&mut self.reloads)
    }

    /// Looks whether the file has changed, and if so reads it again.
    pub fn look_at_file(&mut self, skel: &mut BpfSkel<'_>) {
        if self.watch.as_ref().is_some_and(Watch::changed) {
            self.reload(skel);
        }
    }

    /// Reads the configuration again: all of it is taken over, or nothing.
    pub fn reload(&mut self, skel: &mut BpfSkel<'_>) {
        let (taken, said) = match self.read_again(skel) {
            Ok(what) => (true, what),
            Err(error) => {
                let stays = "the configuration stays as it was";
                (false, format!("{error:#}\nscx_takt: {stays}"))
            }
        };
        eprintln!("scx_takt: {said}");
        let what = said.replace("\nscx_takt: ", "; ");
        self.reloads.push(Reload { taken, what });
    }

    /// What is in force then; an error has changed nothing.
    fn read_again(&mut self, skel: &mut BpfSkel<'_>) -> Result<String> {
        let path = self.config.path.clone();
        if !path.exists() {
            bail!("{} is gone", path.display());
        }
        let new = Config::load(&self.args.config_flags())?;
        if !self.can_rule && !new.rules.is_empty() {
            warn(&new.warnings);
            *self.config = new;
            self.must_load_again = true;
            let what = "has rules now, the first since I was loaded: loading again";
            return Ok(format!("{} {what}", path.display()));
        }
        // The rules are the only part that the kernel may refuse: first.
        let warnings = self.rules.replace(skel, &new.rules)?;
        warn(&new.warnings);
        warn(&warnings);
        *self.config = new;
        self.hint_speed(skel);
        self.last = None;
        let (task, why) = (task(self.config, self.on_battery), "new configuration");
        let change = if self.config.tune {
            self.tuner.retarget(task, why)
        } else {
            self.tuner.reset(task, why)
        };
        self.apply(skel, change);
        Ok(format!(
            "{} taken over: profile {}, {} rules, {}",
            path.display(),
            self.config.profile.name(),
            self.config.rules.len(),
            goal_text(&self.config.goal)
        ))
    }

    /// One round of the loop, if it is due.
    pub fn tick(&mut self, skel: &mut BpfSkel<'_>) {
        if !self.due_in().is_zero() {
            return;
        }
        let period = self.last_at.elapsed();
        self.last_at = Instant::now();
        if self.kept_house_at.elapsed() >= HOUSEKEEPING {
            self.keep_house(skel);
        }
        if !self.config.tune {
            return;
        }
        let change = match self.figures(skel, period) {
            Ok(Some(figures)) => {
                let change = self.tuner.step(&figures);
                self.write_record(&figures, change.as_ref());
                change
            }
            Ok(None) => None,
            Err(error) => self.tuner.missing(&format!("{error:#}")),
        };
        self.apply(skel, change);
    }

    fn keep_house(&mut self, skel: &mut BpfSkel<'_>) {
        self.kept_house_at = Instant::now();
        if let Err(error) = self.rules.refresh(skel) {
            eprintln!("scx_takt: {error:#}");
        }
        let on_battery = power::on_battery();
        if on_battery != self.on_battery && self.config.tune {
            self.on_battery = on_battery;
            self.hint_speed(skel);
            let source = if on_battery {
                "on battery"
            } else {
                "on mains power"
            };
            let change = self.tuner.retarget(task(self.config, on_battery), source);
            self.apply(skel, change);
        }
    }

    /// Sets on the BPF side whether CPUs are to run only as fast as their load asks for.
    fn hint_speed(&self, skel: &mut BpfSkel<'_>) {
        if let Some(bss) = skel.maps.bss_data.as_mut() {
            bss.perf_follows_load = self.config.profile.saves_power(self.on_battery);
        }
    }

    /// What happened since the last round; `None` in the first one.
    fn figures(&mut self, skel: &BpfSkel<'_>, period: Duration) -> Result<Option<Figures>> {
        let load = f64::from(runnable()?) / f64::from(self.nr_cpus.max(1));
        if !self.config.goal.is_set() {
            return Ok(Some(Figures {
                period,
                wakeups: Default::default(),
                load,
            }));
        }
        let now = Counters::take(&skel.maps.cpu_stats)?;
        let last = self.last.replace(now.clone());
        Ok(last.map(|last| {
            let delta = now.since(&last);
            let wakeups = std::array::from_fn(|class| Wakeups::of_class(&delta, class));
            Figures {
                period,
                wakeups,
                load,
            }
        }))
    }

    fn apply(&mut self, skel: &mut BpfSkel<'_>, change: Option<Change>) {
        let Some(change) = change else {
            return;
        };
        if let Err(error) = set_tunables::write(skel, &change.tunables) {
            eprintln!("scx_takt: tunables not set: {error:#}");
            return;
        }
        if change.is_important {
            eprintln!("scx_takt: {}", change.reason);
        } else {
            self.say_more(&change.reason);
        }
        self.unreported.push(change);
    }

    fn say_more(&self, what: &str) {
        if self.args.verbose {
            eprintln!("scx_takt: {what}");
        }
    }

    /// One line of JSON per round, for plots.
    fn write_record(&mut self, figures: &Figures, change: Option<&Change>) {
        let Some(file) = &mut self.record else {
            return;
        };
        let all = &figures.wakeups[NORMAL].plus(&figures.wakeups[LATENCY]);
        let line = json!({
            "clock_s": clock::monotonic_ns() as f64 / 1e9,
            "at_s": self.started_at.elapsed().as_secs_f64(),
            "period_s": figures.period.as_secs_f64(),
            "level": self.tuner.level(),
            "wakeups": figures.wakeups.each_ref().map(Wakeups::count),
            "class_p99_ns": figures.wakeups.each_ref().map(|seen| seen.quantile_ns(990)),
            "p99_ns": all.quantile_ns(990),
            "load": figures.load,
            "tunables": tunables::named(self.tuner.tunables()),
            "change": change.map(|change| &change.reason),
        });
        if let Err(error) = writeln!(file, "{line}") {
            eprintln!("scx_takt: cannot record: {error}");
            self.record = None;
        }
    }
}

fn task(config: &Config, on_battery: bool) -> Task {
    Task {
        base: config.tunables(on_battery),
        goal: config.goal,
        profile: config.profile,
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings.iter().take(MAX_WARNINGS) {
        eprintln!("scx_takt: warning: {warning}");
    }
    if let Some(more) = warnings
        .len()
        .checked_sub(MAX_WARNINGS)
        .filter(|more| *more > 0)
    {
        eprintln!("scx_takt: warning: {more} more like these");
    }
}

fn goal_text(goal: &Goal) -> String {
    let goals = [
        ("wakeup p99", goal.wakeup_p99_us),
        ("latency class p99", goal.latency_wakeup_p99_us),
    ];
    let goals = goals
        .iter()
        .filter_map(|(what, us)| us.map(|us| format!("{what} {us} us")));
    let goals = goals.collect::<Vec<_>>().join(", ");
    if goals.is_empty() {
        "no goal".to_owned()
    } else {
        format!("goal {goals}")
    }
}

/// Tasks that run or want to, without ourselves.
fn runnable() -> Result<u32> {
    let text = fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    let field = text
        .split_whitespace()
        .nth(3)
        .and_then(|field| field.split_once('/'));
    let count = field.and_then(|(running, _)| running.parse::<u32>().ok());
    Ok(count
        .context("/proc/loadavg is not what it was")?
        .saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_can_be_read() {
        runnable().unwrap();
    }

    #[test]
    fn goals_are_told() {
        assert_eq!(goal_text(&Goal::default()), "no goal");
        let goal = Goal {
            wakeup_p99_us: Some(500),
            ..Goal::default()
        };
        assert_eq!(goal_text(&goal), "goal wakeup p99 500 us");
    }
}
