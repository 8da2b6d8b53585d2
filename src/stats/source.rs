//! Where a viewer takes its snapshots: from scx_takt's agent where that schedules, else with local probes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use scx_ops::kernel;
use scx_ops::sched_ext::{self, Active};
use scx_stats::StatsClient;

use super::server::SOCKET;
use crate::base::clock::monotonic_ns;
use crate::base::units::duration;
use crate::collect::{Cgroups, Counted, LocalTasks, Policy, System};
use crate::observe::{Class, Group, Histogram, Observer, Reading};
use crate::snapshot::{self, Snapshot, Waits};

/// How long the agent may take to answer, in milliseconds.
const TIMEOUT_MS: u64 = 3_000;
/// An agent that did not answer is not asked again for so long: a viewer that waits for it does not answer keys.
const PAUSE: Duration = Duration::from_secs(10);
/// A snapshot this old is not of now: the agent does not get round to taking a new one.
const OLD: Duration = Duration::from_millis(2_500);

/// Takes snapshots of whatever scheduler is active.
pub struct Source {
    socket: PathBuf,
    client: Option<StatsClient>,
    local: Option<Local>,
    cgroups: Option<Cgroups>,
    /// When the agent last failed to answer, and how.
    failed: Option<(Instant, String)>,
    /// What cannot be seen, and why; empty: all can.
    pub unavailable: String,
}

impl Source {
    /// Samples this machine.
    pub fn new() -> Self {
        Self {
            socket: Path::new(SOCKET).to_owned(),
            client: None,
            local: None,
            cgroups: None,
            failed: None,
            unavailable: String::new(),
        }
    }

    /// Looks at cgroups as well from now on.
    ///
    /// # Errors
    /// If there is no version 2 of them.
    pub fn watch_cgroups(&mut self) -> Result<()> {
        if self.cgroups.is_none() {
            self.cgroups = Some(Cgroups::open()?);
        }
        Ok(())
    }

    /// Looks at cgroups no longer.
    pub fn ignore_cgroups(&mut self) {
        self.cgroups = None;
    }

    /// Takes a snapshot. Where the agent cannot be asked, less is seen, and `unavailable` says so.
    pub fn sample(&mut self) -> Snapshot {
        let mut snapshot = self.sample_without_cgroups();
        if let Some(cgroups) = &mut self.cgroups {
            add_cgroups(&mut snapshot, cgroups);
            if self.unavailable.is_empty() && !counts_throttling(&snapshot) {
                self.unavailable = NOT_COUNTED.to_owned();
            }
        }
        snapshot
    }

    fn sample_without_cgroups(&mut self) -> Snapshot {
        self.unavailable.clear();
        let ours =
            matches!(sched_ext::active(), Ok(Active::SchedExt(ops)) if snapshot::is_takt(&ops));
        if ours && let Some(snapshot) = self.ask_with_patience() {
            // Local probes are not needed now, and tracing costs.
            if let Some(local) = &mut self.local {
                local.close();
            }
            self.unavailable = lateness(&snapshot, monotonic_ns());
            return snapshot;
        }
        self.client = None;
        let local = self.local.get_or_insert_default();
        let snapshot = local.sample();
        if self.unavailable.is_empty() {
            self.unavailable.clone_from(&local.unavailable);
        }
        snapshot
    }

    /// Asks the agent, unless it has not answered a moment ago; `unavailable` says what became of it.
    fn ask_with_patience(&mut self) -> Option<Snapshot> {
        self.failed.take_if(|(at, _)| at.elapsed() >= PAUSE);
        if self.failed.is_none() {
            match self.ask() {
                Ok(snapshot) => return Some(snapshot),
                Err(error) => self.failed = Some((Instant::now(), format!("{error:#}"))),
            }
        }
        if let Some((_, error)) = &self.failed {
            self.unavailable = format!("scx_takt does not answer: {error}");
        }
        None
    }

    /// Is there more to see than the last sample shows, as soon as the next is taken?
    pub fn is_opening_local(&self) -> bool {
        self.local
            .as_ref()
            .is_some_and(|local| local.unavailable == OPENING)
    }

    /// Asks the agent, on a connection that stays.
    ///
    /// # Errors
    /// If it is not there, does not answer in time, or answers nonsense.
    pub fn ask(&mut self) -> Result<Snapshot> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => connect(&self.socket)?,
        };
        let target = self.cgroups.as_ref().map_or("snapshot", |_| "limits");
        let answer = client.request("stats", vec![("target".into(), target.into())])?;
        self.client = Some(client);
        Ok(answer)
    }
}

/// What to say where a limit may have throttled tasks, and it is not known how often.
const NOT_COUNTED: &str =
    "periods and throttling of cgroups are not known: only EEVDF and scx_takt count them";

fn counts_throttling(snapshot: &Snapshot) -> bool {
    let mut limited = snapshot.cgroups.iter().filter(|one| one.quota_ns.is_some());
    limited.all(|one| one.throttling.is_some())
}

