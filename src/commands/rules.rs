//! `scx_takt rules`: the rules of the configuration, and which of them a task matches.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use scx_ops::sched_ext::{self, Active};

use crate::base::output::{self, escaped};
use crate::cli::RulesArgs;
use crate::config::rules::{Class, Match, Rule};
use crate::config::{Config, Flags};
use crate::snapshot::is_takt;

/// Prints every rule, or explains one task.
///
/// # Errors
/// If the configuration is wrong (a [`crate::config::Wrong`]), there is no such task, or the answer cannot be
/// written.
pub fn run(args: &RulesArgs) -> Result<ExitCode> {
    let config = Config::load(&Flags {
        file: args.config.as_deref(),
        profile: None,
        no_tune: false,
        settings: &[],
    })?;
    for warning in &config.warnings {
        eprintln!("scx_takt: warning: {warning}");
    }
    let active = sched_ext::active();
    if !matches!(active, Ok(Active::SchedExt(name)) if is_takt(&name)) {
        eprintln!("scx_takt: no scx_takt is active, so no rule is in force now");
    }
    let lines = match args.explain {
        Some(pid) => explain(pid, &config.rules)?,
        None => list(&config),
    };
    let _ = output::print(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// What a rule may know a task by.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    comm: String,
    /// The path of its program, and the inode number and size of the file; `None`: a kernel thread, or another user's.
    exe: Option<(PathBuf, u64, u64)>,
    uid: u32,
    /// Its cgroup of version 2, "" being the root.
    cgroup: String,
}

impl Facts {
    /// Of a process or thread. `None`: it is gone.
    fn of(pid: u32) -> Option<Self> {
        let proc = Path::new("/proc").join(pid.to_string());
        let read = |file: &str| fs::read(proc.join(file)).ok();
        let text = |file: &str| Some(String::from_utf8_lossy(&read(file)?).into_owned());
        let status = text("status")?;
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let file = fs::metadata(proc.join("exe")).ok();
        let path = fs::read_link(proc.join("exe")).ok();
        Some(Self {
            comm: text("comm")?.trim_end_matches('\n').to_owned(),
            exe: path
                .zip(file)
                .map(|(path, file)| (path, file.ino(), file.size())),
            uid: uids.split_whitespace().next()?.parse().ok()?,
            cgroup: cgroup_in(&text("cgroup")?).to_owned(),
        })
    }

    /// Does this task have what a rule asks for? As `find_rule()` of the BPF side decides.
    fn matches(&self, of: &Match) -> bool {
        match of {
            Match::Comm(comm) => *comm == self.comm,
            Match::Exe(path) => {
                let wanted = fs::metadata(path)
                    .ok()
                    .map(|file| (file.ino(), file.size()));
                let exe = self.exe.as_ref().map(|(_, inode, size)| (*inode, *size));
                wanted.is_some() && wanted == exe
            }
            Match::Uid(uid) => *uid == self.uid,
            Match::Cgroup(path) => {
                let below = self.cgroup.strip_prefix(path.as_str());
                below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Match::Unit(unit) => self.cgroup.split('/').any(|name| name == unit),
        }
    }

    /// The rules that it matches; the first counts.
    fn matching<'a>(&'a self, rules: &'a [Rule]) -> impl Iterator<Item = &'a Rule> {
        rules.iter().filter(|rule| self.matches(&rule.of))
    }
}

/// The path of version 2 in `/proc/PID/cgroup`; "" for the root.
fn cgroup_in(text: &str) -> &str {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    path.unwrap_or_default().trim_end_matches('/')
}

/// The threads of all processes, or of one.
fn threads(process: &Path) -> Vec<u32> {
    let entries = fs::read_dir(process.join("task")).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut threads: Vec<u32> = names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    threads.sort_unstable();
    threads
}

fn all_threads() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.map(|entry| entry.path());
    processes.flat_map(|process| threads(&process)).collect()
}

/// Every rule, with the number of tasks for which it counts now.
fn list(config: &Config) -> Vec<String> {
    if config.rules.is_empty() {
        let path = config.path.display();
        return vec![format!(
            "{path}: no rules; `scx_takt config --print-default` shows how they are written"
        )];
    }
    let mut tasks = vec![0_u32; config.rules.len()];
    for facts in all_threads().into_iter().filter_map(Facts::of) {
        if let Some(first) = config.rules.iter().position(|rule| facts.matches(&rule.of)) {
            tasks[first] += 1;
        }
    }
    let heading = format!("{:<10} {:>6} {:>5}  {}", "class", "weight", "tasks", "rule");
    let lines = config.rules.iter().zip(tasks).map(|(rule, tasks)| {
        let weight = f64::from(rule.weight_permille) / 1e3;
        let reason = match rule.reason.as_str() {
            "" => String::new(),
            reason => format!(": {}", escaped(reason)),
        };
        let class = class_name(rule.class);
        format!(
            "{class:<10} {weight:>6} {tasks:>5}  {}{reason}",
            escaped(&rule.of.to_string())
        )
    });
    [heading].into_iter().chain(lines).collect()
}

/// Which rule counts for a task, why, and what else matches it.
fn explain(pid: u32, rules: &[Rule]) -> Result<Vec<String>> {
    let gone = || format!("no task has PID {pid}: it may have ended; `ps` shows what is there");
    let facts = Facts::of(pid).with_context(gone)?;
    let exe = facts.exe.as_ref();
    let exe = exe.map_or("-".to_owned(), |(path, ..)| path.display().to_string());
    let cgroup = match facts.cgroup.as_str() {
        "" => "/",
        path => path,
    };
    let mut lines = vec![
        format!("{} ({pid})", escaped(&facts.comm)),
        format!("  exe     {}", escaped(&exe)),
        format!("  user    {}", facts.uid),
        format!("  cgroup  {}", escaped(cgroup)),
    ];
    let mut matching = facts.matching(rules);
    match matching.next() {
        None => lines.push("no rule matches: class normal".to_owned()),
        Some(rule) => {
            lines.push(format!("  rule    {}", effect(rule)));
            if !rule.reason.is_empty() {
                lines.push(format!("  reason  {}", escaped(&rule.reason)));
            }
        }
    }
    let later = matching.map(|rule| format!("  later   {}; it does not count", effect(rule)));
    lines.extend(later);
    lines.extend(other_threads(pid, rules, facts.matching(rules).next()));
    Ok(lines)
}

/// The other threads of a process for which another rule counts than `own`.
fn other_threads(pid: u32, rules: &[Rule], own: Option<&Rule>) -> Vec<String> {
    let process = Path::new("/proc").join(pid.to_string());
    let others = threads(&process)
        .into_iter()
        .filter(|thread| *thread != pid);
    let differing = others.filter_map(|thread| {
        let facts = Facts::of(thread)?;
        let rule = facts.matching(rules).next();
        let is_other = rule.map(|rule| &rule.at) != own.map(|rule| &rule.at);
        let what = rule.map_or("no rule".to_owned(), effect);
        is_other.then(|| format!("  thread  {} ({thread}): {what}", escaped(&facts.comm)))
    });
    differing.collect()
}

/// A rule with its place and what it gives.
fn effect(rule: &Rule) -> String {
    let mut given = vec![format!("class {}", class_name(rule.class))];
    if rule.weight_permille != 1000 {
        let factor = f64::from(rule.weight_permille) / 1e3;
        given.push(format!("weight times {factor}"));
    }
    if !rule.cpus.is_empty() {
        given.push(format!("first on {} CPUs", rule.cpus.len()));
    }
    format!("{}: {}", escaped(&rule.to_string()), given.join(", "))
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Normal => "normal",
        Class::Latency => "latency",
        Class::Background => "background",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            comm: "nginx".into(),
            exe: None,
            uid: 33,
            cgroup: "/system.slice/nginx.service".into(),
        }
    }

    #[test]
    fn each_kind_matches_what_it_names() {
        for (of, expected) in [
            (Match::Comm("nginx".into()), true),
            (Match::Comm("ngin".into()), false),
            (Match::Uid(33), true),
            (Match::Uid(0), false),
            (Match::Cgroup("/system.slice".into()), true),
            (Match::Cgroup("/system".into()), false),
            (Match::Cgroup(String::new()), true),
            (Match::Unit("nginx.service".into()), true),
            (Match::Unit("nginx".into()), false),
            (Match::Exe("/usr/bin/true".into()), false),
        ] {
            assert_eq!(facts().matches(&of), expected, "{of}");
        }
    }

    #[test]
    fn this_process_is_known_by_its_program() {
        let facts = Facts::of(std::process::id()).unwrap();
        let exe = std::env::current_exe().unwrap().display().to_string();
        assert!(facts.matches(&Match::Exe(exe)));
        assert!(facts.matches(&Match::Uid(nix::unistd::getuid().as_raw())));
    }

    #[test]
    fn cgroups_of_version_2_are_found_beside_others() {
        assert_eq!(cgroup_in("1:cpu:/a\n0::/b/c\n"), "/b/c");
        assert_eq!(cgroup_in("0::/\n"), "");
        assert_eq!(cgroup_in(""), "");
    }
}
