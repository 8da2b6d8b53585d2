//! From the words of `struct takt_cpu_stats` to named counters.
//!
//! The names come from the type information inside our own BPF object, so that a counter that is added
//! to `intf.h` shows up in every reader by itself.

use anyhow::{Context, Result};
use libbpf_rs::btf::{self, Btf, BtfKind, types};
use libbpf_rs::skel::Skel;

use crate::bpf_abi::{BpfSkel, intf};
use crate::snapshot::{Activity, Counters, Snapshot, Waits, counters::NR_COUNTERS};
use crate::wakeups::Wakeups;

/// Names of `enum takt_place`, in its order. (An enum of constants leaves no names in the object.)
const PLACES: [&str; intf::takt_place_TAKT_NR_PLACES as usize] = [
    "idle_prev",
    "idle_other",
    "handoff",
    "sync",
    "next",
    "preempt",
    "kthread",
    "queue_llc",
    "queue_cpu",
];
/// Names of `enum takt_event_type`.
const EVENTS: [&str; intf::takt_event_type_TAKT_NR_EVENTS as usize] = [
    "long_wait",
    "starved",
    "preempt",
    "migrate",
    "fault",
    "exit",
];
/// Fields that are no sums.
const NO_SUMS: [&str; 2] = ["wait_max_ns", "wait_epoch"];

const MISSING: &str = "the BPF object does not describe its counters";

/// Where each counter lies in `struct takt_cpu_stats`.
pub struct Layout {
    fields: Vec<Field>,
}

struct Field {
    name: String,
    /// First word.
    at: usize,
    /// Number of words.
    len: usize,
}

impl Layout {
    /// Reads it from the object's own type information.
    ///
    /// # Errors
    /// If there is none, or it has no such struct.
    pub fn of(skel: &BpfSkel<'_>) -> Result<Self> {
        Self::from_btf(&skel.object().btf()?.context(MISSING)?)
    }

    fn from_btf(btf: &Btf<'_>) -> Result<Self> {
        let stats: types::Struct<'_> = btf.type_by_name("takt_cpu_stats").context(MISSING)?;
        let fields = stats.iter().filter_map(|member| {
            let btf::types::MemberAttr::Normal { offset } = member.attr else {
                return None;
            };
            let ty = btf.type_by_id::<btf::BtfType<'_>>(member.ty)?;
            let array = (ty.kind() == BtfKind::Array)
                .then(|| types::Array::try_from(ty).ok())
                .flatten();
            Some(Field {
                name: member.name?.to_string_lossy().into_owned(),
                at: offset as usize / 64,
                len: array.map_or(1, |array| array.capacity()),
            })
        });
        let fields: Vec<_> = fields.collect();
        let words = fields.iter().map(|field| field.len).sum::<usize>();
        anyhow::ensure!(
            words == NR_COUNTERS,
            "{MISSING}: {words} of {NR_COUNTERS} words"
        );
        Ok(Self { fields })
    }

    /// The counters by name.
    fn activity(&self, counters: &Counters) -> Activity {
        let words = counters.words();
        let mut activity = Activity::default();
        for field in &self.fields {
            let values = &words[field.at..field.at + field.len];
            match (field.name.as_str(), values) {
                ("placed", values) => {
                    let named = PLACES.iter().zip(values);
                    activity.placed = named.map(|(name, n)| ((*name).to_owned(), *n)).collect();
                }
                (name, [value]) if !NO_SUMS.contains(&name) => {
                    activity.counters.insert(name.to_owned(), *value);
                }
                (name, values) if values.len() == EVENTS.len() => {
                    for (event, n) in EVENTS.iter().zip(values) {
                        activity.counters.insert(format!("{name}.{event}"), *n);
                    }
                }
                _ => {} // a histogram, or no sum
            }
        }
        activity
    }

