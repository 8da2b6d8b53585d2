//! The benchmark in a guest whose clock counts instructions.

use crate::common::Vm;

/// Runs the same benchmark in a fresh guest; returns its results as they were printed, and the guest's
/// random number and clock after it.
fn results() -> (String, String) {
    let text = Vm::new("7.2").deterministic().passes(
        r#"
        scx_takt bench --deterministic --rounds 1 --workloads pipe --no-callbacks --json /tmp/results \
            > /dev/null || fail "the benchmark ended with status $?"
        echo "RESULTS $(tr -d '\n' < /tmp/results)"
        echo "END $(cat /proc/sys/kernel/random/uuid) $(grep -m 1 'now at' /proc/timer_list)"
        "#,
    );
    let line = |word: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(word));
        found.unwrap().to_owned()
    };
    (line("RESULTS "), line("END "))
}

/// Two boots are the same run: not a figure differs, nor the clock in its last nanosecond. That is what
/// makes any difference between two builds one of their own.
#[test]
#[ignore = "boots a VM"]
fn two_boots_agree_to_the_nanosecond() {
    let (first, second) = (results(), results());
    assert_eq!(first, second);
    let results: serde_json::Value = serde_json::from_str(&first.0).unwrap();
    let waits = results["waits"].as_array().unwrap();
    for name in ["eevdf", "scx_takt"] {
        let of = waits.iter().find(|waits| waits["scheduler"] == name);
        let count = of.unwrap()["all"]["count"].as_u64().unwrap();
        // In each round trip both sides wait for the CPU.
        assert!(count >= 2 * 20_000, "{name}: {count} waits seen");
    }
}

/// The metric that every workload has: of the time of all CPUs, what went by idle while a task waited. A cgroup with a
/// limit of half a CPU makes it known beforehand: its tasks wait, and the only CPU idles, half of the time.
#[test]
#[ignore = "boots a VM"]
fn idle_while_runnable_is_what_a_limit_takes_away() {
    let text = Vm::new("7.2").deterministic().passes(
        r#"
        mkdir /sys/fs/cgroup/half
        echo '50000 100000' >/sys/fs/cgroup/half/cpu.max
        compare() {
            scx_takt bench --deterministic --no-self --against eevdf --rounds 1 --no-callbacks --json /tmp/results "$@" \
                >/dev/null || fail "the benchmark ended with status $?"
            tr -d '\n' </tmp/results
            echo
        }
        compare --workloads command -- sh -c 'echo $$ >/sys/fs/cgroup/half/cgroup.procs
            exec scx_takt load shares --seconds 1 2xbusy'
        compare --workloads pipe
        "#,
    );
    let idle: Vec<f64> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .map(|results| {
            let figures = results["results"].as_array().unwrap();
            let figure = figures
                .iter()
                .find(|figure| figure["metric"] == "idle_runnable");
            figure.unwrap()["median"].as_f64().unwrap()
        })
        .collect();
    println!("idle while tasks waited, in %: {idle:?}");
    // The processes begin and end outside of the cgroup, and waits of less than 100 us do not count.
    assert!((40.0..52.0).contains(&idle[0]), "{text}");
    assert!(
        idle[1] < 0.1,
        "one CPU cannot idle beside a waiting task: {text}"
    );
}

/// `containers` and `quota` leave no cgroup behind: at their end, at SIGINT, and at the next start what a benchmark that
/// was killed has left. Without root they are left out, with the reason.
#[test]
#[ignore = "boots a VM"]
fn workloads_in_cgroups_clean_up() {
    Vm::new("7.2").deterministic().passes(
        r#"
        place=/sys/fs/cgroup/scx_takt_bench
        takes_part() { grep -q . $place/pod59/app/cgroup.procs 2>/dev/null; }
        flags="--deterministic --no-self --against eevdf --rounds 1 --no-callbacks --no-waits"
        scx_takt bench $flags --workloads containers >/dev/null 2>&1 &
        await 60 takes_part || fail "no pods"
        kill -TERM $!
        wait $! && fail "was interrupted, and ends with status 0"
        [ -e $place ] && fail "cgroups are left behind: $(find $place -type d)"

        scx_takt bench $flags --workloads containers >/dev/null 2>&1 &
        await 60 takes_part || fail "no pods"
        kill -KILL $!
        await 20 gone $! || fail "cannot be killed"
        [ -e $place/pod59 ] || fail "they are gone already"
        scx_takt bench $flags --workloads fairness,quota --json - >/tmp/results || fail "status $?"
        [ -e $place ] && fail "cgroups are left behind: $(find $place -type d)"
        egrep -q '"metric": "cgroup_error"' /tmp/results && egrep -q '"metric": "six_10ms"' /tmp/results || fail "$(cat /tmp/results)"

        as_plain_user scx_takt bench --deterministic --against eevdf --rounds 1 --no-callbacks --no-waits \
            --workloads quota,pipe >/tmp/out 2>&1 || fail "$(cat /tmp/out)"
        grep 'quota is left out: making cgroups takes root' /tmp/out || fail "$(cat /tmp/out)"
        rejects 1 'containers is left out: making cgroups takes root' as_plain_user scx_takt bench --workloads containers
        "#,
    );
}
