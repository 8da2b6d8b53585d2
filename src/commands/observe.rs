//! `scx_takt observe`: how long the tasks of this machine wait for a CPU, under any scheduler.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::ProgressBar;
use scx_ops::sched_ext;

use crate::base::{output, units, wait};
use crate::cli::ObserveArgs;
use crate::observe::report::Report;
use crate::observe::{Observer, Reading};
use crate::signals::Interrupt;

/// Observes for the time asked for, or until ctrl-C, and prints what was seen.
///
/// # Errors
/// If the observer cannot be loaded, or standard output cannot be written to.
pub fn run(args: &ObserveArgs) -> Result<ExitCode> {
    libbpf_rs::set_print(None);
    let interrupt = Interrupt::catch()?;
    let observer = Observer::start()?;
    let reading = watch(
        &observer,
        &interrupt,
        Duration::from_secs_f64(args.seconds),
        !args.json,
    )?;
    let scheduler = sched_ext::active().map_or_else(|_| "?".into(), |active| active.to_string());
    let report = Report::new(&reading, scheduler, !interrupt.raised());
    let text = if args.json {
        serde_json::to_string_pretty(&report)?
    } else {
        report.table()
    };
    let _ = output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Lets the time pass, with a line of progress a second: a bar on a terminal, nothing elsewhere.
fn watch(
    observer: &Observer,
    interrupt: &Interrupt,
    span: Duration,
    talk: bool,
) -> Result<Reading> {
    let bar = (talk && std::io::stderr().is_terminal()).then(ProgressBar::new_spinner);
    if bar.is_none() && talk {
        eprintln!(
            "observing for {:.0} s (ctrl-C ends it early)",
            span.as_secs_f64()
        );
    }
    let ends = Instant::now() + span;
    let mut last = observer.read()?;
    loop {
        let left = ends.saturating_duration_since(Instant::now());
        let step = left.min(Duration::from_secs(1));
        let stop = left.is_zero() || wait::ready(&[interrupt.fd()], step).is_some();
        let now = observer.read()?;
        if stop {
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
            return Ok(now);
        }
        if let Some(bar) = &bar {
            bar.set_message(progress(&now.since(&last), left));
            bar.tick();
        }
        last = now;
    }
}

/// What happened in the last second, in a line.
fn progress(delta: &Reading, left: Duration) -> String {
    let waits = delta.waits(|_| true);
    let p99 = waits.quantile_ns(990).map_or("-".into(), units::time);
    format!(
        "{:.0} s left; {:.0} waits/s, p99 {p99}, longest {} (ctrl-C ends it early)",
        left.as_secs_f64(),
        waits.count() as f64 / delta.span.as_secs_f64(),
        units::time(waits.max_ns())
    )
}
