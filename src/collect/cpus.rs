//! Each CPU: where it belongs, how busy it is, how fast it runs.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};
use scx_utils::Topology;

use crate::snapshot::Cpu;

/// Reading a frequency may cost an interrupt to that CPU: at most so many per sample, in turn.
const FREQUENCIES_PER_LOOK: usize = 64;

/// What is known of the CPUs from sample to sample.
#[derive(Default)]
pub struct Cpus {
    /// As of the last sample; the places are read again when CPUs come or go.
    known: Vec<Cpu>,
    next_frequency: usize,
}

impl Cpus {
    /// Samples all CPUs that are online. Empty where /proc/stat cannot be read.
    pub fn sample(&mut self) -> Vec<Cpu> {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let tick_ns = 1_000_000_000 / ticks_per_second();
        let times: Vec<_> = stat.lines().filter_map(times_of).collect();
        let same = times.len() == self.known.len()
            && times.iter().zip(&self.known).all(|(t, cpu)| t.0 == cpu.id);
        if !same {
            self.known = places(times.iter().map(|t| t.0));
        }
        for (cpu, (_, busy, idle)) in self.known.iter_mut().zip(times) {
            (cpu.busy_ns, cpu.idle_ns) = (busy * tick_ns, idle * tick_ns);
        }
        self.look_at_frequencies();
        self.known.clone()
    }

    fn look_at_frequencies(&mut self) {
        let nr = self.known.len();
        for _ in 0..nr.min(FREQUENCIES_PER_LOOK) {
            let cpu = &mut self.known[self.next_frequency % nr];
            self.next_frequency = (self.next_frequency + 1) % nr;
            let path = format!(
                "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq",
                cpu.id
            );
            let Ok(text) = fs::read_to_string(path) else {
                return; // no frequencies on this machine
            };
            cpu.khz = text.trim().parse().unwrap_or(0);
        }
    }
}

fn ticks_per_second() -> u64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    ticks
        .and_then(|ticks| u64::try_from(ticks).ok())
        .unwrap_or(100)
        .max(1)
}

/// Number, busy and idle ticks from a line of /proc/stat; `None`: not the line of one CPU.
fn times_of(line: &str) -> Option<(u64, u64, u64)> {
    let mut words = line.strip_prefix("cpu")?.split(' ');
    let id = words.next()?.parse().ok()?;
    // user nice system idle iowait irq softirq steal; guest time is in user time already
    let ticks: Vec<u64> = words.take(8).filter_map(|word| word.parse().ok()).collect();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((id, ticks.iter().sum::<u64>() - idle, idle))
}

/// Where these CPUs belong; all in one place where sysfs does not tell.
fn places(ids: impl Iterator<Item = u64>) -> Vec<Cpu> {
    let topology = Topology::new().ok();
    let place = |id: u64| {
        let known = topology
            .as_ref()
            .and_then(|t| t.all_cpus.get(&(id as usize)));
        let (node, llc, core) = known.map_or((0, 0, id as usize), |cpu| {
            (cpu.node_id, cpu.llc_id, cpu.core_id)
        });
        Cpu {
            id,
            node: node as u64,
            llc: llc as u64,
            core: core as u64,
            ..Default::default()
        }
    };
    ids.map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_of_single_cpus_only() {
        assert_eq!(times_of("cpu3 1 2 3 40 5 6 7 8 9 10"), Some((3, 27, 45)));
        assert_eq!(times_of("cpu  1 2 3 40 5 6 7 8 9 10"), None);
        assert_eq!(times_of("ctxt 12"), None);
    }

    #[test]
    fn sees_the_cpus_of_this_machine() {
        let seen = Cpus::default().sample();
        assert!(!seen.is_empty());
        assert!(seen.iter().all(|cpu| cpu.busy_ns + cpu.idle_ns > 0));
    }
}
