//! What everything else stands on: clock, units, output. It imports nothing of ours.

pub mod clock;
pub mod output;
pub mod units;
