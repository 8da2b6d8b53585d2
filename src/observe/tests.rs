//! The observer on the running kernel. Needs root and BTF; says so and passes elsewhere.

use std::fs;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use libbpf_rs::ProgramInput;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, gettid};
use scx_ops::kernel;

use super::histogram::bucket_of;
use super::{Class, Group, Observer, Reading};
use crate::bpf_abi::intf;
use crate::bpf_abi::observe::ObserveSkelBuilder;
use crate::stress::sys::{Policy, set_policy};

/// Ends the test that says so on machines where it cannot run.
macro_rules! or_skip {
    () => {
        if !kernel::privileged() || !kernel::has_btf() {
            eprintln!("SKIPPED: needs root and a kernel with BTF");
            return;
        }
    };
}

#[test]
fn both_sides_use_the_same_buckets() {
    or_skip!();
    let mut storage = MaybeUninit::uninit();
    let open = ObserveSkelBuilder::default().open(&mut storage).unwrap();
    let skel = open.load().unwrap();
    let edges = (0..64u32).flat_map(|bit| {
        let power = 1u64 << bit;
        [
            power - 1,
            power,
            power + 1,
            power + power / 16,
            power + power / 3,
        ]
    });
    let values: Vec<u64> = edges.chain([u64::MAX]).collect();
    for chunk in values.chunks(intf::obs_consts_OBS_PROBES as usize) {
        let mut words = [0u64; intf::obs_consts_OBS_PROBES as usize];
        words[..chunk.len()].copy_from_slice(chunk);
        // SAFETY: plain words, read and written as bytes while nothing else has them.
        let bytes = unsafe { plain::as_mut_bytes(&mut words[..]) };
        let input = ProgramInput {
            context_in: Some(bytes),
            ..ProgramInput::default()
        };
        skel.progs.observe_buckets.test_run(input).unwrap();
        for (value, bucket) in chunk.iter().zip(&words) {
            assert_eq!(*bucket, bucket_of(*value) as u64, "bucket of {value}");
        }
    }
}

/// What this process has waited and run so far, in nanoseconds, as the kernel's own account has it.
fn account(tid: Pid) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).unwrap();
    let mut words = text.split_whitespace().map(|word| word.parse().unwrap());
    let ran = words.next().unwrap();
    (words.next().unwrap(), ran)
}

fn total(reading: &Reading) -> (u64, u64, u64) {
    let (waits, slices) = (reading.waits(|_| true), reading.slices(|_| true));
    (waits.sum_ns(), slices.sum_ns(), waits.count())
}

/// Keeps `gettid()` computing on CPU 0, until told to stop.
fn compute(
    stop: &AtomicBool,
    begun: &Barrier,
    account_of: impl Fn(Pid) -> (u64, u64),
) -> (u64, u64) {
    let mut only_first = CpuSet::new();
    only_first.set(0).unwrap();
    sched_setaffinity(Pid::from_raw(0), &only_first).unwrap();
    begun.wait();
    let before = account_of(gettid());
    while !stop.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    let after = account_of(gettid());
    (after.0 - before.0, after.1 - before.1)
}

/// Three threads share a CPU: whatever the kernel says that they waited and ran, the observer must have
/// seen as well (and more: it sees the rest of the machine). No time is assumed, and no slice.
#[test]
fn sees_the_waits_and_slices_of_threads_that_share_a_cpu() {
    or_skip!();
    let observer = Observer::start().unwrap();
    let before = observer.read().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(Barrier::new(4));
    let (tell, tids) = mpsc::channel();
    let hogs = [(); 3].map(|()| {
        let (stop, begun, tell) = (Arc::clone(&stop), Arc::clone(&begun), tell.clone());
        thread::spawn(move || {
            tell.send(gettid()).unwrap();
            compute(&stop, &begun, account)
        })
    });
    begun.wait();
    let tids: Vec<Pid> = tids.iter().take(3).collect();
    // Waits of the rest of the machine, however busy, are not what is waited for here.
    let waited_by_now = || tids.iter().map(|&tid| account(tid).0).sum::<u64>();
    let at_first = waited_by_now();
    let deadline = Instant::now() + Duration::from_secs(60);
    while waited_by_now() - at_first < 100_000_000 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    stop.store(true, Ordering::Relaxed);
    let accounts = hogs.map(|thread| thread.join().unwrap());
    let waited: u64 = accounts.iter().map(|account| account.0).sum();
    let (seen, ran, _) = total(&observer.read().unwrap().since(&before));
    let others_ran: u64 = accounts.iter().map(|account| account.1).sum();
    assert!(waited > 0, "three threads on one CPU must have waited");
    // It is the same account, so that no wait may be short of it.
    assert!(seen >= waited, "{seen} of {waited} ns");
    // What interrupts take is not a task's in the kernel's account of running.
    assert!(
        ran as f64 >= others_ran as f64 * 0.98,
        "{ran} of {others_ran} ns"
    );
}

