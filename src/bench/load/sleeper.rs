//! `load sleeper`: a task that sleeps and is given other, busy CPUs meanwhile: does it go on?

use std::io::{PipeReader, PipeWriter, Read, Write};

use anyhow::{Context, Result};
use clap::Args;
use nix::unistd::Pid;
use serde::Serialize;

use super::tasks::{self, Cpus, Summary, Task};
use crate::bench::workload::sync::{Latencies, NS_PER_S, exact_timers, now_ns, sleep_until_ns};

const NS_PER_MS: u64 = 1_000_000;

/// Flags of `load sleeper`.
#[derive(Debug, Args)]
pub struct SleeperArgs {
    /// The CPUs that it begins on
    #[arg(long, value_name = "LIST", default_value = "0")]
    from: Cpus,

    /// The CPUs that it is given
    #[arg(long, value_name = "LIST")]
    to: Cpus,

    /// Tasks that compute on the CPUs that it is given
    #[arg(long, value_name = "N", default_value_t = 2)]
    busy: usize,

    /// How long it sleeps at a time, in ms
    #[arg(long, value_name = "MS", default_value_t = 300)]
    sleep_ms: u64,

    /// Seconds until it is given them
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    after: f64,

    /// Seconds that it has on them
    #[arg(long, value_name = "S", default_value_t = 4.0)]
    seconds: f64,
}

/// What was found after the change.
#[derive(Debug, Serialize)]
pub struct Sleeps {
    /// How late it woke.
    wakeups: Summary,
    /// How many wakeups there would have been if all were in time.
    expected: u64,
    /// Since it was last seen to run, in ms.
    silent_ms: f64,
}

impl SleeperArgs {
    /// Runs all tasks, and changes the mask of the sleeper from here.
    ///
    /// # Errors
    /// If a task cannot be started or bound.
    pub fn run(&self) -> Result<Sleeps> {
        let busy =
            (0..self.busy).map(|_| Task::start_busy(|| tasks::bind(Pid::from_raw(0), &self.to)));
        let _busy = busy.collect::<Result<Vec<_>>>()?;
        let (mut seen, beats) = std::io::pipe().context("cannot make a pipe")?;
        let sleeper = Task::start(|| self.sleep(beats))?;
        sleep_until_ns(now_ns() + (self.after * NS_PER_S) as u64);
        tasks::bind(sleeper.pid(), &self.to)?;
        let changed_ns = now_ns();
        sleep_until_ns(changed_ns + (self.seconds * NS_PER_S) as u64);
        let end_ns = now_ns();
        // Its end closes the last writing side of the pipe, so that what it wrote can be read to the end.
        drop(sleeper);
        self.summarise(&mut seen, changed_ns, end_ns)
    }

    /// The life of the sleeper: tells when it woke and how late that was.
    fn sleep(&self, mut beats: PipeWriter) -> Result<()> {
        tasks::bind(Pid::from_raw(0), &self.from)?;
        exact_timers()?;
        loop {
            let late_ns = sleep_until_ns(now_ns() + self.sleep_ms * NS_PER_MS);
            let beat = [now_ns().to_ne_bytes(), late_ns.to_ne_bytes()].concat();
            beats.write_all(&beat).context("cannot report a wakeup")?;
        }
    }

    fn summarise(&self, seen: &mut PipeReader, changed_ns: u64, end_ns: u64) -> Result<Sleeps> {
        let mut bytes = Vec::new();
        seen.read_to_end(&mut bytes)
            .context("cannot read the reports of the sleeper")?;
        let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).unwrap_or_default();
        let (mut latencies, mut last_ns) = (Latencies::new()?, changed_ns);
        for beat in bytes.chunks_exact(16) {
            let (woke_ns, late_ns) = (word(&beat[..8]), word(&beat[8..]));
            if woke_ns >= changed_ns {
                latencies.record(late_ns);
                last_ns = woke_ns;
            }
        }
        Ok(Sleeps {
            wakeups: Summary::from(&latencies),
            expected: (end_ns - changed_ns) / (self.sleep_ms * NS_PER_MS),
            silent_ms: (end_ns - last_ns) as f64 / NS_PER_MS as f64,
        })
    }
}
