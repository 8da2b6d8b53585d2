//! The agent: what the process does while it schedules.
//!
//! ```text
//! lifecycle   open, configure, load, attach, run, report, detach; once more where that is asked for
//!   main_loop   waits for signals, events, readers, a changed file; acts; waits again
//!     control     configuration in, figures in, tunables and rules out
//! ```
//!
//! Nothing here is on a scheduling path: if it stalls, the last tunables hold.

pub mod cgroups;
pub mod control;
pub mod lifecycle;
pub mod main_loop;
pub mod open;
pub mod power;
pub mod rules;
pub mod set_tunables;
mod trial;
