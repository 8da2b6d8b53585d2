//! The consumer of a real ring buffer map, and how it waits.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::error::{Error, Result};
use super::map::{Info, Mapping};
use super::protocol::{Drained, Memory, Reader, Stats};

/// Ids of the maps that have a consumer in this process.
static CONSUMED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn consumed() -> MutexGuard<'static, BTreeSet<u32>> {
    CONSUMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to consume one map, given back when dropped.
#[derive(Debug)]
struct Claim(u32);

impl Claim {
    fn new(map_id: u32) -> Result<Self> {
        match consumed().insert(map_id) {
            true => Ok(Self(map_id)),
            false => Err(Error::Busy { map_id }),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        consumed().remove(&self.0);
    }
}

/// The one consumer of a `BPF_MAP_TYPE_RINGBUF`. It may move between threads; it cannot be shared
/// by them.
///
/// A second consumer in this process is refused, one in another process is noticed
/// ([`Error::Stolen`]) but cannot be kept out: do not pin the map where others consume it.
///
/// ```no_run
/// use std::{ops::ControlFlow, os::fd::BorrowedFd, time::Duration};
/// use scx_ops::ring::{Consumer, Wake, Waiter};
///
/// # fn run(map: BorrowedFd<'_>) -> scx_ops::ring::Result<()> {
/// let mut ring = Consumer::new(map)?;
/// let mut waiter = Waiter::new(&ring)?;
/// loop {
///     ring.drain(|record| {
///         println!("{} bytes", record.len());
///         ControlFlow::Continue(())
///     })?;
///     waiter.wait(&mut ring, Duration::from_millis(10))?;
/// }
/// # }
/// ```
///
/// `Sync` is withheld:
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<scx_ops::ring::Consumer>();
/// ```
#[derive(Debug)]
pub struct Consumer<M = Mapping> {
    // Dropped in this order: the mapping is gone before the claim is.
    reader: Reader<M>,
    fd: OwnedFd,
    _claim: Claim,
}

impl Consumer {
    /// Takes up consumption of the ring behind `map` where it was last left. The descriptor is
    /// duplicated.
    ///
    /// # Errors
    /// [`Error::System`] if `map` is no BPF map or cannot be mapped; [`Error::NotARing`];
    /// [`Error::Overwrites`]; [`Error::Busy`] if this process consumes it already;
    /// [`Error::Corrupt`] if its positions are nonsense.
    pub fn new(map: BorrowedFd<'_>) -> Result<Self> {
        Self::with_memory(map, |mapping| mapping)
    }
}

impl<M: Memory> Consumer<M> {
    /// As [`Consumer::new`], over memory operations that `wrap` may change: for tests that break
    /// them on purpose.
    #[doc(hidden)]
    pub fn with_memory(map: BorrowedFd<'_>, wrap: impl FnOnce(Mapping) -> M) -> Result<Self> {
        let info = Info::of(map)?;
        let claim = Claim::new(info.id)?;
        let fd = map.try_clone_to_owned().map_err(|source| Error::System {
            what: "duplicate the map's descriptor",
            source,
        })?;
        let reader = Reader::new(wrap(Mapping::new(map, info.size)?))?;
        Ok(Self {
            reader,
            fd,
            _claim: claim,
        })
    }

    /// Hands every committed record to `each`: see [`Reader::drain`]. Records begin at a multiple
    /// of 8 bytes; [`super::record`] gives them a type.
    ///
    /// # Errors
    /// [`Error::Stolen`] or [`Error::Corrupt`]; the ring cannot be read any further then.
    #[inline]
    pub fn drain(&mut self, each: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<Drained> {
        self.reader.drain(each)
    }

    /// Is a committed record waiting? Consumes nothing.
    ///
    /// # Errors
    /// As [`Self::drain`].
    pub fn ready(&mut self) -> Result<bool> {
        self.reader.ready()
    }

    /// How full the ring is: see [`Reader::occupancy`].
    ///
    /// # Errors
    /// As [`Self::drain`].
    pub fn occupancy(&mut self) -> Result<usize> {
        self.reader.occupancy()
    }

    /// What this consumer has seen since it was made.
    pub fn stats(&self) -> Stats {
        self.reader.stats()
    }
}

impl<M> AsFd for Consumer<M> {
    /// The map: readable for epoll, edge-triggered, whenever a producer notifies.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A producer notified.
    Notified,
    /// The time is up and there is nothing to read.
    Quiet,
    /// The time is up, no notification came, and yet a committed record is there. Counted in
    /// [`Stats::missed_notifications`]. A missed wake-up, if producers notify; the normal case, if they
    /// commit with `BPF_RB_NO_WAKEUP`.
    Late,
    /// A signal came.
    Interrupted,
}

/// Waits for the notifications of one ring: edge-triggered epoll.
///
/// Edge-triggered, because level-triggered epoll asks the map whether there are data, which would
/// cover up a missed wake-up. Drain until [`super::End::Empty`] or [`super::End::Busy`] before each
/// wait.
#[derive(Debug)]
pub struct Waiter {
    epoll: Epoll,
}

/// How long a notification may be on its way (`irq_work`) after its record became visible, before
/// the record counts as a late find.
const GRACE: Duration = Duration::from_millis(20);

impl Waiter {
    /// A waiter for `ring`.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn new(ring: &impl AsFd) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|errno| Error::system("create an epoll instance", errno))?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        epoll
            .add(ring, event)
            .map_err(|errno| Error::system("watch the ring with epoll", errno))?;
        Ok(Self { epoll })
    }

    /// Waits for a notification, at most `timeout` (rounded up to milliseconds). After a time-out
    /// with a committed record in sight it waits 20 ms longer, in case the notification is still on
    /// its way, before it calls that late.
    ///
    /// # Errors
    /// [`Error::System`], or those of [`Consumer::ready`].
    pub fn wait<M: Memory>(&mut self, ring: &mut Consumer<M>, timeout: Duration) -> Result<Wake> {
        let wake = self.poll(timeout)?;
        if wake != Wake::Quiet || !ring.ready()? {
            return Ok(wake);
        }
        match self.poll(GRACE)? {
            Wake::Quiet => {
                ring.reader.count_missed_notification();
                Ok(Wake::Late)
            }
            wake => Ok(wake),
        }
    }

    /// Has a producer notified since this was last asked, or waited for? Ask before draining: the kernel
    /// forgets a notification of records that are gone.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn notified(&mut self) -> Result<bool> {
        Ok(self.poll(Duration::ZERO)? == Wake::Notified)
    }

    fn poll(&mut self, timeout: Duration) -> Result<Wake> {
        let millis = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
        let timeout = EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX);
        match self.epoll.wait(&mut [EpollEvent::empty()], timeout) {
            Ok(0) => Ok(Wake::Quiet),
            Ok(_) => Ok(Wake::Notified),
            Err(Errno::EINTR) => Ok(Wake::Interrupted),
            Err(errno) => Err(Error::system("wait for the ring", errno)),
        }
    }
}

impl AsFd for Waiter {
    /// The epoll instance, to be watched by another one.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_excludes_and_is_given_back() {
        let id = u32::MAX;
        let claim = Claim::new(id).unwrap();
        assert!(matches!(Claim::new(id), Err(Error::Busy { map_id }) if map_id == id));
        drop(claim);
        assert!(Claim::new(id).is_ok());
    }

    #[test]
    fn other_descriptors_are_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(
            Consumer::new(file.as_fd()),
            Err(Error::System { .. })
        ));
    }

    #[test]
    fn a_consumer_can_change_threads() {
        fn movable<T: Send>() {}
        movable::<Consumer>();
    }
}