    /// What counters tell. `longest_ns`: as in [`Self::waits`].
    pub fn fill(&self, snapshot: &mut Snapshot, counters: &Counters, longest_ns: u64) {
        snapshot.activity = Some(self.activity(counters));
        snapshot.waits = Self::waits(counters, longest_ns);
        snapshot.wakeups = Self::wakeups(counters);
        snapshot.cost.events_lost = counters.sum.ev_failed.iter().sum();
    }

    /// The waiting times; `longest_ns`: the longest of the last second or two.
    fn waits(counters: &Counters, longest_ns: u64) -> Waits {
        let sum = &counters.sum;
        let counted = sum.wait_hist.iter().enumerate();
        let counted = counted.map(|(bucket, count)| (1 << bucket, *count));
        Waits::of_powers(counted, sum.wait_ns, longest_ns)
    }

    /// The waiting times of tasks that had slept, of all classes.
    fn wakeups(counters: &Counters) -> Waits {
        let sum = &counters.sum;
        let classes = (0..intf::takt_latency_class_TAKT_NR_LAT as usize)
            .map(|class| Wakeups::of_class(sum, class));
        let all = classes.fold(Wakeups::default(), |all, class| all.plus(&class));
        let counted = all.buckets().map(|(bound_ns, count)| (bound_ns - 1, count));
        Waits::of_wakeups(counted, sum.wake_ns, 0)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use libbpf_rs::AsRawLibbpf;
    use libbpf_rs::skel::{OpenSkel, SkelBuilder};

    use super::*;
    use crate::bpf_abi::BpfSkelBuilder;
    use crate::wakeups::BUCKETS;

    /// The names from the object lead to the same words as the fields of the Rust type.
    #[test]
    fn each_name_leads_to_its_own_counter() {
        let mut storage = MaybeUninit::uninit();
        let open = BpfSkelBuilder::default().open(&mut storage).unwrap();
        let object = open.open_object().as_libbpf_object();
        // SAFETY: the object lives as long as `open`, which outlives this.
        let btf = Btf::from_bpf_object(unsafe { object.as_ref() })
            .unwrap()
            .unwrap();
        let layout = Layout::from_btf(&btf).unwrap();
        let mut counters = Counters {
            sum: Default::default(),
            longest_waits: Vec::new(),
        };
        let sum = &mut counters.sum;
        (sum.nr_stolen, sum.nr_kept, sum.run_ns) = (11, 12, 13);
        sum.placed[intf::takt_place_TAKT_PLACE_NEXT as usize] = 14;
        sum.placed[intf::takt_place_TAKT_PLACE_QUEUE_CPU as usize] = 15;
        sum.ev_failed[intf::takt_event_type_TAKT_EV_STARVED as usize] = 16;
        sum.ev_attempts[intf::takt_event_type_TAKT_EV_EXIT as usize] = 17;
        (sum.wait_hist[3], sum.wait_ns) = (18, 19);
        (sum.wake_hist[2], sum.wake_hist[BUCKETS + 2], sum.wake_ns) = (21, 22, 23);
        let activity = layout.activity(&counters);
        let expected = [
            ("nr_stolen", 11),
            ("nr_kept", 12),
            ("run_ns", 13),
            ("ev_failed.starved", 16),
            ("ev_attempts.exit", 17),
            ("wait_ns", 19),
            ("wake_ns", 23),
        ];
        for (name, value) in expected {
            assert_eq!(activity.counter(name), value, "{name}");
        }
        assert_eq!(
            (activity.placed["next"], activity.placed["queue_cpu"]),
            (14, 15)
        );
        let rest: u64 = activity.counters.values().sum();
        assert_eq!(rest, expected.iter().map(|(_, value)| value).sum::<u64>());
        let waits = Layout::waits(&counters, 20);
        assert_eq!(
            (waits.counts[3], waits.bounds_ns[3], waits.max_ns),
            (18, 16, 20)
        );
        let wakeups = Layout::wakeups(&counters);
        assert_eq!((wakeups.total(), wakeups.sum_ns), (21 + 22, 23));
        assert_eq!(wakeups.counts[2], 21 + 22, "the classes together");
    }
}
