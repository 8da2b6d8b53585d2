//! What must hold of the formulas of `src/bpf/vtime.h`, `run_length.h` and `limit.h`, whatever the weights and times.

use proptest::prelude::*;
use takt_formulas::simulation::{default_tunables, new_queue};
use takt_formulas::*;

const MS: u64 = 1_000_000;
const DAY_NS: u64 = 86_400 * 1_000 * MS;
/// The least and the largest weight: the kernel's 1 to 10,000, times 1,024.
const WEIGHTS: std::ops::RangeInclusive<u64> = 1_024..=10_000 * 1_024;
/// The kernel's watchdog ejects a scheduler after this.
const WATCHDOG_NS: u64 = 30_000 * MS;

/// Tunables as the agent may set them (`src/config/tunables.rs`).
fn tunables() -> impl Strategy<Value = takt_tunables> {
    let slices = (MS / 10..=100 * MS, MS / 10..=100 * MS, MS..=1_000 * MS);
    let lags = (0..=100 * MS, MS..=5_000 * MS);
    let runs = (0..=1_000 * MS, 0..=1_000 * MS);
    (slices, lags, runs).prop_map(
        |((a, b, latency), (lag, lead), (after, burst))| takt_tunables {
            slice_max_ns: a.max(b),
            slice_min_ns: a.min(b),
            latency_ns: latency,
            lag_max_ns: lag,
            lead_max_ns: lead,
            preempt_after_ns: after,
            burst_max_ns: burst,
            ..default_tunables()
        },
    )
}

fn cpu_bound() -> task_ctx {
    task_ctx {
        runtime_ns: DAY_NS,
        ..task_ctx::default()
    }
}

/// A quota or burst of `cpu.max`, at most what `read_limit()` lets through.
const QUOTAS: std::ops::RangeInclusive<u64> = MS..=1 << 50;

