//! What the user wants: flags, file, profile, in this order of precedence, checked as a whole.
//!
//! ```text
//! flags  >  file  >  profile's tunables  >  defaults
//! ```

pub mod file;
pub mod include;
pub mod keys;
pub mod profile;
pub mod rules;
pub mod tunables;
pub mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use crate::bpf_abi::intf::takt_tunables;
use file::{Raw, Source};
use profile::Profile;
use rules::{Collected, Rule};
use tunables::Tunable;

/// Where the file is looked for when no flag names one; it may be missing.
pub const DEFAULT_PATH: &str = "/etc/scx_takt/config.toml";

/// Messages that are told of one file; more of a file with thousands of wrong lines are not read.
const MAX_WRONG: usize = 20;

/// What is wrong with a configuration, one message a line. Ends the program with status 2.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong(Vec<String>);

impl Wrong {
    /// One thing is wrong.
    pub fn one(message: String) -> Self {
        Self(vec![message])
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join("\nscx_takt: "))
    }
}

impl std::error::Error for Wrong {}

/// What to reach. Microseconds; `None`: no such goal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Goal {
    /// p99 of the wakeup latency of all but background tasks.
    pub wakeup_p99_us: Option<u64>,
    /// p99 of the wakeup latency of tasks of class latency.
    pub latency_wakeup_p99_us: Option<u64>,
}

impl Goal {
    /// Is there anything to reach?
    pub fn is_set(&self) -> bool {
        self.wakeup_p99_us.is_some() || self.latency_wakeup_p99_us.is_some()
    }
}

/// What flags say of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Flags<'a> {
    /// The file to read; `None`: [`DEFAULT_PATH`], which may be missing.
    pub file: Option<&'a Path>,
    /// The profile, whatever the file says.
    pub profile: Option<Profile>,
    /// Leave the tunables alone.
    pub no_tune: bool,
    /// Settings of single tunables, as `NAME=NS`.
    pub settings: &'a [String],
}

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the machine is for.
    pub profile: Profile,
    /// What to reach.
    pub goal: Goal,
    /// Does the tuner set tunables?
    pub tune: bool,
    /// How often it looks.
    pub period: Duration,
    /// Rules for tasks, in the order of the file.
    pub rules: Vec<Rule>,
    /// The file that it came from and that is watched for changes.
    pub path: PathBuf,
    /// What is not wrong but perhaps not what was meant.
    pub warnings: Vec<String>,
    /// Tunables that the file or a flag sets, whatever the profile says.
    set: Vec<(&'static Tunable, u64)>,
}

impl Config {
    /// Flags and file as they are now.
    ///
    /// # Errors
    /// All that is wrong with either.
    pub fn load(flags: &Flags<'_>) -> Result<Self, Wrong> {
        let path = flags.file.unwrap_or(Path::new(DEFAULT_PATH)).to_owned();
        let mut config = if flags.file.is_none() && !path.exists() {
            Self::check(&Source::new(DEFAULT_PATH, String::new()), &path)?
        } else {
            Self::check(&Source::read(&path)?, &path)?
        };
        config.profile = flags.profile.unwrap_or(config.profile);
        config.tune &= !flags.no_tune;
        let settings =
            tunables::parse(flags.settings).map_err(|error| Wrong::one(error.to_string()))?;
        config.set.extend(settings);
        Ok(config)
    }

    /// Parses and checks a file alone.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check(source: &Source, path: &Path) -> Result<Self, Wrong> {
        let raw = source.parse()?;
        let mut checker = Checker::new(source, false);
        let mut config = Self::from_raw(&raw, path, &mut checker);
        config.path = path.to_owned();
        config.warnings = checker.warnings;
        if checker.wrong.is_empty() {
            return Ok(config);
        }
        if checker.omitted > 0 {
            let more = format!("{}: {} more like these", source.name(), checker.omitted);
            checker.wrong.push(more);
        }
        Err(Wrong(checker.wrong))
    }

    fn from_raw(raw: &Raw, path: &Path, checker: &mut Checker<'_>) -> Self {
        let mut optional = |name, value: &Option<Spanned<i64>>, range| {
            value
                .as_ref()
                .and_then(|value| checker.number(name, value, range))
        };
        let goal = Goal {
            wakeup_p99_us: optional("wakeup_p99_us", &raw.goal.wakeup_p99_us, keys::GOAL_US),
            latency_wakeup_p99_us: optional(
                "latency_wakeup_p99_us",
                &raw.goal.latency_wakeup_p99_us,
                keys::GOAL_US,
            ),
        };
        let period_ms = optional("period_ms", &raw.tuner.period_ms, keys::PERIOD_MS);
        let mut collected = Collected::default();
        collected.add(&raw.rule, checker);
        for (i, name) in raw.include.iter().enumerate() {
            if raw.include[..i].contains(name) {
                checker.warn(name.span().start, format!("{name:?} is included twice"));
            } else {
                checker.include(name, path, &mut collected);
            }
        }
        let rules = collected.rules;
        checker.doubt_goals(raw, &rules);
        Self {
            profile: raw.profile.unwrap_or_default(),
            goal,
            tune: raw.tuner.enabled.unwrap_or(true),
            period: Duration::from_millis(period_ms.unwrap_or(keys::PERIOD_DEFAULT_MS)),
            set: raw
                .tunables
                .iter()
                .filter_map(|(name, value)| checker.tunable(name, value))
                .collect(),
            rules,
            path: PathBuf::new(),
            warnings: Vec::new(),
        }
    }

    /// The tunables to start from. `on_battery` matters to the profile `auto`.
    pub fn tunables(&self, on_battery: bool) -> takt_tunables {
        let mut tunables = self.profile.tunables(on_battery);
        for (tunable, value) in &self.set {
            tunable.set(&mut tunables, *value);
        }
        tunables
    }
}

