//! Events in the words of a reader.

use std::fmt;

use scx_ops::ring::Imbalance;
use serde::Serialize;

use super::event_reader::Account;
use crate::base::units::time;
use crate::bpf_abi::intf::{self, takt_event};
use crate::bpf_abi::name_in;

/// A task, by number and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    pub pid: i32,
    /// Empty: not known any more.
    pub comm: String,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, self.comm.as_str()) {
            (0, _) => write!(f, "no task"),
            (pid, "") => write!(f, "pid {pid}"),
            (pid, comm) => write!(f, "{comm} (pid {pid})"),
        }
    }
}

/// One thing worth telling. Times are nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ReadableEvent {
    /// A task waited for longer than `long_wait_ns`.
    LongWait {
        at_ns: u64,
        task: Task,
        waited_ns: u64,
        cpu: u32,
        /// The task that ran there before it.
        behind: Task,
    },
    /// A task waited for longer than the bound of a short queue: see `TAKT_EV_STARVED` in src/bpf/intf.h.
    Starved {
        at_ns: u64,
        task: Task,
        waited_ns: u64,
        cpu: u32,
        behind: Task,
    },
    /// A wakeup took the CPU from the task that ran, whose lag is less by `lag_ns`.
    Preempt {
        at_ns: u64,
        task: Task,
        victim: Task,
        lag_ns: i64,
        cpu: u32,
    },
    /// A task runs in another last-level cache than before, on another node perhaps.
    Migrate {
        at_ns: u64,
        task: Task,
        cpu: u32,
        from_llc: u32,
        to_llc: u32,
        from_node: u32,
        to_node: u32,
    },
    /// A tunable has a new value. Emitted by the agent, which sets it.
    Tunable {
        tunable: &'static str,
        from: u64,
        to: u64,
        reason: String,
    },
    /// The configuration was read again. Emitted by the agent.
    Config {
        /// Was it taken over? If not, the one before stays in force, as a whole.
        taken: bool,
        what: String,
    },
    /// The scheduler found itself wrong.
    Fault { what: String },
    /// The scheduler has left the kernel.
    Exit { at_ns: u64 },
    /// What became of all events, emitted at the end.
    Account(Account),
}

/// Where CPUs and LLCs belong, for migrations.
pub struct Places {
    pub llc_of_cpu: Vec<u32>,
    pub node_of_llc: Vec<u32>,
}

impl ReadableEvent {
    /// An event from the ring; `comm_of` names a task by its PID.
    pub fn new(event: &takt_event, places: &Places, comm_of: impl Fn(i32) -> String) -> Self {
        let (at_ns, cpu) = (event.at_ns, event.target_cpu);
        let task = Task {
            pid: event.pid,
            comm: name_in(&event.comm),
        };
        let other = Task {
            pid: event.other_pid,
            comm: comm_of(event.other_pid),
        };
        match u32::from(event.type_) {
            intf::takt_event_type_TAKT_EV_LONG_WAIT => Self::LongWait {
                at_ns,
                task,
                waited_ns: event.value_ns,
                cpu,
                behind: other,
            },
            intf::takt_event_type_TAKT_EV_STARVED => Self::Starved {
                at_ns,
                task,
                waited_ns: event.value_ns,
                cpu,
                behind: other,
            },
            intf::takt_event_type_TAKT_EV_PREEMPT => Self::Preempt {
                at_ns,
                task,
                victim: other,
                lag_ns: event.value_ns.cast_signed(),
                cpu,
            },
            intf::takt_event_type_TAKT_EV_MIGRATE => places.migration(event, task),
            intf::takt_event_type_TAKT_EV_EXIT => Self::Exit { at_ns },
            intf::takt_event_type_TAKT_EV_FAULT => Self::Fault {
                what: match event.detail {
                    intf::takt_fault_TAKT_FAULT_NO_CONTEXT => format!("no context for {task}"),
                    fault => format!("number {fault}, about {task}"),
                },
            },
            unknown => Self::Fault {
                what: format!("event of unknown type {unknown}"),
            },
        }
    }

    /// A fault of the ring.
    pub fn imbalance(imbalance: Imbalance) -> Self {
        Self::Fault {
            what: imbalance.to_string(),
        }
    }

    /// When it happened, if it is a matter of a moment.
    pub fn at_ns(&self) -> Option<u64> {
        match self {
            Self::LongWait { at_ns, .. }
            | Self::Starved { at_ns, .. }
            | Self::Preempt { at_ns, .. }
            | Self::Migrate { at_ns, .. }
            | Self::Exit { at_ns } => Some(*at_ns),
            Self::Tunable { .. } | Self::Config { .. } | Self::Fault { .. } | Self::Account(_) => {
                None
            }
        }
    }
}

impl Places {
    fn migration(&self, event: &takt_event, task: Task) -> ReadableEvent {
        let node = |llc: u32| self.node_of_llc.get(llc as usize).copied().unwrap_or(0);
        let llc_of_cpu = self.llc_of_cpu.get(event.target_cpu as usize);
        let to_llc = llc_of_cpu.copied().unwrap_or(0);
        ReadableEvent::Migrate {
            at_ns: event.at_ns,
            task,
            cpu: event.target_cpu,
            from_llc: event.detail,
            to_llc,
            from_node: node(event.detail),
            to_node: node(to_llc),
        }
    }
}

