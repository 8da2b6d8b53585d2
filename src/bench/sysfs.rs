//! What the kernel says of sched_ext: state and ops in sysfs, and its uevents.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

const ROOT: &str = "/sys/kernel/sched_ext";
/// The multicast group of the kernel's own uevents.
const KERNEL_UEVENTS: u32 = 1;

/// Does this kernel have sched_ext?
pub fn available() -> bool {
    Path::new(ROOT).is_dir()
}

/// Is a sched_ext scheduler at work (or coming or going)?
pub fn active() -> bool {
    available() && state() != "disabled"
}

/// Is a scheduler fully enabled?
pub fn enabled() -> bool {
    state() == "enabled"
}

/// Name of the loaded ops.
pub fn ops() -> Option<String> {
    let name = read("root/ops");
    (!name.is_empty()).then_some(name)
}

/// How often a scheduler has been enabled since boot: it tells a restart. The kernel counts after it has
/// told of the enabling, so that a quick reader still reads the number of before.
pub fn enable_seq() -> u64 {
    read("enable_seq").parse().unwrap_or(0)
}

fn state() -> String {
    read("state")
}

fn read(name: &str) -> String {
    let text = fs::read_to_string(Path::new(ROOT).join(name));
    text.map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Wakes the bench as soon as the kernel announces a scheduler, so that it need not poll fast.
pub struct Uevents(Option<OwnedFd>);

impl Uevents {
    /// Listens; without the right to, it just never wakes a reader.
    pub fn listen() -> Self {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let opened = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            flags,
            SockProtocol::NetlinkKObjectUEvent,
        );
        let bound = opened.and_then(|fd| {
            bind(
                std::os::fd::AsRawFd::as_raw_fd(&fd),
                &NetlinkAddr::new(0, KERNEL_UEVENTS),
            )?;
            Ok(fd)
        });
        Self(bound.ok())
    }

    /// What to poll.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }

    /// Forgets what has come in.
    pub fn drain(&self) {
        let Some(fd) = &self.0 else { return };
        let raw = std::os::fd::AsRawFd::as_raw_fd(fd);
        while recv(raw, &mut [0; 4096], MsgFlags::empty()).is_ok() {}
    }
}
