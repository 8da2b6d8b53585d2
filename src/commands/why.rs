//! `scx_takt why`: what made a task wait, under any scheduler.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use scx_ops::sched_ext;

use crate::base::{output, wait};
use crate::cli::WhyArgs;
use crate::signals::Interrupt;
use crate::why::report::{Findings, Frame, Report};
use crate::why::{Target, Watcher};

/// How often records are read.
const PERIOD: Duration = Duration::from_millis(100);

/// Watches for the time asked for, until ctrl-C, or until the tasks are gone, and prints what was seen.
///
/// # Errors
/// If there are no such tasks, the programs cannot be loaded, or standard output cannot be written to.
pub fn run(args: &WhyArgs) -> Result<ExitCode> {
    libbpf_rs::set_print(None);
    let interrupt = Interrupt::catch()?;
    scx_ops::kernel::require_bpf("asking why tasks wait")?;
    let target = Target::find(args.target.as_deref(), args.unit.as_deref())?;
    let before = sched_ext::Status::read().ok();
    let over_ns = args.over.as_nanos() as u64;
    let mut watcher = Watcher::start(&target, over_ns)?;
    let began = Instant::now();
    if !args.json {
        eprintln!(
            "watching {} for {:.0} s (ctrl-C ends it early)",
            target.describe(),
            args.seconds
        );
    }
    let mut findings = Findings::default();
    let span = Duration::from_secs_f64(args.seconds);
    let end = watch(&mut watcher, &target, &interrupt, span, &mut findings)?;
    let (began_ns, nr_cpus) = (watcher.began_ns, watcher.nr_cpus);
    let counts = watcher.finish(over_ns, |record| findings.add(record))?;
    let frame = Frame {
        target: target.describe(),
        scheduler: sched_ext::active().map_or_else(|_| "?".into(), |active| active.to_string()),
        changed: before != sched_ext::Status::read().ok(),
        began_ns,
        seconds: began.elapsed().as_secs_f64(),
        complete: end == End::Time,
        gone: end == End::Gone,
        over_ns,
        nr_cpus,
    };
    let report = Report::new(findings, &counts, &frame);
    let text = if args.json {
        serde_json::to_string_pretty(&report)?
    } else {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        report.text(colour)
    };
    let _ = output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Why it ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Time,
    Interrupt,
    Gone,
}

/// Lets the time pass, and reads records.
fn watch(
    watcher: &mut Watcher,
    target: &Target,
    interrupt: &Interrupt,
    span: Duration,
    findings: &mut Findings,
) -> Result<End> {
    let ends = Instant::now() + span;
    let mut fds = vec![interrupt.fd()];
    fds.extend(target.gone().map(AsFd::as_fd));
    loop {
        let left = ends.saturating_duration_since(Instant::now());
        let ready = wait::ready(&fds, left.min(PERIOD));
        watcher.read(|record| findings.add(record))?;
        match ready {
            Some(0) => return Ok(End::Interrupt),
            Some(_) => return Ok(End::Gone),
            None if left.is_zero() => return Ok(End::Time),
            None => {}
        }
    }
}
