//! End to end: the real binary on real kernels, in the VM harness's virtual machines.
//!
//! `cargo xtask test` runs these, two machines at a time. Those called `long_...` take many minutes
//! and run only when asked for: `cargo xtask test --long`, or
//! `cargo test --release --test vm -- --ignored long_`.

// Helpers are not seen as tests by clippy.
#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "vm/bench.rs"]
mod bench;
#[path = "vm/bound.rs"]
mod bound;
#[path = "vm/cases.rs"]
mod cases;
#[path = "vm/cgroups.rs"]
mod cgroups;
mod common;
#[path = "vm/control.rs"]
mod control;
#[path = "vm/docs.rs"]
mod docs;
#[path = "vm/events.rs"]
mod events;
#[path = "vm/figures.rs"]
mod figures;
#[path = "vm/machines.rs"]
mod machines;
#[path = "vm/placement.rs"]
mod placement;
#[path = "vm/power.rs"]
mod power;
#[path = "vm/side_by_side.rs"]
mod side_by_side;
#[path = "vm/top.rs"]
mod top;
#[path = "vm/trial.rs"]
mod trial;
#[path = "vm/wakeups.rs"]
mod wakeups;
#[path = "vm/why.rs"]
mod why;

#[path = "vm/aarch64.rs"]
mod aarch64;

use common::{KERNEL_6_12, Vm};

/// From `check` to a clean end, on every kernel that is supported. In instruction time: a load that
/// takes more than a second takes it on every host.
fn lives_on(kernel: &str) {
    Vm::new(kernel).deterministic().passes(
        r#"
        scx_takt check || fail "scx_takt check ended with status $?"
        is disabled || fail "check left the state $(state)"

        before=$(now)
        start_agent
        after=$(now)
        expect_takt
        say "attached after $((after - before))0 ms"
        [ $((after - before)) -lt 100 ] || fail "loading took $((after - before))0 ms, not below 1 s"
        stop_agent INT

        start_agent --stats 1
        await 30 test -s /tmp/agent.out || fail "no line of statistics"
        expect_takt
        cat /tmp/agent.out
        stop_agent TERM
        "#,
    );
}

#[test]
#[ignore = "boots a VM"]
fn lives_on_6_12() {
    lives_on(KERNEL_6_12);
}

#[test]
#[ignore = "boots a VM"]
fn lives_on_6_16() {
    lives_on("6.16");
}

#[test]
#[ignore = "boots a VM"]
fn lives_on_6_18() {
    lives_on("6.18");
}

#[test]
#[ignore = "boots a VM"]
fn lives_on_7_0() {
    lives_on("7.0");
}

#[test]
#[ignore = "boots a VM"]
fn lives_on_7_2() {
    lives_on("7.2");
}

#[test]
#[ignore = "boots a VM"]
fn lives_on_7_3() {
    lives_on("7.3");
}

/// The table of what differs between kernels, on every kernel.
#[test]
#[ignore = "boots VMs"]
fn table_of_features_holds_on_every_kernel() {
    for kernel in [KERNEL_6_12, "6.16", "6.18", "7.0", "7.2", "7.3"] {
        let vm = Vm::new(kernel).with_test("scx_ops:compat_kernel");
        let text = vm.passes("compat_kernel --ignored || fail 'the table is wrong'");
        let is_skipped = text.is_empty();
        assert!(is_skipped || text.contains("1 passed"), "{text}");
    }
}

/// Kernels whose BTF lets no program call half of sched_ext: said in one line, and EEVDF stays.
fn refuses_malformed_btf(kernel: &str) {
    Vm::new(kernel).passes(
        r#"
        rejects 1 'malformed BTF.*boot another build' scx_takt
        is disabled || fail "state is $(state), not disabled"
        scx_takt check && fail "check passed on a kernel that scx_takt cannot run on"
        scx_takt check | egrep '^FAIL.*malformed BTF' || fail "check does not name the BTF"
        "#,
    );
}

#[test]
#[ignore = "boots a VM"]
fn refuses_malformed_btf_of_7_1_13() {
    refuses_malformed_btf("7.1.13+deb13");
}

#[test]
#[ignore = "boots a VM"]
fn refuses_malformed_btf_of_7_2_12() {
    refuses_malformed_btf("7.2.12+deb13");
}

/// In an emulated guest a worker may have to wait for the host as well, but no worker may wait for longer
/// than the kernel's watchdog, which is set to 30 s.
const STALL_S: &str = "25";

/// The mixed load: no task left behind, none rejected, and the scheduler still there afterwards.
fn bears_stress(vm: Vm, flags: &str, seconds: u32) {
    let script = r#"
        start_agent
        start_stress --seconds SECONDS --stall-seconds STALL_S FLAGS
        finish_stress
        expect_takt
        [ "$(cat /sys/kernel/sched_ext/nr_rejected)" = 0 ] || fail "tasks were rejected"
        stop_agent INT
        "#;
    let script = script
        .replace("SECONDS", &seconds.to_string())
        .replace("FLAGS", flags);
    let script = script.replace("STALL_S", STALL_S);
    let text = vm.busy_for(seconds).passes(&script);
    assert!(
        !text.contains("left out"),
        "every kind must be able to run in the guest:\n{text}"
    );
}

