//! The event stream and the observer, in a guest.

use crate::common::Vm;

/// An agent that is stopped while events flood its ring loses some of them, and knows exactly how many:
/// attempts = received + discarded + lost, to the last record. Every kind of event is seen.
#[test]
#[ignore = "boots a VM"]
fn a_flooded_ring_loses_nothing_uncounted() {
    let text = Vm::new("7.2").cpus(2).topology("2:1:1").passes(
        r#"
        start_agent --events=json --event-limit 4000000000 --set long_wait_ns=1000
        start_stress --seconds 12 --kinds hogs,pipes,sleepers,forks --stall-seconds 25
        await 30 grep -q long_wait /tmp/agent.out || fail "no event came"
        kill -STOP $agent
        sleep 8
        kill -CONT $agent
        finish_stress
        stop_agent INT
        grep -q FAULT /tmp/agent.err && fail "the account does not balance"
        for event in long_wait preempt migrate knob exit; do
            grep -q "^{\"event\":\"$event\"" /tmp/agent.out || fail "no $event"
            grep "^{\"event\":\"$event\"" /tmp/agent.out | head -n 1
        done
        tail -n 1 /tmp/agent.out
        "#,
    );
    let account = text
        .lines()
        .find(|line| line.starts_with(r#"{"event":"account""#));
    let account: serde_json::Value = serde_json::from_str(account.unwrap()).unwrap();
    let number = |name: &str| account[name].as_u64().unwrap();
    assert_eq!(account["balanced"], true, "{account}");
    assert!(number("lost") > 0, "the ring was never full: {account}");
    assert_eq!(
        number("attempts"),
        number("received") + number("discarded") + number("lost"),
        "{account}"
    );
}

/// The observer sees a sched_ext scheduler's tasks as such, and EEVDF's as fair, on an old and on a new
/// kernel.
fn observes_whoever_schedules(kernel: &str) {
    Vm::new(kernel).cpus(2).passes(
        r#"
        start_stress --seconds 40 --any-scheduler --stall-seconds 25 --kinds hogs,pipes,sleepers
        scx_takt observe --seconds 2 | tee /tmp/fair
        grep -q '^ *fair ' /tmp/fair || fail "EEVDF's tasks were not seen"
        grep -q '^ *ext ' /tmp/fair && fail "tasks of sched_ext seen where there are none"
        start_agent
        scx_takt observe --seconds 2 | tee /tmp/ext
        grep -q '^ *ext ' /tmp/ext || fail "tasks of sched_ext were not seen"
        grep -q '^ *fair ' /tmp/ext && fail "fair tasks seen where all are in sched_ext"
        stop_agent INT
        kill -INT $stress
        finish_stress
        "#,
    );
}

#[test]
#[ignore = "boots a VM"]
fn observes_whoever_schedules_on_6_18() {
    observes_whoever_schedules("6.18");
}

#[test]
#[ignore = "boots a VM"]
fn observes_whoever_schedules_on_7_3() {
    observes_whoever_schedules("7.3");
}