/// Adds the cgroups that used most CPU time since `cgroups` were last looked at.
pub fn add_cgroups(snapshot: &mut Snapshot, cgroups: &mut Cgroups) {
    let limits = snapshot.limits.take();
    let counted = match &limits {
        Some(limits) => Counted::ByTakt(limits),
        None if snapshot.scheduler.name == Snapshot::KERNELS_OWN => Counted::ByKernel,
        None => Counted::Unknown,
    };
    snapshot.cgroups = cgroups.sample(&counted);
}

/// A connection to the agent.
///
/// # Errors
/// If no scx_takt listens there, or this process may not ask it.
pub fn connect(socket: &Path) -> Result<StatsClient> {
    let client = StatsClient::new().set_path(socket);
    client
        .connect(Some(TIMEOUT_MS))
        .with_context(|| format!("cannot connect to {}", socket.display()))
}

/// What to say of a snapshot that is too old by now; nothing if it is not.
fn lateness(snapshot: &Snapshot, now_ns: u64) -> String {
    let age = Duration::from_nanos(now_ns.saturating_sub(snapshot.at_ns));
    if age < OLD {
        return String::new();
    }
    let age = duration(age);
    format!("scx_takt's agent takes no snapshots: this one is {age} old")
}

/// Loading the programs takes a moment; what can be seen without them is shown first.
const OPENING: &str = "tasks and waits: loading what shows them";

/// With local probes: the task iterator and the observer.
#[derive(Default)]
struct Local {
    system: System,
    tasks: Option<LocalTasks>,
    observer: Option<Observer>,
    last: Option<Reading>,
    unavailable: String,
}

impl Local {
    fn open(&mut self) -> Result<()> {
        anyhow::ensure!(kernel::privileged(), "that takes root: use sudo");
        if self.tasks.is_none() {
            self.tasks = Some(LocalTasks::load()?);
        }
        self.observer = Some(Observer::start()?);
        Ok(())
    }

    fn close(&mut self) {
        self.observer = None;
        self.last = None;
        self.unavailable.clear();
    }

    /// At the first sample nothing is loaded yet; what then fails to load is not tried again.
    fn prepare(&mut self) {
        if self.observer.is_some() {
            self.unavailable.clear();
        } else if self.unavailable.is_empty() {
            self.unavailable = OPENING.to_owned();
        } else if self.unavailable == OPENING {
            let opened = self.open();
            self.unavailable = opened.map_or_else(
                |error| format!("tasks and waits are not seen: {error:#}"),
                |()| String::new(),
            );
        }
    }

    fn sample(&mut self) -> Snapshot {
        self.prepare();
        let probes = self.observer.is_some();
        let tasks = self.tasks.as_ref().filter(|_| probes);
        let tasks = tasks.and_then(|tasks| tasks.read().ok());
        let mut snapshot = self
            .system
            .snapshot(&tasks.unwrap_or_default(), Policy::default());
        snapshot.cost = crate::collect::cost_of_this_process();
        (snapshot.waits, snapshot.wakeups) = self.waits().unwrap_or_default();
        snapshot
    }

    /// Every wait, and those that began with a wakeup.
    fn waits(&mut self) -> Option<(Waits, Waits)> {
        let now = self.observer.as_ref()?.read().ok()?;
        let ours = |group: &Group| matches!(group.class, Class::Fair | Class::Idle | Class::Ext);
        let (all, wakeups) = (now.waits(ours), now.wakeups(ours));
        let period = self.last.as_ref().map(|last| now.since(last).waits(ours));
        self.last = Some(now);
        let max_ns = period.map_or(0, |period| period.max_ns());
        Some((
            Waits::of_powers(lengths(&all), all.sum_ns(), max_ns),
            Waits::of_wakeups(lengths(&wakeups), wakeups.sum_ns(), 0),
        ))
    }
}

/// How long the waits of each bucket were at most, and how many there were.
fn lengths(waits: &Histogram) -> impl Iterator<Item = (u64, u64)> + '_ {
    waits.buckets().map(|(_, last_ns, count)| (last_ns, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_picture_is_said_to_be_old() {
        let snapshot = Snapshot {
            at_ns: 5_000_000_000,
            ..Default::default()
        };
        assert_eq!(lateness(&snapshot, 6_000_000_000), "");
        assert!(lateness(&snapshot, 9_200_000_000).contains("4.2 s old"));
    }

    #[test]
    fn an_agent_that_does_not_answer_is_not_asked_at_every_look() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = Source::new();
        source.socket = dir.path().join("absent");
        assert!(source.ask_with_patience().is_none());
        assert!(
            source.unavailable.contains("does not answer"),
            "{}",
            source.unavailable
        );
        let failed_at = source.failed.as_ref().unwrap().0;
        assert!(source.ask_with_patience().is_none());
        assert_eq!(source.failed.as_ref().unwrap().0, failed_at, "asked again");
    }
}