/// In instruction time, so that the host cannot be what is too slow, and no wait may be longer than it should: 312 ms,
/// and for each other that is ready a slice of 3 ms, which ends with the tick after it (docs/design/policy.md).
fn bears_10_s_of_stress(kernel: &str, cpus: u32) {
    let vm = Vm::new(kernel).cpus(cpus).deterministic();
    bears_stress(vm, "--longest-wait 312+19", 10);
}

/// The same with several last-level caches.
fn bears_stress_in(kernel: &str, (shape, cpus): (&str, u32), seconds: u32) {
    let vm = Vm::new(kernel).cpus(cpus).topology(shape).deterministic();
    bears_stress(vm, "--longest-wait 312+19", seconds);
}

/// Machines that differ in how CPUs share their last-level caches.
const SHAPES: [(&str, u32); 5] = [
    ("2:2:1", 4),
    ("2:4:1", 8),
    ("4:1:1", 4),
    ("1:4:1", 4),
    ("1:8:1", 8),
];

#[test]
#[ignore = "boots a VM"]
fn bears_stress_on_7_2_with_2_llcs_of_2() {
    bears_stress_in("7.2", SHAPES[0], 10);
}

#[test]
#[ignore = "boots a VM"]
fn bears_stress_on_7_2_with_4_llcs_of_1() {
    bears_stress_in("7.2", SHAPES[2], 10);
}

#[test]
#[ignore = "boots a VM, takes minutes"]
fn long_bears_stress_in_every_shape_on_every_kernel() {
    for kernel in [KERNEL_6_12, "6.18", "7.2", "7.3"] {
        for shape in SHAPES {
            bears_stress_in(kernel, shape, 30);
        }
    }
}

#[test]
#[ignore = "boots a VM, takes minutes"]
fn long_bears_10_minutes_of_stress_with_8_cpus() {
    for kernel in [KERNEL_6_12, "6.18", "7.2", "7.3"] {
        for (shape, cpus) in [("2:4:1", 8), ("1:8:1", 8)] {
            bears_stress(Vm::new(kernel).cpus(cpus).topology(shape), "", 600);
        }
    }
}

#[test]
#[ignore = "boots a VM"]
fn bears_stress_on_6_12_with_2_cpus() {
    bears_10_s_of_stress(KERNEL_6_12, 2);
}

#[test]
#[ignore = "boots a VM"]
fn bears_stress_on_6_18_with_1_cpu() {
    bears_10_s_of_stress("6.18", 1);
}

#[test]
#[ignore = "boots a VM"]
fn bears_stress_on_7_2_with_4_cpus() {
    bears_10_s_of_stress("7.2", 4);
}

#[test]
#[ignore = "boots a VM; the watchdog may bark on a loaded host (README, What is missing)"]
fn long_bears_real_time_hogs() {
    let vm = Vm::new("6.18").cpus(2);
    bears_stress(vm, "--kinds hogs,pipes,sleepers,rt-hogs", 20);
}

/// A new kernel that looks old: without what can be done without. That includes `cpu_release`, which
/// new kernels drop one day, and a callback that is no part of the scheduler at all.
#[test]
#[ignore = "boots a VM"]
fn runs_as_on_another_kernel() {
    Vm::new("7.3").cpus(2).deterministic().passes(
        r#"
        start_agent -v --pretend-lacks scx_bpf_dsq_peek,cpu_release,cgroup_set_bandwidth,dump,dump_task
        grep -q 'lacks:.*cpu_release' /tmp/agent.err || fail "-v does not name what is masked"
        start_stress --seconds 10 --longest-wait 312+19
        finish_stress
        expect_takt
        stop_agent INT
        rejects 1 'no_such_thing' scx_takt --pretend-lacks no_such_thing
        "#,
    );
}

/// CPUs that go and come back: the same scheduler goes on.
#[test]
#[ignore = "boots a VM"]
fn survives_cpu_hotplug() {
    Vm::new("6.18").cpus(4).deterministic().passes(
        r#"
        start_agent
        start_stress --seconds 10 --longest-wait 312+19 --kinds hogs,pipes,sleepers,affinity,hotplug
        finish_stress
        expect_takt
        [ "$(cat /sys/kernel/sched_ext/enable_seq)" = 1 ] || fail "it was loaded again"
        stop_agent INT
        "#,
    );
}

