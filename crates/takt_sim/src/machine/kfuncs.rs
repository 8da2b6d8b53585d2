//! What the policy calls: the kfuncs and helpers of `shim/sim.h`.

use super::{Current, Machine};
use crate::dsq::{Dsq, LOCAL, LOCAL_ON};
use crate::event::Event;
use crate::mask::{CpuMask, WORDS};
use crate::policy::ffi;
use crate::violation::Invariant;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// `SCX_KICK_IDLE`.
pub(super) const KICK_IDLE: u64 = 1;
/// `SCX_KICK_PREEMPT`.
pub(super) const KICK_PREEMPT: u64 = 2;
/// `-EBUSY`.
const BUSY: i32 = -16;

/// The machine whose policy runs. There is one at a time: it holds the lock of [`crate::policy`].
static MACHINE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Calls the policy, which may call the functions below.
pub(super) fn with_machine<R>(machine: &mut Machine<'_>, call: impl FnOnce() -> R) -> R {
    let address = ptr::from_mut(machine).cast::<c_void>();
    let before = MACHINE.swap(address, Ordering::Relaxed);
    let result = call();
    MACHINE.store(before, Ordering::Relaxed);
    result
}

/// Does something with the machine that has called the policy.
fn machine<R>(with: impl FnOnce(&mut Machine<'_>) -> R) -> R {
    let address = MACHINE.load(Ordering::Relaxed).cast::<Machine<'_>>();
    // SAFETY: only called by the policy, which only with_machine() calls; the caller of that has lent
    // us the machine, and does not use it until the policy returns. No function below calls the policy,
    // so that there is one reference at a time.
    with(unsafe { &mut *address })
}

/// The number of a task.
fn number_of(task: *mut c_void) -> usize {
    // SAFETY: the policy passes tasks that it was given.
    (unsafe { ffi::sim_task_pid(task) } - 1) as usize
}

/// A mask of the policy.
fn mask_at(words: *const u64) -> CpuMask {
    let mut mask = CpuMask::default();
    // SAFETY: masks have at least so many words.
    mask.0
        .copy_from_slice(unsafe { std::slice::from_raw_parts(words, WORDS) });
    mask
}

fn number_or_busy(cpu: Option<usize>) -> c_int {
    cpu.map_or(BUSY, |cpu| cpu as c_int)
}

#[unsafe(no_mangle)]
extern "C" fn kernel_now() -> u64 {
    machine(|m| m.now)
}

#[unsafe(no_mangle)]
extern "C" fn kernel_this_cpu() -> c_int {
    machine(|m| m.this_cpu as c_int)
}

#[unsafe(no_mangle)]
extern "C" fn kernel_nr_cpus() -> u32 {
    machine(|m| m.cpus.len() as u32)
}

#[unsafe(no_mangle)]
extern "C" fn kernel_current_task() -> *mut c_void {
    machine(|m| match m.cpus[m.this_cpu].current {
        Current::Task(task) => m.tasks[task].sys.address(),
        Current::Idle => m.idle_task.address(),
        Current::Higher => m.realtime_task.address(),
    })
}

/// `scx_bpf_dsq_insert()`, `scx_bpf_dsq_insert_vtime()`, out of `ops.select_cpu()` or
/// `ops.enqueue()`: the policy inserts nowhere else.
#[unsafe(no_mangle)]
extern "C" fn kernel_insert(
    task: *mut c_void,
    dsq: u64,
    slice_ns: u64,
    vtime: u64,
    ordered: c_int,
    enq_flags: u64,
) {
    machine(|m| {
        let task = number_of(task);
        if m.direct_task.take() != Some(task) {
            let text = format!("{} is inserted, and not being enqueued", m.tasks[task].name);
            m.fail(Invariant::NoError, text);
            return;
        }
        let is_local = m.local_cpu(dsq, 0).is_some();
        if is_local == (ordered != 0) {
            m.fail(
                Invariant::NoError,
                format!("wrong order for queue {dsq:#x}"),
            );
            return;
        }
        let sys = &mut m.tasks[task].sys;
        let slice_ns = if slice_ns > 0 {
            slice_ns
        } else {
            sys.slice_ns().max(1)
        };
        sys.set_slice_ns(slice_ns);
        if ordered != 0 {
            sys.set_dsq_vtime(vtime);
        }
        m.tasks[task].direct = Some((dsq, enq_flags));
    });
}

#[unsafe(no_mangle)]
extern "C" fn kernel_move_to_local(dsq: u64, enq_flags: u64) -> c_int {
    machine(|m| c_int::from(m.take_first_of(dsq, enq_flags)))
}

#[unsafe(no_mangle)]
extern "C" fn kernel_nr_queued(dsq: u64) -> c_int {
    machine(|m| {
        let nr = match m.local_cpu(dsq, m.this_cpu) {
            Some(cpu) => m.cpus.get(cpu).map(|cpu| cpu.local.len()),
            None => m.dsq(dsq).map(Dsq::len),
        };
        nr.map_or(-2, |nr| nr as c_int) /* -ENOENT */
    })
}

#[unsafe(no_mangle)]
extern "C" fn kernel_peek(dsq: u64) -> *mut c_void {
    machine(|m| {
        let first = m.dsq(dsq).and_then(Dsq::first);
        first.map_or(ptr::null_mut(), |task| m.tasks[task].sys.address())
    })
}

#[unsafe(no_mangle)]
extern "C" fn kernel_iter_begin(iter: *mut ffi::sim_iter, dsq: u64) {
    let last = machine(|m| m.dsq(dsq).map_or(0, Dsq::last_turn));
    let begun = ffi::sim_iter {
        dsq,
        last,
        key: 0,
        turn: 0,
        vtime: 0,
        begun: 0,
        has_vtime: 0,
    };
    // SAFETY: a local variable of the policy.
    unsafe { iter.write(begun) };
}

#[unsafe(no_mangle)]
extern "C" fn kernel_iter_next(iter: *mut ffi::sim_iter) -> *mut c_void {
    // SAFETY: a local variable of the policy, begun above.
    let iter = unsafe { &mut *iter };
    machine(|m| {
        let place = (iter.begun != 0).then_some((iter.key, iter.turn));
        let next = m
            .dsq(iter.dsq)
            .and_then(|dsq| dsq.next_behind(place, iter.last));
        let Some(entry) = next else {
            return ptr::null_mut();
        };
        iter.begun = 1;
        iter.key = entry.vtime;
        iter.turn = entry.turn;
        m.tasks[entry.task].sys.address()
    })
}

#[unsafe(no_mangle)]
extern "C" fn kernel_iter_move(
    iter: *mut ffi::sim_iter,
    task: *mut c_void,
    dsq: u64,
    enq_flags: u64,
    ordered: c_int,
) -> c_int {
    // SAFETY: a local variable of the policy, begun above.
    let iter = unsafe { &mut *iter };
    let has_vtime = std::mem::take(&mut iter.has_vtime) != 0;
    machine(|m| {
        let task = number_of(task);
        if has_vtime && ordered != 0 {
            m.tasks[task].sys.set_dsq_vtime(iter.vtime);
        }
        c_int::from(m.move_to(task, iter.dsq, dsq, enq_flags))
    })
}

#[unsafe(no_mangle)]
extern "C" fn kernel_kick_cpu(cpu: c_int, flags: u64) {
    machine(|m| {
        let cpu = cpu as usize;
        if cpu >= m.cpus.len() {
            m.fail(Invariant::NoError, format!("kick of CPU {cpu}"));
            return;
        }
        let target = &m.cpus[cpu];
        // can_skip_idle_kick()
        if flags & KICK_IDLE != 0 && target.current != Current::Idle && !target.in_dispatch {
            return;
        }
        let from = m.this_cpu;
        m.events.add(m.now + 100, Event::Kick { from, cpu, flags });
        m.say(|_| format!("CPU {from} kicks CPU {cpu}, flags {flags}"));
    });
}

#[unsafe(no_mangle)]
extern "C" fn kernel_select_cpu_dfl(
    task: *mut c_void,
    previous: c_int,
    found: *mut c_int,
) -> c_int {
    let (cpu, is_idle) = machine(|m| {
        let allowed = m.tasks[number_of(task)].mask;
        let previous = previous as usize;
        let cpu = if allowed.count() == 1 {
            (allowed.has(previous) && m.idle.test_and_clear(previous)).then_some(previous)
        } else {
            m.idle.select(&allowed, previous, m.this_cpu)
        };
        (cpu.unwrap_or(previous), cpu.is_some())
    });
    // SAFETY: a local variable of the shim.
    unsafe { found.write(c_int::from(is_idle)) };
    cpu as c_int
}

#[unsafe(no_mangle)]
extern "C" fn kernel_pick_idle_cpu(mask: *const u64) -> c_int {
    let mask = mask_at(mask);
    machine(|m| number_or_busy(m.idle.pick(&mask, false, m.this_cpu)))
}

#[unsafe(no_mangle)]
extern "C" fn kernel_test_and_clear_idle(cpu: c_int) -> c_int {
    machine(|m| {
        let cpu = cpu as usize;
        c_int::from(cpu < m.cpus.len() && m.idle.test_and_clear(cpu))
    })
}

#[unsafe(no_mangle)]
extern "C" fn kernel_any_distribute(mask: *const u64) -> c_int {
    let mask = mask_at(mask);
    machine(|m| {
        let cpu = m.idle.any_distribute(&mask, m.this_cpu);
        cpu.unwrap_or(m.cpus.len()) as c_int
    })
}

#[unsafe(no_mangle)]
extern "C" fn kernel_online_mask() -> *const u64 {
    machine(|m| m.online.0.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn kernel_reenqueue_local() {
    machine(|m| {
        let cpu = m.this_cpu;
        m.cpus[cpu].reenqueue = true;
        m.deferred_cpus.push(cpu);
    });
}

#[unsafe(no_mangle)]
extern "C" fn kernel_create_dsq(dsq: u64) {
    machine(|m| {
        if let Some(slot) = m.dsqs.get_mut(dsq as usize) {
            *slot = Some(Dsq::default());
            m.queues.push(dsq as usize);
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn kernel_error(message: *const c_char, is_exit: c_int) {
    // SAFETY: a C string of the shim.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy();
    let what = if is_exit != 0 { "exit" } else { "error" };
    machine(|m| m.fail(Invariant::NoError, format!("{what}: {text}")));
}

#[unsafe(no_mangle)]
extern "C" fn kernel_start_timer(index: u32, ns: u64) {
    machine(|m| {
        let index = index as usize;
        if let Some(id) = m.timers.get_mut(index) {
            *id += 1;
            let event = Event::Timer { index, id: *id };
            m.events.add(m.now + ns, event);
        }
    });
}

/// The numbers of the local queues are those of the kernel.
const _: () = assert!(LOCAL_ON & LOCAL == 0x8000_0000_0000_0000);
