//! A simple queueing model of a CPU under the scheduler, for the controller to be tested against.
//!
//! Hogs share a CPU with a sleeper that wakes at random times. A wakeup finds the CPU idle (no hogs),
//! or preempts at once (unless the runner is within its protected time or too little ahead), or waits
//! for what is left of the runner's slice, and when the sleeper has used up its share, for the
//! others' slices as well. That is not the kernel, but latency falls with the same tunables, and by
//! chance as in life.

use std::time::Duration;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::Figures;
use crate::bpf_abi::intf::takt_tunables;
use crate::wakeups::{NORMAL, Wakeups};

/// A machine with one CPU.
#[derive(Debug)]
pub struct Machine {
    random: ChaCha8Rng,
    /// Hogs on the CPU.
    pub hogs: u32,
    /// Wakeups per second.
    pub wakeups_per_s: u32,
    /// Share of wakeups, in thousandths, by a sleeper that is out of credit and waits for slices.
    pub greedy_permille: u32,
    /// A latency that no tunable can do anything about, in nanoseconds.
    pub floor_ns: u64,
}

impl Machine {
    /// A quiet machine.
    pub fn new(seed: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            hogs: 0,
            wakeups_per_s: 1_000,
            greedy_permille: 50,
            floor_ns: 5_000,
        }
    }

    /// Lets `period` pass with `tunables` in force.
    pub fn run(&mut self, tunables: &takt_tunables, period: Duration) -> Figures {
        let mut wakeups = Wakeups::default();
        let count = u128::from(self.wakeups_per_s) * period.as_millis() / 1_000;
        for _ in 0..count {
            wakeups.add(self.latency_ns(tunables));
        }
        let mut all: [Wakeups; 3] = Default::default();
        all[NORMAL] = wakeups;
        Figures {
            period,
            wakeups: all,
            load: f64::from(self.hogs),
        }
    }

    fn latency_ns(&mut self, tunables: &takt_tunables) -> u64 {
        let floor = self.floor_ns + self.random.next_u64() % 2_000;
        if self.hogs == 0 {
            return floor;
        }
        let slice = (tunables.latency_ns / u64::from(self.hogs + 1))
            .max(tunables.slice_min_ns)
            .min(tunables.slice_max_ns);
        let ran = self.random.random_range(0..=slice);
        if self.random.random_range(0..1000) < self.greedy_permille {
            return floor + slice - ran;
        }
        if ran > tunables.preempt_after_ns && ran > tunables.preempt_margin_ns {
            return floor;
        }
        // Not now; at the next tick-like look, or when the slice is over.
        floor + (slice - ran).min(tunables.preempt_after_ns + tunables.preempt_margin_ns)
    }

    /// Share of the hogs' work that is lost to switching, at 5 us a switch.
    pub fn overhead(&self, tunables: &takt_tunables) -> f64 {
        let slice = (tunables.latency_ns / u64::from(self.hogs + 1)).max(tunables.slice_min_ns);
        5_000.0 / (slice.min(tunables.slice_max_ns) as f64)
    }
}
