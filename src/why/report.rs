//! What `scx_takt why` prints: the longest waits with their causes, sums over all; text for people, JSON for programs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use scx_ops::kernel;
use serde::Serialize;

use super::attribution::{Holder, Share, Wait, has_other, judge};
use super::record::{Kind, Record};
use super::watcher::Counts;
use super::words;
use crate::base::units;

/// Waits that are kept with all that is known of them.
pub const WAITS_KEPT: usize = 20;
/// Waits of which parts may be at hand.
const OPEN_KEPT: usize = 1024;
/// Parts of a wait that are kept: the last ones.
const PARTS_KEPT: usize = 8;
/// Kinds of tasks that are summed one by one; the rest is one sum.
const KINDS_KEPT: usize = 1024;
/// PIDs that are counted of each kind.
const PIDS_KEPT: usize = 64;
/// Shares of a wait that are named; the rest is one sum.
const SHARES_SHOWN: usize = 8;
/// Sums that are printed.
const SUMS_SHOWN: usize = 8;
/// Waits of each list that are printed for people.
const WAITS_SHOWN: usize = 5;
/// Less than so many percent of a wait is not named for people.
const PERCENT_SHOWN: f64 = 1.0;

/// Everything that was learned so far, in bounded memory.
#[derive(Default)]
pub struct Findings {
    /// Parts of waits that have not ended, by task and begin.
    parts: HashMap<(i32, u64), Vec<Record>>,
    /// The longest waits, longest first.
    longest: Vec<Wait>,
    /// The same, sleeps in `futex()`.
    locks: Vec<Wait>,
    /// What had the CPUs, over all waits.
    kinds: Vec<KindSum>,
    /// How often each was the first cause.
    causes: BTreeMap<&'static str, u64>,
    /// The length of all waits, in ns.
    sum_ns: u64,
    /// Waits that had not ended, and the length of them in ns.
    nr_open: u64,
    open_ns: u64,
    nr_locks: u64,
}

impl Findings {
    /// Takes in a record.
    pub fn add(&mut self, record: Record) {
        let key = (record.task.pid, record.at_ns);
        match record.kind {
            Kind::Part => {
                if self.parts.len() >= OPEN_KEPT && !self.parts.contains_key(&key) {
                    // Most likely of waits that came to an end within the limit.
                    self.parts.clear();
                }
                let parts = self.parts.entry(key).or_default();
                if parts.len() >= PARTS_KEPT {
                    parts.remove(0);
                }
                parts.push(record);
            }
            Kind::Wait | Kind::Open => {
                let mut parts = self.parts.remove(&key).unwrap_or_default();
                parts.push(record);
                self.add_wait(&parts);
            }
            Kind::Lock => {
                self.nr_locks += 1;
                keep(&mut self.locks, judge(&[record]));
            }
        }
    }

    fn longest_ns(&self) -> u64 {
        self.longest.first().map_or(0, |wait| wait.wait_ns)
    }

    fn add_share(&mut self, share: &Share) {
        let is_full = self.kinds.len() >= KINDS_KEPT;
        let known = self.kinds.iter().position(|kind| kind.is_of(&share.holder));
        let known = known.or_else(|| {
            let others = |kind: &KindSum| kind.share.holder == Holder::Others;
            self.kinds.iter().position(others).filter(|_| is_full)
        });
        let index = known.unwrap_or_else(|| {
            let holder = if is_full {
                Holder::Others
            } else {
                share.holder.clone()
            };
            let share = Share { holder, ns: 0 };
            self.kinds.push(KindSum {
                share,
                pids: BTreeSet::new(),
            });
            self.kinds.len() - 1
        });
        let kind = &mut self.kinds[index];
        kind.share.ns += share.ns;
        if let Holder::Task(task) = &share.holder
            && kind.pids.len() < PIDS_KEPT
        {
            kind.pids.insert(task.pid);
        }
    }

    fn add_wait(&mut self, parts: &[Record]) {
        let Some(wait) = judge(parts) else {
            return;
        };
        if wait.last.kind == Kind::Open {
            self.nr_open += 1;
            self.open_ns += wait.wait_ns;
        }
        self.sum_ns += wait.wait_ns;
        *self.causes.entry(wait.cause.name()).or_default() += 1;
        for share in &wait.shares {
            self.add_share(share);
        }
        keep(&mut self.longest, Some(wait));
    }
}

