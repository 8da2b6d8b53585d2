//! The kernel's uevents, of which sched_ext sends some when a scheduler comes or goes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// The multicast group of the kernel's own uevents.
const KERNEL_UEVENTS: u32 = 1;

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