proptest! {
    #[test]
    fn budgets_hold_a_quota_and_a_burst_and_debts_up_to_a_limit_are_paid(
        debt in 0..DAY_NS, quota in QUOTAS, burst in 0..=1_u64 << 50, periods in 0..u64::MAX,
    ) {
        let budget = -(debt as i64);
        let burst = burst % (quota + 1); // the kernel allows no more
        let max = (quota + burst) as i64;
        let refilled = refilled_ns(budget, quota, burst, periods);
        prop_assert!((budget..=max).contains(&refilled), "{refilled}");
        // In 128 bits, which hold any number of periods.
        let counted = i128::from(debt).min(i128::from(quota * 16).max(250 * i128::from(MS)));
        let exact = i128::from(quota) * i128::from(periods) - counted;
        prop_assert_eq!(i128::from(refilled), exact.min(i128::from(max)));
        // All periods but the last leave a debt.
        let needed = periods_in_debt(budget, quota);
        let after = |periods: u64| i128::from(budget) + i128::from(quota) * i128::from(periods);
        prop_assert!(after(needed) > 0 && after(needed - 1) <= 0, "{needed} periods");
    }

    #[test]
    fn a_budget_is_used_up_at_the_end_of_as_many_periods_as_it_takes(
        budget in -(DAY_NS as i64)..DAY_NS as i64, quota in MS..=DAY_NS, periods in 0..200_u64,
    ) {
        // Period by period, as each end sees the budget before it is refilled.
        let before = |period: u64| i128::from(budget) + i128::from(quota) * i128::from(period);
        let exact = (0..periods).filter(|period| before(*period) <= 0).count() as u64;
        prop_assert_eq!(used_up_periods(budget, quota, periods), exact);
    }

    #[test]
    fn delta_vruntime_grows_with_time_and_falls_with_weight(
        ran in 0..DAY_NS, more in 0..DAY_NS, weight in WEIGHTS, heavier in WEIGHTS,
    ) {
        let (light, heavy) = (weight.min(heavier), weight.max(heavier));
        prop_assert!(delta_vruntime(ran, weight) <= delta_vruntime(ran.max(more), weight));
        prop_assert!(delta_vruntime(ran, light) >= delta_vruntime(ran, heavy));
        prop_assert_eq!(delta_vruntime(ran, NICE_0), ran);
        // No overflow: as exact as in 128 bits.
        let exact = u128::from(ran) * u128::from(NICE_0) / u128::from(weight);
        prop_assert_eq!(u128::from(delta_vruntime(ran, weight)), exact);
    }

    #[test]
    fn slices_are_bounded_and_shrink_with_the_queue(
        k in tunables(), queued in 0..100_000u32, more in 0..100_000u32, weight in WEIGHTS,
    ) {
        let slice = slice_for(queued, weight, &k);
        prop_assert!((300_000..=100 * MS).contains(&slice), "{slice}");
        prop_assert!(slice <= k.slice_max_ns.max(300_000));
        prop_assert!(slice_for(queued.max(more), weight, &k) <= slice_for(queued.min(more), weight, &k));
        // A light task has a shorter slice, a heavy one no longer one.
        prop_assert!(slice <= slice_for(queued, NICE_0, &k));
    }

    /// A new weight keeps what a task is ahead of V by, in CPU time, up to the limit of vruntimes; going back and forth
    /// between weights never makes it less.
    #[test]
    fn a_new_weight_keeps_cpu_time(vtime in 0..1u64 << 45, old in WEIGHTS, new in WEIGHTS) {
        const FAR_NS: u64 = (1 << 38) - 1;
        let there = rescale(vtime, old, new);
        let exact = u128::from(vtime.min(FAR_NS)) * u128::from(old) / u128::from(new);
        let grain = 4096 * (u128::from(old / new) + 2);
        prop_assert!(u128::from(there) <= exact + grain && there <= FAR_NS);
        prop_assert!(u128::from(there) + 4096 >= exact.min(u128::from(FAR_NS)), "{there} of {exact}");
        if exact < u128::from(FAR_NS - 4096) {
            prop_assert!(rescale(there, new, old) >= vtime.min(FAR_NS - 4096));
        }
    }

    #[test]
    fn no_wait_reaches_the_watchdog(
        k in tunables(), wait in 0..u64::MAX / 2, weight in WEIGHTS,
        cpus in 1..=1024u32, queued in 0..100_000u32, runtime in 0..DAY_NS,
    ) {
        let task = task_ctx { runtime_ns: runtime, ..task_ctx::default() };
        let q = new_queue(cpus, queued);
        let (late, early) = (limit_wait(wait, &task, weight, &q, &k), limit_early(wait, &task, &q, &k));
        prop_assert!(late <= wait && early <= wait);
        prop_assert!(late + early <= WATCHDOG_NS / 3, "{late} + {early}");
        if runtime < k.slice_min_ns { // not CPU-bound
            prop_assert!(late <= k.lead_max_ns && early <= k.lead_max_ns / 4);
        }
    }

    #[test]
    fn a_light_task_waits_no_longer_than_three_segments_for_one_of_nice_0(
        weight in WEIGHTS, cpus in 1..=64u32, queued in 0..1_000u32,
    ) {
        let (k, q, task) = (default_tunables(), new_queue(cpus, queued), cpu_bound());
        let of = |weight| limit_wait(u64::MAX / 2, &task, weight, &q, &k);
        // Each of the three is rounded down: 187 queued on 6 CPUs give 772 ms and three times 257,333,333 ns.
        prop_assert!(of(weight) <= 3 * of(NICE_0) + 2);
    }

    #[test]
    fn real_time_has_no_overflow(vtime in any::<u64>(), rate in RATE_ONE >> 16..=128 * RATE_ONE) {
        let q = queue_ctx { rate_q20: rate as u32, inv_rate_q10: ((RATE_ONE << 10) / rate) as u32, ..new_queue(1, 0) };
        let exact = (u128::from(vtime.min((1 << 38) - 1)) * u128::from(q.inv_rate_q10)) >> 10;
        prop_assert_eq!(u128::from(real_time_of(vtime, &q)), exact);
    }

    /// V and its rate stay within their bounds, whatever comes: V moves no further in one step than by what its rate
    /// says and by the task's distance, and the rate is never 0 nor more than 128 times that of nice 0.
    #[test]
    fn v_moves_within_bounds(
        k in tunables(),
        steps in prop::collection::vec(
            (0..2_000u32, -(1i64 << 40)..1 << 40, WEIGHTS, 500_000..100 * MS, any::<bool>()), 1..60,
        ),
    ) {
        let mut q = new_queue(4, 0);
        q.avg_vruntime = 1 << 50;
        let mut now = DAY_NS;
        for (queued, distance, weight, ran, bound) in steps {
            q.nr_queued = queued;
            q.nr_cpu_bound = queued;
            now += ran;
            let (before, rate) = (q, u64::from(q.rate_q20));
            let task = if bound { cpu_bound() } else { task_ctx::default() };
            let vruntime = before.avg_vruntime.wrapping_add_signed(distance);
            update_vtime(&mut q, queued, vruntime, &task, weight, ran, now, &k);
            let moved = q.avg_vruntime.wrapping_sub(before.avg_vruntime) as i64;
            let by_rate = (u128::from(ran) * u128::from(rate) / u128::from(RATE_ONE)) as i64;
            prop_assert!((moved - by_rate).abs() <= (distance - by_rate).abs(), "{moved} of {distance}, rate {by_rate}");
            prop_assert!((RATE_ONE >> 16..=128 * RATE_ONE).contains(&u64::from(q.rate_q20)));
            let product = u64::from(q.rate_q20) * u64::from(q.inv_rate_q10);
            prop_assert!(product <= RATE_ONE << 10 && product > (RATE_ONE << 10) - u64::from(q.rate_q20));
        }
    }

    #[test]
    fn the_estimate_grows_by_doubling_and_shrinks_by_an_eighth(
        k in tunables(), est in 0..DAY_NS, run in 1..DAY_NS,
    ) {
        let mut task = task_ctx { est_run_ns: est, runtime_ns: run, ..task_ctx::default() };
        update_run_estimate(&mut task, &k);
        let new = task.est_run_ns;
        if est == 0 {
            prop_assert_eq!(new, run);
        } else {
            prop_assert!(new >= est - est / 8, "{est} -> {new}");
            prop_assert!(new <= 2 * est.max(k.preempt_after_ns));
            prop_assert!(new <= run.max(est - est / 8));
        }
    }

    #[test]
    fn protection_never_exceeds_its_maximum(
        k in tunables(), est in 0..DAY_NS, runtime in 0..DAY_NS, woke in any::<u8>(),
    ) {
        let task = task_ctx { est_run_ns: est, runtime_ns: runtime, nr_woke_so_far: woke, ..task_ctx::default() };
        let is_short = is_short_running(&task, &k);
        let protected = protection_ns(&task, is_short, &k);
        prop_assert!(protected <= k.burst_max_ns.max(k.preempt_after_ns));
        if is_short {
            prop_assert!(est <= k.burst_max_ns && runtime <= 4 * k.burst_max_ns);
        } else {
            prop_assert!(protected <= k.preempt_after_ns, "a CPU-bound task is protected for preempt_after at most");
        }
    }

    #[test]
    fn buckets_are_in_order(a in any::<u64>(), b in any::<u64>(), shift in 0..64u32) {
        let (small, large) = ((a.min(b)) >> shift, (a.max(b)) >> shift);
        prop_assert!(wake_bucket(small) <= wake_bucket(large));
        prop_assert!(observer_bucket(small) <= observer_bucket(large));
    }
}
