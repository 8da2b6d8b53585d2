//! The live view and the statistics of a real scheduler.

use crate::common::Vm;

/// Two viewers, programs, and clients that send nonsense; then the kernel ejects the scheduler while it is
/// watched: the viewers stay and say so.
#[test]
#[ignore = "boots a VM"]
fn top_watches_a_scheduler_come_and_go() {
    let text = Vm::new("7.2").cpus(2).passes(
        r#"
        sees() { scx_takt stats --seconds 0.5 >/tmp/stats.out 2>&1; grep -q "$1" /tmp/stats.out; }
        shows() { grep -q "$1" "$2"; }
        rejects 1 'cannot serve metrics' scx_takt --metrics 203.0.113.1:9101
        is disabled || fail "state is $(state), not disabled"
        scx_takt top --lines --interval 0.5 >/tmp/top.out 2>&1 &
        top=$!
        start_stress --seconds 600 --any-scheduler --stall-seconds 60 --kinds hogs,pipes,sleepers
        await 60 shows ' EEVDF ' /tmp/top.out || fail "top does not see EEVDF: $(cat /tmp/top.out)"
        start_agent --metrics 9101
        scx_takt --monitor 0.5 >/tmp/monitor.out 2>&1 &
        monitor=$!
        await 60 shows "$(ops)" /tmp/top.out || fail "top does not see scx_takt: $(cat /tmp/top.out)"
        await 60 shows 'wakeup p50' /tmp/monitor.out || fail "no wakeups: $(cat /tmp/monitor.out)"

        say "for programs"
        scx_takt stats --json >/tmp/a.json || fail "stats --json"
        grep -q "\"name\": \"$(ops)\"" /tmp/a.json || fail "$(cat /tmp/a.json)"
        # A task that computes on and on is not short-running for having slept once.
        sh -c 'sleep 0.01; while :; do :; done' &
        task=$!
        seen() {
            scx_takt stats --json >/tmp/a.json
            awk -F'[:, ]+' -v pid=$task '/"pid"/{own = $3 == pid} own && /"est_run_ns"/ && $3 > 1000000000 {seen = 1}
                END {exit !seen}' /tmp/a.json
        }
        await 60 seen || fail "no CPU-bound task: $(cat /tmp/a.json)"
        kill -KILL $task
        wget -q -O /tmp/metrics http://127.0.0.1:9101/metrics || fail "no metrics"
        egrep -q '^takt_placed_total\{place="preempt"\} [1-9]' /tmp/metrics || fail "$(cat /tmp/metrics)"
        tail -n 1 /tmp/metrics | grep -q '^# EOF' || fail "half an answer"
        # The core was in bypass mode while it loaded, and has not acted in the scheduler's place since.
        egrep -q '^takt_core_events_total\{event="bypass_activate"\} [1-9]' /tmp/metrics || fail "$(cat /tmp/metrics)"
        grep -q '^takt_core_events_total{event="select_cpu_fallback"} 0$' /tmp/metrics || fail "$(cat /tmp/metrics)"

        say "nonsense"
        head -c 200000 /dev/urandom | timeout 10 nc 127.0.0.1 9101 >/dev/null
        echo 'GET / HTTP/1.1' | timeout 2 nc 127.0.0.1 9101 >/dev/null
        wget -q -O /tmp/metrics http://127.0.0.1:9101/metrics || fail "no metrics after nonsense"
        expect_takt

        say "ejected while watched"
        name=$(ops)
        echo 1 >/proc/sys/kernel/sysrq
        echo S >/proc/sysrq-trigger
        await 60 gone $agent || fail "the agent lives on"
        wait $agent
        [ $? -eq 1 ] || fail "the agent was ejected, and does not say so"
        [ -e /var/run/scx/root/stats ] && fail "the socket is left behind"
        lines=$(wc -l </tmp/top.out)
        await 60 sees EEVDF || fail "stats: $(cat /tmp/stats.out)"
        gone $top && fail "top has ended: $(cat /tmp/top.out)"
        gone $monitor && fail "--monitor has ended: $(cat /tmp/monitor.out)"
        more() { [ "$(wc -l </tmp/top.out)" -gt $((lines + 2)) ]; }
        await 60 more || fail "top is silent"
        await 60 shows "$name WAS EJECTED" /tmp/top.out || fail "$(tail -n 3 /tmp/top.out)"
        tail -n 1 /tmp/top.out | grep ' EEVDF ' || fail "top does not name the scheduler now"
        cat /var/lib/scx_takt/last_ejection.json
        kill -TERM $top $monitor
        wait $top || fail "top ended with status $?"
        wait $monitor || fail "--monitor ended with status $?"
        "#,
    );
    assert!(
        text.contains("sysrq"),
        "the kernel's reason is kept:\n{text}"
    );
}
