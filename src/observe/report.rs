//! What `scx_takt observe` prints: a table for people, JSON for programs.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use scx_ops::kernel;
use serde::Serialize;

use super::{Histogram, Reading};
use crate::base::units;

/// Everything that was seen. Times are nanoseconds.
#[derive(Serialize)]
pub struct Report {
    kernel: String,
    /// The active scheduler when it ended.
    scheduler: String,
    seconds: f64,
    /// When it began and ended, by `CLOCK_MONOTONIC`.
    began_ns: u64,
    ended_ns: u64,
    /// False: ended early.
    complete: bool,
    /// Waits that are missing because their beginning is not known.
    unseen: u64,
    /// Waits that are missing because two tasks' PIDs have the same low bits.
    collisions: u64,
    /// Groups in which anything happened, then all of them together.
    groups: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    tasks: String,
    /// From ready to running.
    waits: Summary,
    /// From switched in to switched out.
    slices: Summary,
}

#[derive(Serialize)]
struct Summary {
    count: u64,
    sum_ns: u64,
    mean_ns: Option<u64>,
    p50_ns: Option<u64>,
    p90_ns: Option<u64>,
    p99_ns: Option<u64>,
    p999_ns: Option<u64>,
    max_ns: Option<u64>,
    /// First and last nanosecond of each bucket that is not empty, and how many lie between.
    buckets: Vec<(u64, u64, u64)>,
}

impl Summary {
    fn new(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count(),
            sum_ns: histogram.sum_ns(),
            mean_ns: histogram.mean_ns(),
            p50_ns: histogram.quantile_ns(500),
            p90_ns: histogram.quantile_ns(900),
            p99_ns: histogram.quantile_ns(990),
            p999_ns: histogram.quantile_ns(999),
            max_ns: (histogram.count() > 0).then(|| histogram.max_ns()),
            buckets: histogram.buckets().collect(),
        }
    }

    fn cells(&self) -> impl Iterator<Item = String> {
        let times = [
            self.p50_ns,
            self.p90_ns,
            self.p99_ns,
            self.p999_ns,
            self.max_ns,
        ];
        let times = times.map(|ns| ns.map_or("-".to_owned(), units::time));
        std::iter::once(self.count.to_string()).chain(times)
    }
}

impl Report {
    /// The report of a reading.
    pub fn new(reading: &Reading, scheduler: String, complete: bool) -> Self {
        let mut groups = Vec::new();
        for group in &reading.groups {
            if group.waits.count() + group.slices.count() == 0 {
                continue;
            }
            let kind = if group.kernel_thread { " (kernel)" } else { "" };
            groups.push(Row {
                tasks: format!("{}{kind}", group.class.name()),
                waits: Summary::new(&group.waits),
                slices: Summary::new(&group.slices),
            });
        }
        groups.push(Row {
            tasks: "all".to_owned(),
            waits: Summary::new(&reading.waits(|_| true)),
            slices: Summary::new(&reading.slices(|_| true)),
        });
        Self {
            kernel: kernel::release(),
            scheduler,
            seconds: reading.span.as_secs_f64(),
            began_ns: reading.at_ns.saturating_sub(reading.span.as_nanos() as u64),
            ended_ns: reading.at_ns,
            complete,
            unseen: reading.unseen,
            collisions: reading.collisions,
            groups,
        }
    }

    /// Two tables, waits and slices, under a line that says what they are of.
    pub fn table(&self) -> String {
        let early = if self.complete { "" } else { " (ended early)" };
        let mut text = format!(
            "{} on kernel {}, {:.1} s{early}\n\n{}\n\n{}",
            self.scheduler,
            self.kernel,
            self.seconds,
            self.part("waits: ready to running", |row| &row.waits),
            self.part("slices: switched in to out", |row| &row.slices),
        );
        if self.collisions > 0 {
            text += &format!(
                "\n\n{} waits are missing: PIDs with the same low bits",
                self.collisions
            );
        }
        text
    }

    fn part(&self, title: &str, of: impl Fn(&Row) -> &Summary) -> Table {
        let line = LineStyle::none().fill('─').junction('─');
        let mut table = Table::new();
        table.load_style(TableStyle::new().header_separator(line));
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header([title, "count", "p50", "p90", "p99", "p99.9", "max"]);
        for row in &self.groups {
            table.add_row(std::iter::once(row.tasks.clone()).chain(of(row).cells()));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::{Class, Group};
    use super::*;

    fn reading() -> Reading {
        let mut waits = Histogram::default();
        for us in 1..=100 {
            waits.record(us * 1000);
        }
        let group = |class, kernel_thread, waits: &Histogram| Group {
            class,
            kernel_thread,
            waits: waits.clone(),
            wakeups: Histogram::default(),
            slices: Histogram::default(),
        };
        Reading {
            at: Instant::now(),
            at_ns: 5_000_000_000,
            span: Duration::from_secs(2),
            groups: vec![
                group(Class::Fair, false, &waits),
                group(Class::Ext, false, &Histogram::default()),
                group(Class::Realtime, true, &waits),
            ],
            unseen: 1,
            collisions: 3,
        }
    }

    #[test]
    fn table_has_a_row_for_each_group_that_was_seen() {
        let table = Report::new(&reading(), "EEVDF".into(), false).table();
        assert!(table.contains("EEVDF on kernel") && table.contains("2.0 s (ended early)"));
        assert!(table.contains("rt (kernel)") && !table.contains("ext"));
        assert!(table.contains("3 waits are missing"));
        let all = table.lines().find(|line| line.contains("all")).unwrap();
        let cells: Vec<_> = all.split_whitespace().collect();
        assert_eq!(cells[..4], ["all", "200", "50", "us"], "{table}");
    }

    #[test]
    fn json_has_every_bucket() {
        let json = serde_json::to_value(Report::new(&reading(), "EEVDF".into(), true)).unwrap();
        assert_eq!(json["complete"], true);
        assert_eq!(
            (&json["began_ns"], &json["ended_ns"]),
            (&3_000_000_000_u64.into(), &5_000_000_000_u64.into())
        );
        let waits = &json["groups"][0]["waits"];
        let buckets = waits["buckets"].as_array().unwrap();
        let sum: u64 = buckets.iter().map(|b| b[2].as_u64().unwrap()).sum();
        assert_eq!((sum, waits["count"].as_u64()), (100, Some(100)));
        assert!(json["groups"][0]["slices"]["p50_ns"].is_null());
    }
}
