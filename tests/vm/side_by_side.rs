//! CPUs that run side by side (`--side-by-side`): the instrument must not depend on the host, and N CPUs must do
//! the work of N. `cargo xtask test` leaves this module out, and says why, where the emulator cannot be built.

use crate::{cases, common::Vm};

/// Everything that a guest can print about its own time, while a scheduler and a load of many wakeups run.
const TRACES: &str = r#"
    start_agent
    scx_takt bench --deterministic --run-one messaging || fail "messaging: $?"
    scx_takt bench --deterministic --run-one pipe || fail "pipe: $?"
    stop_agent INT
    cat /proc/interrupts /proc/schedstat /proc/timer_list /proc/stat /proc/uptime
    dmesg
"#;

/// A host that is busy with another guest of the same kind must not show.
#[test]
#[ignore = "boots a VM"]
fn two_boots_of_four_cpus_print_the_same_bytes() {
    let boot = || Vm::new("7.2").cpus(4).side_by_side().passes(TRACES);
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(boot);
        (boot(), other.join().unwrap())
    });
    let differ = first.lines().zip(second.lines()).find(|(a, b)| a != b);
    assert!(differ.is_none(), "the first lines that differ: {differ:?}");
    assert_eq!(first.len(), second.len());
    for bad in [
        "clocksource: timekeeping watchdog",
        "stall",
        "lockup",
        "unstable",
    ] {
        assert!(!first.contains(bad), "the kernel's log speaks of {bad}");
    }
}

/// One, two and four loops at the same time take the time of one. Each has a CPU, so that only the emulator
/// decides; the first loop, which warms the guest up, does not count.
#[test]
#[ignore = "boots a VM"]
fn four_busy_cpus_do_the_work_of_four() {
    let text = Vm::new("7.2").cpus(4).side_by_side().passes(
        r#"
        echo 'i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done' >/tmp/spin
        ns() { sed -n 's/^now at \([0-9]*\) .*/\1/p' /proc/timer_list; }
        for count in 1 1 2 4; do
            pids=
            before=$(ns)
            for cpu in $(seq 0 $((count - 1))); do
                taskset $((1 << cpu)) sh /tmp/spin &
                pids="$pids $!"
            done
            wait $pids
            say "loops $count took $((($(ns) - before) / 1000)) us"
        done
        "#,
    );
    let took_us: Vec<f64> = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("--- loops ")?
                .split(' ')
                .nth(2)?
                .parse()
                .ok()
        })
        .collect();
    let [_, one, two, four] = took_us[..] else {
        panic!("not four times:\n{text}");
    };
    for several in [two, four] {
        assert!((several / one - 1.0).abs() < 0.01, "{took_us:?} us");
    }
}

/// CPUs whose ticks come at once decide at once: each must take what is due, and no more.
#[test]
#[ignore = "boots a VM"]
fn extreme_weights_count() {
    cases::extreme_weights_count(Vm::new("7.2").cpus(4).side_by_side());
}
