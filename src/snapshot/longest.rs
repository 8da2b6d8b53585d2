//! The longest wait, for readers that each have an epoch of their own.
//!
//! The BPF side keeps one maximum per CPU, of the epoch in which it was seen, and begins a new one when the
//! agent has read it. So that no reader takes the maximum from another, each reading is added to what
//! every reader has yet to see.
//!
//! Limits: a wait that ends between the reading of its CPU's maximum and the new epoch is seen in none.

use std::time::Duration;

use super::Counters;

/// What readers of snapshots see covers this much at least, however many of them ask.
const WINDOW_NS: u64 = Duration::from_secs(1).as_nanos() as u64;

/// The longest waits that are yet to be seen, in nanoseconds.
#[derive(Default)]
pub struct LongestWait {
    /// Since `--stats` last printed a line.
    of_stats: u64,
    /// Since the window of snapshots began.
    of_window: u64,
    /// Of the window before.
    of_window_before: u64,
    window_began_ns: u64,
}

impl LongestWait {
    /// Adds what counters show of this epoch, after which the caller begins a new one.
    pub fn add(&mut self, counters: &Counters, epoch: u64) {
        let longest_ns = counters.longest_wait_ns(epoch);
        self.of_stats = self.of_stats.max(longest_ns);
        self.of_window = self.of_window.max(longest_ns);
    }

    /// For `--stats`: the longest since the last call.
    pub fn take_for_stats(&mut self) -> u64 {
        std::mem::take(&mut self.of_stats)
    }

    /// For a snapshot: the longest of the last second, or since the last snapshot where that was earlier; of
    /// two seconds at most while there are snapshots every second. Two viewers do not take it from each other.
    pub fn of_last_second(&mut self, now_ns: u64) -> u64 {
        let longest_ns = self.of_window.max(self.of_window_before);
        if now_ns.saturating_sub(self.window_began_ns) >= WINDOW_NS {
            self.of_window_before = std::mem::take(&mut self.of_window);
            self.window_began_ns = now_ns;
        }
        longest_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(per_cpu: &[(u64, u64)]) -> Counters {
        Counters {
            sum: crate::bpf_abi::intf::takt_cpu_stats::default(),
            longest_waits: per_cpu.to_vec(),
        }
    }

    #[test]
    fn a_maximum_of_an_earlier_epoch_is_not_seen_again() {
        let mut longest = LongestWait::default();
        longest.add(&counters(&[(1, 900), (2, 5)]), 2);
        assert_eq!(longest.take_for_stats(), 5);
        longest.add(&counters(&[(1, 900), (2, 5)]), 3);
        assert_eq!(longest.take_for_stats(), 0);
    }

    #[test]
    fn stats_and_snapshots_have_epochs_of_their_own() {
        let mut longest = LongestWait::default();
        longest.add(&counters(&[(1, 900)]), 1);
        assert_eq!(longest.of_last_second(5_000_000_000), 900);
        longest.add(&counters(&[(2, 7)]), 2);
        assert_eq!(longest.take_for_stats(), 900, "a snapshot took it");
        longest.add(&counters(&[(3, 30)]), 3);
        assert_eq!(longest.take_for_stats(), 30);
    }

    #[test]
    fn two_viewers_see_the_same_longest_wait() {
        let mut longest = LongestWait::default();
        let at = |ms: u64| 10_000_000_000 + ms * 1_000_000;
        assert_eq!(longest.of_last_second(at(0)), 0);
        longest.add(&counters(&[(1, 900)]), 1);
        assert_eq!(longest.of_last_second(at(300)), 900, "the first viewer");
        assert_eq!(longest.of_last_second(at(700)), 900, "the second one");
        assert_eq!(longest.of_last_second(at(1_300)), 900, "within a second");
        assert_eq!(longest.of_last_second(at(2_300)), 900, "two at most");
        assert_eq!(longest.of_last_second(at(3_300)), 0, "it is over");
    }
}
