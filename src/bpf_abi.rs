//! What `build.rs` made of `src/bpf`: the skeletons, and the types of the headers that both sides share.

#![allow(
    missing_docs,
    dead_code,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

/// The types and constants of `src/bpf/intf.h`.
pub mod intf {
    include!(concat!(env!("OUT_DIR"), "/bpf_intf.rs"));
}

include!(concat!(env!("OUT_DIR"), "/bpf_skel.rs"));

/// The skeleton of `src/bpf/tasks.bpf.c`.
pub mod tasks {
    include!(concat!(env!("OUT_DIR"), "/tasks_skel.rs"));
}

/// The skeleton of `src/bpf/observe.bpf.c`.
pub mod observe {
    include!(concat!(env!("OUT_DIR"), "/observe_skel.rs"));
}

/// The skeleton of `src/bpf/observe_idle.bpf.c`.
pub mod observe_idle {
    include!(concat!(env!("OUT_DIR"), "/observe_idle_skel.rs"));
}

/// The skeleton of `src/bpf/wait_check.bpf.c`.
pub mod wait_check {
    include!(concat!(env!("OUT_DIR"), "/wait_check_skel.rs"));
}

/// The skeleton of `src/bpf/why.bpf.c`.
pub mod why {
    include!(concat!(env!("OUT_DIR"), "/why_skel.rs"));
}

/// A task's name as the kernel holds it: up to its first zero.
pub fn name_in(comm: &[std::ffi::c_char]) -> String {
    let bytes = comm.iter().map(|&c| c as u8).take_while(|&byte| byte != 0);
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
}

// SAFETY: integers and arrays of integers only; every bit pattern is valid.
unsafe impl plain::Plain for intf::takt_event {}
// SAFETY: as above.
unsafe impl plain::Plain for intf::takt_cpu_stats {}

// SAFETY: as above.
unsafe impl plain::Plain for intf::takt_task {}
// SAFETY: as above.
unsafe impl plain::Plain for intf::obs_group {}
// SAFETY: as above.
unsafe impl plain::Plain for intf::obs_cpu {}
// SAFETY: as above.
unsafe impl plain::Plain for intf::obs_idle {}
// SAFETY: as above.
unsafe impl plain::Plain for intf::wait_check_cpu {}

// SAFETY: as above.
unsafe impl plain::Plain for intf::why_wait {}
// SAFETY: as above.
unsafe impl plain::Plain for intf::why_segment {}
// SAFETY: as above.
unsafe impl plain::Plain for intf::why_cpu {}

impl Default for intf::takt_task {
    fn default() -> Self {
        // SAFETY: as above, zero included.
        unsafe { std::mem::zeroed() }
    }
}

impl Default for intf::takt_cpu_stats {
    fn default() -> Self {
        // SAFETY: as above, zero included.
        unsafe { std::mem::zeroed() }
    }
}