/// What had CPUs: tasks of the same name and priority are one kind.
struct KindSum {
    share: Share,
    pids: BTreeSet<i32>,
}

impl KindSum {
    fn is_of(&self, holder: &Holder) -> bool {
        match (&self.share.holder, holder) {
            (Holder::Task(one), Holder::Task(two)) => {
                (one.class, one.prio) == (two.class, two.prio) && one.comm == two.comm
            }
            (one, two) => one == two,
        }
    }
}

/// Puts a wait among the longest.
fn keep(longest: &mut Vec<Wait>, wait: Option<Wait>) {
    let Some(wait) = wait else {
        return;
    };
    let at = longest.partition_point(|kept| kept.wait_ns >= wait.wait_ns);
    longest.insert(at, wait);
    longest.truncate(WAITS_KEPT);
}

/// What was watched, and how.
pub struct Frame {
    /// The tasks.
    pub target: String,
    /// The active scheduler at the end.
    pub scheduler: String,
    /// The scheduler was another one at the beginning: what scx_takt says cannot be relied on.
    pub changed: bool,
    /// When it began, in nanoseconds of `CLOCK_MONOTONIC`.
    pub began_ns: u64,
    /// For how long, in seconds.
    pub seconds: f64,
    /// Not ended early.
    pub complete: bool,
    /// Its tasks were gone before the end.
    pub gone: bool,
    /// Waits are long from here on, in nanoseconds.
    pub over_ns: u64,
    /// CPUs that there may be.
    pub nr_cpus: u32,
}

/// A report. Times are nanoseconds.
#[derive(Serialize)]
pub struct Report {
    target: String,
    kernel: String,
    scheduler: String,
    seconds: f64,
    complete: bool,
    over_ns: u64,
    /// Waits of any length that have ended.
    waits: u64,
    wait_ns: u64,
    longest_ns: u64,
    /// Of them, beyond the limit.
    long: u64,
    long_ns: u64,
    /// Records that were lost: waits that are counted and not explained.
    lost: u64,
    /// Waits whose beginning is not known.
    unseen: u64,
    /// Long sleeps in `futex()`, ended by a task that had not waited for a CPU.
    unexplained_sleeps: u64,
    /// How often each was the first cause.
    causes: BTreeMap<&'static str, u64>,
    behind: Vec<Sum>,
    longest: Vec<Row>,
    /// Sleeps in `futex()` that ended late as the waker waited for a CPU.
    nr_locks: u64,
    locks: Vec<Row>,
    #[serde(skip)]
    gone: bool,
    #[serde(skip)]
    changed: bool,
}

/// What had CPUs while tasks waited, over all long waits.
#[derive(Serialize)]
struct Sum {
    what: String,
    ns: u64,
    /// Of all long waits.
    percent: f64,
}

/// A wait.
#[derive(Serialize)]
struct Row {
    task: String,
    pid: i32,
    wait_ns: u64,
    /// Since the beginning.
    after_ns: u64,
    begin: String,
    place: String,
    cpus: Vec<u32>,
    cause: &'static str,
    why: String,
    /// The other task of the cause, or of the begin.
    other_pid: Option<i32>,
    chain: Vec<Sum>,
    rule: Option<String>,
    affinity: Option<String>,
    /// The dispatch queue of sched_ext that it waited in.
    dsq: Option<u64>,
    open: bool,
}

