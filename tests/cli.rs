//! The command line on the machine at hand: no scheduler is loaded here, whatever the kernel offers.

// Helpers are not seen as tests by clippy.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn takt(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scx_takt"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    takt(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit status 2, a reason that holds every one of `words`, and nothing on standard output.
fn is_wrong_usage(args: &[&str], words: &[&str]) {
    let output = run(args);
    let reason = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {reason}");
    assert!(
        words.iter().all(|word| reason.contains(word)),
        "{args:?}: {reason}"
    );
    assert!(output.stdout.is_empty(), "{args:?}");
}

fn interrupt(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([signal, &id])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn help_names_the_commands_and_hides_the_hidden() {
    let output = run(&["--help"]);
    let help = text(&output.stdout);
    assert!(output.status.success());
    for word in [
        "check",
        "bench",
        "config",
        "--stats",
        "--profile",
        "observe",
        "rules",
        "why",
        "--stats",
        "--events",
        "--version",
    ] {
        assert!(help.contains(word), "{word} is missing in:\n{help}");
    }
    for word in ["stress", "pretend-lacks"] {
        assert!(!help.contains(word), "{word} is shown in:\n{help}");
    }
}

#[test]
fn version_is_that_of_the_package() {
    let output = run(&["--version"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_status_2() {
    is_wrong_usage(&["--no-such-flag"], &["--no-such-flag"]);
    is_wrong_usage(&["no-such-command"], &["no-such-command"]);
    is_wrong_usage(&["--stats", "0"], &["--stats", "0"]);
    is_wrong_usage(&["--stats", "abc"], &["--stats", "abc"]);
    is_wrong_usage(
        &["stress", "--kinds", "no-such-kind"],
        &["no-such-kind", "hogs, pipes"],
    );
    is_wrong_usage(&["stress", "--seconds", "0"], &["--seconds"]);
    for limit in ["0", "300+", "+3", "x", "40000", "300+3+3"] {
        is_wrong_usage(
            &["stress", "--longest-wait", limit],
            &["--longest-wait", "300+3"],
        );
    }
    is_wrong_usage(&["--events=xml"], &["--events", "lines, json"]);
    is_wrong_usage(&["observe", "--seconds", "0"], &["--seconds"]);
    is_wrong_usage(&["why"], &["PID|NAME"]);
    is_wrong_usage(&["why", "1", "--unit", "x"], &["--unit"]);
    is_wrong_usage(&["why", "1", "--over", "5"], &["--over", "5ms"]);
}

fn config_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn a_wrong_configuration_is_status_2_with_its_place() {
    let file = config_file("[tunables]\nslice_mx_ns = 5\n");
    let path = file.path().to_str().unwrap();
    let place = format!("{path}:2:1: ");
    let words = [&place[..], "did you mean \"slice_max_ns\"?"];
    is_wrong_usage(&["config", "--check", path], &words);
    // Said before anything is asked of the kernel.
    is_wrong_usage(&["--config", path], &words);
    is_wrong_usage(
        &["--config", "/no/such/file"],
        &["/no/such/file", "No such file"],
    );
    is_wrong_usage(&["config"], &["--check", "--print-default"]);
    is_wrong_usage(&["--profile", "fast"], &["fast", "gaming"]);
}

#[test]
fn the_printed_default_passes_the_check() {
    let printed = run(&["config", "--print-default"]);
    assert!(printed.status.success());
    let file = config_file(&text(&printed.stdout));
    let output = run(&["config", "--check", file.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("ok; profile auto, 0 rules"));
}

#[test]
fn rules_that_say_the_same_are_warned_about() {
    let rule = "[[rule]]\ncomm = \"a\"\n";
    let file = config_file(&rule.repeat(2));
    let output = run(&["config", "--check", file.path().to_str().unwrap()]);
    assert!(output.status.success());
    assert!(text(&output.stderr).contains(":3:1: the same tasks have a rule at "));
}

/// Every file of rules that the package ships, for programs that are called as it says.
#[test]
fn shipped_rules_match_what_they_name() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist");
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(dist.join("rules.d"), dir.path().join("rules.d")).unwrap();
    let config = dir.path().join("config.toml");
    for entry in std::fs::read_dir(dist.join("rules.d")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap();
        std::fs::write(&config, format!("include = [{name:?}]\n")).unwrap();
        let config = config.to_str().unwrap();
        let rules: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        for rule in rules["rule"].as_array().unwrap() {
            let of = |key: &str| rule[key].as_str().unwrap();
            let program = dir.path().join(of("comm"));
            std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
            let mut task = Command::new(&program).arg("600").spawn().unwrap();
            let output = run(&[
                "rules",
                "--config",
                config,
                "--explain",
                &task.id().to_string(),
            ]);
            task.kill().unwrap();
            task.wait().unwrap();
            let said = text(&output.stdout);
            let expected = format!(
                "rule for comm {:?}: class {}\n  reason  {}",
                of("comm"),
                of("class"),
                of("reason")
            );
            assert!(said.contains(&expected), "{expected}\nis not in\n{said}");
        }
    }
}

#[test]
fn rules_are_listed_and_explained() {
    let file = config_file(
        "[[rule]]\nuser = \"4294967294\"\nclass = \"latency\"\nreason = \"it has no task\"\n\
         [[rule]]\ncgroup = \"/\"\nweight_permille = 500\ncpus = \"0-1\"\n",
    );
    let config = file.path().to_str().unwrap();
    let listed = text(&run(&["rules", "--config", config]).stdout);
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 3, "{listed}");
    assert_eq!(
        lines[1],
        "latency         1     0  user \"4294967294\": it has no task"
    );
    assert!(lines[2].starts_with("normal        0.5"), "{listed}");
    let tasks = lines[2].split_whitespace().nth(2).unwrap();
    assert_ne!(tasks, "0", "this very test is below the root: {listed}");
    let pid = std::process::id().to_string();
    let explained = text(&run(&["rules", "--config", config, "--explain", &pid]).stdout);
    assert!(
        explained
            .contains("rule for cgroup \"/\": class normal, weight times 0.5, first on 2 CPUs"),
        "{explained}"
    );
    is_wrong_usage(&["rules", "--config", "/no/such/file"], &["No such file"]);
    is_wrong_usage(&["rules", "--explain", "0"], &["--explain"]);
    let gone = run(&["rules", "--config", config, "--explain", "4194304"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("no task has PID 4194304"));
}

/// What `rejects` in the VM tests sees with a part of sysfs hidden, on a kernel that really lacks it.
#[test]
fn a_kernel_without_sched_ext_is_said_in_one_line() {
    if Path::new("/sys/kernel/sched_ext").exists() {
        eprintln!(
            "SKIPPED: this kernel has sched_ext, and the test must not load a scheduler on it"
        );
        return;
    }
    let output = run(&[]);
    let reason = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{reason}");
    assert_eq!(reason.lines().count(), 1, "{reason}");
    assert!(
        reason.starts_with("scx_takt: ") && reason.contains("sched_ext"),
        "{reason}"
    );

    let output = run(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("sched_ext"));
}

#[test]
fn check_as_json_is_json() {
    let output = run(&["check", "--json"]);
    serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)));
}

/// A reader that leaves at once is no fault of ours.
#[test]
fn a_closed_pipe_is_no_panic() {
    for args in [
        &["--help"][..],
        &["check"],
        &["config", "--print-default"],
        &["stress", "--seconds", "1", "--kinds", "hogs"],
    ] {
        let mut child = takt(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(
            !text(&output.stderr).contains("panicked"),
            "{args:?}: {}",
            text(&output.stderr)
        );
        assert!(
            output.status.code().is_some(),
            "{args:?}: {}",
            output.status
        );
    }
}

#[test]
fn stress_comes_to_its_end() {
    // Without the kinds that give the CPU away all the time: beside hogs on a busy host they may get nothing
    // done in 2 s, which stress rightly calls a failure.
    let kinds = "hogs,pipes,forks,affinity,nice,futex,mutex,sleepers,bursts";
    let output = run(&["stress", "--seconds", "2", "--json", "--kinds", kinds]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = summary["kinds"].as_array().unwrap();
    assert_eq!(lines.len(), kinds.split(',').count());
    let hogs = lines.iter().find(|line| line["kind"] == "hogs").unwrap();
    assert!(hogs["operations"].as_u64().unwrap() > 0);
}

#[test]
fn stress_does_nothing_that_disturbs_the_host_unasked() {
    // Whether each of the many kinds gets something done in 2 s is up to the host.
    let output = run(&["stress", "--seconds", "2", "--json"]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let kinds = summary["kinds"].as_array().unwrap();
    assert!(kinds.iter().any(|line| line["kind"] == "hogs"));
    assert!(
        kinds
            .iter()
            .all(|line| line["kind"] != "hotplug" && line["kind"] != "rt-hogs")
    );
}

/// Starts scx_takt and waits for its first line on standard error, which must begin with `first`.
fn under_way(arguments: &[&str], first: &str) -> Child {
    let mut child = takt(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with(first), "{line}");
    child
}

#[test]
fn a_signal_ends_stress_early_and_cleanly() {
    for signal in ["-INT", "-TERM"] {
        let child = under_way(
            &["stress", "--seconds", "3600", "--kinds", "hogs,pipes,forks"],
            "stress: running",
        );
        interrupt(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{signal}: {}", output.status);
        assert!(text(&output.stdout).contains("all got on"), "{signal}");
    }
}

/// Why the observer cannot run here; `None`: it can.
fn cannot_observe() -> Option<&'static str> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|proc| proc.uid() == 0);
    match (is_root, Path::new("/sys/kernel/btf/vmlinux").exists()) {
        (false, _) => Some("not root"),
        (true, false) => Some("this kernel has no BTF"),
        (true, true) => None,
    }
}

#[test]
fn observe_sees_this_machine() {
    if let Some(reason) = cannot_observe() {
        eprintln!("SKIPPED: {reason}");
        return;
    }
    let output = run(&["observe", "--seconds", "0.5", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let groups = report["groups"].as_array().unwrap();
    let all = groups.iter().find(|row| row["tasks"] == "all").unwrap();
    assert_eq!(report["complete"], true);
    for part in ["waits", "slices"] {
        let summary = &all[part];
        assert!(summary["count"].as_u64().unwrap() > 0, "{part}: {report}");
        assert!(summary["p50_ns"].as_u64() <= summary["max_ns"].as_u64());
    }
}

#[test]
fn a_signal_ends_observe_early_with_what_it_has() {
    if let Some(reason) = cannot_observe() {
        eprintln!("SKIPPED: {reason}");
        return;
    }
    // It says that it observes once the programs are in.
    let child = under_way(&["observe", "--seconds", "3600"], "observing");
    interrupt(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    assert!(text(&output.stdout).contains("ended early"));
}

#[test]
fn observe_without_root_says_so_in_one_line() {
    let mut command = takt(&["observe", "--seconds", "1"]);
    if cannot_observe() != Some("not root") {
        command.uid(65534);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: cannot run it without privileges: {error}");
            return;
        }
    };
    let reason = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{reason}");
    assert_eq!(reason.lines().count(), 1, "{reason}");
    assert!(reason.contains("needs root"), "{reason}");
}