/// Collects all that is wrong, with the place where it stands.
pub struct Checker<'a> {
    source: &'a Source,
    /// Is it a file that the configuration includes?
    included: bool,
    wrong: Vec<String>,
    /// What is wrong beyond [`MAX_WRONG`] of them.
    omitted: usize,
    warnings: Vec<String>,
}

impl<'a> Checker<'a> {
    fn new(source: &'a Source, included: bool) -> Self {
        Self {
            source,
            included,
            wrong: Vec::new(),
            omitted: 0,
            warnings: Vec::new(),
        }
    }

    /// Adds the rules of the file that is included as `name`; `config`: where this file is.
    fn include(&mut self, name: &Spanned<String>, config: &Path, collected: &mut Collected) {
        let source = match include::read(name.get_ref(), config) {
            Ok(source) => source,
            Err(wrong) => return self.wrong(name.span().start, wrong.to_string()),
        };
        match source.parse::<include::RawRules>() {
            Ok(raw) => {
                let mut checker = Checker::new(&source, true);
                collected.add(&raw.rule, &mut checker);
                self.wrong.append(&mut checker.wrong);
                self.warnings.append(&mut checker.warnings);
                self.omitted += checker.omitted;
            }
            Err(Wrong(mut wrong)) => self.wrong.append(&mut wrong),
        }
    }

    fn at(&self, offset: usize) -> String {
        self.source.at(offset)
    }

    fn wrong(&mut self, offset: usize, what: String) {
        if self.wrong.len() < MAX_WRONG {
            let what = file::brief(&what);
            self.wrong.push(format!("{}: {what}", self.at(offset)));
        } else {
            self.omitted += 1;
        }
    }

    fn warn(&mut self, offset: usize, what: String) {
        let what = file::brief(&what);
        self.warnings.push(format!("{}: {what}", self.at(offset)));
    }

    /// Warns of goals that nothing is done for, or that no task is about.
    fn doubt_goals(&mut self, raw: &Raw, rules: &[Rule]) {
        let goals = [&raw.goal.wakeup_p99_us, &raw.goal.latency_wakeup_p99_us];
        if raw.tuner.enabled == Some(false)
            && let Some(goal) = goals.into_iter().flatten().next()
        {
            let what = "[tuner] enabled = false: nothing is done to reach a goal";
            self.warn(goal.span().start, what.to_owned());
        }
        let is_urgent = |rule: &Rule| rule.class == rules::Class::Latency;
        if let Some(goal) = goals[1].as_ref().filter(|_| !rules.iter().any(is_urgent)) {
            let what = "no rule gives the class latency: latency_wakeup_p99_us is about no task";
            self.warn(goal.span().start, what.to_owned());
        }
    }

    /// A number within `range`, or a complaint.
    fn number(&mut self, name: &str, value: &Spanned<i64>, range: (u64, u64)) -> Option<u64> {
        let (min, max) = range;
        let number = u64::try_from(*value.get_ref())
            .ok()
            .filter(|n| (min..=max).contains(n));
        if number.is_none() {
            let (min, max) = (keys::digits(min), keys::digits(max));
            let what = format!("{name} takes {min} to {max}, not {}", value.get_ref());
            self.wrong(value.span().start, what);
        }
        number
    }

    fn tunable(
        &mut self,
        name: &Spanned<String>,
        value: &Spanned<i64>,
    ) -> Option<(&'static Tunable, u64)> {
        let Some(tunable) = tunables::find(name.get_ref()) else {
            let known = tunables::TUNABLES.iter().map(|tunable| tunable.name);
            self.wrong(
                name.span().start,
                file::unknown("tunable", name.get_ref(), known),
            );
            return None;
        };
        Some((tunable, self.number(tunable.name, value, tunable.range)?))
    }
}

#[cfg(test)]
mod tests;
