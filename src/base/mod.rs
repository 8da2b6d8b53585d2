//! What everything else stands on: clock, units, quantiles, output, waiting. It imports nothing of ours.

pub mod clock;
pub mod output;
pub mod quantile;
pub mod units;
pub mod wait;
