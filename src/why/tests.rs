//! Records as the kernel side sends them, and what is made of them.

use super::attribution::{Cause, Holder, judge};
use super::record::{Begin, Kind, Record, Rule, Segment, Task};
use super::report::{Findings, Frame, Report, WAITS_KEPT};
use super::watcher::Counts;
use crate::observe::Class;

const MS: u64 = 1_000_000;

fn task(pid: i32, comm: &str) -> Task {
    Task {
        pid,
        comm: comm.to_owned(),
        class: (pid != 0).then_some(Class::Fair),
        prio: 120,
        shares: 1024,
    }
}

fn realtime(pid: i32, comm: &str) -> Task {
    Task {
        class: Some(Class::Realtime),
        prio: 49,
        ..task(pid, comm)
    }
}

/// A task had the CPU between these milliseconds.
fn segment(from_ms: u64, to_ms: u64, task: Task) -> Segment {
    Segment {
        from_ns: from_ms * MS,
        to_ns: to_ms * MS,
        irq_ns: 0,
        softirq_ns: 0,
        task,
    }
}

/// A wait from 100 to 110 ms on CPU 0 of a machine with four.
fn wait(segments: Vec<Segment>) -> Record {
    Record {
        kind: Kind::Wait,
        at_ns: 100 * MS,
        part_ns: 100 * MS,
        end_ns: 110 * MS,
        throttled_ns: 0,
        throttled: false,
        dsq: None,
        protect_ns: 0,
        allowed_cpus: 0b1111,
        idle_cpus: 0,
        held_ns: 0,
        begin: Begin::WokenByTimer,
        cpu: 0,
        first_cpu: 0,
        nr_allowed: 4,
        nr_moves: 0,
        rule: Rule::Unknown,
        task: task(1, "victim"),
        other: task(2, "waker"),
        ruled: task(0, ""),
        segments,
    }
}

fn cause(record: Record) -> Cause {
    judge(&[record]).unwrap().cause
}

#[test]
fn shares_are_clipped_to_the_wait_and_add_up_to_it() {
    let mut last = segment(104, 112, task(4, "b"));
    (last.irq_ns, last.softirq_ns) = (MS, 2 * MS);
    let judged = judge(&[wait(vec![segment(0, 104, task(3, "a")), last])]).unwrap();
    let shares: Vec<_> = judged
        .shares
        .iter()
        .map(|share| (share.holder.clone(), share.ns / MS))
        .collect();
    let expected = [
        (Holder::Task(task(3, "a")), 4),
        (Holder::Task(task(4, "b")), 3),
        (Holder::Softirq, 2),
        (Holder::Irq, 1),
    ];
    assert_eq!(shares, expected);
    assert_eq!(judged.wait_ns, 10 * MS);
}

#[test]
fn interrupts_are_never_longer_than_their_segment() {
    let mut only = segment(100, 110, task(3, "a"));
    (only.irq_ns, only.softirq_ns) = (u64::MAX, 5 * MS);
    let judged = judge(&[wait(vec![only])]).unwrap();
    assert_eq!((judged.shares.len(), judged.shares[0].ns), (1, 10 * MS));
    assert_eq!(judged.cause, Cause::Interrupts);
}

#[test]
fn what_was_not_seen_is_said() {
    let judged = judge(&[wait(vec![segment(107, 110, task(3, "a"))])]).unwrap();
    assert_eq!(judged.shares[0].holder, Holder::Unknown);
    assert_eq!(
        (judged.shares[0].ns, judged.cause),
        (7 * MS, Cause::Unknown)
    );
    assert!(judge(&[]).is_none());
}

