//! Where each CPU belongs, in the dense numbers that the BPF side uses.
//!
//! The numbers are those of `scx_utils::Topology`, which tells much more: for all of it, it opens two dozen files
//! per CPU and compiles regular expressions to read their names, which took 7 ms of loading on one CPU (7.2.13,
//! deterministic). It is asked only where CPUs differ in capacity.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scx_utils::{CoreType, Topology};

use crate::bpf_abi::intf::{takt_consts_TAKT_MAX_CPUS, takt_consts_TAKT_MAX_LLCS};

/// The machine as the scheduler sees it.
pub struct Machine {
    /// For each CPU number: the LLC it belongs to, from 0 on without holes; `None`: no such CPU, or
    /// one that was offline when we looked.
    pub llc_of_cpu: Vec<Option<u16>>,
    /// For each LLC: its NUMA node.
    pub node_of_llc: Vec<u32>,
    /// Number of LLCs, at least 1.
    pub nr_llcs: u32,
    /// Number of CPUs that were online.
    pub nr_cpus: u32,
    /// For each LLC all others, those of its own NUMA node first.
    pub steal_order: Vec<Vec<u8>>,
    /// CPUs of the larger kind, in the order in which they are to be filled; empty if all are of one kind.
    pub big_cpus: Vec<u16>,
}

/// How often to look again at a machine whose CPUs come and go while we look.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

impl Machine {
    /// Reads it from sysfs; again, for up to two seconds, when a CPU goes away meanwhile and takes its
    /// files along.
    ///
    /// # Errors
    /// If sysfs cannot be made sense of, or the machine is larger than this build can hold.
    pub fn read() -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::read_once() {
                Err(_) if attempt < ATTEMPTS => thread::sleep(PAUSE),
                result => return result,
            }
            attempt += 1;
        }
    }

    fn read_once() -> Result<Self> {
        let system = Path::new("/sys/devices/system");
        let mut machine = Self::read_from(system)?;
        if !are_alike(system, &machine) {
            let topology = Topology::new().context("cannot read the CPU topology from sysfs")?;
            machine.big_cpus = big_cpus(&topology);
        }
        Ok(machine)
    }

    fn read_from(system: &Path) -> Result<Self> {
        let online = read_cpus(&system.join("cpu/online"))?;
        let mut llc_of_cpu = vec![None; online.iter().max().map_or(0, |last| last + 1)];
        let mut llcs = HashMap::new();
        let mut nodes = Vec::new();
        for (node, cpus) in read_nodes(system, &online)? {
            for cpu in cpus.into_iter().filter(|cpu| online.contains(cpu)) {
                let llc = *llcs
                    .entry((node, sharers(system, cpu)?))
                    .or_insert_with(|| {
                        nodes.push(node);
                        nodes.len() - 1
                    });
                llc_of_cpu[cpu] = Some(llc as u16);
            }
        }
        let max_cpus = takt_consts_TAKT_MAX_CPUS as usize;
        ensure!(
            llc_of_cpu.len() <= max_cpus,
            "{} CPUs: this build of scx_takt holds {max_cpus} at most",
            llc_of_cpu.len()
        );
        let nr_llcs = nodes.len().max(1);
        let max_llcs = takt_consts_TAKT_MAX_LLCS as usize;
        ensure!(
            nr_llcs <= max_llcs,
            "{nr_llcs} last-level caches: this build of scx_takt holds {max_llcs} at most"
        );
        Ok(Self {
            nr_cpus: llc_of_cpu.iter().flatten().count() as u32,
            node_of_llc: nodes.iter().map(|&node| node as u32).collect(),
            nr_llcs: nr_llcs as u32,
            llc_of_cpu,
            steal_order: steal_order(&nodes),
            big_cpus: Vec::new(),
        })
    }
}

/// Where the kernel may tell how much a CPU can do: those that `scx_utils::Topology` looks at.
const CAPACITIES: [&str; 5] = [
    "cpufreq/amd_pstate_prefcore_ranking",
    "cpufreq/amd_pstate_highest_perf",
    "acpi_cppc/highest_perf",
    "cpu_capacity",
    "cpufreq/cpuinfo_max_freq",
];

