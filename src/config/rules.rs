//! Task rules as they stand in the file: which tasks, and what they get.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::iter;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::User;
use serde::Deserialize;
use toml::Spanned;

use super::Checker;
use super::keys::WEIGHT_PERMILLE;
use crate::bpf_abi::intf;

/// Rules that a configuration may have.
const MAX_RULES: usize = intf::takt_rule_consts_TAKT_MAX_RULES as usize;
/// Different sets of CPUs that rules may name; number 0 stands for none.
const MAX_CPU_SETS: usize = intf::takt_rule_consts_TAKT_MAX_CPU_SETS as usize - 1;
/// How deep a cgroup may be for a rule to find it by its path.
const MAX_DEPTH: usize = intf::takt_rule_consts_TAKT_MAX_CGROUP_DEPTH as usize;

/// How urgent a task is. What each means to the policy stands in `src/bpf/rules.bpf.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    #[default]
    Normal,
    Latency,
    Background,
}

impl Class {
    /// As it is written in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Latency => "latency",
            Self::Background => "background",
        }
    }
}

/// `[[rule]]` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRule {
    comm: Option<String>,
    exe: Option<String>,
    user: Option<String>,
    cgroup: Option<String>,
    unit: Option<String>,
    class: Option<Class>,
    weight_permille: Option<Spanned<i64>>,
    cpus: Option<Spanned<String>>,
    reason: Option<String>,
}

/// What picks the tasks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// The command name.
    Comm(String),
    /// Path of the program.
    Exe(String),
    /// User id.
    Uid(u32),
    /// Path below the cgroup root.
    Cgroup(String),
    /// Name of a systemd unit.
    Unit(String),
}

impl Match {
    /// Itself, and all that picks every task that it picks: cgroups above it, units in its path. As many
    /// as its path is deep.
    fn covers(&self) -> impl Iterator<Item = Self> + '_ {
        let path = match self {
            Self::Cgroup(path) => path.as_str(),
            _ => "",
        };
        let above = path
            .match_indices('/')
            .map(|(end, _)| path[..end].to_owned());
        let units = path.split('/').filter(|name| !name.is_empty());
        iter::once(self.clone())
            .chain(iter::once(Self::Cgroup(String::new())))
            .chain(above.map(Self::Cgroup))
            .chain(units.map(|name| Self::Unit(name.to_owned())))
    }
}

impl std::fmt::Display for Match {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, value) = match self {
            Self::Comm(text) => ("comm", text.clone()),
            Self::Exe(text) => ("exe", text.clone()),
            Self::Uid(uid) => ("user", uid.to_string()),
            Self::Cgroup(text) if text.is_empty() => ("cgroup", "/".to_owned()),
            Self::Cgroup(text) => ("cgroup", text.clone()),
            Self::Unit(text) => ("unit", text.clone()),
        };
        write!(out, "{key} {value:?}")
    }
}

/// One rule, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which tasks.
    pub of: Match,
    /// Their class.
    pub class: Class,
    /// What their weight is multiplied by, in thousandths.
    pub weight_permille: u16,
    /// CPUs that they are placed on first; empty: no preference.
    pub cpus: Vec<u16>,
    /// Why there is this rule; empty: its author does not say.
    pub reason: String,
    /// Does it stand in a file that the configuration includes?
    pub included: bool,
    /// `FILE:LINE:COLUMN`.
    pub at: String,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: rule for {}", self.at, self.of)
    }
}

/// All rules of a configuration, as they are read.
#[derive(Debug, Default)]
pub struct Collected {
    /// The rules that can count, in the order in which they are looked at.
    pub rules: Vec<Rule>,
    /// The first rule for each match, by its place in `rules`.
    seen: HashMap<Match, usize>,
    cpu_sets: HashSet<Vec<u16>>,
}

impl Collected {
    /// Checks and adds the rules of a file. A rule that an earlier one makes useless is left out, with a warning if
    /// both stand in this file: what a configuration includes may be overridden.
    pub fn add(&mut self, raw: &[Spanned<RawRule>], checker: &mut Checker<'_>) {
        let first_here = self.rules.len();
        if let Some(beyond) = raw.get(MAX_RULES - first_here) {
            checker.wrong(beyond.span().start, format!("more than {MAX_RULES} rules"));
            return;
        }
        for entry in raw {
            let offset = entry.span().start;
            let Some(rule) = check_one(entry.get_ref(), offset, checker) else {
                continue;
            };
            if let Some(&earlier) = rule.of.covers().find_map(|of| self.seen.get(&of)) {
                if earlier >= first_here {
                    let at = &self.rules[earlier].at;
                    let what = format!("the same tasks have a rule at {at}: that one counts");
                    checker.warn(offset, what);
                }
                continue;
            }
            self.seen.insert(rule.of.clone(), self.rules.len());
            let is_new = !rule.cpus.is_empty() && self.cpu_sets.insert(rule.cpus.clone());
            if is_new && self.cpu_sets.len() == MAX_CPU_SETS + 1 {
                let what =
                    format!("cpus: the rules may name {MAX_CPU_SETS} different sets at most");
                checker.wrong(offset, what);
            }
            self.rules.push(rule);
        }
    }
}

