//! `scx_takt stats`, `--monitor` and `--help-stats`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use scx_stats::{Meta, StatsServerData};

use crate::base::output;
use crate::cli::{RunArgs, StatsArgs};
use crate::signals::Interrupt;
use crate::snapshot::{Delta, Snapshot};
use crate::stats::metrics::Metrics;
use crate::stats::source::Source;
use crate::stats::{cgroups, openmetrics, text};

/// `--help-stats`.
///
/// # Errors
/// If standard output cannot be written to.
pub fn help() -> Result<ExitCode> {
    let mut text = Vec::new();
    StatsServerData::<(), ()>::new()
        .add_meta(Metrics::meta())
        .describe_meta(&mut text, None)?;
    let _ = output::print(String::from_utf8_lossy(&text).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// `scx_takt stats`: what happens on this machine, once.
///
/// # Errors
/// If standard output cannot be written to, or cgroups are asked for and there are none.
pub fn run(args: &StatsArgs) -> Result<ExitCode> {
    libbpf_rs::set_print(None);
    let interrupt = Interrupt::catch()?;
    let mut source = Source::new();
    if args.cgroups {
        source.watch_cgroups()?;
    }
    let mut earlier = source.sample();
    if source.is_opening_local() {
        earlier = source.sample();
    }
    if interrupt.wait(Duration::from_secs_f64(args.seconds)) {
        return Ok(ExitCode::SUCCESS);
    }
    let now = source.sample();
    if !source.unavailable.is_empty() {
        eprintln!("scx_takt: {}", source.unavailable);
    }
    let text = if args.json {
        serde_json::to_string_pretty(&now)?
    } else if args.openmetrics {
        openmetrics::text(&now, Some(&now.since(&earlier)))?
            .trim_end()
            .to_owned()
    } else {
        let table = args.cgroups.then(|| cgroups::table(&now.cgroups));
        let line = [text::line(&earlier, &now)].into_iter();
        line.chain(table.unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let _ = output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// `--monitor`: a line per period for as long as it is wanted. A scheduler that is not there yet, or
/// comes again, is waited for.
///
/// # Errors
/// If standard output cannot be written to.
pub fn monitor(args: &RunArgs) -> Result<ExitCode> {
    let period = Duration::from_secs_f64(args.monitor.unwrap_or(1.0));
    let interrupt = Interrupt::catch()?;
    let mut source = Source::new();
    let mut earlier: Option<Snapshot> = None;
    let mut waiting = false;
    loop {
        match source.ask() {
            Ok(now) => {
                waiting = false;
                if let Some(earlier) = earlier.replace(now.clone())
                    && output::print(&text::line(&earlier, &now))?.is_break()
                {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Err(error) => {
                earlier = None;
                if !waiting {
                    eprintln!("scx_takt: waiting for a scheduler that answers: {error:#}");
                }
                waiting = true;
            }
        }
        if interrupt.wait(period) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}
