//! Readers of a snapshot.

pub mod line;
