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