#[test]
fn the_first_cause_is_the_strongest() {
    let busy = || segment(0, 110, task(3, "busy"));
    assert_eq!(cause(wait(vec![busy()])), Cause::Task(task(3, "busy")));

    let burst = segment(0, 106, realtime(5, "burst"));
    let both = vec![burst, segment(106, 110, task(3, "busy"))];
    assert_eq!(cause(wait(both)), Cause::Realtime(realtime(5, "burst")));

    let throttled = Record {
        throttled_ns: 6 * MS,
        ..wait(vec![busy()])
    };
    assert_eq!(cause(throttled), Cause::Throttled);
    let ours = Record {
        rule: Rule::Throttled,
        ..wait(vec![segment(0, 110, task(0, "swapper/0"))])
    };
    assert_eq!(cause(ours), Cause::Throttled);

    let open = |kind| Record {
        kind,
        throttled: true,
        ..wait(vec![segment(0, 110, task(0, "swapper/0"))])
    };
    assert_eq!(cause(open(Kind::Open)), Cause::Throttled);
    assert_eq!(cause(open(Kind::Wait)), Cause::IdleCpu);

    let idle = wait(vec![segment(0, 110, task(0, "swapper/0"))]);
    assert_eq!(cause(idle), Cause::IdleCpu);

    let mut heavy = task(6, "heavy");
    heavy.prio = 100;
    let beside = vec![
        segment(0, 108, heavy.clone()),
        segment(108, 110, task(3, "busy")),
    ];
    assert_eq!(cause(wait(beside)), Cause::HigherWeight(heavy));

    let mut rich = task(7, "rich");
    rich.shares = 10_240;
    let beside = wait(vec![segment(0, 110, rich.clone())]);
    assert_eq!(cause(beside), Cause::HeavierCgroup(rich));

    let turns = (0..5).map(|i| segment(100 + 2 * i, 102 + 2 * i, task(10 + i as i32, "turn")));
    assert_eq!(cause(wait(turns.collect())), Cause::Crowd(5));
}

#[test]
fn idle_cpus_count_by_affinity() {
    let beside = |allowed_cpus, idle_cpus| {
        cause(Record {
            allowed_cpus,
            idle_cpus,
            ..wait(vec![segment(0, 110, task(3, "busy"))])
        })
    };
    let busy = || Some(task(3, "busy"));
    assert_eq!(beside(0b0001, 0b1100), Cause::Affinity(busy()));
    assert_eq!(beside(0b0101, 0b1100), Cause::IdleElsewhere(busy()));
    assert_eq!(beside(0b1111, 0), Cause::Task(task(3, "busy")));
    // A real-time task is the cause wherever the others idle.
    let burst = Record {
        allowed_cpus: 1,
        idle_cpus: 2,
        ..wait(vec![segment(0, 110, realtime(5, "burst"))])
    };
    assert_eq!(cause(burst), Cause::Realtime(realtime(5, "burst")));
}

#[test]
fn parts_of_a_wait_are_joined() {
    let first = Record {
        kind: Kind::Part,
        end_ns: 108 * MS,
        ..wait(vec![segment(0, 108, realtime(5, "burst"))])
    };
    let last = Record {
        part_ns: 108 * MS,
        cpu: 1,
        nr_moves: 1,
        ..wait(vec![segment(0, 110, task(3, "busy"))])
    };
    let judged = judge(&[first, last]).unwrap();
    assert_eq!((judged.cpus.clone(), judged.wait_ns), (vec![0, 1], 10 * MS));
    assert_eq!(judged.cause, Cause::Realtime(realtime(5, "burst")));
}

fn frame() -> Frame {
    Frame {
        target: "tasks named victim".to_owned(),
        scheduler: "EEVDF".to_owned(),
        changed: false,
        began_ns: 0,
        seconds: 10.0,
        complete: true,
        gone: false,
        over_ns: 5 * MS,
        nr_cpus: 4,
    }
}

fn text(findings: Findings, counts: &Counts, frame: &Frame) -> String {
    let text = Report::new(findings, counts, frame).text(false);
    // The kernel's name is that of this machine.
    let kernel = scx_ops::kernel::release();
    text.replace(&kernel, "KERNEL")
}

