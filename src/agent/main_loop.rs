//! What the agent does while the scheduler runs: it waits for something to do, does it, and waits again.

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use scx_utils::uei_exited;

use super::cgroups::CgroupWarnings;
use super::control::Control;
use super::trial::Trial;
use crate::base::output;
use crate::bpf_abi::BpfSkel;
use crate::cli::RunArgs;
use crate::collect::{Agent, Layout};
use crate::events::{EventReader, Printer};
use crate::signals::{Signal, Signals};
use crate::snapshot::{Delta, Snapshot};
use crate::stats::publisher::Publisher;
use crate::stats::text;

/// How long an event may stay in the ring while a reader wants events.
const EVENT_DELAY: Duration = Duration::from_millis(50);
/// How often to look when no reader wants them. An exit event can only be lost when the ring is full; it is found
/// so all the same.
const IDLE_DELAY: Duration = Duration::from_secs(1);

/// What lives as long as the agent; the scheduler may be loaded again meanwhile.
pub struct Session {
    /// What may end it, or make it read its configuration again.
    pub signals: Signals,
    /// Where readers are answered.
    pub publisher: Publisher,
    /// Whether a cgroup relies on what scx_takt does not do.
    pub cgroup_warnings: CgroupWarnings,
    /// Unless it is kept, it ends by itself.
    pub trial: Option<Trial>,
}

impl Session {
    /// Reports, answers and sets tunables until the scheduler is asked to stop or has left the kernel.
    ///
    /// # Errors
    /// If the scheduler's maps cannot be read, or standard output cannot be written to.
    pub fn watch(
        &mut self,
        skel: &mut BpfSkel<'_>,
        event_reader: &mut EventReader,
        printer: &mut Printer,
        control: &mut Control<'_>,
        args: &RunArgs,
    ) -> Result<()> {
        let period = args.stats.map(Duration::from_secs_f64);
        let mut reporter = period
            .map(|period| Reporter::new(skel, &mut self.publisher.agent, period))
            .transpose()?;
        let delay = args.events.map_or(IDLE_DELAY, |_| EVENT_DELAY);
        if let Some(trial) = &self.trial {
            trial.begin(skel);
            self.publisher.offer_to_keep();
        }
        loop {
            self.publisher.count(skel, args, control.wants_wakeups());
            let due = reporter.as_ref().map_or(delay, |r| r.due_in().min(delay));
            self.wait(event_reader, control, due.min(control.due_in()))?;
            if self.obey(skel, control).is_break() || uei_exited!(skel, uei) {
                return Ok(());
            }
            if self.follow_trial(skel).is_break() {
                return Ok(());
            }
            self.steer(skel, control, printer);
            if control.must_load_again() {
                return Ok(());
            }
            let imbalance = event_reader.check(&skel.maps.cpu_stats, |event| {
                printer.note(event);
                self.publisher.note(event, printer);
            })?;
            if let Some(imbalance) = imbalance {
                printer.imbalance(imbalance);
            }
            if printer.ended()?.is_break() {
                return Ok(());
            }
            self.publisher.answer(skel);
            if let Some(reporter) = &mut reporter
                && reporter.due_in().is_zero()
                && reporter
                    .report(skel, &mut self.publisher.agent, control.last_change())?
                    .is_break()
            {
                return Ok(());
            }
        }
    }

    /// Does what signals ask for; `Break`: to stop.
    fn obey(&mut self, skel: &mut BpfSkel<'_>, control: &mut Control<'_>) -> ControlFlow<()> {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::Stop => return ControlFlow::Break(()),
                Signal::Reload => control.reload(skel),
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether it was on trial for as long as it was to be, and not kept.
    pub fn trial_is_over(&self) -> bool {
        self.trial
            .as_ref()
            .is_some_and(|trial| trial.left().is_zero())
    }

    /// Sees whether it is kept; `Break`: it is not, and its time is over.
    fn follow_trial(&mut self, skel: &mut BpfSkel<'_>) -> ControlFlow<()> {
        let Some(trial) = &mut self.trial else {
            return ControlFlow::Continue(());
        };
        if trial.enter_pressed() || self.publisher.is_kept() {
            Trial::end_kept(skel);
            self.trial = None;
        } else if trial.left().is_zero() {
            Trial::end();
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Takes over what has changed, sets tunables if need be, and reports both.
    fn steer(&mut self, skel: &mut BpfSkel<'_>, control: &mut Control<'_>, printer: &mut Printer) {
        control.look_at_file(skel);
        control.tick(skel);
        let changes = control.take_changes();
        for change in &changes {
            printer.tunables(&change.from, &change.tunables, &change.why);
        }
        for reload in control.take_reloads() {
            printer.config(reload.taken, &reload.what);
            self.publisher.note_reload(&reload.what);
        }
        self.publisher.follow(control.profile(), &changes);
        self.cgroup_warnings.check(skel);
    }

    /// Waits for a signal, an urgent event, a reader's request, a change of the configuration file, or
    /// `timeout`.
    fn wait(
        &self,
        event_reader: &mut EventReader,
        control: &Control<'_>,
        timeout: Duration,
    ) -> Result<()> {
        let ready = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![ready(event_reader.as_fd()), ready(self.publisher.asked())];
        fds.extend(self.signals.fds().map(ready));
        fds.extend(control.config_fd().map(ready));
        fds.extend(self.trial.as_ref().and_then(Trial::keys).map(ready));
        let left = self.trial.as_ref().map_or(Duration::MAX, Trial::left);
        let timeout = timeout.min(left);
        let timeout = timeout.as_micros().div_ceil(1000);
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for events"),
        }
        let notified = fds[0].any().unwrap_or(false);
        drop(fds);
        if notified {
            event_reader.acknowledge()?;
        }
        Ok(())
    }
}

/// Prints a line per period.
struct Reporter {
    period: Duration,
    last_at: Instant,
    layout: Layout,
    last: Snapshot,
    /// The latest adjustment of the tunables that was printed.
    printed: String,
}

impl Reporter {
    fn new(skel: &mut BpfSkel<'_>, agent: &mut Agent, period: Duration) -> Result<Self> {
        let layout = Layout::of(skel)?;
        let last = agent.for_stats(skel, &layout)?;
        let _ = output::print(text::LEGEND)?;
        Ok(Self {
            period,
            last_at: Instant::now(),
            layout,
            last,
            printed: String::new(),
        })
    }

    fn due_in(&self) -> Duration {
        self.period.saturating_sub(self.last_at.elapsed())
    }

    fn report(
        &mut self,
        skel: &mut BpfSkel<'_>,
        agent: &mut Agent,
        change: Option<&str>,
    ) -> Result<ControlFlow<()>> {
        if let Some(change) = change.filter(|change| self.printed != *change) {
            let _ = output::print(&format!("tunables: {change}"))?;
            self.printed = change.to_owned();
        }
        let now = agent.for_stats(skel, &self.layout)?;
        let line = text::activity(&now.since(&self.last));
        self.last = now;
        self.last_at = Instant::now();
        output::print(&line)
    }
}
