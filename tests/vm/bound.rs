//! How long a task can be made to wait for a CPU.

use serde_json::Value;

use crate::common::Vm;

/// What `stress` judged, from the line of JSON after a word.
fn waits(text: &str, word: &str) -> Value {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    let summary: Value = serde_json::from_str(line.unwrap()).unwrap();
    summary["waits"].clone()
}

/// Hogs that are moved between cgroups, or made nicer, while they wait are queued anew each time: until 2026-11-22
/// their wait began anew as well, and this took 2 s. And beneath real-time threads the bound is of what they leave.
#[test]
#[ignore = "boots a VM"]
fn a_wait_keeps_to_the_bound_whatever_happens_to_the_task() {
    let text = Vm::new("7.2").cpus(1).deterministic().passes(
        r#"
        start_agent
        scx_takt stress --seconds 12 --kinds hogs,cgroup,nice --longest-wait 312+19 --json >/tmp/out ||
            fail "moved: $(cat /tmp/out)"
        echo "MOVED $(cat /tmp/out)"
        scx_takt stress --seconds 5 --kinds hogs,rt-hogs --longest-wait 312+3 --json >/tmp/out ||
            fail "beneath real-time threads: $(cat /tmp/out)"
        echo "BENEATH $(cat /tmp/out)"
        scx_takt stress --seconds 2 --kinds hogs --longest-wait 1 >/tmp/out 2>&1 && fail "no wait beyond 1 ms: $(cat /tmp/out)"
        grep -q '^scx_takt: stress: .* waits beyond 1 ms, of the time' /tmp/out || fail "what went wrong? $(cat /tmp/out)"
        stop_agent INT
        "#,
    );
    let ms = |waits: &Value, field: &str| waits["longest"][field].as_f64().unwrap();
    let moved = waits(&text, "MOVED ");
    assert!(moved["count"].as_u64().unwrap() > 1000, "{moved}");
    // In the whole millisecond that a wait begins in, the CPU counts as left.
    let left = ms(&moved, "left_ms");
    assert!(left > 0.9 * ms(&moved, "wait_ms"), "{moved}");
    let beneath = waits(&text, "BENEATH ");
    assert!(ms(&beneath, "wait_ms") > 30.0, "{beneath}");
    assert!(
        ms(&beneath, "left_ms") < 0.3 * ms(&beneath, "wait_ms"),
        "{beneath}"
    );
}

/// Real-time threads that leave each CPU for a millisecond at a time, so that no task comes to the end of a slice: until
/// 2026-11-22 one CPU-bound task per CPU was given a new one each time, and the watchdog came.
#[test]
#[ignore = "boots a VM"]
fn repeated_preemption_does_not_keep_a_task_on_its_cpu() {
    Vm::new("6.18").cpus(2).deterministic().passes(
        r#"
        start_agent
        scx_takt stress --seconds 8 --kinds hogs,affinity,rt-hogs --longest-wait 312+3 >/tmp/out 2>&1 ||
            fail "$(cat /tmp/out)"
        cat /tmp/out
        stop_agent INT
        "#,
    );
}

/// Tasks whose CPUs change while they wait, and crowds that are bound to a part of each last-level cache: every wait is
/// judged, by the CPUs of its time.
#[test]
#[ignore = "boots a VM"]
fn a_wait_is_judged_whatever_cpus_the_task_is_given_meanwhile() {
    let vm = Vm::new("7.2").cpus(4).topology("2:2:1").deterministic();
    let text = vm.passes(
        r#"
        start_agent
        scx_takt stress --seconds 5 --kinds affinity,bound,hogs --longest-wait 312+19 --json >/tmp/out ||
            fail "$(cat /tmp/out)"
        echo "BOUND $(cat /tmp/out)"
        stop_agent INT
        "#,
    );
    let bound = waits(&text, "BOUND ");
    assert!(bound["count"].as_u64().unwrap() > 1000, "{bound}");
    assert_eq!(bound["moved"], 0, "{bound}");
}

/// The kernel takes a waiting task out of its queue for another nice value or affinity, and has it enqueued anew. Does it
/// count twice then, other tasks of that queue wait for tasks that are not there (717 ms of 559 allowed).
#[test]
#[ignore = "boots a VM"]
fn a_change_of_a_waiting_task_does_not_count_as_one_more() {
    Vm::new("7.2").cpus(2).deterministic().passes(
        r#"
        start_agent
        scx_takt stress --seconds 4 --kinds bound,nice,affinity --longest-wait 312+19 >/tmp/out 2>&1 ||
            fail "$(cat /tmp/out)"
        stop_agent INT
        "#,
    );
}

/// A wait that has not ended when the load does: a task of nice 19 has a share of 1 in 5,900 beside one of nice -20, so
/// that after a slice it waits for seconds. A task that `cpu.max` keeps from the CPU is not judged.
#[test]
#[ignore = "boots a VM"]
fn a_wait_that_does_not_end_is_judged_too() {
    Vm::new("7.2").deterministic().passes(
        r#"
        mkdir /sys/fs/cgroup/none
        # It runs on to a tick, and owes no more than a period for that: a wait begins within any three seconds.
        echo '4000 1000000' >/sys/fs/cgroup/none/cpu.max
        sh -c 'echo $$ >/sys/fs/cgroup/none/cgroup.procs; while :; do :; done' & limited=$!
        scx_takt stress --seconds 4 --kinds sleepers --longest-wait 500 >/tmp/out 2>&1 || fail "limited: $(cat /tmp/out)"
        grep ' [1-9][0-9]* under cpu.max$' /tmp/out || fail "not said: $(cat /tmp/out)"
        kill -KILL $limited
        nice -n -20 sh -c 'while :; do :; done' & heavy=$!
        scx_takt stress --seconds 2 --kinds sleepers --longest-wait 500 >/tmp/out 2>&1 &
        load=$!
        sleep 1
        nice -n 19 sh -c 'while :; do :; done' &
        wait $load && fail "a task that got no CPU for a second was not seen: $(cat /tmp/out)"
        grep '^scx_takt: stress: .* waits beyond 500 ms.*: sh (' /tmp/out || fail "what went wrong? $(cat /tmp/out)"
        kill -KILL $! $heavy
        "#,
    );
}