impl Report {
    /// The report of what was found.
    pub fn new(findings: Findings, counts: &Counts, frame: &Frame) -> Self {
        let longest_ns = counts.longest_ns.max(findings.longest_ns());
        let mut kinds = findings.kinds;
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.share.ns));
        let behind = kinds.iter().take(SUMS_SHOWN);
        let behind = behind.map(|kind| Sum::of_kind(kind, findings.sum_ns));
        // Those that have not ended are not counted yet.
        let nr_open = findings.nr_open;
        let rows = |waits: &[Wait]| waits.iter().map(|wait| Row::new(wait, frame)).collect();
        Self {
            target: frame.target.clone(),
            kernel: kernel::release(),
            scheduler: frame.scheduler.clone(),
            seconds: frame.seconds,
            complete: frame.complete,
            over_ns: frame.over_ns,
            waits: counts.waits + nr_open,
            wait_ns: counts.wait_ns + findings.open_ns,
            longest_ns,
            long: counts.long + nr_open,
            long_ns: counts.long_ns + findings.open_ns,
            lost: counts.lost,
            unseen: counts.unseen,
            unexplained_sleeps: counts.sleeps,
            behind: behind.collect(),
            longest: rows(&findings.longest),
            nr_locks: findings.nr_locks,
            locks: rows(&findings.locks),
            causes: findings.causes,
            gone: frame.gone,
            changed: frame.changed,
        }
    }

    /// For people. `colour`: the causes are bright.
    pub fn text(&self, colour: bool) -> String {
        let mut lines = vec![self.head()];
        lines.extend(self.notes());
        if !self.behind.is_empty() {
            lines.push(String::new());
            let large = self
                .behind
                .iter()
                .filter(|sum| sum.percent >= PERCENT_SHOWN);
            lines.extend(large.map(|sum| {
                let (percent, time) = (sum.percent, units::time(sum.ns));
                format!(
                    "{percent:3.0} % of these waits was {} ({time})",
                    sum.preposition()
                )
            }));
            let causes = self
                .causes
                .iter()
                .map(|(name, count)| format!("{name} {count}"));
            let causes: Vec<_> = causes.collect();
            lines.push(format!("First causes: {}", causes.join(", ")));
        }
        self.list(&mut lines, "The longest waits", &self.longest, colour);
        let locks = format!(
            "Sleeps in futex() whose waker had waited for a CPU ({})",
            self.nr_locks
        );
        self.list(&mut lines, &locks, &self.locks, colour);
        lines.join("\n")
    }

    fn head(&self) -> String {
        let early = if self.complete { "" } else { " (ended early)" };
        let over = units::time(self.over_ns);
        let long = match self.long {
            0 => format!("none was longer than {over}"),
            1 => format!("1 was longer than {over}: {}", units::time(self.long_ns)),
            long => format!(
                "{long} were longer than {over}: {} in all",
                units::time(self.long_ns)
            ),
        };
        format!(
            "{} under {} on kernel {}, {:.1} s{early}\n{} waits, {} in all, the longest {}; {long}",
            self.target,
            self.scheduler,
            self.kernel,
            self.seconds,
            self.waits,
            units::time(self.wait_ns),
            units::time(self.longest_ns)
        )
    }

    fn notes(&self) -> impl Iterator<Item = String> {
        let mut notes = Vec::new();
        if self.gone {
            notes.push("The tasks have ended.".to_owned());
        }
        if self.waits == 0 && self.longest.is_empty() {
            notes.push("Nothing to wait for: they slept, or ran, all the time.".to_owned());
        }
        if self.changed {
            notes.push(
                "The scheduler has changed meanwhile: what scx_takt says may be wrong.".into(),
            );
        }
        if self.lost > 0 {
            notes.push(format!(
                "{} records were lost: there were more than could be read. Their waits are counted, not explained.",
                self.lost
            ));
        }
        if self.unseen > 0 {
            notes.push(format!(
                "{} waits are missing: their beginning was not seen.",
                self.unseen
            ));
        }
        if self.unexplained_sleeps > 0 {
            notes.push(format!(
                "{} sleeps in futex() were as long, and the waker had not waited for a CPU: for work, \
                 or for a lock whose holder slept; that cannot be told apart.",
                self.unexplained_sleeps
            ));
        }
        notes.into_iter()
    }

    fn list(&self, lines: &mut Vec<String>, title: &str, rows: &[Row], colour: bool) {
        if rows.is_empty() {
            return;
        }
        lines.push(format!("\n{title}"));
        for (i, row) in rows.iter().take(WAITS_SHOWN).enumerate() {
            lines.extend(row.lines(i + 1, colour));
        }
        if rows.len() > WAITS_SHOWN {
            lines.push(format!("    {} more with --json", rows.len() - WAITS_SHOWN));
        }
    }
}

