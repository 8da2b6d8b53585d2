//! `scx_takt why` beside injected culprits: it names each of them as the first cause, under EEVDF and under scx_takt.

use serde_json::Value;

use super::common::{KERNEL_6_12, Vm};

/// `ask NAME TIME FLAG...`: what `why` says of waits of TIME and longer of the victim of a load. On CPUs that others
/// use, it is loaded with a nice value that lets it.
const ASK: &str = r#"
    ifconfig lo up
    root=/sys/fs/cgroup
    grep -q cgroup2 /proc/mounts || mount -t cgroup2 none $root
    echo +cpu >$root/cgroup.subtree_control
    mkdir -p $root/small.service $root/light.slice/light.service
    echo "10000 100000" >$root/small.service/cpu.max
    echo 10 >$root/light.slice/cpu.weight

    named() { grep -qx "$1" /proc/[0-9]*/comm; }
    unnamed() { ! named "$1"; }
    ask() {
        name=$1 over=$2
        shift 2
        scx_takt load culprit --seconds 600 "$@" >/dev/null 2>/tmp/stress.err &
        load=$!
        await 60 named victim || fail "$name: no victim"
        echo "CASE $name $(state)"
        nice -n -20 scx_takt why ${target:-victim} --seconds 1 --over $over --json || fail "$name: status $?"
        echo "END"
        kill $load
        await 60 unnamed victim || fail "$name: the victim stays"
    }
    under_both() {
        "$@"
        start_agent
        "$@"
    }
"#;

/// What `why` said.
struct Answer {
    case: String,
    /// `disabled`: under EEVDF.
    state: String,
    report: Value,
}

impl Answer {
    /// The first cause of most waits.
    fn cause(&self) -> &str {
        let causes = self.report["causes"].as_object().unwrap();
        let most = causes.iter().max_by_key(|(_, count)| count.as_u64());
        most.map_or("none", |(name, _)| name)
    }

    /// What is said of the longest wait: cause, rule, affinity.
    fn longest(&self) -> String {
        let list = if self.case == "lock" {
            "locks"
        } else {
            "longest"
        };
        let row = &self.report[list][0];
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        [text("why"), text("rule"), text("affinity")].join(" | ")
    }
}

/// Runs a script of [`ASK`] and prints the table.
fn answers(vm: Vm, script: &str) -> Vec<Answer> {
    let text = vm.passes(&format!("{ASK}\n{script}"));
    let mut found = Vec::new();
    let mut lines = text.lines().map(|line| line.trim_end_matches('\r'));
    while let Some(line) = lines.next() {
        let Some(words) = line.strip_prefix("CASE ") else {
            continue;
        };
        let (case, state) = words.split_once(' ').unwrap();
        let json: Vec<_> = lines.by_ref().take_while(|line| *line != "END").collect();
        let json = json.join("\n");
        let json = &json[json.find('{').unwrap()..];
        let answer = Answer {
            case: case.to_owned(),
            state: state.to_owned(),
            report: serde_json::from_str(json).unwrap(),
        };
        println!(
            "| {case} | {state} | {} | {} | {} |",
            answer.report["causes"],
            answer.cause(),
            answer.longest()
        );
        found.push(answer);
    }
    found
}

/// Each case has this first cause, and the longest wait of it is explained by these words.
fn expect(found: &[Answer], case: &str, cause: &str, words: &[&str]) {
    let of_case: Vec<_> = found.iter().filter(|answer| answer.case == case).collect();
    assert!(!of_case.is_empty(), "{case} was not asked");
    for answer in of_case {
        let (state, longest) = (&answer.state, answer.longest());
        if case != "lock" {
            assert_eq!(
                answer.cause(),
                cause,
                "{case}, sched_ext {state}: {longest}"
            );
        }
        assert!(
            words.iter().all(|word| longest.contains(word)),
            "{case}, sched_ext {state}: {longest}"
        );
    }
}

/// One CPU: what else has it is the cause.
fn one_cpu(kernel: &str) {
    let found = answers(
        Vm::new(kernel).deterministic(),
        r#"
        all() {
            ask rt 5ms --kind rt
            ask softirq 5ms --kind softirq
            ask heavy 5ms --kind heavy
            ask nice-10 5ms --kind busy --victim-nice 10
            ask equal 2ms --kind busy --work-ms 30
            ask crowd 5ms --kind crowd
            ask light-cgroup 5ms --kind busy --work-ms 30 --join $root/light.slice/light.service/cgroup.procs
            target="--unit small"
            ask cpu.max 5ms --kind idle --work-ms 30 --join $root/small.service/cgroup.procs
            target=victim
        }
        under_both all
        "#,
    );
    expect(&found, "rt", "real-time", &["culprit", "real-time 50"]);
    expect(&found, "softirq", "interrupts", &["softirqs"]);
    expect(&found, "heavy", "higher weight", &["culprit", "nice -20"]);
    expect(&found, "nice-10", "higher weight", &["culprit"]);
    expect(&found, "equal", "task", &["culprit"]);
    expect(&found, "crowd", "crowd", &["tasks took turns"]);
    expect(
        &found,
        "light-cgroup",
        "heavier cgroup",
        &["culprit", "times the weight"],
    );
    expect(&found, "cpu.max", "throttled", &["cpu.max"]);
    assert_eq!(found.len(), 16);
}

