//! What can go wrong between an agent and its ring.

use std::{fmt, io};

use nix::errno::Errno;

/// The result of every fallible operation on a ring.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a ring cannot be opened, read or waited for.
#[derive(Debug)]
pub enum Error {
    /// A system call failed.
    System {
        /// What was being done.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The descriptor is a BPF map, but not a `BPF_MAP_TYPE_RINGBUF`.
    NotARing {
        /// `enum bpf_map_type` of the map that was given.
        map_type: u32,
    },
    /// The map was made with `BPF_F_RB_OVERWRITE`: its producers overwrite records that are being
    /// read, so that no `&[u8]` into it is sound.
    Overwrites,
    /// The size is not a power of two that is a multiple of the page size, or does not fit the
    /// address space.
    Layout {
        /// Page size in bytes.
        page: usize,
        /// Size of the data area in bytes.
        ring: usize,
    },
    /// This process already has a consumer on that map.
    Busy {
        /// Kernel's id of the map.
        map_id: u32,
    },
    /// The consumer position was written by another: another process consumes the same map.
    Stolen {
        /// Position in bytes that this consumer had published.
        ours: usize,
        /// Position in bytes that was found.
        found: usize,
    },
    /// Positions or lengths in the ring contradict each other. The ring cannot be read any further.
    Corrupt {
        /// Consumer position in bytes at which it was noticed.
        position: usize,
        /// Producer position in bytes as last read.
        producer: usize,
        /// Header of the record at `position`; 0 when the positions themselves are wrong.
        header: u32,
    },
    /// A record is not one of the wanted type.
    Record {
        /// Length of the record in bytes.
        len: usize,
        /// Size of the wanted type in bytes.
        want: usize,
    },
}

impl Error {
    /// The error of a system call that failed.
    pub(super) fn system(what: &'static str, errno: Errno) -> Self {
        Self::System {
            what,
            source: errno.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { what, source } => write!(f, "ring: cannot {what}: {source}"),
            Self::NotARing { map_type } => {
                write!(f, "ring: map is of type {map_type}, not a BPF ring buffer")
            }
            Self::Overwrites => write!(
                f,
                "ring: map was made with BPF_F_RB_OVERWRITE, whose records change while they are \
                 read; make it without"
            ),
            Self::Layout { page, ring } => {
                write!(
                    f,
                    "ring: {ring} bytes are no ring size for pages of {page} bytes"
                )
            }
            Self::Busy { map_id } => {
                write!(
                    f,
                    "ring: map {map_id} already has a consumer in this process"
                )
            }
            Self::Stolen { ours, found } => write!(
                f,
                "ring: consumer position moved from {ours} to {found}: another process consumes \
                 this map"
            ),
            Self::Corrupt {
                position,
                producer,
                header,
            } => write!(
                f,
                "ring: corrupt at {position}: producer position {producer}, header {header:#x}"
            ),
            Self::Record { len, want } => {
                write!(
                    f,
                    "ring: a record of {len} bytes cannot be read as a type of {want} bytes"
                )
            }
        }
    }
}

// Without a source: the text has the cause, and a report of the whole chain would have it twice.
impl std::error::Error for Error {}
