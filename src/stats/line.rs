//! One line a period that a person can read.

use std::fmt::Write as _;
use std::time::Duration;

use crate::base::units::time;
use crate::bpf_abi::intf::{self, takt_cpu_stats};
use crate::snapshot::counters;

/// What the figures mean, printed once above the lines.
pub const LEGEND: &str = "\
placed: tasks that became runnable per second, and where they were put (idle CPU, next on a busy one, \
in place of a preempted task, queue)
wait: from runnable to running: p50 and p99 (upper bounds of power-of-two buckets) and the longest
stolen: taken from another LLC; kicked: idle CPUs that the tick kicked for a waiting task; lost: events \
that found the ring full";

/// Formats what happened in `period`; `longest_ns`: the longest wait in it.
pub fn format(
    delta: &takt_cpu_stats,
    longest_ns: u64,
    lost_events: u64,
    period: Duration,
) -> String {
    let placed = counters::placements(delta);
    let share = |places: &[u32]| {
        let sum: u64 = places
            .iter()
            .map(|&place| delta.placed[place as usize])
            .sum();
        (100 * sum).checked_div(placed).unwrap_or(0)
    };
    let per_second = |count: u64| (count as f64 / period.as_secs_f64()).round() as u64;
    let mut line = format!(
        "placed {:>6}/s (idle {:>3} %, next {:>3} %, preempt {:>3} %, queue {:>3} %)",
        per_second(placed),
        share(&[
            intf::takt_place_TAKT_PLACE_IDLE_PREV,
            intf::takt_place_TAKT_PLACE_IDLE_OTHER
        ]),
        share(&[
            intf::takt_place_TAKT_PLACE_HANDOFF,
            intf::takt_place_TAKT_PLACE_SYNC,
            intf::takt_place_TAKT_PLACE_NEXT,
        ]),
        share(&[
            intf::takt_place_TAKT_PLACE_PREEMPT,
            intf::takt_place_TAKT_PLACE_KTHREAD
        ]),
        share(&[
            intf::takt_place_TAKT_PLACE_QUEUE_LLC,
            intf::takt_place_TAKT_PLACE_QUEUE_CPU
        ]),
    );
    let _ = write!(
        line,
        "  wait p50 {} p99 {} max {}  switches {}/s  stolen {}  kicked {}  lost {lost_events}",
        time(counters::wait_quantile_ns(delta, 500)),
        time(counters::wait_quantile_ns(delta, 990)),
        time(longest_ns),
        per_second(delta.nr_runs),
        delta.nr_stolen,
        delta.nr_rescued,
    );
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_units() {
        let mut delta = takt_cpu_stats {
            nr_runs: 50,
            ..Default::default()
        };
        delta.placed[intf::takt_place_TAKT_PLACE_IDLE_PREV as usize] = 150;
        delta.placed[intf::takt_place_TAKT_PLACE_QUEUE_LLC as usize] = 50;
        delta.wait_hist[11] = 200;
        assert_eq!(
            format(&delta, 1_500_000, 2, Duration::from_secs(2)),
            "placed    100/s (idle  75 %, next   0 %, preempt   0 %, queue  25 %)  \
             wait p50 4.1 us p99 4.1 us max 1.5 ms  switches 25/s  stolen 0  kicked 0  lost 2"
        );
    }

    #[test]
    fn no_events_no_division() {
        assert!(format(&takt_cpu_stats::default(), 0, 0, Duration::from_secs(1)).contains("0/s"));
    }
}
