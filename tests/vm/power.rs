//! How fast CPUs are asked to run. The VM harness's machines have no governor to follow it: what is looked at is the
//! question, in the kernel's function for it.

use super::common::Vm;

#[test]
#[ignore = "boots a VM"]
fn speed_follows_load_where_power_is_saved_only() {
    Vm::new("7.2").cpus(2).deterministic().passes(
        r#"
        cd /sys/kernel/tracing
        echo 'p:asked scx_bpf_cpuperf_set cpu=%di:s32 perf=%si:u32' >kprobe_events
        echo 1 >events/kprobes/asked/enable

        # speeds LOAD: what CPU 0 was asked for in the second second of three of it, lowest and highest. What
        # comes after the load, the reading of the trace included, is work that a CPU is asked to be fast for.
        speeds() {
            echo 0 >tracing_on
            scx_takt stress --kinds "$1" --seconds 3 >/tmp/stress.out 2>&1 &
            usleep 1000000
            echo >trace
            echo 1 >tracing_on
            usleep 1000000
            echo 0 >tracing_on
            wait $! || fail "the load failed: $(cat /tmp/stress.out)"
            sed -n 's/.*cpu=0 perf=//p' trace | sort -n >/tmp/asked
            lowest=$(head -1 /tmp/asked)
            highest=$(tail -1 /tmp/asked)
            echo "$1: ${lowest:-none} to ${highest:-none}"
        }

        start_agent --profile powersave
        speeds sleepers
        [ "$highest" -lt 512 ] || fail "sleepers had CPU 0 asked for $highest of 1024"
        speeds hogs
        [ "$highest" = 1024 ] || fail "hogs had CPU 0 asked for $highest of 1024"
        stop_agent INT

        start_agent --profile latency
        speeds hogs
        [ ! -s /tmp/asked ] || fail "asked for speeds: $(cat /tmp/asked)"
        stop_agent INT
        "#,
    );
}
