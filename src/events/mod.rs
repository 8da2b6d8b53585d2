//! What the scheduler emits: events taken from the ring, accounted for, printed.
//!
//! * [`EventReader`] drains the ring and holds it to the account: attempts = received + discarded + failed.
//! * [`ReadableEvent`] is an event in the words of a reader; `docs/design/observer.md` lists them.
//! * [`Printer`] writes them as lines or JSON (`--events`, and long waits with `--stats`).

mod event_reader;
mod printer;
mod readable_event;

pub use event_reader::EventReader;
pub use printer::Printer;

use crate::bpf_abi::intf;
use crate::cli::RunArgs;

const fn bit(event_type: u32) -> u32 {
    1 << event_type
}

/// The events that viewers of the snapshot see, as bits for `events_wanted`.
pub const VIEWED: u32 = bit(intf::takt_event_type_TAKT_EV_LONG_WAIT)
    | bit(intf::takt_event_type_TAKT_EV_STARVED)
    | bit(intf::takt_event_type_TAKT_EV_FAULT);

/// The events that are read with these flags, as bits for `events_wanted`.
pub fn wanted(args: &RunArgs) -> u32 {
    if args.events.is_some() {
        bit(intf::takt_event_type_TAKT_NR_EVENTS) - 1
    } else if args.stats.is_some() {
        bit(intf::takt_event_type_TAKT_EV_LONG_WAIT) | bit(intf::takt_event_type_TAKT_EV_STARVED)
    } else {
        0
    }
}
