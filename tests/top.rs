//! `scx_takt top` on a terminal of its own, on the machine at hand: whatever schedules there, root or not.

// Helpers are not seen as tests by clippy.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/terminal.rs"]
mod terminal;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use terminal::{ENTER, Terminal, resize};

/// `scx_takt top` with these flags, on a terminal that can do everything but for what `variables` say.
fn top(flags: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scx_takt"));
    command
        .arg("top")
        .args(flags)
        .env("TERM", "xterm-256color")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("NO_COLOR")
        .envs(variables.iter().copied());
    command
}

#[test]
fn keys_end_it_and_give_the_terminal_back() {
    for keys in ["q", "\x03"] {
        let mut terminal = Terminal::open(80, 24, &mut top(&[], &[]));
        terminal.await_text(ENTER);
        terminal.await_text("q quit");
        assert!(terminal.is_raw());
        terminal.master.write_all(keys.as_bytes()).unwrap();
        let (_, status) = terminal.end();
        assert!(status.success(), "{status}");
        terminal.assert_restored();
    }
}

#[test]
fn signals_end_it_and_give_the_terminal_back() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut terminal = Terminal::open(80, 24, &mut top(&["--interval", "0.1"], &[]));
        terminal.await_text("q quit");
        assert!(terminal.is_raw());
        terminal.signal(signal);
        let (_, status) = terminal.end();
        assert!(status.success(), "{signal}: {status}");
        terminal.assert_restored();
    }
}

/// A window that is closed: there is nothing left to tell or to restore.
#[test]
fn a_terminal_that_goes_away_ends_it() {
    let mut terminal = Terminal::open(80, 24, &mut top(&["--interval", "0.1"], &[]));
    terminal.await_text("q quit");
    let Terminal {
        mut child, master, ..
    } = terminal;
    drop(master);
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
}

/// A connection that hangs: the thread that draws is stuck in the kernel, and SIGTERM ends it all the same.
#[test]
fn stuck_terminal_does_not_block_sigterm() {
    let mut terminal = Terminal::open(200, 60, &mut top(&["--interval", "0.1"], &[]));
    terminal.await_text("q quit");
    await_stuck(&terminal);
    terminal.signal(Signal::SIGTERM);
    assert!(terminal.child.wait().unwrap().success());
}

/// Changes the size of the terminal, and so has all of it drawn anew, until no more is drawn.
fn await_stuck(terminal: &Terminal) {
    let drawn = || {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the kernel writes one integer.
        let result =
            unsafe { libc::ioctl(terminal.master.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
        assert_eq!(result, 0);
        bytes
    };
    let mut still_for = 0;
    let mut columns = 200;
    while still_for < 10 {
        let before = drawn();
        columns = 399 - columns;
        resize(&terminal.master, columns, 60);
        terminal.signal(Signal::SIGWINCH);
        sleep(Duration::from_millis(50));
        still_for = if drawn() == before { still_for + 1 } else { 0 };
    }
    let state = fs::read_to_string(format!("/proc/{}/stat", terminal.child.id())).unwrap();
    assert!(state.contains(") S "), "it is not stuck: {state}");
}

/// Without a keyboard, and no terminal behind it, there are lines, which end by a signal.
#[test]
fn a_closed_standard_input_is_no_reason_to_end() {
    let mut program = top(&["--interval", "0.1"], &[]);
    let mut terminal = Terminal::open_with(80, 24, &mut program, false);
    for _ in 0..3 {
        terminal.seen.clear();
        terminal.await_text("busy");
    }
    terminal.signal(Signal::SIGTERM);
    let (seen, status) = terminal.end();
    assert!(status.success(), "{status}: {seen}");
    assert!(!seen.contains(ENTER), "no key could end that: {seen}");
}

#[test]
fn a_tiny_terminal_and_pages_do_no_harm() {
    let mut terminal = Terminal::open(20, 5, &mut top(&["--interval", "0.1"], &[]));
    terminal.await_text("q quit");
    terminal
        .master
        .write_all(b"e?\rj\x1b[5~\x1b[6~kt?")
        .unwrap();
    terminal.await_text("keys");
    terminal.master.write_all(b"q").unwrap();
    let (seen, status) = terminal.end();
    assert!(status.success() && !seen.contains("panicked"), "{seen}");
    terminal.assert_restored();
}

#[test]
fn no_colour_means_no_colour() {
    let colours = |variables: &[(&str, &str)]| {
        let mut terminal = Terminal::open(80, 24, &mut top(&["--count", "1"], variables));
        let (seen, _) = terminal.end();
        assert!(
            seen.contains("health") || seen.contains("DEGRADED"),
            "{seen}"
        );
        seen.contains("\x1b[32m") || seen.contains("\x1b[38;5;")
    };
    assert!(colours(&[]));
    assert!(!colours(&[("NO_COLOR", "1")]));
}

#[test]
fn a_dumb_terminal_gets_lines() {
    let flags = ["--count", "2", "--interval", "0.1"];
    let mut terminal = Terminal::open(80, 24, &mut top(&flags, &[("TERM", "dumb")]));
    let (seen, status) = terminal.end();
    assert!(!seen.contains('\x1b'), "{seen:?}");
    assert!(
        seen.lines().filter(|line| line.contains("busy")).count() == 2,
        "{seen}"
    );
    assert!(status.success());
}

#[test]
fn no_terminal_gets_lines_and_a_closed_pipe_is_a_normal_end() {
    let output = Command::new(env!("CARGO_BIN_EXE_scx_takt"))
        .args(["top", "--count", "2", "--interval", "0.1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
    let mut child = Command::new(env!("CARGO_BIN_EXE_scx_takt"))
        .args(["top", "--interval", "0.1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    assert!(child.wait().unwrap().success());
}

#[test]
fn pictures_for_programs() {
    let run = |format: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_scx_takt"))
            .args(["stats", "--seconds", "0.1", format])
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let snapshot: serde_json::Value = serde_json::from_str(&run("--json")).unwrap();
    assert!(!snapshot["cpus"].as_array().unwrap().is_empty());
    assert!(snapshot["scheduler"]["name"].is_string());
    openmetrics_parser::openmetrics::parse_openmetrics(&run("--openmetrics")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_scx_takt"))
        .arg("--help-stats")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("wait_p99_us"));
}
