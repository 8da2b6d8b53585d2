//! Wakeups beside hogs, by the kernel side's own histograms. In instruction time.

use super::common::Vm;

/// Five threads that sleep and wake by timers, several at once now and then: beside one CPU-bound task, that has never
/// slept, and beside eight. None waits for the end of a slice.
#[test]
#[ignore = "boots a VM"]
fn short_running_tasks_preempt_one_or_many_cpu_bound_tasks() {
    let text = Vm::new("7.2").deterministic().passes(
        r#"
        # A goal that any machine meets: wakeups are counted, and nothing is turned.
        printf '[goal]\nwakeup_p99_us = 1_000_000\n' >/tmp/config.toml
        start_agent --config /tmp/config.toml --record-tuning /tmp/record
        scx_takt stress --seconds 600 --kinds sleepers >/dev/null 2>&1 &
        sleepers=$!
        # hogs MARK N: so many for two seconds, and what the tuner has seen in four rounds of these. Nothing
        # else runs meanwhile: a process that has just begun is protected for a millisecond.
        hogs() {
            pids=
            for i in $(seq $2); do
                timeout -s KILL 2 sh -c 'while :; do :; done' &
                pids="$pids $!"
            done
            wait $pids
            tail -n 6 /tmp/record | head -n 4 | sed "s/.*\"p99_ns\":\([0-9]*\).*/$1 \1/"
        }
        hogs ONE 1
        hogs EIGHT 8
        kill -INT $sleepers
        stop_agent INT
        "#,
    );
    for mark in ["ONE", "EIGHT"] {
        let p99_us: Vec<_> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(mark)?.trim().parse::<u64>().ok())
            .map(|ns| ns / 1000)
            .collect();
        println!("{mark}: p99 in us, by rounds: {p99_us:?}");
        assert_eq!(p99_us.len(), 4, "{text}");
        assert!(p99_us.iter().all(|us| *us <= 100), "{mark}: {p99_us:?}");
    }
}
