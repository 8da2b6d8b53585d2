//! The stand-in for a Raspberry Pi 5: four Cortex-A76 with pages of 16 KiB, and binaries built for it here, with the
//! tool chain for that (`cargo xtask setup --for cross-aarch64`). `cargo xtask test` leaves this module out, and says
//! why, where the tool chain cannot be had.

use crate::common::Vm;

/// The newest kernel of the series that the VM harness has for the stand-in.
const KERNEL: &str = "7.2";

/// From `check`, the ring's overflow among its self-tests, to a clean end. In instruction time, so that a busy host
/// decides nothing.
#[test]
#[ignore = "builds for aarch64 and boots a VM"]
fn long_lives_on_the_raspberry_pi_5_stand_in() {
    let text = Vm::new(KERNEL).aarch64().deterministic().passes(
        r#"
        case "$(uname -m) $(uname -r)" in "aarch64 "*16k) ;; *) fail "this is $(uname -m), $(uname -r)" ;; esac
        scx_takt check || fail "scx_takt check ended with status $?"
        is disabled || fail "check left the state $(state)"
        start_agent --stats 1
        expect_takt
        await 30 test -s /tmp/agent.out || fail "no line of statistics"
        expect_takt
        stop_agent INT
        "#,
    );
    for wanted in ["page size   16384 bytes", "all accounted for"] {
        assert!(
            text.contains(wanted),
            "check does not say {wanted:?}:\n{text}"
        );
    }
}

#[test]
#[ignore = "builds for aarch64 and boots a VM"]
fn long_runs_with_16_kib_pages() {
    Vm::new(KERNEL).aarch64().cpus(4).passes(
        r#"
        grep -m 1 'KernelPageSize: *16 kB' /proc/self/smaps || fail "pages are not of 16 KiB"
        scx_takt check || fail "scx_takt check ended with status $?"
        start_agent --stats 1
        start_stress --seconds 20 --stall-seconds 25
        finish_stress
        expect_takt
        [ "$(cat /sys/kernel/sched_ext/nr_rejected)" = 0 ] || fail "tasks were rejected"
        case "$(ops)" in *aarch64*) ;; *) fail "ops is $(ops), not one for aarch64" ;; esac
        grep -q 'placed .*lost 0$' /tmp/agent.out || fail "no statistics, or events were lost"
        stop_agent INT
        "#,
    );
}

/// The ring: no wake-up missed, no record lost without being counted.
#[test]
#[ignore = "builds for aarch64 and boots a VM"]
fn long_keeps_the_ring_whole() {
    let text = Vm::new(KERNEL)
        .aarch64()
        .cpus(4)
        .with_test("scx_ops:ring_account")
        .with_test("scx_ops:ring_host")
        .passes(
            r#"
            ring_account --nocapture || fail "ring_account"
            TAKT_RING_WAITS=2000 ring_host --nocapture || fail "ring_host"
            "#,
        );
    assert!(
        !text.contains("skipped:"),
        "a test found a reason not to run:\n{text}"
    );
    assert!(text.contains(" 0 missed in 2000 waits"), "{text}");
}

/// In instruction time: a wakeup is not slower than under EEVDF at p99, and neither are pipes and messages by
/// more than a tenth.
#[test]
#[ignore = "builds for aarch64 and boots a VM"]
fn long_holds_its_ratios() {
    Vm::new(KERNEL).aarch64().deterministic().passes(
        r#"
        scx_takt bench --deterministic --no-callbacks --rounds 3 --workloads wakeup,pipe,messaging \
            --gate 'wakeup.p99<=0.1,pipe<=1.10,messaging<=1.00' || fail "bench ended with status $?"
        "#,
    );
}