/// The agent is not on the scheduling path: stopped for longer than the watchdog's 30 seconds, it is
/// not missed. Killed outright, it takes its scheduler with it, and the load goes on under EEVDF.
fn survives_its_agent(stopped_s: u32) {
    let script = r#"
        start_agent
        start_stress --seconds LOAD_S --stall-seconds 25 --any-scheduler
        kill -STOP $agent
        sleep STOPPED_S
        expect_takt
        kill -CONT $agent
        kill -KILL $agent
        await 30 is disabled || fail "state is $(state) after SIGKILL, not disabled"
        say "EEVDF again"
        finish_stress
        "#;
    let script = script
        .replace("STOPPED_S", &stopped_s.to_string())
        .replace("LOAD_S", &(stopped_s + 5).to_string());
    Vm::new("7.2").cpus(2).busy_for(stopped_s).passes(&script);
}

#[test]
#[ignore = "boots a VM"]
fn survives_its_agent_stopped_and_killed() {
    survives_its_agent(36);
}

#[test]
#[ignore = "boots a VM, takes minutes"]
fn long_survives_its_agent_stopped_for_60_s() {
    survives_its_agent(60);
}

fn attaches_and_detaches(times: u32, kinds: &str) {
    let script = r#"
        start_stress --seconds 3600 --any-scheduler --stall-seconds 25 KINDS
        for round in $(seq TIMES); do
            start_agent
            expect_takt
            stop_agent INT
        done
        kill -INT $stress
        finish_stress
        "#;
    let script = script
        .replace("TIMES", &times.to_string())
        .replace("KINDS", kinds);
    Vm::new("6.18").cpus(2).passes(&script);
}

#[test]
#[ignore = "boots a VM"]
fn attaches_and_detaches_10_times_under_load() {
    attaches_and_detaches(10, "--kinds hogs,pipes,forks,sleepers,affinity,nice");
}

#[test]
#[ignore = "boots a VM, takes minutes"]
fn long_attaches_and_detaches_50_times_under_load() {
    attaches_and_detaches(50, "--kinds hogs,pipes,forks,sleepers,affinity,nice");
}

#[test]
#[ignore = "boots a VM, takes minutes; the kernel may hang in disabling (README, What is missing)"]
fn long_attaches_and_detaches_50_times_under_everything() {
    attaches_and_detaches(50, "");
}

/// Bad input: a clear line, the right status, EEVDF still in charge.
#[test]
#[ignore = "boots a VM"]
fn says_what_is_wrong() {
    Vm::new("7.2").passes(
        r#"
        rejects 1 'root|privilege|CAP_' as_plain_user scx_takt
        rejects 1 'root' as_plain_user scx_takt observe --seconds 1
        rejects 2 'no-such-flag' scx_takt --no-such-flag
        rejects 2 'stats' scx_takt --stats 0
        rejects 2 'stats' scx_takt --stats abc
        is disabled || fail "state is $(state) after bad input"

        say "standard output closed"
        for what in check --help 'stress --seconds 1 --kinds hogs'; do
            { scx_takt $what 2>/tmp/agent.err; echo $? >/tmp/status; } | head -n 1
            egrep -qi 'panic' /tmp/agent.err && fail "$what panicked"
            read -r status </tmp/status
            [ "$status" -eq 0 ] || fail "$what ended with status $status"
        done
        scx_takt --stats 1 2>/tmp/agent.err | head -n 1
        egrep -qi 'panic' /tmp/agent.err && fail "--stats panicked"
        await 30 is disabled || fail "state is $(state) after --stats 1 | head"

        say "another scheduler"
        start_agent
        name=$(ops)
        cp /tmp/agent.err /tmp/first.err
        rejects 1 "$name" scx_takt
        expect_takt
        stop_agent INT

        say "no BTF"
        mount -t tmpfs none /sys/kernel/btf
        rejects 1 'BTF' scx_takt
        scx_takt check && fail "check passed without BTF"
        scx_takt check | grep '^FAIL *BTF' || fail "check does not name BTF"
        umount /sys/kernel/btf

        say "no sched_ext"
        mount -t tmpfs none /sys/kernel/sched_ext
        rejects 1 'sched_ext' scx_takt
        "#,
    );
}

#[test]
#[ignore = "boots a VM, takes minutes"]
fn long_bears_10_minutes_of_stress() {
    for kernel in ["6.18", "7.2"] {
        for cpus in [1, 2, 4] {
            bears_stress(Vm::new(kernel).cpus(cpus), "", 600);
        }
    }
}

#[test]
#[ignore = "boots a VM, takes minutes"]
fn long_bears_30_minutes_of_everything() {
    let everything = "--kinds hogs,pipes,forks,vfork,exec,threads,affinity,nice,\
        policy,rt,flips,futex,mutex,pi,sleepers,yield,membarrier,cgroup,rt-hogs,hotplug,bound,partners,exits";
    for kernel in [KERNEL_6_12, "6.18", "7.2", "7.3"] {
        bears_stress(Vm::new(kernel).cpus(4), everything, 1800);
    }
}
