//! `scx_takt rules`: the rules of the configuration, and which of them a task matches.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use scx_ops::sched_ext::{self, Active};

use crate::base::output::{self, escaped};
use crate::base::procfs;
use crate::cli::RulesArgs;
use crate::config::rules::{Match, Rule, file_of};
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
    let rules: Vec<_> = config.rules.iter().map(KnownRule::new).collect();
    let lines = match args.explain {
        Some(pid) => explain(pid, &rules)?,
        None => list(&config.path, &rules)?,
    };
    let _ = output::print(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// What a rule may know a task by.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    comm: String,
    /// The path of its program, and what that is known by; `None`: a kernel thread, or another user's.
    exe: Option<(PathBuf, (u64, u64))>,
    uid: u32,
    /// Its cgroup of version 2, "" being the root.
    cgroup: String,
}

impl Facts {
    /// Of the process or thread with this folder of `/proc`. `None`: it is gone.
    fn of(task: &Path) -> Option<Self> {
        let text = |file: &str| {
            let bytes = fs::read(task.join(file)).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let uids = text("status")?;
        let uids = procfs::field(&uids, "Uid:")?;
        let exe = task.join("exe");
        Some(Self {
            comm: text("comm")?.trim_end_matches('\n').to_owned(),
            exe: fs::read_link(&exe).ok().zip(file_of(&exe)),
            uid: uids.split_whitespace().next()?.parse().ok()?,
            cgroup: cgroup_in(&text("cgroup")?).to_owned(),
        })
    }
}

/// A rule, and what its program was known by when it was looked up.
struct KnownRule<'a> {
    rule: &'a Rule,
    program: Option<(u64, u64)>,
}

impl<'a> KnownRule<'a> {
    fn new(rule: &'a Rule) -> Self {
        let program = match &rule.of {
            Match::Exe(path) => file_of(path.as_ref()),
            _ => None,
        };
        Self { rule, program }
    }