impl fmt::Display for ReadableEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongWait {
                task,
                waited_ns,
                cpu,
                behind,
                ..
            } => write!(
                f,
                "long wait: {task} waited {} for CPU {cpu} behind {behind}",
                time(*waited_ns)
            ),
            Self::Starved {
                task,
                waited_ns,
                cpu,
                behind,
                ..
            } => write!(
                f,
                "starved: {task} waited {}, beyond the bound of short queues, for CPU {cpu} behind {behind}",
                time(*waited_ns)
            ),
            Self::Preempt {
                task,
                victim,
                lag_ns,
                cpu,
                ..
            } => write!(
                f,
                "preempt: {task} takes CPU {cpu} from {victim}, whose lag is {} by {}",
                if *lag_ns < 0 { "more" } else { "less" },
                time(lag_ns.unsigned_abs())
            ),
            Self::Migrate {
                task,
                cpu,
                from_llc,
                to_llc,
                from_node,
                to_node,
                ..
            } => {
                write!(
                    f,
                    "migrate: {task} to CPU {cpu}, LLC {from_llc} to {to_llc}"
                )?;
                match from_node == to_node {
                    true => Ok(()),
                    false => write!(f, ", node {from_node} to {to_node}"),
                }
            }
            Self::Tunable {
                tunable,
                from,
                to,
                reason,
            } => {
                write!(f, "tunable: {tunable} from {from} to {to}: {reason}")
            }
            Self::Config { what, .. } => write!(f, "configuration: {what}"),
            Self::Fault { what } => write!(f, "FAULT: {what}"),
            Self::Exit { .. } => write!(f, "exit: the scheduler has left the kernel"),
            Self::Account(account) => write!(f, "{account}"),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "events: {} attempted = {} received + {} discarded + {} lost{}; {} held back by the rate \
             limit; ring {} % full at most; {} hand-overs",
            self.attempts,
            self.received,
            self.discarded,
            self.lost,
            if self.balanced { "" } else { " DOES NOT HOLD" },
            self.suppressed,
            100 * self.highest_fill_bytes / intf::takt_consts_TAKT_RING_BYTES as usize,
            self.hand_overs
        )?;
        match self.missed_notifications {
            0 => Ok(()),
            missed => write!(f, "; {missed} notifications MISSED"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_type: u32) -> takt_event {
        // SAFETY: integers and arrays of integers only.
        let mut event: takt_event = unsafe { std::mem::zeroed() };
        event.type_ = event_type as u16;
        event.pid = 7;
        event.other_pid = 9;
        event.target_cpu = 3;
        event.value_ns = 60_000_000;
        for (to, from) in event.comm.iter_mut().zip(b"wakee") {
            *to = *from as std::ffi::c_char;
        }
        event
    }

    fn readable(event: &takt_event) -> ReadableEvent {
        let places = Places {
            llc_of_cpu: vec![0, 0, 1, 1],
            node_of_llc: vec![0, 1],
        };
        ReadableEvent::new(event, &places, |pid| {
            if pid == 9 {
                "gcc".into()
            } else {
                String::new()
            }
        })
    }

    #[test]
    fn event_lines_name_tasks_and_reasons() {
        let cases = [
            (
                intf::takt_event_type_TAKT_EV_LONG_WAIT,
                "long wait: wakee (pid 7) waited 60 ms for CPU 3 behind gcc (pid 9)",
            ),
            (
                intf::takt_event_type_TAKT_EV_PREEMPT,
                "preempt: wakee (pid 7) takes CPU 3 from gcc (pid 9), whose lag is less by 60 ms",
            ),
            (
                intf::takt_event_type_TAKT_EV_MIGRATE,
                "migrate: wakee (pid 7) to CPU 3, LLC 0 to 1, node 0 to 1",
            ),
            (
                intf::takt_event_type_TAKT_EV_FAULT,
                "FAULT: no context for wakee (pid 7)",
            ),
        ];
        for (event_type, line) in cases {
            assert_eq!(readable(&event(event_type)).to_string(), line);
        }
        assert!(readable(&event(99)).to_string().contains("unknown type 99"));
    }

    #[test]
    fn json_names_the_event() {
        let json = serde_json::to_value(readable(&event(intf::takt_event_type_TAKT_EV_STARVED)));
        let json = json.unwrap();
        assert_eq!(json["event"], "starved");
        assert_eq!(
            (&json["task"]["pid"], &json["behind"]["comm"]),
            (&7.into(), &"gcc".into())
        );
    }

    #[test]
    fn a_broken_account_is_loud() {
        let mut account = Account {
            attempts: 10,
            received: 7,
            discarded: 0,
            lost: 3,
            gaps: 3,
            missed_notifications: 0,
            suppressed: 1,
            hand_overs: 0,
            highest_fill_bytes: 0,
            balanced: true,
        };
        assert!(!account.to_string().contains("DOES NOT HOLD"));
        assert!(!account.to_string().contains("MISSED"));
        account.missed_notifications = 1;
        assert!(account.to_string().contains("MISSED"));
        account.balanced = false;
        assert!(account.to_string().contains("DOES NOT HOLD"));
        let json = serde_json::to_value(ReadableEvent::Account(account)).unwrap();
        assert_eq!(
            (&json["event"], &json["lost"]),
            (&"account".into(), &3.into())
        );
    }
}
