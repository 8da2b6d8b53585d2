//! What everything else stands on: clock, units, quantiles, output, waiting, tasks in /proc, cgroups. It imports nothing of ours.

pub mod cgroup;
pub mod clock;
pub mod output;
pub mod procfs;
pub mod quantile;
pub mod units;
pub mod wait;

/// Where version 2 of the cgroup file system is mounted.
pub const CGROUP_MOUNT: &str = "/sys/fs/cgroup";
