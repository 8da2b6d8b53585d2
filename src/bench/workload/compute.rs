//! `compute`: throughput of CPU hogs with nothing else to do: what time slices cost.

use anyhow::Result;

use super::hogs;
use super::sync::{NS_PER_S, join, now_ns};
use super::{Metric, Outcome, Setting, Workload};

/// Threads for each CPU.
const THREADS_PER_CPU: usize = 4;
/// Loops of each thread, and the same where guest time is slow to come by.
const LOOPS: u32 = 300_000;
const LOOPS_DETERMINISTIC: u32 = 50_000;

/// See the module.
pub struct Compute;

impl Workload for Compute {
    fn name(&self) -> &'static str {
        "compute"
    }

    fn about(&self) -> &'static str {
        "throughput of 4 threads per CPU that only compute, each a fixed amount"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 1] = [Metric::higher("throughput", "loops/s")];
        &METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let loops = setting.shortened(LOOPS, LOOPS_DETERMINISTIC);
        let threads = THREADS_PER_CPU * setting.cpus;
        let start_ns = now_ns();
        std::thread::scope(|scope| {
            let hogs: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        hogs::compute(loops);
                        Ok(())
                    })
                })
                .collect();
            hogs.into_iter().try_for_each(join)
        })?;
        let elapsed_s = (now_ns() - start_ns) as f64 / NS_PER_S;
        let all = f64::from(loops) * threads as f64;
        Ok(Outcome::default().with("throughput", all / elapsed_s))
    }
}
