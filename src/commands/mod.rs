//! The commands that do not schedule, one file each. (`top`, `bench` and `stress` are modules of their own.)

pub mod check;
pub mod config;
pub mod keep;
pub mod observe;
pub mod rules;
pub mod stats;
pub mod why;
