//! The summary of a run, for people and for programs.

use std::io::{self, Write};
use std::time::Duration;

use clap::ValueEnum;
use scx_ops::sched_ext::Status;
use serde::Serialize;

use super::wait_check::Waits;
use super::watch::KindResult;
use crate::base::units::time;
use crate::cli::StressKind;
use crate::snapshot::CoreEvents;

/// The end of a run.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The seed of its random choices.
    pub seed: u64,
    /// What each kind did.
    pub kinds: Vec<KindLine>,
    /// Kinds that could not run here, and why.
    pub left_out: Vec<LeftOut>,
    /// What was judged with `--longest-wait`.
    pub waits: Option<Waits>,
    /// The kernel's counters of the scheduler that moved, and by how much.
    pub counters: CoreEvents,
    /// What could not be watched, and why.
    pub unwatched: Vec<String>,
    /// How long the watch itself was kept from running at most, in seconds.
    pub longest_absence: f64,
    /// The kernel's sched_ext at the start.
    pub start: Status,
    /// The kernel's sched_ext at the end.
    pub end: Status,
    /// Everything that went wrong; empty is a success.
    pub problems: Vec<String>,
}

/// One kind's share of the load.
#[derive(Debug, Serialize)]
pub struct KindLine {
    /// Its name on the command line.
    pub kind: String,
    /// How many workers it had.
    pub workers: usize,
    /// What they did together.
    pub operations: u64,
    /// The longest time in which one of them did nothing, in seconds (seen four times a second).
    pub longest_pause: f64,
}

/// A kind that could not run.
#[derive(Debug, Serialize)]
pub struct LeftOut {
    /// Its name on the command line.
    pub kind: String,
    /// Why not.
    pub why: String,
}

/// A kind's name on the command line.
pub fn name(kind: StressKind) -> String {
    kind.to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

impl From<&KindResult> for KindLine {
    fn from(result: &KindResult) -> Self {
        Self {
            kind: name(result.kind),
            workers: result.workers,
            operations: result.operations,
            longest_pause: result.longest_pause.as_secs_f64(),
        }
    }
}

impl Summary {
    /// Writes it as one line of JSON.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }

    /// Writes it as a table.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<12}{:>8}{:>14}{:>17}",
            "kind", "workers", "operations", "longest pause"
        )?;
        for KindLine {
            kind,
            workers,
            operations,
            longest_pause,
        } in &self.kinds
        {
            writeln!(
                out,
                "{kind:<12}{workers:>8}{operations:>14}{:>17}",
                time((longest_pause * 1e9) as u64)
            )?;
        }
        for LeftOut { kind, why } in &self.left_out {
            writeln!(out, "left out: {kind}: {why}")?;
        }
        if let Some(waits) = &self.waits {
            writeln!(out, "{waits}")?;
        }
        for unwatched in &self.unwatched {
            writeln!(out, "not watched: {unwatched}")?;
        }
        for (name, by) in &self.counters {
            writeln!(out, "counter: {name} {by}")?;
        }
        for problem in &self.problems {
            writeln!(out, "problem: {problem}")?;
        }
        writeln!(out, "scheduler: {}", self.scheduler())?;
        let count = self.kinds.len();
        let verdict = if self.problems.is_empty() {
            "all got on"
        } else {
            "FAILED"
        };
        writeln!(
            out,
            "stress: {:.1} s, seed {}, {count} kinds: {verdict}",
            self.seconds, self.seed
        )
    }

    fn scheduler(&self) -> String {
        let (start, end) = (
            self.start.active().to_string(),
            self.end.active().to_string(),
        );
        let cpus = if start == end {
            start
        } else {
            format!("{start}, at the end {end}")
        };
        match self.end.nr_rejected {
            Some(rejected) => format!("{cpus}; nr_rejected {rejected}"),
            None => cpus,
        }
    }
}

/// One line of progress.
pub fn progress(elapsed: Duration, results: &[KindResult]) -> String {
    let kinds: Vec<_> = results
        .iter()
        .map(|result| format!("{} {}", name(result.kind), result.operations))
        .collect();
    format!(
        "stress: {:.0} s: {}",
        elapsed.as_secs_f64(),
        kinds.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let hogs = KindResult {
            kind: StressKind::RtHogs,
            workers: 2,
            operations: 1234,
            longest_pause: Duration::from_millis(250),
        };
        Summary {
            seconds: 20.0,
            seed: 1,
            kinds: vec![KindLine::from(&hogs)],
            left_out: vec![LeftOut {
                kind: "cgroup".into(),
                why: "no reason".into(),
            }],
            waits: None,
            counters: CoreEvents::from([("SCX_EV_X".into(), 3)]),
            unwatched: vec!["kernel log: no reason".into()],
            longest_absence: 0.3,
            start: Status::default(),
            end: Status::default(),
            problems: Vec::new(),
        }
    }

    fn text(summary: &Summary) -> String {
        let mut out = Vec::new();
        summary.write_text(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_is_stable() {
        assert_eq!(
            text(&summary()),
            "kind         workers    operations    longest pause\n\
             rt-hogs            2          1234           250 ms\n\
             left out: cgroup: no reason\n\
             not watched: kernel log: no reason\n\
             counter: SCX_EV_X 3\n\
             scheduler: EEVDF (no sched_ext)\n\
             stress: 20.0 s, seed 1, 1 kinds: all got on\n"
        );
    }

    #[test]
    fn problems_and_changes_show() {
        let mut summary = summary();
        summary
            .problems
            .push("compute/0 made no progress for 11 s".into());
        summary.end.state = Some("disabled".into());
        summary.end.nr_rejected = Some(3);
        let text = text(&summary);
        assert!(text.contains("problem: compute/0 made"), "{text}");
        assert!(text.contains("at the end EEVDF; nr_rejected 3"), "{text}");
        assert!(text.ends_with("FAILED\n"), "{text}");
    }

    #[test]
    fn json_holds_the_same() {
        let mut out = Vec::new();
        summary().write_json(&mut out).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["kinds"][0]["kind"], "rt-hogs");
        assert_eq!(value["kinds"][0]["operations"], 1234);
        assert_eq!(value["problems"], serde_json::json!([]));
    }
}