impl Sum {
    fn of_kind(kind: &KindSum, all_ns: u64) -> Self {
        let mut sum = Self::new(&kind.share, 0, all_ns);
        if let Holder::Task(task) = &kind.share.holder
            && kind.pids.len() > 1
        {
            let more = if kind.pids.len() < PIDS_KEPT {
                ""
            } else {
                " or more"
            };
            sum.what = words::several(task, &format!("{}{more} tasks", kind.pids.len()));
        }
        sum
    }

    /// The largest shares of a wait, longest first, and the rest as one.
    fn of_wait(wait: &Wait) -> Vec<Self> {
        let (large, small) = wait.shares.split_at(wait.shares.len().min(SHARES_SHOWN));
        let new = |share| Self::new(share, small.len(), wait.wait_ns);
        let mut sums: Vec<_> = large.iter().map(new).collect();
        if !small.is_empty() {
            let ns = small.iter().map(|share| share.ns).sum();
            let holder = Holder::Others;
            sums.push(new(&Share { holder, ns }));
        }
        sums
    }

    fn new(share: &Share, nr_others: usize, all_ns: u64) -> Self {
        Self {
            what: words::holder(&share.holder, nr_others),
            ns: share.ns,
            percent: if all_ns == 0 {
                0.0
            } else {
                share.ns as f64 * 100.0 / all_ns as f64
            },
        }
    }

    /// What it did, as the rest of a sentence.
    fn preposition(&self) -> String {
        match self.what.as_str() {
            "idle" => "on an idle CPU".to_owned(),
            "not seen" => "behind what was not seen".to_owned(),
            what => format!("behind {what}"),
        }
    }
}

impl Row {
    fn new(wait: &Wait, frame: &Frame) -> Self {
        let last = &wait.last;
        Self {
            task: last.task.comm.clone(),
            pid: last.task.pid,
            wait_ns: wait.wait_ns,
            after_ns: last.at_ns.saturating_sub(frame.began_ns),
            begin: match last.kind {
                Kind::Lock => "slept in futex()".to_owned(),
                _ => words::begin(last),
            },
            place: match last.kind {
                Kind::Lock => String::new(),
                _ => words::place(wait),
            },
            cpus: wait.cpus.clone(),
            cause: wait.cause.name(),
            why: words::cause(wait),
            other_pid: (last.kind == Kind::Lock || has_other(last.begin)).then_some(last.other.pid),
            chain: Sum::of_wait(wait),
            rule: words::rule(last).filter(|_| !frame.changed),
            affinity: words::affinity(wait, frame.nr_cpus),
            dsq: last.dsq,
            open: last.kind == Kind::Open,
        }
    }

    fn lines(&self, number: usize, colour: bool) -> Vec<String> {
        let (bold, plain) = if colour {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        let place = if self.place.is_empty() {
            String::new()
        } else {
            format!(", {}", self.place)
        };
        let mut lines = vec![
            format!(
                "{number:2}. {bold}{}{plain} {} ({}), {} after the start: {}{place}",
                units::time(self.wait_ns),
                self.task,
                self.pid,
                units::time(self.after_ns),
                self.begin
            ),
            format!("    cause: {bold}{}{plain}", self.why),
        ];
        let (large, small): (Vec<_>, Vec<_>) = self
            .chain
            .iter()
            .partition(|sum| sum.percent >= PERCENT_SHOWN);
        if self.chain.len() > 1 {
            let mut parts: Vec<_> = large
                .iter()
                .map(|sum| format!("{} {}", units::time(sum.ns), sum.what))
                .collect();
            if !small.is_empty() {
                let ns = small.iter().map(|sum| sum.ns).sum();
                parts.push(format!("{} rest", units::time(ns)));
            }
            lines.push(format!("    chain: {}", parts.join(", ")));
        }
        let rule = self.rule.iter().map(|rule| format!("    scx_takt: {rule}"));
        let affinity = self
            .affinity
            .iter()
            .map(|text| format!("    affinity: {text}"));
        lines.extend(rule.chain(affinity));
        lines
    }
}