/// What a program is known by: inode number and size of its file; `None`: there is no such file.
pub fn file_of(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok().filter(|file| file.is_file())?;
    Some((file.ino(), file.size()))
}

fn check_one(raw: &RawRule, offset: usize, checker: &mut Checker<'_>) -> Option<Rule> {
    let of = check_match(raw, offset, checker);
    let weight = raw.weight_permille.as_ref();
    let weight = weight.map_or(Some(1000), |value| {
        checker.number("weight_permille", value, WEIGHT_PERMILLE)
    });
    let cpus = match &raw.cpus {
        None => Some(Vec::new()),
        Some(text) => parse_cpus(text.get_ref())
            .map_err(|what| checker.wrong(text.span().start, format!("cpus: {what}")))
            .ok(),
    };
    Some(Rule {
        of: of?,
        class: raw.class.unwrap_or_default(),
        weight_permille: weight? as u16,
        cpus: cpus?,
        reason: raw.reason.clone().unwrap_or_default(),
        included: checker.included,
        at: checker.at(offset),
    })
}

fn check_match(raw: &RawRule, offset: usize, checker: &mut Checker<'_>) -> Option<Match> {
    let named = [&raw.comm, &raw.exe, &raw.user, &raw.cgroup, &raw.unit];
    if named.iter().filter(|name| name.is_some()).count() != 1 {
        let what = "a rule names tasks by exactly one of comm, exe, user, cgroup, unit";
        checker.wrong(offset, what.to_owned());
        return None;
    }
    let result = match (&raw.comm, &raw.exe, &raw.user, &raw.cgroup, &raw.unit) {
        (Some(comm), ..) => check_comm(comm),
        (_, Some(exe), ..) if exe.starts_with('/') => Ok(Match::Exe(exe.clone())),
        (_, _, Some(user), ..) => match uid_of(user) {
            Ok(Some(uid)) => Ok(Match::Uid(uid)),
            Ok(None) => {
                checker.warn(
                    offset,
                    format!("there is no user {user:?}: the rule matches nothing"),
                );
                return None;
            }
            Err(what) => Err(what),
        },
        (_, _, _, Some(path), _) if path.starts_with('/') => {
            return check_cgroup(path, offset, checker);
        }
        (.., Some(unit)) if !unit.is_empty() && !unit.contains('/') => {
            Ok(Match::Unit(unit.clone()))
        }
        (.., Some(unit)) => Err(format!("{unit:?} is no name of a unit")),
        (_, Some(path), ..) | (_, _, _, Some(path), _) => {
            Err(format!("{path:?} is no absolute path"))
        }
        _ => Err("names no tasks".to_owned()),
    };
    result.map_err(|what| checker.wrong(offset, what)).ok()
}

/// A path without needless slashes; "" is the root. None, with a warning: it is too deep to be found.
fn check_cgroup(path: &str, offset: usize, checker: &mut Checker<'_>) -> Option<Match> {
    let names = || path.split('/').filter(|name| !name.is_empty());
    if names().nth(MAX_DEPTH).is_some() {
        let what =
            format!("cgroups are looked at {MAX_DEPTH} levels deep: the rule matches nothing");
        checker.warn(offset, what);
        return None;
    }
    let path = names().map(|name| format!("/{name}")).collect();
    Some(Match::Cgroup(path))
}

fn check_comm(comm: &str) -> Result<Match, String> {
    let max = intf::takt_consts_TAKT_COMM_LEN as usize - 1;
    match comm.len() {
        0 => Err("comm is empty".to_owned()),
        len if len > max => Err(format!(
            "the kernel keeps {max} bytes of a command name: {comm:?} has {len}"
        )),
        _ if comm.contains('\0') => Err("comm holds a NUL byte".to_owned()),
        _ => Ok(Match::Comm(comm.to_owned())),
    }
}

/// The id of a user given by name or number; `None`: there is no such user.
fn uid_of(user: &str) -> Result<Option<u32>, String> {
    if let Ok(uid) = user.parse() {
        return Ok(Some(uid));
    }
    let found =
        User::from_name(user).map_err(|error| format!("cannot look up {user:?}: {error}"))?;
    Ok(found.map(|user| user.uid.as_raw()))
}

/// `0-3,8` as a sorted list, however often a CPU is named.
fn parse_cpus(text: &str) -> Result<Vec<u16>, String> {
    let max = intf::takt_consts_TAKT_MAX_CPUS as u16 - 1;
    let number = |text: &str| match text.trim().parse::<u16>() {
        Ok(cpu) if cpu <= max => Ok(cpu),
        _ => Err(format!("{text:?} is no CPU number from 0 to {max}")),
    };
    let mut is_named = vec![false; usize::from(max) + 1];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("{part:?} runs backwards"));
        }
        is_named[usize::from(first)..=usize::from(last)].fill(true);
    }
    Ok((0..=max)
        .filter(|cpu| is_named[usize::from(*cpu)])
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpus("0-2,8, 1"), Ok(vec![0, 1, 2, 8]));
        for wrong in ["", "x", "3-1", "1024", "0-", "-1", "1,,2"] {
            assert!(parse_cpus(wrong).is_err(), "{wrong}");
        }
    }
}
