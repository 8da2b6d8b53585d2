//! The live view: is this machine well, and if not, why?
//!
//! [`view`] is the state, [`draw`] makes the screen of it and nothing else, [`keys`] changes it, [`screen`]
//! owns the terminal.

mod cpus;
mod draw;
mod flow;
mod glyphs;
mod head;
mod keys;
mod pages;
mod screen;
mod tables;
mod view;

use std::env;
use std::fs;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::base::output;
use crate::cli::TopArgs;
use crate::signals::Interrupt;
use crate::snapshot::Snapshot;
use crate::state;
use crate::stats::source::Source;
use crate::stats::text;
use keys::Action;
use screen::{Input, Screen};
use view::{Page, Theme, View};

/// Wakeups that make a baseline of EEVDF.
const BASELINE_WAKEUPS: u64 = 1_000;
/// Time that makes one.
const BASELINE_TIME: Duration = Duration::from_secs(5);

/// `scx_takt top`.
///
/// # Errors
/// If the terminal or standard output cannot be written to.
pub fn run(args: &TopArgs) -> Result<ExitCode> {
    libbpf_rs::set_print(None);
    let term = env::var("TERM").unwrap_or_default();
    let terminal = io::stdout().is_terminal() && !["", "dumb"].contains(&term.as_str());
    if args.lines || !terminal || !screen::has_keyboard() {
        return lines(args);
    }
    full_screen(args)
}

/// What this terminal can show, by the usual variables.
fn theme(ascii: bool) -> Theme {
    let set = |name| env::var(name).is_ok_and(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_default()
        .to_lowercase();
    let utf8 = locale.contains("utf-8") || locale.contains("utf8");
    let monochrome =
        env::var("TERM").is_ok_and(|term| term.ends_with("-mono") || term.starts_with("vt"));
    Theme {
        color: !set("NO_COLOR") && !monochrome,
        unicode: utf8 && !ascii,
    }
}

/// Keeps this machine's wakeups under EEVDF, to compare others with.
struct Baseline {
    since: Option<(Instant, Snapshot)>,
}

impl Baseline {
    fn learn(&mut self, now: &Snapshot) -> Option<crate::snapshot::Waits> {
        if now.scheduler.name != Snapshot::KERNELS_OWN || now.wakeups.bounds_ns.is_empty() {
            self.since = None;
            return None;
        }
        let (began, first) = self
            .since
            .get_or_insert_with(|| (Instant::now(), now.clone()));
        let seen = crate::snapshot::Delta::since(&now.wakeups, &first.wakeups);
        if began.elapsed() < BASELINE_TIME || seen.total() < BASELINE_WAKEUPS {
            return None;
        }
        self.since = None;
        // A machine where nothing can be kept has no baseline next time, and is told so then.
        let _ = state::remember_baseline(&seen);
        Some(seen)
    }
}

/// A line per sample, where there is no screen.
fn lines(args: &TopArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::catch()?;
    let period = Duration::from_secs_f64(args.interval);
    let mut source = Source::new();
    let mut baseline = Baseline { since: None };
    let mut earlier = source.sample();
    if source.is_opening_local() {
        earlier = source.sample();
    }
    if !source.unavailable.is_empty() {
        eprintln!("scx_takt: {}", source.unavailable);
    }
    let mut view = View::new(theme(args.ascii));
    view.take(earlier.clone());
    let mut samples = 0;
    while args.count.is_none_or(|count| samples < count) && !interrupt.wait(period) {
        let now = source.sample();
        baseline.learn(&now);
        view.take(now.clone());
        let mut line = text::line(&earlier, &now);
        if let Some((name, reason)) = view.gone() {
            line += &reason.map_or_else(
                || format!("  {name} has ended"),
                |reason| format!("  {name} WAS EJECTED: {reason}"),
            );
        }
        if output::print(&line)?.is_break() {
            break;
        }
        earlier = now;
        samples += 1;
    }
    Ok(ExitCode::SUCCESS)
}

fn full_screen(args: &TopArgs) -> Result<ExitCode> {
    let period = Duration::from_secs_f64(args.interval);
    let mut source = Source::new();
    let mut view = View::new(theme(args.ascii));
    let mut baseline = Baseline { since: None };
    let mut screen = Screen::open()?;
    let mut samples = 0;
    loop {
        watch_cgroups(&mut source, &mut view);
        let now = source.sample();
        view.unavailable.clone_from(&source.unavailable);
        view.baseline = baseline
            .learn(&now)
            .or_else(|| state::baseline(&now.wakeups.kind));
        view.take(now);
        samples += 1;
        let pause = if source.is_opening_local() {
            Duration::ZERO
        } else {
            period
        };
        let due = Instant::now() + pause;
        loop {
            if screen.draw(&view)?.is_break() {
                screen.abandon();
                return Ok(ExitCode::SUCCESS);
            }
            if args.count.is_some_and(|count| samples > count) {
                return Ok(ExitCode::SUCCESS);
            }
            match screen.input(due.saturating_duration_since(Instant::now()))? {
                Input::Gone => {
                    screen.abandon();
                    return Ok(ExitCode::SUCCESS);
                }
                Input::Nothing => break,
                Input::Changed => {}
                Input::Key(key) => match keys::press(&mut view, key) {
                    Action::Quit => return Ok(ExitCode::SUCCESS),
                    Action::Save => view.note = save(&view.now),
                    Action::None if wants_cgroups(&view) => break,
                    Action::None => {}
                },
            }
        }
    }
}

/// Looks at cgroups while their page is open; without any, back to the overview.
fn watch_cgroups(source: &mut Source, view: &mut View) {
    if view.page != Page::Cgroups {
        source.ignore_cgroups();
    } else if let Err(error) = source.watch_cgroups() {
        view.page = Page::Overview;
        view.note = format!("{error:#}");
    }
}

/// Has their page been opened just now?
fn wants_cgroups(view: &View) -> bool {
    view.page == Page::Cgroups && view.now.cgroups.is_empty()
}

/// Writes the snapshot to a file of its own in the current folder; what to tell the viewer.
fn save(now: &Snapshot) -> String {
    let name = format!("scx_takt-{}.json", now.unix_s);
    let write = || -> Result<()> {
        let json = serde_json::to_vec_pretty(now)?;
        fs::write(&name, json).with_context(|| format!("cannot write {name}"))
    };
    match write() {
        Ok(()) => format!("saved as {name}"),
        Err(error) => format!("{error:#}"),
    }
}
