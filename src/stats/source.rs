//! Where a viewer takes its pictures: from scx_takt's agent where that schedules, else with its own eyes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use scx_ops::kernel::{self, Active};
use scx_stats::StatsClient;

use super::server::SOCKET;
use crate::collect::{LocalTasks, System, Temper};
use crate::observe::{Class, Group, Histogram, Observer, Reading};
use crate::snapshot::{self, Snapshot, Waits};

/// How long the agent may take to answer, in milliseconds.
const TIMEOUT_MS: u64 = 3_000;

/// Takes pictures of whatever scheduler is active.
pub struct Source {
    socket: PathBuf,
    client: Option<StatsClient>,
    local: Option<Local>,
    /// What cannot be seen, and why; empty: all can.
    pub blind: String,
}

impl Source {
    /// Looks at this machine.
    pub fn new() -> Self {
        Self {
            socket: Path::new(SOCKET).to_owned(),
            client: None,
            local: None,
            blind: String::new(),
        }
    }

    /// Takes a picture. Where the agent cannot be asked, less is seen, and `blind` says so.
    pub fn look(&mut self) -> Snapshot {
        self.blind.clear();
        let ours = matches!(kernel::active(), Ok(Active::SchedExt(ops)) if snapshot::is_takt(&ops));
        if ours {
            match self.ask() {
                Ok(snapshot) => {
                    // Nobody needs our own eyes now, and tracing costs.
                    if let Some(local) = &mut self.local {
                        local.close_eyes();
                    }
                    return snapshot;
                }
                Err(error) => self.blind = format!("scx_takt does not answer: {error:#}"),
            }
        }
        self.client = None;
        let local = self.local.get_or_insert_default();
        let snapshot = local.look();
        if self.blind.is_empty() {
            self.blind.clone_from(&local.blind);
        }
        snapshot
    }

    /// Is there more to see than the last look has seen, as soon as one looks again?
    pub fn is_opening_eyes(&self) -> bool {
        self.local
            .as_ref()
            .is_some_and(|local| local.blind == OPENING)
    }

    /// Asks the agent, on a connection that stays.
    ///
    /// # Errors
    /// If it is not there, does not answer in time, or answers nonsense.
    pub fn ask(&mut self) -> Result<Snapshot> {
        let connect = || {
            let client = StatsClient::new().set_path(&self.socket);
            client
                .connect(Some(TIMEOUT_MS))
                .with_context(|| format!("cannot connect to {}", self.socket.display()))
        };
        let mut client = match self.client.take() {
            Some(client) => client,
            None => connect()?,
        };
        let answer = client.request("stats", vec![("target".into(), "snapshot".into())])?;
        self.client = Some(client);
        Ok(answer)
    }
}

/// Loading the programs takes a moment; what can be seen without them is shown first.
const OPENING: &str = "tasks and waits: loading what shows them";

/// With our own eyes: the task iterator and the observer.
#[derive(Default)]
struct Local {
    system: System,
    tasks: Option<LocalTasks>,
    observer: Option<Observer>,
    last: Option<Reading>,
    blind: String,
}

impl Local {
    fn open_eyes(&mut self) -> Result<()> {
        anyhow::ensure!(kernel::privileged(), "that takes root: use sudo");
        if self.tasks.is_none() {
            self.tasks = Some(LocalTasks::load()?);
        }
        self.observer = Some(Observer::start()?);
        Ok(())
    }

    fn close_eyes(&mut self) {
        self.observer = None;
        self.last = None;
        self.blind.clear();
    }

    /// At the first look nothing is loaded yet; what then fails to load is not tried again.
    fn prepare(&mut self) {
        if self.observer.is_some() {
            self.blind.clear();
        } else if self.blind.is_empty() {
            self.blind = OPENING.to_owned();
        } else if self.blind == OPENING {
            let opened = self.open_eyes();
            self.blind = opened.map_or_else(
                |error| format!("tasks and waits are not seen: {error:#}"),
                |()| String::new(),
            );
        }
    }

    fn look(&mut self) -> Snapshot {
        self.prepare();
        let eyes = self.observer.is_some();
        let tasks = self.tasks.as_ref().filter(|_| eyes);
        let tasks = tasks.and_then(|tasks| tasks.read().ok());
        let mut snapshot = self
            .system
            .picture(&tasks.unwrap_or_default(), Temper::default());
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