/// Does the kernel tell the same of all CPUs, wherever it may tell that one can do more than another?
fn are_alike(system: &Path, machine: &Machine) -> bool {
    CAPACITIES.iter().all(|file| {
        let told = |cpu| fs::read_to_string(system.join(format!("cpu/cpu{cpu}/{file}"))).ok();
        let cpus = (0..).zip(&machine.llc_of_cpu);
        let mut told = cpus
            .filter(|(_, llc)| llc.is_some())
            .map(|(cpu, _)| told(cpu));
        let first = told.next();
        told.all(|other: Option<String>| Some(other) == first)
    })
}

/// The CPUs that are not of the smaller kind: one of each core first, so that no two share a core while a
/// whole one is free; among those the larger first.
fn big_cpus(topology: &Topology) -> Vec<u16> {
    if !topology.has_little_cores() {
        return Vec::new();
    }
    let mut of_core = HashMap::new();
    let big = topology.all_cpus.values();
    let mut big: Vec<_> = big
        .filter(|cpu| cpu.core_type != CoreType::Little)
        .map(|cpu| {
            let sibling: &mut u32 = of_core.entry(cpu.core_id).or_default();
            *sibling += 1;
            (*sibling, Reverse(cpu.cpu_capacity), cpu.id as u16)
        })
        .collect();
    big.sort_unstable();
    big.into_iter().map(|(_, _, cpu)| cpu).collect()
}

/// Each NUMA node with its CPUs, in the order of their names; one with all of them where the kernel knows none.
fn read_nodes(system: &Path, online: &[usize]) -> Result<Vec<(usize, Vec<usize>)>> {
    let entries = match fs::read_dir(system.join("node")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(vec![(0, online.to_vec())]);
        }
        Err(error) => return Err(error).context("cannot read the NUMA nodes from sysfs"),
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    let numbered = names.iter().filter_map(|name| {
        let number = name.strip_prefix("node")?.parse().ok()?;
        Some((name, number))
    });
    let cpus = |name: &str| read_cpus(&system.join("node").join(name).join("cpulist"));
    numbered
        .map(|(name, number)| Ok((number, cpus(name)?)))
        .collect()
}

/// The CPUs that share the last-level cache of `cpu`, as the kernel writes them; nothing where it does not know
/// its caches, as on many Arm machines: then all of a node do.
fn sharers(system: &Path, cpu: usize) -> Result<String> {
    for index in ["index3", "index2"] {
        let path = system.join(format!("cpu/cpu{cpu}/cache/{index}/shared_cpu_list"));
        match fs::read_to_string(&path) {
            Ok(list) => return Ok(list),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
        }
    }
    // A CPU that has gone offline meanwhile has no caches either.
    let topology = system.join(format!("cpu/cpu{cpu}/topology"));
    ensure!(topology.exists(), "CPU {cpu} has gone");
    Ok(String::new())
}

/// Reads a file with a list of CPUs, such as `0-3,8`.
fn read_cpus(path: &Path) -> Result<Vec<usize>> {
    let text = fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    let cpus = cpus_in(text.trim());
    cpus.with_context(|| format!("{} is no list of CPUs: {text}", path.display()))
}

