//! Carries bytes between a running guest and this process until one of them ends.

use super::qemu::Guest;
use super::{End, Mode};
use crate::ui;
use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{self, SetArg, Termios};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The key that ends an interactive guest: ctrl and ].
const ESCAPE: u8 = 0x1d;
/// What a terminal sends for "no more input": ctrl and D.
const END_OF_INPUT: u8 = 0x04;

/// The result of a guest.
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Its `uname -r`; none if its first process did not start.
    pub guest_release: Option<String>,
    /// The numbers of the files that it has sent.
    pub fetched: BTreeSet<usize>,
}

/// Relays until the guest has ended and all its output is written.
pub fn run(mut guest: Guest, mode: Mode, timeout: Option<Duration>) -> Result<Outcome> {
    let signals = block_signals()?;
    let interactive = mode != Mode::Stream && io::stdin().is_terminal();
    let booting = ui::spinner("booting");
    let mut relay = Relay {
        deadline: timeout.map(|timeout| Instant::now() + timeout),
        end: None,
        control_text: String::new(),
        guest_release: None,
        fetched: BTreeSet::new(),
        stdin_open: mode != Mode::Stream,
        to_guest: Vec::new(),
        interactive,
    };
    let mut raw = None;
    while guest.any_open() {
        if relay.guest_release.is_some() && !booting.is_finished() {
            booting.finish_and_clear();
            if interactive {
                ui::note("ctrl-] leaves the guest");
                raw = Some(RawTerminal::enter()?);
            }
        }
        relay.step(&mut guest, &signals)?;
        if relay.end.is_some() {
            // The ports are still read to their ends.
            guest.kill();
        }
    }
    booting.finish_and_clear();
    drop(raw);
    guest.wait();
    Ok(Outcome {
        end: relay.end.unwrap_or(End::Died),
        guest_release: relay.guest_release,
        fetched: relay.fetched,
    })
}

struct Relay {
    deadline: Option<Instant>,
    end: Option<End>,
    control_text: String,
    guest_release: Option<String>,
    fetched: BTreeSet<usize>,
    stdin_open: bool,
    to_guest: Vec<u8>,
    interactive: bool,
}

