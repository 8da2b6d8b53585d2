//! Where the parts of a BPF ring buffer lie in a map's `mmap` space.
//!
//! Source: `struct bpf_ringbuf`, `ringbuf_map_alloc` and `ringbuf_map_mmap_kern` in
//! `kernel/bpf/ringbuf.c`. The consumer position has page 0 to itself, the only one that may be
//! mapped writable, and only alone. The producer position has page 1. The data follow, twice in a
//! row, so that a record which wraps around the end of the ring is contiguous in memory.

use super::error::{Error, Result};

/// Offsets and lengths in bytes of the two mappings that a consumer makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Length of the consumer mapping (writable, at map offset 0): one page.
    pub consumer_len: usize,
    /// Map offset of the producer mapping (read-only).
    pub producer_offset: usize,
    /// Length of the producer mapping: its page and the data twice.
    pub producer_len: usize,
    /// Where the data begin inside the producer mapping.
    pub data_offset: usize,
    /// Size of the data area, counted once.
    pub ring: usize,
}

impl Layout {
    /// The layout for pages of `page` bytes and a data area of `ring` bytes.
    ///
    /// # Errors
    /// [`Error::Layout`] unless both are powers of two, `ring` is a multiple of `page`, and the
    /// mapping fits the address space.
    pub fn new(page: usize, ring: usize) -> Result<Self> {
        let error = Error::Layout { page, ring };
        if !page.is_power_of_two() || !ring.is_power_of_two() || ring < page {
            return Err(error);
        }
        let producer_len = ring.checked_mul(2).and_then(|data| data.checked_add(page));
        match producer_len.filter(|len| isize::try_from(*len).is_ok()) {
            None => Err(error),
            Some(producer_len) => Ok(Self {
                consumer_len: page,
                producer_offset: page,
                producer_len,
                data_offset: page,
                ring,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_4_16_and_64_kib() {
        for page in [4 << 10, 16 << 10, 64 << 10] {
            let ring = 256 << 10;
            let layout = Layout::new(page, ring).unwrap();
            assert_eq!(layout.consumer_len, page);
            assert_eq!(layout.producer_offset, page);
            assert_eq!(layout.data_offset, page);
            assert_eq!(layout.producer_len, page + 2 * ring);
        }
    }

    #[test]
    fn smallest_ring_is_one_page() {
        assert!(Layout::new(16 << 10, 16 << 10).is_ok());
        assert!(Layout::new(16 << 10, 4 << 10).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for (page, ring) in [
            (0, 0),
            (4096, 0),
            (4096, 12288),
            (4095, 8192),
            (4096, 1 << 62),
        ] {
            assert!(
                matches!(Layout::new(page, ring), Err(Error::Layout { .. })),
                "{page} {ring}"
            );
        }
    }
}
