//! A terminal for a program that takes the whole screen: what it draws can be read, keys can be typed, and at the
//! end it must be as it was.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::{Pid, setsid};

/// What a program sends to take the whole screen, and to give it back.
pub const ENTER: &str = "\x1b[?1049h";
/// See [`ENTER`].
pub const LEAVE: &str = "\x1b[?1049l";
/// What hides the cursor, and shows it again.
const HIDE: &str = "\x1b[?25l";
/// See [`HIDE`].
const SHOW: &str = "\x1b[?25h";
/// Long enough for a loaded machine; only a test that fails takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both ends of a terminal. No program inherits them unasked: it would keep them open.
fn pair() -> (File, File) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(ptsname_r(&master).unwrap())
        .unwrap();
    (OwnedFd::from(master).into(), slave)
}

/// Gives a terminal another size.
pub fn resize(master: &File, columns: u16, rows: u16) {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel reads one struct.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(result, 0);
}

/// The terminal and the program on it.
pub struct Terminal {
    /// The program.
    pub child: Child,
    /// Our end: what is written here is typed there.
    pub master: File,
    /// All that was drawn so far.
    pub seen: String,
    /// The settings before the program came.
    before: Termios,
}

impl Terminal {
    /// Starts the program.
    pub fn open(columns: u16, rows: u16, program: &mut Command) -> Self {
        Self::open_with(columns, rows, program, true)
    }

    /// Starts the program, with the terminal or nothing as its standard input.
    pub fn open_with(columns: u16, rows: u16, program: &mut Command, input: bool) -> Self {
        let (master, slave) = pair();
        resize(&master, columns, rows);
        let before = tcgetattr(&master).unwrap();
        let end = |file: &File| Stdio::from(file.try_clone().unwrap());
        program.stdin(if input { end(&slave) } else { Stdio::null() });
        program.stdout(end(&slave)).stderr(end(&slave));
        // It is no process's controlling terminal.
        // SAFETY: setsid() may be called between fork and exec.
        unsafe { program.pre_exec(|| Ok(setsid().map(|_| ())?)) };
        let child = program.spawn().unwrap();
        // Else our own copies would keep the other end open.
        program.stdin(Stdio::null()).stdout(Stdio::null());
        program.stderr(Stdio::null());
        Self {
            child,
            master,
            seen: String::new(),
            before,
        }
    }

    /// Reads on until `text` was seen.
    pub fn await_text(&mut self, text: &str) {
        while !self.seen.contains(text) {
            assert!(self.read(), "{text:?} did not come; seen:\n{}", self.seen);
        }
    }

    /// False: the other end is closed.
    fn read(&mut self) -> bool {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        let ready = poll(&mut fds, patience).unwrap();
        assert!(ready > 0, "nothing more comes:\n{}", self.seen);
        let mut bytes = [0; 4096];
        let read = self.master.read(&mut bytes).unwrap_or(0);
        self.seen += &String::from_utf8_lossy(&bytes[..read]);
        read > 0
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Does the program get keys as they are typed, unseen?
    pub fn is_raw(&self) -> bool {
        let now = tcgetattr(&self.master).unwrap().local_flags;
        !now.intersects(LocalFlags::ICANON | LocalFlags::ECHO)
    }

    /// Everything up to the end, and the exit status.
    pub fn end(&mut self) -> (&str, ExitStatus) {
        while self.read() {}
        (&self.seen, self.child.wait().unwrap())
    }

    /// The program has ended. The terminal is the user's again: as it was, with its cursor, and whatever came
    /// last was not drawn on it. Returns what was written after that.
    pub fn assert_restored(&self) -> &str {
        let seen = &self.seen;
        let (screen, after) = seen
            .rsplit_once(LEAVE)
            .unwrap_or_else(|| panic!("not restored:\n{seen}"));
        assert!(screen.contains(ENTER), "never taken over:\n{seen}");
        assert!(
            !after.contains("\x1b[H") && !after.contains("quit"),
            "drawn on after the end: {after:?}"
        );
        assert!(
            seen.rfind(SHOW) > seen.rfind(HIDE),
            "the cursor stays hidden:\n{seen}"
        );
        let now = tcgetattr(&self.master).unwrap();
        assert_eq!(now, self.before, "the settings are not what they were");
        after
    }
}
