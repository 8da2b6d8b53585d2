//! The agent's end of a BPF ring buffer: no missed wake-up, no uncounted loss.
//!
//! * [`Consumer`] maps a ring, drains it in order into a closure, and gives the descriptor to wait
//!   on; [`Waiter`] waits on it and notices a wake-up that should have come.
//! * [`record`] reads a record as a plain type.
//! * [`Ledger`] and [`balance`] account for every record that a producer tried to send.
//!
//! The protocol and the argument for its memory ordering are in [`protocol`]. It is generic over
//! its memory so that the model checker runs the same code as the agent.
//!
//! Limits: one consumer per map; records of one producer CPU in order of reservation, and a BUSY
//! record holds up those behind it; rings that overwrite (`BPF_F_RB_OVERWRITE`) and rings filled by
//! user space are refused.

mod consumer;
mod error;
mod layout;
mod ledger;
mod map;
pub mod protocol;

pub use consumer::{Consumer, Waiter, Wake};
pub use error::{Error, Result};
pub use layout::Layout;
pub use ledger::{Imbalance, Ledger, Produced, balance};
pub use map::Mapping;
pub use protocol::{Drained, End, Stats};

/// Reads the beginning of a record as a `T`. Records may be longer: the ABI may have grown.
///
/// ```
/// #[repr(C)]
/// struct Head {
///     kind: u32,
///     cpu: u32,
/// }
/// // SAFETY: every bit pattern is a valid `Head`.
/// unsafe impl plain::Plain for Head {}
///
/// let bytes = 0x0000_0001_0000_0002_u64.to_ne_bytes();
/// # let words = [u64::from_ne_bytes(bytes)];
/// # let bytes = unsafe { plain::as_bytes(&words) };
/// # #[cfg(target_endian = "little")]
/// assert_eq!(scx_ops::ring::record::<Head>(bytes)?.kind, 2);
/// assert!(scx_ops::ring::record::<Head>(&bytes[..4]).is_err());
/// # Ok::<(), scx_ops::ring::Error>(())
/// ```
///
/// # Errors
/// [`Error::Record`] if it is shorter than a `T`, or `T` wants more than 8 bytes of alignment.
#[inline]
pub fn record<T: plain::Plain>(bytes: &[u8]) -> Result<&T> {
    plain::from_bytes(bytes).map_err(|_| Error::Record {
        len: bytes.len(),
        want: size_of::<T>(),
    })
}
