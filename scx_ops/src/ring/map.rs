//! A ring buffer map: what the kernel says about it, and its pages mapped into this process.

use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::{SysconfVar, sysconf};

use super::error::{Error, Result};
use super::layout::Layout;
use super::protocol::{HEADER, Memory, Reread};

/// `BPF_F_RB_OVERWRITE` of `include/uapi/linux/bpf.h`: producers overwrite the oldest records.
const OVERWRITE: u32 = 1 << 19;

/// What the kernel says about a ring buffer map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Info {
    /// The kernel's id of the map, unique while the map lives.
    pub id: u32,
    /// Size of the data area in bytes.
    pub size: u32,
}

impl Info {
    /// Asks the kernel about the map behind `fd`.
    ///
    /// # Errors
    /// [`Error::System`] if it is no BPF map, [`Error::NotARing`], [`Error::Overwrites`].
    pub(super) fn of(fd: BorrowedFd<'_>) -> Result<Self> {
        let mut raw = libbpf_sys::bpf_map_info::default();
        let mut len = size_of_val(&raw) as u32;
        // SAFETY: `raw` and `len` live through the call; `len` is the size of `raw`.
        let status =
            unsafe { libbpf_sys::bpf_map_get_info_by_fd(fd.as_raw_fd(), &mut raw, &mut len) };
        if status != 0 {
            let what = "read what the kernel knows of the map";
            return Err(Error::system(what, Errno::last()));
        }
        Self::check(&raw)
    }

    fn check(raw: &libbpf_sys::bpf_map_info) -> Result<Self> {
        if raw.type_ != libbpf_sys::BPF_MAP_TYPE_RINGBUF {
            return Err(Error::NotARing {
                map_type: raw.type_,
            });
        }
        if raw.map_flags & OVERWRITE != 0 {
            return Err(Error::Overwrites);
        }
        Ok(Self {
            id: raw.id,
            size: raw.max_entries,
        })
    }
}

/// The pages of one ring buffer map.
#[derive(Debug)]
pub struct Mapping {
    consumer: Pages,
    producer: Pages,
    layout: Layout,
}

impl Mapping {
    /// Maps the ring of `size` bytes behind `fd`.
    ///
    /// # Errors
    /// [`Error::Layout`] or [`Error::System`].
    pub fn new(fd: BorrowedFd<'_>, size: u32) -> Result<Self> {
        let layout = Layout::new(page_size()?, size as usize)?;
        let consumer = Pages::map(
            fd,
            0,
            layout.consumer_len,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        )?;
        let producer = Pages::map(
            fd,
            layout.producer_offset,
            layout.producer_len,
            ProtFlags::PROT_READ,
        )?;
        Ok(Self {
            consumer,
            producer,
            layout,
        })
    }

    fn consumer_word(&self) -> &AtomicUsize {
        // SAFETY: the first word of the consumer page, aligned and mapped writable while `self`
        // lives; the kernel only reads it, atomically.
        unsafe { self.consumer.start.cast().as_ref() }
    }

    fn producer_word(&self) -> &AtomicUsize {
        // SAFETY: the first word of the producer page, aligned and mapped while `self` lives; it
        // is only ever loaded, which is allowed of read-only memory for a word.
        unsafe { self.producer.start.cast().as_ref() }
    }

    /// Where `position` lies: somewhere in the first of the two copies of the data.
    fn at(&self, position: usize) -> NonNull<u8> {
        let offset = self.layout.data_offset + (position & (self.layout.ring - 1));
        // SAFETY: masked, it is below `data_offset + ring`, inside the producer mapping.
        unsafe { self.producer.start.add(offset) }
    }
}

impl Memory for Mapping {
    #[inline]
    fn size(&self) -> usize {
        self.layout.ring
    }

    #[inline]
    fn producer(&self) -> usize {
        self.producer_word().load(Ordering::Acquire)
    }

    #[inline]
    fn consumer(&self) -> usize {
        self.consumer_word().load(Ordering::Acquire)
    }

    #[inline]
    fn publish(&self, position: usize) {
        self.consumer_word().store(position, Ordering::Release);
    }

    #[inline]
    fn header(&self, position: usize) -> u32 {
        debug_assert!(position.is_multiple_of(HEADER));
        // SAFETY: a multiple of 8 inside the first copy of the data, so aligned and mapped.
        let header = unsafe { self.at(position).cast::<AtomicU32>().as_ref() };
        header.load(Ordering::Acquire)
    }

    #[inline]
    fn fence(&self, _before: Reread) {
        fence(Ordering::SeqCst);
    }

    #[inline]
    unsafe fn record<R>(&self, position: usize, len: usize, f: impl FnOnce(&[u8]) -> R) -> R {
        debug_assert!(HEADER + len <= self.layout.ring);
        // SAFETY: the record is at most one ring long and begins in the first copy, so it ends in
        // the second at the latest. The caller vouches that it is committed and not yet consumed:
        // no producer writes to it before `f` returns.
        f(unsafe { std::slice::from_raw_parts(self.at(position).add(HEADER).as_ptr(), len) })
    }
}

/// A shared mapping of a map's pages; unmapped when dropped.
#[derive(Debug)]
struct Pages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it.
unsafe impl Send for Pages {}

impl Pages {
    fn map(fd: BorrowedFd<'_>, offset: usize, len: usize, protection: ProtFlags) -> Result<Self> {
        let refused = || Error::Layout {
            page: offset,
            ring: len,
        };
        let length = NonZeroUsize::new(len).ok_or_else(refused)?;
        let at = i64::try_from(offset).map_err(|_| refused())?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing one.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, at) }
            .map_err(|errno| Error::system("map the pages of the ring", errno))?;
        Ok(Self {
            start: start.cast(),
            len,
        })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped; nothing borrows from it any more.
        let _ = unsafe { munmap(self.start.cast(), self.len) };
    }
}

/// The size in bytes of this machine's pages.
fn page_size() -> Result<usize> {
    let size = sysconf(SysconfVar::PAGE_SIZE)
        .map_err(|errno| Error::system("learn the page size", errno))?;
    size.and_then(|size| usize::try_from(size).ok())
        .ok_or_else(|| Error::system("learn the page size", Errno::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> libbpf_sys::bpf_map_info {
        libbpf_sys::bpf_map_info {
            type_: libbpf_sys::BPF_MAP_TYPE_RINGBUF,
            id: 7,
            max_entries: 4096,
            ..Default::default()
        }
    }

    #[test]
    fn a_ring_is_taken() {
        assert_eq!(Info::check(&ring()).unwrap(), Info { id: 7, size: 4096 });
    }

    #[test]
    fn an_overwriting_ring_is_refused() {
        let mut raw = ring();
        raw.map_flags = OVERWRITE;
        assert!(matches!(Info::check(&raw), Err(Error::Overwrites)));
    }

    #[test]
    fn another_type_is_refused() {
        let mut raw = ring();
        raw.type_ = libbpf_sys::BPF_MAP_TYPE_USER_RINGBUF;
        assert!(matches!(
            Info::check(&raw),
            Err(Error::NotARing { map_type: 31 })
        ));
    }
}
