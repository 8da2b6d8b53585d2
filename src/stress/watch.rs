//! Watches that every worker gets on.

use std::time::{Duration, Instant};

use super::worker_pool::Member;
use crate::base::units::duration;
use crate::cli::StressKind;

/// One member's heartbeat.
struct Pulse {
    member: Member,
    operations: u64,
    /// When the counter was last seen to have moved.
    moved: Instant,
    /// The longest time in which it did not.
    longest_pause: Duration,
    reported: bool,
}

/// The heartbeats of all members, and of the watch itself.
pub struct Watch {
    pulses: Vec<Pulse>,
    checked_at: Instant,
    longest_absence: Duration,
    patience: Duration,
}

/// What one kind did in the whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindResult {
    /// Which kind.
    pub kind: StressKind,
    /// How many workers it had.
    pub workers: usize,
    /// Operations of all its workers.
    pub operations: u64,
    /// The longest pause of any of its workers.
    pub longest_pause: Duration,
}

impl Watch {
    /// Watches `members` from `now` on; more than `patience` without progress is a stall.
    pub fn new(members: Vec<Member>, now: Instant, patience: Duration) -> Self {
        let pulse = |member: Member| Pulse {
            operations: member.operations(),
            member,
            moved: now,
            longest_pause: Duration::ZERO,
            reported: false,
        };
        let pulses = members.into_iter().map(pulse).collect();
        Self {
            pulses,
            checked_at: now,
            longest_absence: Duration::ZERO,
            patience,
        }
    }

    /// Checks every member; returns one line for each stall that is seen for the first time.
    pub fn check(&mut self, now: Instant) -> Vec<String> {
        let mut stalls = Vec::new();
        let absence = now - self.checked_at;
        self.checked_at = now;
        self.longest_absence = self.longest_absence.max(absence);
        if absence > self.patience {
            stalls.push(format!(
                "the watch itself did not run for {}",
                duration(absence)
            ));
        }
        for pulse in &mut self.pulses {
            pulse.check(now);
            if pulse.longest_pause > self.patience && !pulse.reported {
                pulse.reported = true;
                let pause = duration(pulse.longest_pause);
                stalls.push(format!(
                    "{} made no progress for {pause}",
                    pulse.member.name
                ));
            }
        }
        stalls
    }

    /// Whether there is a member that has done nothing yet, and has not been reported for it.
    pub fn awaits_a_first_operation(&self) -> bool {
        let awaited = |pulse: &Pulse| pulse.operations == 0 && !pulse.reported;
        self.pulses.iter().any(awaited)
    }

    /// How long the watch itself was kept from checking at most.
    pub fn longest_absence(&self) -> Duration {
        self.longest_absence
    }

    /// The result of each kind, in the order in which they were started.
    pub fn results(&self) -> Vec<KindResult> {
        let mut results: Vec<KindResult> = Vec::new();
        for pulse in &self.pulses {
            let kind = pulse.member.kind;
            if results.last().is_none_or(|last| last.kind != kind) {
                results.push(KindResult::none(kind));
            }
            if let Some(result) = results.last_mut() {
                result.add(pulse);
            }
        }
        results
    }
}

impl Pulse {
    fn check(&mut self, now: Instant) {
        let operations = self.member.operations();
        self.longest_pause = self.longest_pause.max(now - self.moved);
        if operations != self.operations {
            self.operations = operations;
            self.moved = now;
        }
    }
}

impl KindResult {
    fn none(kind: StressKind) -> Self {
        let longest_pause = Duration::ZERO;
        Self {
            kind,
            workers: 0,
            operations: 0,
            longest_pause,
        }
    }

    fn add(&mut self, pulse: &Pulse) {
        self.workers += 1;
        self.operations += pulse.operations;
        self.longest_pause = self.longest_pause.max(pulse.longest_pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::worker_pool::{Load, WorkerPool};

    const PATIENCE: Duration = Duration::from_secs(10);

    fn members(kinds: &[StressKind]) -> Vec<Member> {
        let load = Load::new(1).unwrap();
        let mut members = Vec::new();
        for &kind in kinds {
            WorkerPool::new(&load, kind, &mut members, PATIENCE)
                .enrol("m")
                .unwrap();
        }
        members
    }

    #[test]
    fn a_member_that_stands_still_is_reported_once() {
        let members = members(&[StressKind::Hogs, StressKind::Hogs]);
        let start = Instant::now();
        let mut watch = Watch::new(members.clone(), start, PATIENCE);
        for second in 1..=10 {
            members[0].tick();
            assert!(watch.check(start + Duration::from_secs(second)).is_empty());
        }
        members[0].tick();
        assert!(watch.awaits_a_first_operation());
        let stalls = watch.check(start + Duration::from_secs(11));
        assert_eq!(stalls, ["m/1 made no progress for 11 s"]);
        assert!(!watch.awaits_a_first_operation());
        assert!(watch.check(start + Duration::from_secs(12)).is_empty());
        let results = watch.results();
        assert_eq!(results.len(), 1);
        assert_eq!(results[0].operations, 11);
        assert_eq!(results[0].longest_pause, Duration::from_secs(12));
    }

    #[test]
    fn a_watch_that_is_kept_away_says_so() {
        let members = members(&[StressKind::Hogs, StressKind::Pipes]);
        let start = Instant::now();
        let mut watch = Watch::new(members.clone(), start, PATIENCE);
        members.iter().for_each(Member::tick);
        let stalls = watch.check(start + Duration::from_secs(20));
        assert_eq!(
            stalls.first().unwrap(),
            "the watch itself did not run for 20 s"
        );
        assert_eq!(watch.longest_absence(), Duration::from_secs(20));
        let kinds: Vec<_> = watch.results().iter().map(|result| result.kind).collect();
        assert_eq!(kinds, [StressKind::Hogs, StressKind::Pipes]);
    }
}
