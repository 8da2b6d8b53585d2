//! The formulas of `src/bpf` as the host's compiler makes them: the same sources that run in the kernel.
//!
//! Plain functions over the types of `src/bpf/types.h`, without a kernel: `tests/` has their properties. Times are
//! nanoseconds, weights are the kernel's times 1,024 (100 * 1,024 is nice 0).

pub mod simulation;

#[allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/formulas.rs"));
}

pub use bindings::{queue_ctx, takt_tunables, task_ctx};

/// A task of nice 0.
pub const NICE_0: u64 = 100 * 1024;
/// Rates are times this.
pub const RATE_ONE: u64 = 1 << bindings::RATE_SHIFT;

/// `delta_vruntime()` of `src/bpf/vtime.h`.
pub fn delta_vruntime(ran_ns: u64, weight_1024: u64) -> u64 {
    // SAFETY: arithmetic on its arguments.
    unsafe { bindings::delta_vruntime(ran_ns, weight_1024) }
}

/// `weight_units()` of `src/bpf/vtime.h`.
pub fn weight_units(weight_1024: u64) -> u64 {
    // SAFETY: arithmetic on its argument.
    unsafe { bindings::weight_units(weight_1024) }.into()
}

/// `rescale()` of `src/bpf/vtime.h`.
pub fn rescale(vtime_ns: u64, old_weight_1024: u64, new_weight_1024: u64) -> u64 {
    // SAFETY: arithmetic on its arguments.
    unsafe { bindings::rescale(vtime_ns, old_weight_1024, new_weight_1024) }
}

/// `real_time_of()` of `src/bpf/vtime.h`.
pub fn real_time_of(vtime_ns: u64, queue: &queue_ctx) -> u64 {
    // SAFETY: reads the queue only.
    unsafe { bindings::real_time_of(vtime_ns, queue) }
}

/// `refilled_ns()` of `src/bpf/limit.h`.
pub fn refilled_ns(budget_ns: i64, quota_ns: u64, burst_ns: u64, nr_periods: u64) -> i64 {
    // SAFETY: arithmetic on its arguments.
    unsafe { bindings::refilled_ns(budget_ns, quota_ns, burst_ns, nr_periods) }
}

/// `periods_in_debt()` of `src/bpf/limit.h`.
pub fn periods_in_debt(budget_ns: i64, quota_ns: u64) -> u64 {
    // SAFETY: arithmetic on its arguments.
    unsafe { bindings::periods_in_debt(budget_ns, quota_ns) }
}

/// `used_up_periods()` of `src/bpf/limit.h`.
pub fn used_up_periods(budget_ns: i64, quota_ns: u64, nr_periods: u64) -> u64 {
    // SAFETY: arithmetic on its arguments.
    unsafe { bindings::used_up_periods(budget_ns, quota_ns, nr_periods) }
}

/// `limit_wait()` of `src/bpf/vtime.h`.
pub fn limit_wait(
    wait_ns: u64,
    task: &task_ctx,
    weight_1024: u64,
    queue: &queue_ctx,
    tunables: &takt_tunables,
) -> u64 {
    // SAFETY: reads what the references point to.
    unsafe { bindings::limit_wait(wait_ns, task, weight_1024, queue, tunables) }
}

/// `limit_early()` of `src/bpf/vtime.h`.
pub fn limit_early(
    early_ns: u64,
    task: &task_ctx,
    queue: &queue_ctx,
    tunables: &takt_tunables,
) -> u64 {
    // SAFETY: reads what the references point to.
    unsafe { bindings::limit_early(early_ns, task, queue, tunables) }
}

/// How long after now the deadline of a task is that is queued in `queue`, its own; < 0: it is due since.
/// `wait_for()` and `clamp_wait()` of `src/bpf/vtime.h`.
pub fn until_deadline_ns(
    task: &task_ctx,
    weight_1024: u64,
    queue: &queue_ctx,
    tunables: &takt_tunables,
) -> i64 {
    let lag = queue.avg_vruntime.wrapping_sub(task.vruntime) as i64;
    // SAFETY: reads what the references point to.
    unsafe {
        let wait = bindings::wait_for(lag, queue);
        bindings::clamp_wait(wait, task, weight_1024, queue, tunables)
    }
}

/// `slice_for()` of `src/bpf/vtime.h`.
pub fn slice_for(nr_queued: u32, weight_1024: u64, tunables: &takt_tunables) -> u64 {
    // SAFETY: reads the tunables only.
    unsafe { bindings::slice_for(nr_queued, weight_1024, tunables) }
}

/// `update_vtime()` of `src/bpf/vtime.h`: the task has run for `ran_ns`, from `vruntime` on, until `now`.
#[allow(clippy::too_many_arguments, reason = "those of the C function")]
pub fn update_vtime(
    queue: &mut queue_ctx,
    nr_queued: u32,
    vruntime: u64,
    task: &task_ctx,
    weight_1024: u64,
    ran_ns: u64,
    now: u64,
    tunables: &takt_tunables,
) {
    // SAFETY: writes the queue only, and reads what the other references point to.
    unsafe {
        bindings::update_vtime(
            queue,
            nr_queued,
            vruntime,
            task,
            weight_1024,
            ran_ns,
            now,
            tunables,
        )
    }
}

/// `is_short_running()` of `src/bpf/run_length.h`.
pub fn is_short_running(task: &task_ctx, tunables: &takt_tunables) -> bool {
    // SAFETY: reads what the references point to.
    unsafe { bindings::is_short_running(task, tunables) }
}

/// `protection_ns()` of `src/bpf/run_length.h`.
pub fn protection_ns(task: &task_ctx, is_short: bool, tunables: &takt_tunables) -> u64 {
    // SAFETY: reads what the references point to.
    unsafe { bindings::protection_ns(task, is_short, tunables) }
}

/// `update_run_estimate()` of `src/bpf/run_length.h`: the task sleeps after having run for its `runtime_ns`.
pub fn update_run_estimate(task: &mut task_ctx, tunables: &takt_tunables) {
    // SAFETY: writes the task only.
    unsafe { bindings::update_run_estimate(task, tunables) }
}

/// `wake_bucket()` of `src/bpf/buckets.h`.
pub fn wake_bucket(latency_ns: u64) -> u32 {
    // SAFETY: arithmetic on its argument.
    unsafe { bindings::wake_bucket(latency_ns) }
}

/// `bucket_of()` of `src/bpf/buckets.h`: of the observer's histograms.
pub fn observer_bucket(value_ns: u64) -> u32 {
    // SAFETY: arithmetic on its argument.
    unsafe { bindings::bucket_of(value_ns) }
}

/// `hash_step()` of `src/bpf/buckets.h`.
pub fn hash_step(hash: u64, word: u64) -> u64 {
    // SAFETY: arithmetic on its arguments.
    unsafe { bindings::hash_step(hash, word) }
}
