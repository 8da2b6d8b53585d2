//! scx_takt: a `sched_ext` CPU scheduler.
fn main() {}
