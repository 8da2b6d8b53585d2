//! The table of features, held against the BTF of the kernel that this runs on.

// Helpers are not seen as tests by clippy.
#![allow(clippy::unwrap_used)]

use scx_ops::compat::FEATURES;
use scx_ops::kernel;

/// (major, minor) of the running kernel.
fn release() -> (u32, u32) {
    let release = kernel::release();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().unwrap().parse().unwrap();
    (next(), next())
}

#[test]
#[ignore = "asks the running kernel, which must have sched_ext; the VM harness runs it on each"]
fn features_are_there_since_the_release_of_the_table() {
    let release = release();
    for feature in FEATURES {
        assert_eq!(
            feature.present(),
            release >= feature.since,
            "{} on {}",
            feature.name,
            kernel::release()
        );
    }
    println!("{} features as the table has them", FEATURES.len());
}