#[test]
fn people_read_the_chain_and_the_sums() {
    let mut findings = Findings::default();
    findings.add(Record {
        rule: Rule::ProtectedShort,
        protect_ns: 2 * MS,
        ruled: task(3, "busy"),
        dsq: Some(0),
        ..wait(vec![
            segment(0, 108, realtime(5, "burst")),
            segment(108, 110, task(3, "busy")),
        ])
    });
    findings.add(Record {
        allowed_cpus: 0b0001,
        idle_cpus: 0b1110,
        nr_allowed: 1,
        begin: Begin::Preempted,
        ..wait(vec![segment(0, 110, task(4, "busy"))])
    });
    findings.add(Record {
        kind: Kind::Lock,
        held_ns: 9 * MS,
        other: task(8, "holder"),
        ruled: realtime(5, "burst"),
        ..wait(Vec::new())
    });
    let counts = Counts {
        waits: 300,
        wait_ns: 25 * MS,
        longest_ns: 10 * MS,
        long: 2,
        long_ns: 20 * MS,
        lost: 1,
        unseen: 2,
        sleeps: 3,
    };
    let expected = "\
tasks named victim under EEVDF on kernel KERNEL, 10.0 s
300 waits, 25 ms in all, the longest 10 ms; 2 were longer than 5 ms: 20 ms in all
1 records were lost: there were more than could be read. Their waits are counted, not explained.
2 waits are missing: their beginning was not seen.
3 sleeps in futex() were as long, and the waker had not waited for a CPU: for work, or for a lock whose holder \
slept; that cannot be told apart.

 60 % of these waits was behind busy (2 tasks) (12 ms)
 40 % of these waits was behind burst (5, real-time 50) (8 ms)
First causes: affinity 1, real-time 1

The longest waits
 1. 10 ms victim (1), 100 ms after the start: woken by a timer, placed on CPU 0; got it there
    cause: burst (5, real-time 50) had the CPU for 8 ms
    chain: 8 ms burst (5, real-time 50), 2 ms busy (3)
    scx_takt: busy (3) was protected: short-running, for 2 ms from its wakeup on
 2. 10 ms victim (1), 100 ms after the start: preempted by waker (2), placed on CPU 0; got it there
    cause: CPUs 1-3 were idle, but its affinity is 0; behind busy (4) for 10 ms

Sleeps in futex() whose waker had waited for a CPU (1)
 1. 10 ms victim (1), 100 ms after the start: slept in futex()
    cause: holder (8), which ended the sleep (it held the lock, most likely), had waited for CPU 0 for 9 ms, at \
last behind burst (5, real-time 50)";
    let found = text(findings, &counts, &frame());
    assert!(found == expected, "{found}");
}

#[test]
fn nothing_to_tell_is_told() {
    let mut frame = frame();
    (frame.complete, frame.gone) = (false, true);
    let found = text(Findings::default(), &Counts::default(), &frame);
    let expected = "\
tasks named victim under EEVDF on kernel KERNEL, 10.0 s (ended early)
0 waits, 0 ns in all, the longest 0 ns; none was longer than 5 ms
The tasks have ended.
Nothing to wait for: they slept, or ran, all the time.";
    assert!(found == expected, "{found}");
}

#[test]
fn memory_is_bounded_and_the_longest_are_kept() {
    let mut findings = Findings::default();
    for i in 0..5_000 {
        let pid = 1_000 + i as i32;
        findings.add(Record {
            at_ns: 100 * MS - i,
            ..wait(vec![segment(0, 110, task(pid, &format!("busy{i}")))])
        });
        findings.add(Record {
            kind: Kind::Part,
            at_ns: i,
            ..wait(Vec::new())
        });
    }
    let json = serde_json::to_value(Report::new(findings, &Counts::default(), &frame())).unwrap();
    let longest = json["longest"].as_array().unwrap();
    assert_eq!(longest.len(), WAITS_KEPT);
    assert_eq!(longest[0]["wait_ns"], 10 * MS + 4_999);
    assert_eq!(json["causes"]["task"], 5_000);
    // Those beyond what is summed one by one are one sum, and the largest.
    assert_eq!(json["behind"][0]["what"], "others");
}
