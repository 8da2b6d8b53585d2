//! The kernel's idle masks, and its search for an idle CPU: kernel/sched/ext/idle.c.

use crate::mask::CpuMask;
use crate::topology::Topology;

/// Which CPUs are idle and not claimed, and which cores are as a whole.
#[derive(Clone, Debug)]
pub struct IdleMasks {
    topology: Topology,
    cpus: CpuMask,
    cores: CpuMask,
    /// Where each CPU's search for any CPU of a mask begins: `cpumask_any_and_distribute()`.
    previous: Vec<usize>,
}

impl IdleMasks {
    /// All CPUs are idle.
    pub fn new(topology: Topology) -> Self {
        let all = CpuMask::first(topology.nr_cpus());
        Self {
            topology,
            cpus: all,
            cores: all,
            previous: vec![0; topology.nr_cpus()],
        }
    }

    /// A CPU goes idle, or leaves idle: `update_builtin_idle()`.
    pub fn update(&mut self, cpu: usize, is_idle: bool) {
        self.cpus.set(cpu, is_idle);
        let core = self.topology.core_mask(cpu);
        if self.topology.threads == 1 {
            return;
        }
        if is_idle && core.and(&self.cpus) != core {
            return;
        }
        for sibling in core.iter() {
            self.cores.set(sibling, is_idle);
        }
    }

    /// Claims a CPU; false: it is not idle. `scx_idle_test_and_clear_cpu()`.
    pub fn test_and_clear(&mut self, cpu: usize) -> bool {
        if self.topology.threads > 1 {
            for sibling in self.topology.core_mask(cpu).iter() {
                self.cores.set(sibling, false);
            }
        }
        let was_idle = self.cpus.has(cpu);
        self.cpus.set(cpu, false);
        was_idle
    }

    /// Any CPU of a mask, another one each time.
    pub fn any_distribute(&mut self, mask: &CpuMask, this_cpu: usize) -> Option<usize> {
        let found = mask.next_after(self.previous[this_cpu])?;
        self.previous[this_cpu] = found;
        Some(found)
    }

    /// Claims an idle CPU of a mask: `scx_pick_idle_cpu()`.
    pub fn pick(&mut self, allowed: &CpuMask, core_only: bool, this_cpu: usize) -> Option<usize> {
        if self.topology.threads > 1 {
            let cores = self.cores.and(allowed);
            if let Some(cpu) = self.any_distribute(&cores, this_cpu)
                && self.test_and_clear(cpu)
            {
                return Some(cpu);
            }
            if core_only {
                return None;
            }
        }
        let idle = self.cpus.and(allowed);
        let cpu = self.any_distribute(&idle, this_cpu)?;
        self.test_and_clear(cpu).then_some(cpu)
    }

    /// `scx_select_cpu_dfl()` without its shortcut for synchronous wakeups, which the policy does not
    /// ask for: the previous CPU, its LLC, its node, any; whole cores first where there are threads.
    pub fn select(&mut self, allowed: &CpuMask, previous: usize, this_cpu: usize) -> Option<usize> {
        let is_allowed = allowed.has(previous);
        let mut scopes = Vec::with_capacity(3);
        if self.topology.nr_llcs() > 1 {
            scopes.push(self.topology.llc_mask(previous).and(allowed));
        }
        if self.topology.nodes > 1 {
            scopes.push(self.topology.node_mask(previous).and(allowed));
        }
        scopes.push(*allowed);
        if self.topology.threads > 1 {
            if is_allowed && self.cores.has(previous) && self.test_and_clear(previous) {
                return Some(previous);
            }
            for scope in &scopes {
                if let Some(cpu) = self.pick(scope, true, this_cpu) {
                    return Some(cpu);
                }
            }
        }
        if is_allowed && self.test_and_clear(previous) {
            return Some(previous);
        }
        scopes
            .iter()
            .find_map(|scope| self.pick(scope, false, this_cpu))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_core_comes_first() {
        let mut idle = IdleMasks::new("1:1:2:2".parse().unwrap());
        let all = CpuMask::first(4);
        idle.update(0, false);
        let mut claimed = || idle.select(&all, 1, 0);
        assert_eq!(claimed(), Some(2), "the sibling of 1 works");
        assert_eq!(
            claimed(),
            Some(1),
            "no whole core is left: the previous CPU"
        );
        assert_eq!(claimed(), Some(3));
        assert_eq!(claimed(), None);
        idle.update(1, true);
        assert_eq!(idle.select(&CpuMask::of([0, 2]), 1, 0), None, "not allowed");
        assert_eq!(idle.select(&all, 0, 0), Some(1));
    }

    #[test]
    fn the_own_llc_comes_before_others() {
        let mut idle = IdleMasks::new("1:2:2".parse().unwrap());
        let all = CpuMask::first(4);
        idle.update(2, false);
        assert_eq!(idle.select(&all, 2, 0), Some(3));
        assert!([0, 1].contains(&idle.select(&all, 2, 0).unwrap()));
    }
}
