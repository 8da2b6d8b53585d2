//! The lab of scx_takt.
fn main() {}