fn cpus_in(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for range in list.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

/// `nodes`: the NUMA node of each LLC. Among LLCs of equal distance, the next ones in number come first,
/// so that not all look at the same one.
fn steal_order(nodes: &[usize]) -> Vec<Vec<u8>> {
    let nr = nodes.len();
    let order_of = |own: usize| {
        let mut others: Vec<usize> = (1..nr).map(|step| (own + step) % nr).collect();
        others.sort_by_key(|&llc| nodes[llc] != nodes[own]);
        others.into_iter().map(|llc| llc as u8).collect()
    };
    (0..nr).map(order_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steals_from_its_own_node_first() {
        assert_eq!(
            steal_order(&[0, 0, 1, 1]),
            [[1, 2, 3], [0, 2, 3], [3, 0, 1], [2, 0, 1]]
        );
        assert_eq!(steal_order(&[0]), [[0u8; 0]]);
    }

    /// A machine of these NUMA nodes, and for each of these CPUs the file that tells its last-level cache.
    fn sysfs(nodes: &[&str], caches: &[(usize, &str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: String, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (node, cpus) in nodes.iter().enumerate() {
            write(format!("node/node{node}/cpulist"), cpus);
        }
        for (cpu, index, list) in caches {
            write(format!("cpu/cpu{cpu}/topology/core_id"), "0\n");
            if !index.is_empty() {
                write(format!("cpu/cpu{cpu}/cache/{index}/shared_cpu_list"), list);
            }
        }
        write("cpu/online".into(), "0-1,3-5\n");
        root
    }

    #[test]
    fn caches_are_numbered_by_node() {
        let root = sysfs(
            &["0-1,4\n", "2-3,5\n"],
            &[
                (0, "index3", "0-1\n"),
                (1, "index3", "0-1\n"),
                (3, "index3", "3,5\n"),
                (4, "index2", "4\n"),
                (5, "index3", "3,5\n"),
            ],
        );
        let machine = Machine::read_from(root.path()).unwrap();
        let llcs = [Some(0), Some(0), None, Some(2), Some(1), Some(2)];
        assert_eq!(machine.llc_of_cpu, llcs);
        assert_eq!(machine.node_of_llc, [0, 0, 1]);
        assert_eq!((machine.nr_llcs, machine.nr_cpus), (3, 5));
    }

    #[test]
    fn without_caches_a_node_is_one() {
        let cpus = [0, 1, 3, 4, 5].map(|cpu| (cpu, "", ""));
        let llcs = |nodes: &[&str]| {
            let root = sysfs(nodes, &cpus);
            Machine::read_from(root.path()).unwrap().llc_of_cpu
        };
        let (a, b) = (Some(0), Some(1));
        assert_eq!(llcs(&["0-2\n", "3-5\n"]), [a, a, None, b, b, b]);
        assert_eq!(llcs(&[]), [a, a, None, a, a, a]);
    }

    #[test]
    fn a_cpu_that_goes_meanwhile_is_noticed() {
        let root = sysfs(&["0-5\n"], &[(0, "", ""), (1, "", "")]);
        let error = Machine::read_from(root.path()).err().unwrap();
        assert_eq!(format!("{error:#}"), "CPU 3 has gone");
    }

    #[test]
    fn cpus_that_differ_in_one_thing_are_not_alike() {
        let root = sysfs(&[], &[0, 1, 3, 4, 5].map(|cpu| (cpu, "", "")));
        let machine = Machine::read_from(root.path()).unwrap();
        let say = |cpu: usize, what: &str| {
            fs::write(root.path().join(format!("cpu/cpu{cpu}/cpu_capacity")), what).unwrap();
        };
        assert!(are_alike(root.path(), &machine), "nothing told");
        for cpu in [0, 1, 3, 4] {
            say(cpu, "1024\n");
        }
        assert!(
            !are_alike(root.path(), &machine),
            "nothing told of the last"
        );
        say(5, "1024\n");
        assert!(are_alike(root.path(), &machine));
        say(3, "400\n");
        assert!(!are_alike(root.path(), &machine));
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpus_in("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cpus_in(""), Some(vec![]), "a node of memory only");
        assert_eq!(cpus_in("0-x"), None);
    }

    #[test]
    fn agrees_with_scx_utils_on_this_machine() {
        let (ours, theirs) = (
            Machine::read().unwrap(),
            scx_utils::Topology::new().unwrap(),
        );
        assert_eq!(ours.nr_llcs as usize, theirs.all_llcs.len());
        for (&id, cpu) in &theirs.all_cpus {
            let llc = ours.llc_of_cpu[id].unwrap();
            assert_eq!(usize::from(llc), cpu.llc_id);
            assert_eq!(ours.node_of_llc[usize::from(llc)] as usize, cpu.node_id);
        }
        assert_eq!(ours.nr_cpus as usize, theirs.all_cpus.len());
        assert_eq!(ours.big_cpus, big_cpus(&theirs));
    }
}
