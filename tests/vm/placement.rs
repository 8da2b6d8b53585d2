//! Where tasks run on machines of several LLCs and nodes: work stays inside its LLC while that has room, and
//! leaves when it has not.

use super::common::Vm;

const LIBRARY: &str = r#"
    # crossings: migrations from one LLC to another so far.
    crossings() { grep -c "^[0-9.]* migrate:" /tmp/agent.out; }

    # idle_of: idle time of each CPU so far, in hundredths of a second.
    idle_of() { sed -n 's/^cpu[0-9][0-9]* //p' /proc/stat | awk '{ print $4 }'; }

    # all_busy: has every CPU computed for nine tenths of a second?
    all_busy() {
        idle_of >/tmp/before
        usleep 1000000
        idle_of >/tmp/after
        paste -d' ' /tmp/before /tmp/after | awk '{ print $2 - $1 }' >/tmp/idle
        awk '$1 > 10 { exit 1 }' /tmp/idle
    }

    # hogs N: so many tasks that compute, all begun on CPU 0 and free to go where they like.
    hogs() {
        for i in $(seq "$1"); do
            taskset 1 sh -c 'taskset -p '$every' $$ >/dev/null; while :; do :; done' &
            pids="$pids $!"
        done
    }
    every=$(printf %x $(((1 << $(grep -c ^processor /proc/cpuinfo)) - 1)))
"#;

/// Runs on a machine of `shape` with `cpus` CPUs, of which an LLC has `room`.
///
/// One that computes for each CPU, all begun on the first: a tick of a busy CPU bounds how long another may
/// idle meanwhile, so that soon no CPU idles. Fewer than an LLC has room for, that sleep and
/// wake: they stay.
fn placed(shape: &str, cpus: u32, room: u32) {
    let pairs = room / 2;
    let script = format!(
        r#"
        start_agent --events --event-limit 1000000
        say "{pairs} pairs in an LLC of {room}"
        before=$(crossings)
        waits=
        for i in $(seq {pairs}); do
            scx_takt bench --deterministic --run-one pipe >/tmp/pipe$i.json 2>&1 &
            waits="$waits $!"
        done
        for pid in $waits; do wait $pid || fail "$(cat /tmp/pipe*.json)"; done
        stayed=$(($(crossings) - before))
        echo "$stayed crossings in $(({pairs} * 40000)) wakeups"
        [ $stayed -lt $(({pairs} * 400)) ] || fail "work does not stay in its LLC"

        say "{cpus} hogs, begun on one CPU"
        before=$(crossings)
        pids=
        hogs {cpus}
        await 60 all_busy || fail "a CPU idles while others have two tasks: $(cat /tmp/idle)"
        left=$(($(crossings) - before))
        kill $pids
        echo "idle, in hundredths: $(cat /tmp/idle)"
        [ $left -gt 0 ] || fail "no task left a full LLC"
        expect_takt
        stop_agent INT
        "#
    );
    Vm::new("7.2")
        .cpus(cpus)
        .topology(shape)
        .passes(&format!("{LIBRARY}\n{script}"));
}

#[test]
#[ignore = "boots a VM"]
fn work_stays_in_its_llc_while_there_is_room_in_two_sockets() {
    placed("2:4:1", 8, 4);
}

#[test]
#[ignore = "boots a VM"]
fn long_work_stays_in_its_llc_while_there_is_room_in_four_llcs() {
    placed("1:4:2:1", 8, 2);
}

#[test]
#[ignore = "boots a VM"]
fn long_work_stays_in_its_llc_while_there_is_room_in_two_nodes_of_two() {
    placed("2:2:2:1", 8, 2);
}

