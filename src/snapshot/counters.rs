//! The counters of the BPF side.

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapImpl};

use crate::bpf_abi::intf::takt_cpu_stats;

/// Number of counters in `struct takt_cpu_stats`, which consists of `u64` only.
pub const NR_COUNTERS: usize = size_of::<takt_cpu_stats>() / size_of::<u64>();

/// The counters of the scheduler, summed over all CPUs, since it was loaded.
#[derive(Clone)]
pub struct Counters {
    /// Sums of `struct takt_cpu_stats`. Its `wait_max_ns` and `wait_epoch` are no sums, and 0.
    pub sum: takt_cpu_stats,
    /// Of each CPU: an epoch, and the longest wait of that epoch in nanoseconds.
    pub longest_waits: Vec<(u64, u64)>,
}

impl Counters {
    /// Reads the per-CPU counters.
    ///
    /// # Errors
    /// If the map cannot be read or is not of the layout that this agent was built with.
    pub fn take(cpu_stats: &MapImpl<'_>) -> Result<Self> {
        let per_cpu = cpu_stats
            .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
            .context("cannot read the scheduler's counters")?
            .context("the scheduler's counters are gone")?;
        let mut sum = [0u64; NR_COUNTERS];
        let mut longest_waits = Vec::with_capacity(per_cpu.len());
        for bytes in &per_cpu {
            for (total, word) in sum.iter_mut().zip(bytes.as_chunks().0) {
                *total = total.wrapping_add(u64::from_ne_bytes(*word));
            }
            let mut one = takt_cpu_stats::default();
            let copied = plain::copy_from_bytes(&mut one, bytes);
            copied.map_err(|error| anyhow::anyhow!("counters of a wrong size: {error:?}"))?;
            longest_waits.push((one.wait_epoch, one.wait_max_ns));
        }
        let mut sum = from_words(sum);
        (sum.wait_max_ns, sum.wait_epoch) = (0, 0);
        Ok(Self { sum, longest_waits })
    }

    /// The longest wait of this epoch, over all CPUs, in nanoseconds.
    pub fn longest_wait_ns(&self, epoch: u64) -> u64 {
        let of_epoch = self.longest_waits.iter().filter(|(of, _)| *of == epoch);
        of_epoch.map(|(_, ns)| *ns).max().unwrap_or(0)
    }

    /// The sums as they lie in `struct takt_cpu_stats`, in words of 8 bytes.
    pub fn words(&self) -> [u64; NR_COUNTERS] {
        to_words(self.sum)
    }

    /// What has happened since `earlier`.
    pub fn since(&self, earlier: &Self) -> takt_cpu_stats {
        let (now, then) = (to_words(self.sum), to_words(earlier.sum));
        from_words(std::array::from_fn(|i| now[i].wrapping_sub(then[i])))
    }
}

fn to_words(stats: takt_cpu_stats) -> [u64; NR_COUNTERS] {
    // SAFETY: `takt_cpu_stats` is `repr(C)` and consists of `u64` only, as its size shows.
    unsafe { std::mem::transmute(stats) }
}

fn from_words(words: [u64; NR_COUNTERS]) -> takt_cpu_stats {
    // SAFETY: as above.
    unsafe { std::mem::transmute(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_cover_every_counter() {
        let mut earlier = Counters {
            sum: takt_cpu_stats::default(),
            longest_waits: vec![(4, 9), (3, 90)],
        };
        earlier.sum.nr_stolen = 3;
        let mut now = earlier.clone();
        now.sum.nr_stolen = 10;
        now.sum.wake_ns = 4;
        let delta = now.since(&earlier);
        assert_eq!((delta.nr_stolen, delta.wake_ns), (7, 4));
        assert_eq!(now.longest_wait_ns(4), 9);
    }
}
