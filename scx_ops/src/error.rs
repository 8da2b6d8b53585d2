//! What can go wrong between an agent and the kernel. (Errors of the ring: [`crate::ring::Error`].)

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use nix::errno::Errno;

use crate::btf::Malformed;
use crate::kernel::BTF;
use crate::sched_ext::Active;

/// The result of every fallible operation outside the ring.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the kernel cannot be asked, or does not take a scheduler.
///
/// Its text is one line with the cause in it: what, why, what to do. So [`std::error::Error::source`] gives
/// nothing, and a report of the whole chain has no cause twice. The causes are in the fields.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    System {
        /// What was to be done.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file of the kernel cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file of the kernel does not have a number.
    NoNumber {
        /// Which.
        path: PathBuf,
        /// What it has.
        text: String,
    },
    /// This process may not load BPF programs.
    NotPrivileged {
        /// What needs it.
        what: String,
    },
    /// The kernel was built without BTF.
    NoBtf {
        /// Its release string.
        release: String,
    },
    /// The kernel was built without `sched_ext`, or is older.
    NoSchedExt {
        /// Its release string.
        release: String,
    },
    /// Another `sched_ext` scheduler is active, or comes or goes.
    OtherScheduler(Active),
    /// The kernel does not take the scheduler.
    Refused {
        /// What libbpf says.
        source: libbpf_rs::Error,
    },
    /// The kernel has not gone back to its own scheduler.
    NotBack {
        /// What is active instead.
        active: Active,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The kernel ejected the scheduler, and is back on its own.
    Ejected {
        /// The kernel's reason.
        reason: String,
    },
    /// `struct sched_ext_ops` of the BPF object has no such callback.
    NoCallback {
        /// Its name.
        name: String,
    },
    /// The BPF object is not as the headers of scx and its skeleton make it.
    Object {
        /// What it lacks.
        lacks: String,
    },
    /// Libbpf cannot read types again that were written for it.
    Types {
        /// What libbpf says.
        source: libbpf_rs::Error,
    },
    /// The BTF of the kernel cannot be made sense of.
    KernelTypes(Malformed),
    /// The value of one of the kernel's enumerators cannot be read.
    Enumerator {
        /// Its name.
        name: String,
        /// What scx_utils says.
        reason: String,
    },
}

impl Error {
    pub(crate) fn system(what: &'static str, errno: Errno) -> Self {
        let source = errno.into();
        Self::System { what, source }
    }

    /// For `map_err`: this file cannot be read.
    pub(crate) fn reading(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Read { path, source }
    }

    /// For `ok_or_else`: the BPF object has no such thing.
    pub(crate) fn lacks(what: &str) -> impl Fn() -> Self {
        move || Self::Object {
            lacks: what.to_owned(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { what, source } => write!(f, "cannot {what}: {source}"),
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::NoNumber { path, text } => {
                write!(f, "{} is no number: {text}", path.display())
            }
            Self::NotPrivileged { what } => write!(f, "{what} needs root: run it with sudo"),
            Self::NoBtf { release } => write!(
                f,
                "kernel {release} does not describe its types ({BTF} is missing): boot one built with \
                 CONFIG_DEBUG_INFO_BTF=y"
            ),
            Self::NoSchedExt { release } => write!(
                f,
                "kernel {release} has no sched_ext: boot Linux 6.12 or later built with \
                 CONFIG_SCHED_CLASS_EXT=y (Debian: 6.16 or later)"
            ),
            Self::OtherScheduler(active) => {
                write!(
                    f,
                    "{active} is the active scheduler: stop it first (scx.service? another terminal?)"
                )
            }
            Self::Refused { source } => write!(
                f,
                "the kernel refuses the scheduler (dmesg says why): {source:#}"
            ),
            Self::NotBack { active, waited } => write!(
                f,
                "the kernel has not gone back to EEVDF within {} s ({active} is still there): SysRq-S ends \
                 any sched_ext scheduler",
                waited.as_secs()
            ),
            Self::Ejected { reason } => write!(
                f,
                "the kernel ejected the scheduler and is back on EEVDF: {reason}"
            ),
            Self::NoCallback { name } => write!(f, "{name} is not a callback of sched_ext_ops"),
            Self::Object { lacks } => write!(
                f,
                "the BPF object has no {lacks}: build it with the headers and libraries in Cargo.lock"
            ),
            Self::Types { source } => write!(
                f,
                "cannot read the kernel's types again: {source:#} (please report it)"
            ),
            Self::KernelTypes(why) => write!(
                f,
                "cannot make sense of {BTF}: {why} (boot another build of the kernel)"
            ),
            Self::Enumerator { name, reason } => write!(
                f,
                "cannot read the kernel's {name}: {reason} (boot another build of the kernel)"
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<Malformed> for Error {
    fn from(why: Malformed) -> Self {
        Self::KernelTypes(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn text_is_one_line_with_its_cause() {
        let denied = || io::Error::from_raw_os_error(libc::EACCES);
        let errors = [
            Error::system("make a file in memory", Errno::ENOMEM),
            Error::reading("/sys/x")(denied()),
            Error::OtherScheduler(Active::SchedExt("simple".into())),
            Error::NotBack {
                active: Active::Changing("disabling".into()),
                waited: Duration::from_secs(30),
            },
            Error::Ejected {
                reason: "EXIT: runnable task stall".into(),
            },
            Error::lacks(".rodata")(),
            Malformed::Kind(31).into(),
        ];
        let expected = [
            "cannot make a file in memory: Cannot allocate memory",
            "cannot read /sys/x: Permission denied",
            "simple is the active scheduler: stop it first",
            "within 30 s (a sched_ext scheduler (disabling) is still there): SysRq-S",
            "back on EEVDF: EXIT: runnable task stall",
            "has no .rodata: build it",
            "/sys/kernel/btf/vmlinux: kind 31 is newer than this program (boot",
        ];
        for (error, expected) in errors.iter().zip(expected) {
            let text = error.to_string();
            assert!(text.contains(expected), "{text}");
            assert!(!text.contains('\n'), "{text}");
            assert!(error.source().is_none(), "{text} would come twice");
        }
    }
}