/// A machine of two small and two big CPUs, made of four equal ones by a copy of sysfs that says so. Two that
/// compute, begun on a small one and then let go: they move to the big ones, although no task wakes
/// or waits.
#[test]
#[ignore = "boots a VM"]
fn cpu_bound_tasks_move_to_the_big_cpus() {
    Vm::new("7.2").cpus(4).deterministic().passes(
        r#"
        mkdir /tmp/cpu
        cp -a /sys/devices/system/cpu/. /tmp/cpu/ 2>/dev/null
        for cpu in 2 3; do echo 446 >/tmp/cpu/cpu$cpu/cpu_capacity; done
        for cpu in 0 1; do echo 1024 >/tmp/cpu/cpu$cpu/cpu_capacity; done
        mount -o bind /tmp/cpu /sys/devices/system/cpu
        start_agent
        for i in 1 2; do
            taskset 8 sh -c 'taskset -p f $$ >/dev/null; while :; do :; done' &
            pids="$pids $!"
        done
        usleep 200000
        for i in $(seq 20); do
            usleep 20000
            for pid in $pids; do
                read -r stat </proc/$pid/stat
                set -- ${stat##*)}
                echo ${37} # field 39 of proc_pid_stat(5): its CPU
            done
        done >/tmp/seen
        big=$(grep -c '[01]' /tmp/seen)
        kill $pids
        stop_agent INT
        [ "$big" -ge 32 ] || fail "on big CPUs in $big of 40 looks only: $(tr '\n' ' ' </tmp/seen)"
        "#,
    );
}

/// Futexes and eventfds do not say that their waker sleeps at once, but two that play ping-pong over them
/// have proven it: they share a CPU as those over a pipe do, and leave the other idle. (5,000, but for 2,000
/// each time that something else came in between for long.)
#[test]
#[ignore = "boots a VM"]
fn players_of_ping_pong_share_a_cpu_whatever_they_play_over() {
    let script = |workload| {
        format!(
            r#"
            start_agent --events
            scx_takt bench --deterministic --run-one {workload} >/tmp/run.json || fail "{workload}: $?"
            stop_agent INT
            handed=$(sed -n 's/.*; \([0-9]*\) hand-overs.*/\1/p' /tmp/agent.out)
            echo "{workload}: $handed hand-overs in 5,000 round trips"
            [ "$handed" -ge 1000 ] || fail "{workload}: $(tail -n 3 /tmp/agent.out)"
            "#
        )
    };
    let scripts = ["pipe", "futex", "eventfd"].map(script);
    Vm::new("7.2")
        .cpus(2)
        .deterministic()
        .passes(&scripts.concat());
}

/// Two that play ping-pong for a hundred round trips and then compute side by side: a task that hands over at
/// the change stands beside an idle CPU until the tick. That happens, and is made up for with a proof for each
/// 256 ns, so that few rounds have any hand-over at all.
#[test]
#[ignore = "boots a VM"]
fn handoff_that_delays_the_waker_needs_new_proofs() {
    let text = Vm::new("7.2").cpus(2).deterministic().passes(
        r#"
        start_agent --events
        scx_takt stress --seconds 3 --kinds duet --json >/tmp/stress.json || fail "$(cat /tmp/stress.json)"
        stop_agent INT
        sed -n 's/.*; \([0-9]*\) hand-overs.*/HANDED \1/p' /tmp/agent.out
        echo "STRESS $(tr -d '\n' </tmp/stress.json)"
        "#,
    );
    let line = |word: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(word))
            .unwrap()
    };
    let handed: u64 = line("HANDED ").parse().unwrap();
    let summary: serde_json::Value = serde_json::from_str(line("STRESS ")).unwrap();
    let rounds = summary["kinds"][0]["operations"].as_u64().unwrap() / 2;
    println!("{handed} hand-overs in {rounds} rounds of 100 round trips");
    assert!(rounds > 50, "{text}");
    assert!(handed > 0, "{text}");
    // 49 in each round if a wrong guess costs nothing, 2 as it is.
    assert!(handed < 15 * rounds, "{handed} in {rounds} rounds");
}
