//! The real policy of scx_takt on a simulated kernel.
//!
//! `src/bpf/main.bpf.c` and its headers are compiled for the host as they are (`shim/`), and called
//! by a model of the kernel's scheduler core ([`machine`]). A [`world::World`] says which machine,
//! which tasks, and what happens to them; the same world always runs the same way. [`search`] tries
//! random worlds, checks the invariants of [`violation::Invariant`] in each, and shrinks what fails.
//!
//! What is modelled, and what is not: `docs/design/simulator.md`.

pub mod dsq;
pub mod event;
pub mod idle;
pub mod machine;
pub mod mask;
pub mod policy;
pub mod random;
pub mod search;
pub mod strategy;
pub mod task;
pub mod topology;
pub mod violation;
pub mod world;
pub mod world_text;
