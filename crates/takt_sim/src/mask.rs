//! Sets of CPUs, with the layout of the kernel's `struct cpumask`.

use std::fmt;

/// The highest number of CPUs, as in `src/bpf/intf.h`.
pub const MAX_CPUS: usize = 1024;
/// Words of a mask.
pub const WORDS: usize = MAX_CPUS / 64;

/// A set of CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuMask(pub [u64; WORDS]);

impl CpuMask {
    /// The CPUs from 0 to `nr - 1`.
    pub fn first(nr: usize) -> Self {
        Self::of(0..nr)
    }

    /// These CPUs.
    pub fn of(cpus: impl IntoIterator<Item = usize>) -> Self {
        let mut mask = Self::default();
        for cpu in cpus {
            mask.set(cpu, true);
        }
        mask
    }

    /// Is this CPU in it?
    pub fn has(&self, cpu: usize) -> bool {
        cpu < MAX_CPUS && self.0[cpu / 64] >> (cpu % 64) & 1 != 0
    }

    /// Puts a CPU in, or takes it out.
    pub fn set(&mut self, cpu: usize, is_in: bool) {
        let bit = 1 << (cpu % 64);
        if is_in {
            self.0[cpu / 64] |= bit;
        } else {
            self.0[cpu / 64] &= !bit;
        }
    }

    /// What is in both.
    pub fn and(&self, other: &Self) -> Self {
        let mut both = *self;
        for (word, with) in both.0.iter_mut().zip(other.0) {
            *word &= with;
        }
        both
    }

    /// How many CPUs it has.
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Has it no CPU?
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Its CPUs, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(index, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest.checked_sub(1)?;
                Some(index * 64 + bit)
            })
        })
    }

    /// The first CPU after `cpu`, around the end.
    pub fn next_after(&self, cpu: usize) -> Option<usize> {
        self.iter()
            .find(|&other| other > cpu)
            .or_else(|| self.iter().next())
    }
}

impl fmt::Display for CpuMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if(|&next| next == last + 1) {
                last = next;
            }
            if first == last {
                write!(f, "{separator}{first}")?;
            } else {
                write!(f, "{separator}{first}-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for CpuMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterates_and_prints() {
        let mask = CpuMask::of([0, 1, 2, 64, 700, 701]);
        assert_eq!(mask.iter().collect::<Vec<_>>(), [0, 1, 2, 64, 700, 701]);
        assert_eq!(mask.to_string(), "0-2,64,700-701");
        assert_eq!(mask.next_after(2), Some(64));
        assert_eq!(mask.next_after(701), Some(0));
        assert_eq!(CpuMask::default().next_after(0), None);
    }
}