/// Two CPUs: which of them the task may use counts, too.
fn two_cpus(kernel: &str) {
    let found = answers(
        Vm::new(kernel).cpus(2).deterministic(),
        r#"
        all() {
            ask lock 5ms --kind lock --victim-cpus 1
            ask affinity 5ms --kind busy --victim-nice 10
            taskset 2 sh -c 'while :; do :; done' &
            busy=$!
            ask bound 2ms --kind busy --work-ms 30
            ask rt-on-both 5ms --kind rt --victim-cpus 0
            kill $busy
            ask free-crowd 5ms --kind crowd --victim-cpus 0-1 --culprit-cpus 0-1
        }
        under_both all
        "#,
    );
    expect(
        &found,
        "affinity",
        "affinity",
        &["CPU 1 was idle", "affinity is 0"],
    );
    expect(
        &found,
        "lock",
        "lock",
        &["holder", "behind culprit", "real-time 50"],
    );
    expect(&found, "bound", "task", &["culprit", "CPU 0 only"]);
    expect(
        &found,
        "rt-on-both",
        "real-time",
        &["culprit", "real-time 50"],
    );
    expect(&found, "free-crowd", "crowd", &["took turns"]);
    assert_eq!(found.len(), 10);
}

#[test]
#[ignore = "boots a VM"]
fn why_names_the_culprit_on_one_cpu() {
    one_cpu("7.2");
}

#[test]
#[ignore = "boots a VM"]
fn why_names_the_culprit_on_two_cpus() {
    two_cpus("7.2");
}

#[test]
#[ignore = "boots a VM"]
fn why_names_the_culprit_on_6_12() {
    one_cpu(KERNEL_6_12);
}

/// Under scx_takt the rule is named that lets a wakee wait: a short-running task is protected.
#[test]
#[ignore = "boots a VM"]
fn why_names_the_rule_that_protects() {
    let found = answers(
        Vm::new("7.2").deterministic(),
        "start_agent
         ask protected 2ms --kind bursts --burst-ms 7",
    );
    expect(
        &found,
        "protected",
        "task",
        &["culprit", "was protected: short-running"],
    );
}

/// What cannot be watched is said in one line, and what ends meanwhile ends the watch.
#[test]
#[ignore = "boots a VM"]
fn why_says_what_it_cannot_do() {
    Vm::new("7.2").deterministic().passes(
        r#"
        rejects 1 'no task has PID 4000000' scx_takt why 4000000
        rejects 1 'no task has PID 0: give one above 0' scx_takt why 0
        rejects 1 'no task is named .no-such' scx_takt why no-such
        rejects 2 '500us, 5ms or 1s' scx_takt why 1 --over 5
        rejects 2 'PID.NAME' scx_takt why
        rejects 1 'root' as_plain_user scx_takt why 1
        mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null
        rejects 1 'no cgroup is named .no-such.service' scx_takt why --unit no-such

        say "a process that ends meanwhile, two at once"
        sleep 3 &
        scx_takt why $! --seconds 600 >/tmp/first &
        first=$!
        scx_takt why $(pidof sleep) --seconds 600 >/tmp/second || fail "status $?"
        wait $first || fail "status $? of the first"
        for file in /tmp/first /tmp/second; do
            grep -q 'ended early' $file && grep -q 'tasks have ended' $file || fail "$(cat $file)"
        done

        say "ctrl-C"
        scx_takt why 1 --seconds 600 >/tmp/first 2>/tmp/agent.err &
        first=$!
        await 30 grep -q watching /tmp/agent.err || fail "does not begin"
        kill -TERM $first
        wait $first || fail "status $? at SIGTERM"
        grep -q 'ended early' /tmp/first || fail "$(cat /tmp/first)"

        say "a name with an escape"
        printf '#!/bin/sh
while :; do :; done
' >"/tmp/$(printf 'x[31my')"
        chmod +x /tmp/x*
        /tmp/x* &
        scx_takt why "$(printf 'x[31my')" --seconds 0.5 --over 10us >/tmp/first 2>&1 || fail "status $?"
        grep -q "$(printf '')" /tmp/first && fail "an escape is printed"
        grep -q 'x.u{1b}.31my' /tmp/first || fail "$(cat /tmp/first)"
        kill $!
        "#,
    );
}
