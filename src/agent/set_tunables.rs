//! Setting the tunables of a running scheduler.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use anyhow::{Context, Result, bail};

use crate::bpf_abi::{BpfSkel, intf};
use crate::config::tunables;

/// Puts `tunables` into force.
///
/// # Errors
/// If one is out of its range; then nothing changes.
pub fn write(skel: &mut BpfSkel<'_>, new: &intf::takt_tunables) -> Result<()> {
    let data = skel
        .maps
        .data_tunables_data
        .as_mut()
        .context("the BPF object has no tunables")?;
    wait_for_decisions();
    let slots = std::ptr::from_mut(&mut data.tunables).cast::<intf::takt_tunable_slots>();
    // SAFETY: bindgen's and the skeleton's `takt_tunable_slots` are made from the same C type; the memory
    // is mapped for as long as the skeleton lives, and only we write to it.
    flip(unsafe { &mut *slots }, new)
}

/// Waits until every decision that is under way now has been taken: decisions are made under the kernel's
/// RCU, and this waits for a grace period. Where it cannot be had (`nohz_full`), two changes that follow
/// one another within microseconds may be seen half done.
fn wait_for_decisions() {
    // SAFETY: plain numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
}

/// Writes the slot that is not active, then makes it the active one.
///
/// BPF reads `active` and then, through an address made from it, the slot: the release store below
/// keeps our writes to the slot before it. A decision that began before the flip goes on reading the
/// old slot, which is not written again before [`wait_for_decisions`] has returned.
fn flip(slots: &mut intf::takt_tunable_slots, new: &intf::takt_tunables) -> Result<()> {
    if let Some(tunable) = tunables::out_of_range(new) {
        bail!("{} = {} is out of range", tunable.name, tunable.of(new));
    }
    let next = (slots.active & 1) ^ 1;
    // SAFETY: exclusive, aligned, and plain integers. Volatile: another reader sees this memory.
    unsafe {
        std::ptr::from_mut(&mut slots.slot[next as usize]).write_volatile(*new);
        std::ptr::from_mut(&mut slots.version).write_volatile(slots.version.wrapping_add(1));
    }
    fence(Ordering::Release);
    // SAFETY: valid and aligned for as long as `slots` is borrowed.
    unsafe { AtomicU32::from_ptr(&raw mut slots.active) }.store(next, Ordering::Release);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_active_slot_is_never_the_one_written() {
        let old = tunables::default_tunables();
        let mut slots = intf::takt_tunable_slots {
            slot: [old; 2],
            active: 0,
            version: 0,
        };
        for round in 1..=4 {
            let mut new = old;
            new.slice_max_ns += u64::from(round);
            let before = slots.slot[slots.active as usize].slice_max_ns;
            let active = slots.active;
            flip(&mut slots, &new).unwrap();
            assert_eq!(slots.slot[active as usize].slice_max_ns, before);
            assert_eq!(
                slots.slot[slots.active as usize].slice_max_ns,
                new.slice_max_ns
            );
            assert_eq!((slots.version, slots.active), (round, active ^ 1));
        }
    }

    #[test]
    fn value_out_of_range_does_not_reach_bpf() {
        let old = tunables::default_tunables();
        let mut slots = intf::takt_tunable_slots {
            slot: [old; 2],
            active: 1,
            version: 7,
        };
        let mut wild = old;
        wild.slice_max_ns = 0;
        assert!(flip(&mut slots, &wild).is_err());
        assert_eq!((slots.active, slots.version), (1, 7));
    }
}
