//! Readers of a snapshot.

pub mod board;
pub mod desk;
mod http;
pub mod line;
pub mod metrics;
pub mod openmetrics;
mod protocol;
pub mod server;
pub mod source;
#[cfg(test)]
pub mod testing;
pub mod text;
