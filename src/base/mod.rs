//! What everything else stands on: clock, units, quantiles, output. It imports nothing of ours.

pub mod clock;
pub mod output;
pub mod quantile;
pub mod units;
