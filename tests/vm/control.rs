//! The closed loop: configuration, rules and tuner in a running scheduler.

use serde_json::Value;

use super::common::Vm;

#[path = "plot.rs"]
mod plot;
#[path = "step.rs"]
mod step;

/// Functions for the script of `rules_hold_at_exec_and_after_reload`.
const LIBRARY: &str = r#"
    # await_looks N: until the tuner has looked N times more.
    await_looks() {
        wanted=$(($(wc -l </tmp/record) + $1))
        await 60 recorded $wanted || fail "the tuner does not look any more"
    }
    recorded() { [ "$(wc -l </tmp/record)" -ge "$1" ]; }

    # wakeups: those of the last round, as "normal latency background".
    wakeups() { tail -n 1 /tmp/record | sed 's/.*"wakeups":\[\([0-9]*\),\([0-9]*\),\([0-9]*\)\].*/\1 \2 \3/'; }
    is_urgent() { set -- 0 0 0 $(wakeups); shift $(($# - 3)); [ $2 -gt 0 ] && [ $3 -eq 0 ]; }
    is_background() { set -- 0 0 0 $(wakeups); shift $(($# - 3)); [ $2 -eq 0 ] && [ $3 -gt 0 ]; }
    is_normal() { set -- 0 0 0 $(wakeups); shift $(($# - 3)); [ $1 -gt 0 ] && [ $2 -eq 0 ] && [ $3 -eq 0 ]; }

    # config RULE-KEY RULE-VALUE CLASS: one rule, and a goal that makes the kernel count wakeups.
    config() {
        printf '[goal]\nwakeup_p99_us = 100_000\n[[rule]]\n%s = "%s"\nclass = "%s"\n' "$1" "$2" "$3" >/tmp/new.toml
        mv /tmp/new.toml /tmp/config.toml
    }
    says() { grep -q "$1" /tmp/agent.err; }
    # taken N: until N configurations have been taken over.
    taken() { await 30 has_taken "$1" || fail "the configuration was not taken over"; }
    has_taken() { [ "$(grep -c 'taken over' /tmp/agent.err)" -ge "$1" ]; }
"#;

/// A rule holds for programs that start, for those that run, after each reload; and a configuration that is
/// wrong, half written or gone leaves everything as it was.
#[test]
#[ignore = "boots a VM"]
fn rules_hold_at_exec_and_after_reload() {
    let script = r#"
        cp "$(which scx_takt)" /tmp/urgent
        config exe /tmp/urgent latency
        printf '[[rule]]\ncomm = "no-such-comm"\n' >>/tmp/config.toml
        start_agent --config /tmp/config.toml --record-tuning /tmp/record -v
        await 30 says 'comm "no-such-comm" matches no task now' || fail "no warning of a rule without tasks"

        say "at exec"
        /tmp/urgent stress --seconds 600 --kinds sleepers >/dev/null 2>&1 &
        urgent=$!
        await 30 is_urgent || fail "wakeups by class: $(wakeups)"

        say "while a viewer watches"
        scx_takt stats --json >/tmp/stats.out || fail "stats --json"
        grep -q '"profile": "auto"' /tmp/stats.out || fail "$(cat /tmp/stats.out)"
        await_looks 3
        is_urgent || fail "wakeups by class: $(wakeups)"

        say "after a reload, for tasks that run"
        config exe /tmp/urgent background
        taken 1
        await 30 is_background || fail "wakeups by class: $(wakeups)"

        say "not after a configuration that is wrong, half written or gone"
        printf '[[rule]]\nexe = "/tmp/urgent"\nclass = "lat' >/tmp/config.toml
        await 30 says 'stays as it was' || fail "a wrong file is not refused"
        rm /tmp/config.toml
        await 30 says 'config.toml is gone' || fail "a deleted file is not noticed"
        await_looks 3
        is_background || fail "wakeups by class: $(wakeups)"

        say "by thread name, by user, by cgroup, by unit"
        config comm sleeper/0 latency
        for name in sleeper/1 sleeper/2 sleeper/3 timer/4; do
            printf '[[rule]]\ncomm = "%s"\nclass = "latency"\n' $name >>/tmp/config.toml
        done
        kill -HUP $agent
        await 30 is_urgent || fail "comm: wakeups by class: $(wakeups)"
        config user 0 background
        await 30 is_background || fail "user: wakeups by class: $(wakeups)"
        grep -q cgroup2 /proc/mounts || mount -t cgroup2 none /sys/fs/cgroup
        mkdir -p /sys/fs/cgroup/some.slice/some.service/deep
        config cgroup /some.slice latency
        await 30 is_normal || fail "cgroup, outside: wakeups by class: $(wakeups)"
        echo $urgent >/sys/fs/cgroup/some.slice/some.service/deep/cgroup.procs
        await 30 is_urgent || fail "cgroup: wakeups by class: $(wakeups)"
        config unit some.service background
        await 30 is_background || fail "unit: wakeups by class: $(wakeups)"

        say "not by the end of a path that is too deep to be known"
        deep=/sys/fs/cgroup
        for level in $(seq 17); do deep=$deep/$level; done
        mkdir -p $deep
        config cgroup /2 latency
        await 30 is_normal || fail "another cgroup: wakeups by class: $(wakeups)"
        echo $urgent >$deep/cgroup.procs
        await_looks 12
        is_normal || fail "deep: wakeups by class: $(wakeups)"
        config unit 17 background
        await 30 is_background || fail "deep unit: wakeups by class: $(wakeups)"

        kill -INT $urgent
        expect_takt
        stop_agent INT
        cat /tmp/agent.err
        "#;
    Vm::new("7.2")
        .cpus(2)
        .passes(&format!("{LIBRARY}\n{script}"));
}

/// The objects of JSON that stand behind `mark` at the beginning of a line.
pub fn marked(text: &str, mark: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line.trim().strip_prefix(mark)?.trim()).ok())
        .collect()
}

/// What a program measures itself: p99 of the wakeups of `bench --run-one wakeup`, by mark, in us.
fn p99_us(text: &str, mark: &str) -> f64 {
    let found = marked(text, mark);
    let [one] = &found[..] else {
        panic!("one {mark} expected: {found:?}")
    };
    let p99 = one["values"]["p99"].as_f64();
    p99.unwrap_or_else(|| panic!("no p99 in {one}"))
}

/// A program that has a class by a rule wakes sooner, by its own measurement, beside work that is protected
/// otherwise; and `top`'s snapshot names the rule. In instruction time.
#[test]
#[ignore = "boots a VM"]
fn a_rule_shows_in_latency_and_in_the_snapshot() {
    let text = Vm::new("7.2").deterministic().passes(
        r#"
        cp "$(which scx_takt)" /tmp/urgent
        printf '[[rule]]\ncomm = "absent"\n' >/tmp/config.toml
        start_agent --config /tmp/config.toml
        scx_takt stress --seconds 600 --kinds bursts >/dev/null 2>&1 &
        stress=$!
        # Its sleeping threads are called as the program is; its hogs have names of their own.
        probe() { /tmp/urgent bench --deterministic --run-one wakeup; }
        snapshot() { scx_takt stats --json | grep -q "\"ruled\": \"$1\""; }
        echo "WITHOUT $(probe)"
        snapshot latency && fail "a class without a rule"

        printf '[[rule]]\ncomm = "urgent"\nclass = "latency"\n' >/tmp/config.toml
        await 60 grep -q 'taken over' /tmp/agent.err || fail "the rule was not taken over"
        echo "WITH $(probe)"
        /tmp/urgent bench --deterministic --run-one wakeup >/dev/null &
        await 60 snapshot latency || fail "the rule is not seen: $(scx_takt stats --json)"
        kill -INT $stress
        stop_agent INT
        "#,
    );
    let (without, with) = (p99_us(&text, "WITHOUT"), p99_us(&text, "WITH"));
    println!("p99 of the program: {without} us without a rule, {with} us with it");
    assert!(4.0 * with < without, "{with} us with, {without} us without");
}

/// The agent stopped: the tunables as it turned them last stay in force. Figures that it cannot have: back to
/// those that were set, and it says so. In instruction time.
#[test]
#[ignore = "boots a VM"]
fn tunables_hold_without_the_agent_and_fall_back_without_figures() {
    let text = Vm::new("7.2").deterministic().passes(
        r#"
        printf '[goal]\nwakeup_p99_us = 100\n' >/tmp/config.toml
        start_agent --config /tmp/config.toml --record-tuning /tmp/record
        scx_takt stress --seconds 600 --kinds crowd,redraw,sleepers >/dev/null 2>&1 &
        stress=$!
        level() { tail -n 1 /tmp/record | sed 's/.*"level":\([0-9]*\).*/\1/'; }
        is_tight() { [ -s /tmp/record ] && [ "$(level)" -ge 8 ]; }
        await 60 is_tight || fail "not turned: $(tail -n 5 /tmp/record)"

        kill -STOP $agent
        echo "STOPPED $(scx_takt bench --deterministic --run-one wakeup)"
        touch /tmp/empty
        mount --bind /tmp/empty /proc/loadavg || fail "cannot hide /proc/loadavg"
        kill -CONT $agent
        says() { grep -q 'no figures to go by.*loadavg' /tmp/agent.err; }
        await 60 says || fail "it does not say that figures are missing"
        echo "MISSING $(scx_takt bench --deterministic --run-one wakeup)"
        umount /proc/loadavg
        await 60 is_tight || fail "not turned again: $(tail -n 5 /tmp/record)"
        [ "$(grep -c 'no figures' /tmp/agent.err)" -eq 1 ] || fail "said more than once"
        kill -INT $stress
        stop_agent INT
        "#,
    );
    let (stopped, missing) = (p99_us(&text, "STOPPED"), p99_us(&text, "MISSING"));
    println!("p99: {stopped} us with the agent stopped, {missing} us without figures");
    assert!(2.0 * stopped < missing, "{stopped} us, then {missing} us");
}
