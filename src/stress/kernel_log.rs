//! What the kernel complains about while a load runs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};

const LOG: &str = "/dev/kmsg";
/// The longest record that the kernel hands out.
const RECORD_BYTES: usize = 8192;

/// Texts that a healthy kernel does not print: warnings with a trace, bugs, oopses, lockups and stalls of CPUs, of RCU
/// and of workqueues, tasks that hang, and the end of a scheduler by an error.
const ALARMS: [&str; 12] = [
    "WARNING:",
    "BUG:",
    "Oops:",
    "general protection fault",
    "lockup",
    "self-detected stall",
    "detected stalls",
    "detected expedited stalls",
    "runnable task stall",
    "kthread starved",
    "blocked for more than",
    "disabled (runtime error)",
];

/// The kernel log from a moment on.
#[derive(Debug)]
pub struct KernelLog(File);

impl KernelLog {
    /// The log from now on.
    ///
    /// # Errors
    /// If this process may not read it.
    pub fn open() -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(LOG)
            .with_context(|| format!("cannot read {LOG}; run as root"))?;
        file.seek(SeekFrom::End(0))
            .with_context(|| format!("cannot find the end of {LOG}"))?;
        Ok(Self(file))
    }

    /// The alarms since the last call, or since [`Self::open`].
    ///
    /// # Errors
    /// If the log cannot be read any more.
    pub fn alarms(&mut self) -> Result<Vec<String>> {
        let mut alarms = Vec::new();
        let mut record = [0; RECORD_BYTES];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => break,
                Ok(length) => alarms.extend(alarm_in(&record[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // EPIPE: the ring has overwritten what would come next; what is left follows.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("cannot read {LOG}")),
            }
        }
        Ok(alarms)
    }
}

/// The text of a record (`level,number,time,flags;text`, then lines of `KEY=value`) if it is an alarm.
fn alarm_in(record: &[u8]) -> Option<String> {
    let record = String::from_utf8_lossy(record);
    let (_, text) = record.split_once(';')?;
    let text = text.lines().next()?;
    let alarming = ALARMS.iter().any(|alarm| text.contains(alarm));
    alarming.then(|| text.to_owned())
}

/// All alarms in one line.
pub fn problem(alarms: &[String]) -> Option<String> {
    let first = alarms.first()?;
    Some(match alarms.len() - 1 {
        0 => format!("the kernel log says: {first}"),
        more => format!("the kernel log says: {first} (and {more} more alarms)"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_bugs_and_stalls_are_alarms_and_nothing_else() {
        let alarm = |text: &str| alarm_in(format!("4,10,2000,-;{text}\n KEY=v\n").as_bytes());
        for text in [
            "WARNING: CPU: 0 PID: 1 at kernel/sched/ext.c:1 f+0x1/0x2",
            "BUG: workqueue lockup - pool cpus=1",
            "rcu: INFO: rcu_sched self-detected stall on CPU",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [sh:1]",
            "sched_ext: BPF scheduler \"x\" disabled (runnable task stall)",
            "INFO: task sh:12 blocked for more than 120 seconds.",
        ] {
            assert_eq!(alarm(text).as_deref(), Some(text));
        }
        assert_eq!(alarm("sched_ext: BPF scheduler \"x\" enabled"), None);
        assert_eq!(alarm("sched_ext: ops->cpu_release() is deprecated"), None);
        assert_eq!(alarm_in(b"no record"), None);
    }

    #[test]
    fn the_first_alarm_is_told_and_the_others_are_counted() {
        assert_eq!(problem(&[]), None);
        let alarms = ["WARNING: a".to_owned(), "WARNING: b".to_owned()];
        assert_eq!(
            problem(&alarms).unwrap(),
            "the kernel log says: WARNING: a (and 1 more alarms)"
        );
    }
}
