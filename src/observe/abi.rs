//! What `build.rs` made of `src/bpf/observe.bpf.c`: the skeleton and the types of `observe.h`.

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

/// The types and constants of `src/bpf/observe.h`.
pub mod intf {
    include!(concat!(env!("OUT_DIR"), "/observe_intf.rs"));
}

include!(concat!(env!("OUT_DIR"), "/observe_skel.rs"));

// SAFETY: integers and arrays of integers only; every bit pattern is valid.
unsafe impl plain::Plain for intf::obs_group {}
// SAFETY: as above.
unsafe impl plain::Plain for intf::obs_cpu {}
