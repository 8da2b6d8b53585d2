//! Readers of a snapshot.

pub mod cgroups;
mod http;
pub mod metrics;
pub mod openmetrics;
mod protocol;
pub mod publisher;
pub mod server;
pub mod snapshot_channel;
pub mod source;
#[cfg(test)]
pub mod testing;
pub mod text;