    /// Does this task have what the rule asks for? As `find_rule()` of the BPF side decides.
    fn matches(&self, task: &Facts) -> bool {
        match &self.rule.of {
            Match::Comm(comm) => *comm == task.comm,
            Match::Exe(_) => {
                let exe = task.exe.as_ref().map(|(_, file)| *file);
                self.program.is_some() && self.program == exe
            }
            Match::Uid(uid) => *uid == task.uid,
            Match::Cgroup(path) => {
                let below = task.cgroup.strip_prefix(path.as_str());
                below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Match::Unit(unit) => task.cgroup.split('/').any(|name| name == unit),
        }
    }
}

/// Where in `rules` the rule stands that counts for a task.
fn counting(rules: &[KnownRule<'_>], task: &Facts) -> Option<usize> {
    rules.iter().position(|rule| rule.matches(task))
}

/// The path of version 2 in `/proc/PID/cgroup`; "" for the root.
fn cgroup_in(text: &str) -> &str {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    path.unwrap_or_default().trim_end_matches('/')
}

/// Every rule, with the number of tasks for which it counts now.
fn list(path: &Path, rules: &[KnownRule<'_>]) -> Result<Vec<String>> {
    if rules.is_empty() {
        let path = path.display();
        return Ok(vec![format!(
            "{path}: no rules; `scx_takt config --print-default` shows how they are written"
        )]);
    }
    let mut tasks = vec![0_u32; rules.len()];
    let threads = procfs::all_threads().context("cannot read /proc")?;
    for task in threads.filter_map(|thread| Facts::of(&thread)) {
        if let Some(first) = counting(rules, &task) {
            tasks[first] += 1;
        }
    }
    let heading = format!("{:<10} {:>6} {:>5}  {}", "class", "weight", "tasks", "rule");
    let lines = rules
        .iter()
        .zip(tasks)
        .map(|(KnownRule { rule, .. }, tasks)| {
            let weight = f64::from(rule.weight_permille) / 1e3;
            let reason = match rule.reason.as_str() {
                "" => String::new(),
                reason => format!(": {}", escaped(reason)),
            };
            let class = rule.class.name();
            let of = escaped(&rule.of.to_string());
            format!("{class:<10} {weight:>6} {tasks:>5}  {of}{reason}")
        });
    Ok([heading].into_iter().chain(lines).collect())
}

/// Which rule counts for a task, why, and what else matches it.
fn explain(pid: u32, rules: &[KnownRule<'_>]) -> Result<Vec<String>> {
    let gone = || format!("no task has PID {pid}: it may have ended; `ps` shows what is there");
    let folder = Path::new("/proc").join(pid.to_string());
    let task = Facts::of(&folder).with_context(gone)?;
    let exe = task.exe.as_ref();
    let exe = exe.map_or("-".to_owned(), |(path, _)| path.display().to_string());
    let cgroup = match task.cgroup.as_str() {
        "" => "/",
        path => path,
    };
    let mut lines = vec![
        format!("{} ({pid})", escaped(&task.comm)),
        format!("  exe     {}", escaped(&exe)),
        format!("  user    {}", task.uid),
        format!("  cgroup  {}", escaped(cgroup)),
    ];
    let own = counting(rules, &task);
    match own.map(|own| rules[own].rule) {
        None => lines.push("no rule matches: class normal".to_owned()),
        Some(rule) => {
            lines.push(format!("  rule    {}", effect(rule)));
            if !rule.reason.is_empty() {
                lines.push(format!("  reason  {}", escaped(&rule.reason)));
            }
        }
    }
    let matching = rules.iter().filter(|rule| rule.matches(&task));
    let later = matching.skip(1);
    lines.extend(later.map(|later| format!("  later   {}; it does not count", effect(later.rule))));
    lines.extend(other_threads(&folder, rules, own));
    Ok(lines)
}

/// The threads of a process for which another rule counts than number `own`.
fn other_threads(process: &Path, rules: &[KnownRule<'_>], own: Option<usize>) -> Vec<String> {
    let mut threads: Vec<_> = procfs::threads_of(process)
        .filter_map(|thread| {
            let tid: u32 = thread.file_name()?.to_str()?.parse().ok()?;
            Some((tid, Facts::of(&thread)?))
        })
        .collect();
    threads.sort_unstable_by_key(|(tid, _)| *tid);
    let differing = threads.into_iter().filter_map(|(tid, thread)| {
        let other = counting(rules, &thread);
        let what = other.map_or("no rule".to_owned(), |other| effect(rules[other].rule));
        (other != own).then(|| format!("  thread  {} ({tid}): {what}", escaped(&thread.comm)))
    });
    differing.collect()
}

/// A rule with its place and what it gives.
fn effect(rule: &Rule) -> String {
    let mut given = vec![format!("class {}", rule.class.name())];
    if rule.weight_permille != 1000 {
        let factor = f64::from(rule.weight_permille) / 1e3;
        given.push(format!("weight times {factor}"));
    }
    if !rule.cpus.is_empty() {
        given.push(format!("first on {} CPUs", rule.cpus.len()));
    }
    format!("{}: {}", escaped(&rule.to_string()), given.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rules::Class;

    fn facts() -> Facts {
        Facts {
            comm: "nginx".into(),
            exe: None,
            uid: 33,
            cgroup: "/system.slice/nginx.service".into(),
        }
    }

    fn matches(of: Match, task: &Facts) -> bool {
        let rule = Rule {
            of,
            class: Class::Latency,
            weight_permille: 1000,
            cpus: Vec::new(),
            reason: String::new(),
            included: false,
            at: "f:1:1".into(),
        };
        KnownRule::new(&rule).matches(task)
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
            assert_eq!(matches(of.clone(), &facts()), expected, "{of}");
        }
    }

    #[test]
    fn this_process_is_known_by_its_program() {
        let facts = Facts::of(Path::new("/proc/self")).unwrap();
        let exe = std::env::current_exe().unwrap().display().to_string();
        assert!(matches(Match::Exe(exe), &facts));
        assert!(matches(Match::Uid(nix::unistd::getuid().as_raw()), &facts));
    }

    #[test]
    fn cgroups_of_version_2_are_found_beside_others() {
        assert_eq!(cgroup_in("1:cpu:/a\n0::/b/c\n"), "/b/c");
        assert_eq!(cgroup_in("0::/\n"), "");
        assert_eq!(cgroup_in(""), "");
    }
}
