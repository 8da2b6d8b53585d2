//! The event stream and the observer, in a guest.

use serde_json::Value;

use crate::common::{KERNEL_6_12, Vm};

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
        for event in long_wait preempt migrate tunable exit; do
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

/// The first event of a kind in what `--events=json` printed.
fn first<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    events_of(events, kind)
        .next()
        .unwrap_or_else(|| panic!("no {kind}"))
}

fn events_of<'a>(events: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["event"] == kind)
}

fn events_in(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| line.starts_with("{\"event\":"));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A bound that is small enough to be hit is reported when it is, and only then; a task that changes its
/// node is said to. With the usual rate limit the ring is never half full: what comes, comes by the timer.
#[test]
#[ignore = "boots a VM"]
fn events_say_what_happened() {
    let text = Vm::new("7.2").cpus(4).topology("2:2:1").passes(
        r#"
        start_agent --events=json --event-limit 1 --set lead_max_ns=1000000 --set lag_max_ns=0 \
            --set long_wait_ns=500000 --no-tune
        start_stress --seconds 600 --kinds hogs,pipes,sleepers --stall-seconds 60
        all_kinds() {
            grep '"event":"migrate"' /tmp/agent.out | grep '"from_node":0' | grep -q '"to_node":1' &&
                grep -q '"event":"starved"' /tmp/agent.out && grep -q '"event":"preempt"' /tmp/agent.out &&
                grep -q '"event":"long_wait"' /tmp/agent.out
        }
        await 60 all_kinds || fail "an event is missing"
        kill -TERM $stress # a shell has its background commands ignore SIGINT until they say otherwise
        wait $stress
        stop_agent INT
        cat /tmp/agent.out
        "#,
    );
    let events = events_in(&text);
    let ns = |event: &Value, field: &str| event[field].as_u64().unwrap();
    for starved in events_of(&events, "starved") {
        assert!(ns(starved, "waited_ns") > 1_250_000, "{starved}");
    }
    for wait in events_of(&events, "long_wait") {
        assert!(
            (500_000..=1_250_000).contains(&ns(wait, "waited_ns")),
            "{wait}"
        );
    }
    for event in events_of(&events, "migrate") {
        assert_ne!(event["from_llc"], event["to_llc"], "{event}");
        assert_eq!(ns(event, "cpu") / 2, ns(event, "to_node"), "{event}");
    }
    for preempt in events_of(&events, "preempt") {
        assert_ne!(
            preempt["task"]["pid"], preempt["victim"]["pid"],
            "{preempt}"
        );
    }
    let exit = ns(first(&events, "exit"), "at_ns");
    let last = events
        .iter()
        .filter_map(|event| event["at_ns"].as_u64())
        .max();
    assert_eq!(last, Some(exit), "the end comes last, by one clock");
    assert_eq!(first(&events, "account")["balanced"], true);
    assert_eq!(first(&events, "account")["missed_notifications"], 0);
}

/// Two that play ping-pong hand the CPU over to each other thousands of times. That is counted, and is no
/// preemption.
#[test]
#[ignore = "boots a VM"]
fn a_hand_over_is_no_preemption() {
    let text = Vm::new("7.2").deterministic().passes(
        r#"
        start_agent --events=json
        scx_takt bench --deterministic --run-one pipe || fail "the workload failed"
        stop_agent INT
        cat /tmp/agent.out
        "#,
    );
    let events = events_in(&text);
    let account = first(&events, "account");
    let hand_overs = account["hand_overs"].as_u64().unwrap();
    let told = events_of(&events, "preempt").count() as u64;
    assert!(hand_overs > 1000, "{account}");
    let all = told + account["suppressed"].as_u64().unwrap();
    // Those there are, are of the agent: it is preemptible, and while it waits no task hands over.
    assert!(all * 4 < hand_overs, "{all} preemptions, {account}");
}

/// The observer sees a sched_ext scheduler's tasks as such, whichever it is, and EEVDF's as fair, on an old
/// and on a new kernel.
fn observes_any_scheduler(kernel: &str) {
    Vm::new(kernel).cpus(2).passes(
        r#"
        start_stress --seconds 600 --any-scheduler --stall-seconds 25 --kinds hogs,pipes,sleepers
        scx_takt observe --seconds 2 | tee /tmp/fair
        grep -q '^ *fair ' /tmp/fair || fail "EEVDF's tasks were not seen"
        grep -q '^ *ext ' /tmp/fair && fail "tasks of sched_ext seen where there are none"
        start_agent
        scx_takt observe --seconds 2 | tee /tmp/ext
        grep -q '^ *ext ' /tmp/ext || fail "tasks of sched_ext were not seen"
        grep -q '^ *fair ' /tmp/ext && fail "fair tasks seen where all are in sched_ext"
        stop_agent INT
        scx_floor &
        floor=$!
        await 60 is enabled || fail "scx_floor did not attach"
        scx_takt observe --seconds 1 | tee /tmp/floor
        grep -q '^floor' /tmp/floor || fail "the other scheduler is not named"
        grep -q '^ *ext ' /tmp/floor || fail "tasks of another sched_ext scheduler were not seen"
        kill -INT $floor
        kill -INT $stress
        finish_stress
        "#,
    );
}

#[test]
#[ignore = "boots a VM"]
fn observes_any_scheduler_on_6_12() {
    observes_any_scheduler(KERNEL_6_12);
}

#[test]
#[ignore = "boots a VM"]
fn observes_any_scheduler_on_6_18() {
    observes_any_scheduler("6.18");
}

#[test]
#[ignore = "boots a VM"]
fn observes_any_scheduler_on_7_3() {
    observes_any_scheduler("7.3");
}