/// Two threads that wake each other through pipes: their waits count as wakeups. The waits of CPU-bound
/// threads, which never sleep, do not.
#[test]
fn tells_wakeups_from_turns() {
    or_skip!();
    let observer = Observer::start().unwrap();
    let counts = |reading: &Reading| {
        let (waits, wakeups) = (reading.waits(|_| true), reading.wakeups(|_| true));
        (waits.count(), wakeups.count())
    };
    let (mut there_read, mut there) = std::io::pipe().unwrap();
    let (mut back_read, mut back) = std::io::pipe().unwrap();
    let echo = thread::spawn(move || {
        let mut byte = [0];
        while there_read.read(&mut byte).unwrap() > 0 {
            back.write_all(&byte).unwrap();
        }
    });
    for _ in 0..500 {
        there.write_all(&[1]).unwrap();
        back_read.read_exact(&mut [0]).unwrap();
    }
    drop(there);
    echo.join().unwrap();
    let (_, wakeups) = counts(&observer.read().unwrap());
    assert!(wakeups >= 100, "{wakeups} wakeups in 500 round trips");

    let before = observer.read().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(Barrier::new(4));
    let hogs = [(); 3].map(|()| {
        let (stop, begun) = (Arc::clone(&stop), Arc::clone(&begun));
        thread::spawn(move || compute(&stop, &begun, |_| (0, 0)))
    });
    begun.wait();
    let deadline = Instant::now() + Duration::from_secs(60);
    let slices = || {
        let (waits, wakeups) = counts(&observer.read().unwrap().since(&before));
        waits - wakeups
    };
    while slices() < 100 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    stop.store(true, Ordering::Relaxed);
    let _ = hogs.map(|thread| thread.join().unwrap());
    assert!(
        slices() >= 100,
        "{} slices of three hogs on one CPU",
        slices()
    );
}

/// Threads come and go, PIDs are used again: every wait that is counted has an end and a length that
/// is possible.
#[test]
fn waits_are_possible_while_threads_come_and_go() {
    or_skip!();
    // In a class of their own: others may have waited since before the observer began, which is counted in full.
    set_policy(0, Policy::Fifo(1)).unwrap();
    let observer = Observer::start().unwrap();
    let began = Instant::now();
    let done = Arc::new(AtomicU32::new(0));
    for _ in 0..500 {
        let done = Arc::clone(&done);
        let thread = thread::spawn(move || done.fetch_add(1, Ordering::Relaxed));
        thread.join().unwrap();
    }
    let reading = observer.read().unwrap();
    let (waits, _, count) = total(&reading);
    assert!(
        count >= 500,
        "each thread waited once at least, not {count}"
    );
    let own = |group: &Group| group.class == Class::Realtime && !group.kernel_thread;
    let (longest_ns, elapsed_ns) = (reading.waits(own).max_ns(), began.elapsed().as_nanos());
    assert!(reading.waits(own).count() >= 500);
    assert!(
        u128::from(longest_ns) <= elapsed_ns,
        "a thread waited for {longest_ns} ns, in {elapsed_ns}"
    );
    assert!(waits > 0 && reading.collisions <= count);
}
