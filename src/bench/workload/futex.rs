//! `futex`: round trips between two processes over futexes in shared memory.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use super::roundtrip::{self, Channel};
use super::sync::{futex_wait, futex_wake};
use super::{Metric, Outcome, Setting, Workload};

/// See the module.
pub struct Futex;

/// One word that both processes see: 1 once posted, 0 once taken.
struct FutexChannel(NonNull<AtomicU32>);

impl FutexChannel {
    /// Maps a page of its own, which lives as long as this process.
    fn new() -> Result<Self> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping collides with nothing.
        let page =
            unsafe { mmap_anonymous(None, NonZeroUsize::MIN, protection, MapFlags::MAP_SHARED) };
        page.map(|page| Self(page.cast()))
            .context("cannot map shared memory")
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the page is mapped, aligned and never unmapped; zero is a valid value.
        unsafe { self.0.as_ref() }
    }
}

impl Channel for FutexChannel {
    fn post(&self) -> Result<()> {
        self.word().store(1, Ordering::Release);
        futex_wake(self.word(), 1);
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        while self.word().swap(0, Ordering::Acquire) == 0 {
            futex_wait(self.word(), 0);
        }
        Ok(())
    }
}

impl Workload for Futex {
    fn name(&self) -> &'static str {
        "futex"
    }

    fn about(&self) -> &'static str {
        "round trips between two processes over futexes in shared memory"
    }

    fn metrics(&self) -> &'static [Metric] {
        &roundtrip::METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let trips = roundtrip::usual_trips(setting);
        roundtrip::measure(trips, &FutexChannel::new()?, &FutexChannel::new()?)
    }
}
