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

/// What two boots at the same time print: the same bytes. A host that is busy with another guest of the same kind must
/// not show.
fn two_boots(boot: fn() -> String) -> String {
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(boot);
        (boot(), other.join().unwrap())
    });
    let differ = first.lines().zip(second.lines()).find(|(a, b)| a != b);
    assert!(differ.is_none(), "the first lines that differ: {differ:?}");
    assert_eq!(first.len(), second.len());
    first
}

#[test]
#[ignore = "boots a VM"]
fn two_boots_of_four_cpus_print_the_same_bytes() {
    let first = two_boots(|| Vm::new("7.2").cpus(4).side_by_side().passes(TRACES));
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

/// The figure, in ns, of the line of `cache_model` that begins with `what`.
fn figure(text: &str, what: &str) -> f64 {
    let mut words = text
        .split_once(&format!("{what}: "))
        .map(|(_, rest)| rest.split(' '));
    let figure = words.as_mut().and_then(Iterator::next);
    let figure = figure.and_then(|word| word.parse().ok());
    figure.unwrap_or_else(|| panic!("no figure for {what}:\n{text}"))
}

/// A program that measures as on a real machine finds the sizes and latencies of the model (`caches.rs`), in two boots
/// the same to the last digit.
#[test]
#[ignore = "boots a VM"]
fn loads_and_shared_lines_cost_what_the_cache_model_says() {
    let first = two_boots(|| {
        let vm = Vm::new("7.2").cpus(8).topology("2:2:2:1").caches("zen4");
        vm.with_test("scx_takt:cache_model").passes(
            "cache_model --ignored --nocapture --test-threads 1 || fail \"cache_model: $?\"",
        )
    });
    for (what, ns) in [
        ("load 24 KiB", 1.0),
        ("load 512 KiB", 3.0),
        ("load 4096 KiB", 10.0),
        ("load 32768 KiB", 75.0),
        ("load 32768 KiB from the last CPU", 190.0),
        ("line from CPU 1 to CPU 0", 18.0),
        ("line from CPU 2 to CPU 0", 77.0),
        ("line from CPU 4 to CPU 0", 197.0),
    ] {
        let found = figure(&first, what);
        assert!(
            (found - ns).abs() < 2.0,
            "{what}: {found} ns, the model has {ns}"
        );
    }
}

#[test]
#[ignore = "boots a VM"]
fn smt_siblings_share_their_core() {
    let vm = Vm::new("7.2").cpus(4).topology("1:2:2").caches("zen4");
    let text = vm
        .with_test("scx_takt:cache_model")
        .passes("cache_model --ignored --nocapture a_busy_sibling || fail \"cache_model: $?\"");
    let speed = figure(&text, "two busy CPUs");
    assert!(
        (speed - 0.6).abs() < 0.01,
        "two busy siblings run at {speed}"
    );
}

/// CPUs whose ticks come at once decide at once: each must take what is due, and no more.
#[test]
#[ignore = "boots a VM"]
fn extreme_weights_count() {
    cases::extreme_weights_count(Vm::new("7.2").cpus(4).side_by_side());
}