impl Relay {
    /// Waits for an event and handles it.
    fn step(&mut self, guest: &mut Guest, signals: &SignalFd) -> Result<()> {
        let ready = self.wait(guest, signals)?;
        if ready.signal
            && let Ok(Some(info)) = signals.read_signal()
        {
            self.end
                .get_or_insert(End::Interrupted(info.ssi_signo as i32));
        }
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            self.end.get_or_insert(End::TimedOut);
        }
        // Output before control: the output of the command is written before its end is handled.
        for (port, to_stderr) in [
            (&mut guest.stdout, false),
            (&mut guest.stderr, true),
            (&mut guest.console, false),
        ] {
            if let Some(data) = read_port(port)? {
                let written = if to_stderr {
                    put(&mut io::stderr(), &data)
                } else {
                    put(&mut io::stdout(), &data)
                };
                if written.is_err() {
                    self.end.get_or_insert(End::OutputClosed);
                }
            }
        }
        if let Some(data) = read_port(&mut guest.control)? {
            self.handle_control(&String::from_utf8_lossy(&data));
        }
        if ready.stdin {
            self.read_stdin();
        }
        self.write_console(guest.console.as_mut())
    }

    fn wait(&self, guest: &Guest, signals: &SignalFd) -> Result<Ready> {
        let stdin = io::stdin();
        let polls_stdin =
            self.stdin_open && self.to_guest.is_empty() && self.guest_release.is_some();
        let mut polled = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if polls_stdin {
            polled.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        for port in [&guest.stdout, &guest.stderr, &guest.control]
            .into_iter()
            .flatten()
        {
            polled.push(PollFd::new(port.as_fd(), PollFlags::POLLIN));
        }
        if let Some(port) = &guest.console {
            let out = if self.to_guest.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::POLLOUT
            };
            polled.push(PollFd::new(port.as_fd(), PollFlags::POLLIN | out));
        }
        let timeout = match self.deadline.filter(|_| self.end.is_none()) {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left_ms = deadline
                    .saturating_duration_since(Instant::now())
                    .as_millis()
                    + 1;
                PollTimeout::try_from(left_ms.min(60_000) as u32).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the guest"),
        }
        let fired = |entry: Option<&PollFd<'_>>| entry.and_then(PollFd::any).unwrap_or(false);
        Ok(Ready {
            signal: fired(polled.first()),
            stdin: polls_stdin && fired(polled.get(1)),
        })
    }

    /// Handles messages of the guest's first process: `up RELEASE`, `fetched N`, `exit STATUS`.
    fn handle_control(&mut self, text: &str) {
        self.control_text.push_str(text);
        while let Some((line, rest)) = self.control_text.split_once('\n') {
            match line.trim_end().split_once(' ') {
                Some(("up", release)) => self.guest_release = Some(release.to_owned()),
                Some(("fetched", number)) => self.fetched.extend(number.parse::<usize>().ok()),
                Some(("exit", status)) => {
                    self.end
                        .get_or_insert(End::Exited(status.parse().unwrap_or(125)));
                }
                _ => {}
            }
            self.control_text = rest.to_owned();
        }
    }

    fn read_stdin(&mut self) {
        let mut buffer = [0; 4096];
        match nix::unistd::read(io::stdin(), &mut buffer) {
            Ok(0) => {
                self.stdin_open = false;
                self.to_guest.push(END_OF_INPUT);
            }
            Ok(count) => {
                let data = &buffer[..count];
                if self.interactive && data.contains(&ESCAPE) {
                    self.end.get_or_insert(End::Exited(0));
                }
                self.to_guest.extend_from_slice(data);
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            Err(_) => self.stdin_open = false,
        }
    }

    /// Writes pending input to the console until it would block.
    fn write_console(&mut self, console: Option<&mut UnixStream>) -> Result<()> {
        let Some(console) = console.filter(|_| !self.to_guest.is_empty()) else {
            return Ok(());
        };
        match console.write(&self.to_guest) {
            Ok(count) => drop(self.to_guest.drain(..count)),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.to_guest.clear(),
            Err(error) => return Err(error).context("cannot write to the guest's console"),
        }
        Ok(())
    }
}

struct Ready {
    signal: bool,
    stdin: bool,
}

/// Reads from a port. Closes it at its end.
fn read_port(port: &mut Option<UnixStream>) -> Result<Option<Vec<u8>>> {
    let Some(stream) = port else { return Ok(None) };
    let mut buffer = vec![0; 65536];
    match stream.read(&mut buffer) {
        Ok(0) => {
            *port = None;
            Ok(None)
        }
        Ok(count) => {
            buffer.truncate(count);
            Ok(Some(buffer))
        }
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(None),
            ErrorKind::ConnectionReset => {
                *port = None;
                Ok(None)
            }
            _ => Err(error).context("cannot read from the guest"),
        },
    }
}

fn put(sink: &mut impl Write, data: &[u8]) -> io::Result<()> {
    sink.write_all(data)?;
    sink.flush()
}

/// Blocks signals, and returns a file descriptor to read them from: so none of them skips the clean-up.
fn block_signals() -> Result<SignalFd> {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        signals.add(signal);
    }
    signals.thread_block().context("cannot block signals")?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("cannot create a signal descriptor")
}

/// Lines and columns of the user's terminal; 24 and 80 if there is none.
pub fn terminal_size() -> (u16, u16) {
    let term = console::Term::stdout();
    term.size_checked().unwrap_or((24, 80))
}

/// The user's terminal in raw mode, until dropped.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> Result<Self> {
        let stdin = io::stdin();
        let before = termios::tcgetattr(&stdin).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw)
            .context("cannot set the terminal to raw mode")?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // It fails only if the terminal does not exist any more.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}
