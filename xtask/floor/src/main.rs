//! `scx_floor`: the null scheduler, the baseline of the benchmark. A `sched_ext` scheduler without callbacks
//! shows what the kernel's side costs before any policy.

use std::mem::MaybeUninit;
use std::sync::mpsc;

use anyhow::{Context, Result};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use scx_ops::{kernel, lifecycle::Attached};

#[allow(
    missing_docs,
    dead_code,
    non_camel_case_types,
    non_snake_case,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
mod bpf {
    include!(concat!(env!("OUT_DIR"), "/bpf_skel.rs"));
}

fn main() -> Result<()> {
    kernel::require()?;
    let (stop, stopped) = mpsc::channel();
    ctrlc::set_handler(move || {
        // Fails only when the main thread has ended already.
        let _ = stop.send(());
    })
    .context("cannot take over SIGINT and SIGTERM")?;
    let mut storage = MaybeUninit::uninit();
    let mut skel = bpf::BpfSkelBuilder::default().open(&mut storage)?.load()?;
    let attached = Attached::attach(&mut skel.maps.floor_ops)?;
    stopped.recv()?;
    Ok(attached.detach()?)
}
