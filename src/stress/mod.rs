//! A mixed load that tries to break a scheduler, and that knows when it has succeeded.
//!
//! Workers of many kinds (`kinds`) tick one counter each (`pool`). A worker that does not get on for
//! `--stall-seconds` is a failure (`watch`), and so is a sched_ext scheduler that the kernel throws out
//! during the run (`staying`), work that the kernel's core had to do in its place (`core_events`), an alarm in the
//! kernel log (`kernel_log`), and with `--longest-wait` a wait that is longer (`wait_check`). What a scheduler does right
//! shows nowhere here: this asks only whether it stays alive and leaves no task behind.

mod kernel_log;
mod kinds;
mod report;
mod rng;
mod staying;
pub mod sys;
mod trace;
mod wait_check;
mod watch;
mod worker_pool;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use scx_ops::sched_ext::{self, Status};

use crate::base::units;
use crate::cli::{StressArgs, StressKind};
use crate::signals;
use crate::snapshot::core_events::{self, Beside, CoreEvents};
use kernel_log::KernelLog;
use report::{LeftOut, Summary};
use trace::Trace;
use wait_check::{WaitCheck, Waits};
use watch::Watch;
use worker_pool::{Load, Member, WorkerPool};

/// How often the watch checks the workers.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a line of progress is printed.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Runs the load for `args.seconds`, or until SIGINT or SIGTERM.
pub fn run(args: StressArgs) -> Result<ExitCode> {
    if args.exit_at_once {
        kinds::leave_threads_behind(args.exit_threads).context("cannot start a thread")?;
        return Ok(ExitCode::SUCCESS);
    }
    sys::ignore_broken_pipes();
    let (kinds, left_out) = choose(&args)?;
    let load = Load::new(args.seed)?;
    let handler = Arc::clone(&load);
    signals::on_stop(move || handler.stop())?;

    let before = Status::read()?;
    let began = Instant::now();
    let trace = args.trace.as_deref().map(Trace::create).transpose()?;
    let wait_check = args.longest_wait.map(WaitCheck::start).transpose()?;
    let mut run = Run::new(&args, &kinds, load, before, trace);
    run.start(&kinds);
    run.watch();
    let waits = run.judge(wait_check.as_ref());
    run.finish();
    let moved = run.compare_counters();
    run.read_kernel_log();
    let end = run.status();
    let summary = Summary {
        seconds: began.elapsed().as_secs_f64(),
        seed: args.seed,
        kinds: run.watch.results().iter().map(Into::into).collect(),
        left_out,
        waits,
        counters: moved,
        unwatched: run.unwatched,
        longest_absence: run.watch.longest_absence().as_secs_f64(),
        end,
        start: run.before,
        problems: run.problems,
    };
    conclude(&summary, args.json)
}

/// The kinds to run, and those of the default that cannot run here.
fn choose(args: &StressArgs) -> Result<(Vec<StressKind>, Vec<LeftOut>)> {
    let asked = |kind: &StressKind| match args.kinds.as_slice() {
        [] => !kinds::is_opt_in(*kind),
        wanted => wanted.contains(kind),
    };
    let mut chosen = Vec::new();
    let mut left_out = Vec::new();
    for &kind in StressKind::value_variants()
        .iter()
        .filter(|kind| asked(kind))
    {
        match kinds::obstacle(kind) {
            None => chosen.push(kind),
            Some(why) if args.kinds.is_empty() => {
                left_out.push(LeftOut {
                    kind: report::name(kind),
                    why,
                });
            }
            Some(why) => bail!("stress: cannot run {}: {why}", report::name(kind)),
        }
    }
    Ok((chosen, left_out))
}

