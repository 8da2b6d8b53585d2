//! `scx_takt top` on a terminal of its own, on the machine at hand: whatever schedules there, root or not.

// Helpers are not seen as tests by clippy.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a program sends to take the whole screen, and to give it back.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
/// Long enough for a loaded machine; only a test that fails takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Terminal {
    child: Child,
    master: File,
    seen: String,
}

impl Terminal {
    fn open(columns: u16, rows: u16, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).unwrap();
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_scx_takt"))
            .arg("top")
            .args(flags)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(end(&pty.slave))
            .stdout(end(&pty.slave))
            .stderr(end(&pty.slave))
            .spawn()
            .unwrap();
        Self {
            child,
            master: pty.master.into(),
            seen: String::new(),
        }
    }

    /// Reads on until `text` was seen.
    fn await_text(&mut self, text: &str) {
        while !self.seen.contains(text) {
            assert!(self.read(), "{text:?} did not come; seen:\n{}", self.seen);
        }
    }

    /// False: the other end is closed.
    fn read(&mut self) -> bool {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        assert!(
            poll(&mut fds, patience).unwrap() > 0,
            "nothing more comes:\n{}",
            self.seen
        );
        let mut bytes = [0; 4096];
        let read = self.master.read(&mut bytes).unwrap_or(0);
        self.seen += &String::from_utf8_lossy(&bytes[..read]);
        read > 0
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Everything up to the end, and the exit status.
    fn end(mut self) -> (String, ExitStatus) {
        while self.read() {}
        (self.seen, self.child.wait().unwrap())
    }
}

/// The terminal is the user's again: whatever comes, nothing is drawn after that.
fn assert_restored(seen: &str) {
    let (_, after) = seen
        .rsplit_once(LEAVE)
        .unwrap_or_else(|| panic!("not restored:\n{seen}"));
    assert!(
        !after.contains("\x1b[H") && !after.contains("quit"),
        "drawn on after the end: {after:?}"
    );
    assert!(seen.contains("\x1b[?25h"), "the cursor stays hidden");
}

#[test]
fn keys_end_it_and_give_the_terminal_back() {
    for keys in ["q", "\x03"] {
        let mut terminal = Terminal::open(80, 24, &[], &[]);
        terminal.await_text(ENTER);
        terminal.await_text("q quit");
        terminal.master.write_all(keys.as_bytes()).unwrap();
        let (seen, status) = terminal.end();
        assert_restored(&seen);
        assert!(status.success(), "{status}");
    }
}

#[test]
fn signals_end_it_and_give_the_terminal_back() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut terminal = Terminal::open(80, 24, &["--interval", "0.1"], &[]);
        terminal.await_text("q quit");
        terminal.signal(signal);
        let (seen, status) = terminal.end();
        assert_restored(&seen);
        assert!(status.success(), "{signal}: {status}");
    }
}

#[test]
fn a_tiny_terminal_and_pages_do_no_harm() {
    let mut terminal = Terminal::open(20, 5, &["--interval", "0.1"], &[]);
    terminal.await_text("q quit");
    terminal
        .master
        .write_all(b"e?\rj\x1b[5~\x1b[6~kt?")
        .unwrap();
    terminal.await_text("keys");
    terminal.master.write_all(b"q").unwrap();
    let (seen, status) = terminal.end();
    assert_restored(&seen);
    assert!(status.success() && !seen.contains("panicked"), "{seen}");
}

#[test]
fn no_colour_means_no_colour() {
    let colours = |variables: &[(&str, &str)]| {
        let terminal = Terminal::open(80, 24, &["--count", "1"], variables);
        let (seen, _) = terminal.end();
        assert!(
            seen.contains("healthy") || seen.contains("DEGRADED"),
            "{seen}"
        );
        seen.contains("\x1b[32m") || seen.contains("\x1b[38;5;")
    };
    assert!(colours(&[]));
    assert!(!colours(&[("NO_COLOR", "1")]));
}

#[test]
fn a_dumb_terminal_gets_lines() {
    let terminal = Terminal::open(
        80,
        24,
        &["--count", "2", "--interval", "0.1"],
        &[("TERM", "dumb")],
    );
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
    let picture: serde_json::Value = serde_json::from_str(&run("--json")).unwrap();
    assert!(!picture["cpus"].as_array().unwrap().is_empty());
    assert!(picture["scheduler"]["name"].is_string());
    openmetrics_parser::openmetrics::parse_openmetrics(&run("--openmetrics")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_scx_takt"))
        .arg("--help-stats")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("wait_p99_us"));
}
