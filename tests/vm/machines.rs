//! The VM harness's machines: the guest's kernel must see the CPUs, caches and nodes that a machine's name stands for.

use crate::common::Vm;

/// Prints `cpus N`, and for each level how many different groups of CPUs there are.
const SHAPE: &str = r#"
    cd /sys/devices/system/cpu
    groups() { cat cpu[0-9]*/$1 | sort -u | wc -l; }
    say "cpus $(ls -d cpu[0-9]*/topology | wc -l)"
    say "cores $(groups topology/thread_siblings_list)"
    say "llcs $(groups cache/index3/shared_cpu_list)"
    say "packages $(groups topology/physical_package_id)"
    say "nodes $(ls -d /sys/devices/system/node/node[0-9]* | wc -l)"
"#;

fn shape_of(machine: &str, more: &str) -> String {
    Vm::new("7.2")
        .machine(machine)
        .passes(&format!("{SHAPE}\n{more}"))
}

#[track_caller]
fn assert_shape(machine: &str, text: &str, counts: [u32; 5]) {
    let names = ["cpus", "cores", "llcs", "packages", "nodes"];
    for (name, count) in names.into_iter().zip(counts) {
        assert!(
            text.contains(&format!("--- {name} {count}\n")),
            "{machine} has not {count} {name}:\n{text}"
        );
    }
}

#[test]
#[ignore = "boots a VM"]
fn desktop8_has_one_last_level_cache() {
    assert_shape("desktop8", &shape_of("desktop8", ""), [8, 8, 1, 1, 1]);
}

#[test]
#[ignore = "boots a VM"]
fn ryzen16_has_two_last_level_caches_of_eight() {
    let text = shape_of("ryzen16", "cat cpu0/cache/index3/shared_cpu_list");
    assert_shape("ryzen16", &text, [16, 16, 2, 1, 1]);
    assert!(text.contains("\n0-7\n"), "{text}");
}

#[test]
#[ignore = "boots a VM"]
fn server32_has_two_nodes_four_last_level_caches_and_smt() {
    let text = shape_of("server32", "cd; scx_takt check");
    assert_shape("server32", &text, [32, 16, 4, 2, 2]);
    let seen = "topology    32 CPUs with SMT, 4 last-level caches, 2 NUMA nodes";
    assert!(text.contains(seen), "{text}");
}

/// Siblings of the performance cores come first; the efficiency cores have none, and less capacity.
#[test]
#[ignore = "boots a VM"]
fn laptop_hybrid_has_cores_of_two_kinds() {
    let more = r#"
        say "smt $(cat cpu[0-9]*/topology/thread_siblings_list | grep -c '[-,]')"
        say "big $(grep -l 1024 cpu[0-9]*/cpu_capacity | wc -l)"
        [ "$(cat cpu0/cpu_capacity)" -gt "$(cat cpu15/cpu_capacity)" ] || fail "cpu15 is as big as cpu0"
    "#;
    let text = shape_of("laptop-hybrid", more);
    assert_shape("laptop-hybrid", &text, [16, 12, 1, 1, 1]);
    assert!(
        text.contains("--- smt 8\n") && text.contains("--- big 8\n"),
        "{text}"
    );
}