/// One run, from the first worker to the last.
struct Run<'a> {
    args: &'a StressArgs,
    load: Arc<Load>,
    before: Status,
    counters: CoreEvents,
    /// `Err`: why it cannot be read.
    kernel_log: Result<KernelLog>,
    /// CPUs that come and go may make a scheduler load itself again, too.
    beside: Beside,
    patience: Duration,
    watch: Watch,
    trace: Option<Trace>,
    problems: Vec<String>,
    /// What could not be watched, and why.
    unwatched: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(
        args: &'a StressArgs,
        kinds: &[StressKind],
        load: Arc<Load>,
        before: Status,
        trace: Option<Trace>,
    ) -> Self {
        let patience = Duration::from_secs(args.stall_seconds);
        Self {
            args,
            load,
            before,
            counters: sched_ext::event_counters(),
            kernel_log: KernelLog::open(),
            beside: Beside {
                hotplug: kinds.contains(&StressKind::Hotplug),
                real_time: kinds.iter().any(|&kind| kinds::is_real_time(kind)),
            },
            patience,
            watch: Watch::new(Vec::new(), Instant::now(), patience),
            trace,
            problems: Vec::new(),
            unwatched: Vec::new(),
        }
    }

    /// Starts every kind; what cannot start is a problem, and ends the run.
    fn start(&mut self, kinds: &[StressKind]) {
        let mut members: Vec<Member> = Vec::new();
        for &kind in kinds {
            let mut pool = WorkerPool::new(&self.load, kind, &mut members, self.patience);
            if let Err(error) = kinds::start(kind, kinds, &mut pool, self.args.rt_duty) {
                self.problem(format!("cannot start {}: {error:#}", report::name(kind)));
                self.load.stop();
                break;
            }
        }
        say(&format!(
            "stress: running {} workers, seed {}",
            members.len(),
            self.args.seed
        ));
        self.watch = Watch::new(members, Instant::now(), self.patience);
        self.load.begin();
    }

    /// Looks on until the time is over and all have begun, something stops the load, or a worker fails.
    /// On a slow machine a worker's first operation may take longer than the time: it is the watch's to say
    /// whether that is too long.
    fn watch(&mut self) {
        let start = Instant::now();
        let end = Duration::from_secs(self.args.seconds);
        let mut next_line = PROGRESS_EVERY;
        while !self.load.is_stopping()
            && (start.elapsed() < end || self.watch.awaits_a_first_operation())
        {
            self.load.pause(LOOK_EVERY);
            self.check_workers();
            if start.elapsed() >= next_line {
                next_line += PROGRESS_EVERY;
                say(&report::progress(start.elapsed(), &self.watch.results()));
            }
            if !self.load.faults().is_empty() {
                break;
            }
        }
    }

    fn check_workers(&mut self) {
        for stall in self.watch.check(Instant::now()) {
            self.problem(stall);
        }
        self.trace();
        if self.args.any_scheduler {
            return;
        }
        let now = self.status();
        if let Some(trouble) = staying::trouble_since(&self.before, &now, self.beside.hotplug) {
            self.problem_once(trouble);
        }
    }

    /// The kernel's sched_ext now; that it cannot be read is a problem.
    fn status(&mut self) -> Status {
        Status::read().unwrap_or_else(|error| {
            self.problem_once(error.to_string());
            self.before.clone()
        })
    }

    /// What was done so far; a file that cannot be written to any more is a problem, and left alone.
    fn trace(&mut self) {
        let Some(trace) = &mut self.trace else {
            return;
        };
        if let Err(error) = trace.write(&self.watch.results()) {
            self.trace = None;
            self.problem(format!("{error:#}"));
        }
    }

    /// The longest waits.
    fn judge(&mut self, wait_check: Option<&WaitCheck>) -> Option<Waits> {
        match wait_check?.read() {
            Ok(waits) => {
                if let Some(problem) = waits.problem() {
                    self.problem(problem);
                }
                Some(waits)
            }
            Err(error) => {
                self.problem(format!("cannot tell how long tasks waited: {error:#}"));
                None
            }
        }
    }

    /// Ends all workers; each puts back what it changed.
    fn finish(&mut self) {
        self.load.stop();
        if !self.load.wait_for_end(self.patience) {
            let patience = units::duration(self.patience);
            self.problem(format!(
                "some workers have not ended {patience} after the stop"
            ));
        }
        for fault in self.load.faults() {
            self.problem(fault);
        }
    }

    /// By how much the kernel's counters of the scheduler moved; one that must not is a problem.
    fn compare_counters(&mut self) -> CoreEvents {
        let moved = core_events::moved(&self.counters, &sched_ext::event_counters());
        if !self.args.any_scheduler
            && let Some(problem) = core_events::problem(&moved, self.beside)
        {
            self.problem(problem);
        }
        moved
    }

    /// An alarm of the kernel is a problem.
    fn read_kernel_log(&mut self) {
        let alarms = match &mut self.kernel_log {
            Ok(log) => log.alarms(),
            Err(error) => {
                self.unwatched.push(format!("kernel log: {error:#}"));
                return;
            }
        };
        match alarms {
            Ok(alarms) => {
                if let Some(problem) = kernel_log::problem(&alarms) {
                    self.problem(problem);
                }
            }
            Err(error) => self.problem(format!("{error:#}")),
        }
    }

    fn problem_once(&mut self, text: String) {
        if !self.problems.contains(&text) {
            self.problem(text);
        }
    }

    fn problem(&mut self, text: String) {
        say(&format!("stress: {text}"));
        self.problems.push(text);
    }
}

/// A line on standard error, if it is still read.
fn say(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

fn conclude(summary: &Summary, json: bool) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let written = if json {
        summary.write_json(&mut out)
    } else {
        summary.write_text(&mut out)
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(error).context("cannot write the summary");
        }
        _ => {}
    }
    let Some(first) = summary.problems.first() else {
        return Ok(ExitCode::SUCCESS);
    };
    let more = match summary.problems.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    bail!(
        "stress: {first}{more}; repeat with --seed {} and narrow down with --kinds",
        summary.seed
    )
}
