//! `--try`: the scheduler for a while, unless it is kept.
//!
//! Two ends: the agent's own, and one in the kernel a little later (`trial_ends_at` in `main.bpf.c`), for an agent
//! that is stopped or gets no memory. An agent that is killed takes the scheduler with it anyway.

use std::io::{IsTerminal, Write, stderr, stdin};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::unistd::{getpgrp, read, tcgetpgrp};

use crate::base::clock::monotonic_ns;
use crate::base::{units, wait};
use crate::bpf_abi::BpfSkel;

/// How much later than the agent the kernel ends it.
const GRACE: Duration = Duration::from_secs(2);

/// Scheduling on trial.
pub struct Trial {
    /// On CLOCK_MONOTONIC.
    ends_at_ns: u64,
    /// Standard input is a terminal, where Enter keeps the scheduler.
    listens: bool,
}

impl Trial {
    /// One that begins now.
    pub fn new(time: Duration) -> Self {
        Self {
            ends_at_ns: monotonic_ns() + time.as_nanos() as u64,
            listens: stdin().is_terminal(),
        }
    }

    /// How long it still takes.
    pub fn left(&self) -> Duration {
        Duration::from_nanos(self.ends_at_ns.saturating_sub(monotonic_ns()))
    }

    /// Says how to keep the scheduler, and has the kernel end it should the agent be late.
    pub fn begin(&self, skel: &mut BpfSkel<'_>) {
        if let Some(bss) = skel.maps.bss_data.as_mut() {
            bss.trial_ends_at = self.ends_at_ns + GRACE.as_nanos() as u64;
        }
        let enter = if self.listens { "press Enter, or " } else { "" };
        say(&format!(
            "on trial for {}: to keep it, {enter}run `sudo scx_takt keep`",
            units::duration(self.left())
        ));
    }

    /// It is kept.
    pub fn end_kept(skel: &mut BpfSkel<'_>) {
        if let Some(bss) = skel.maps.bss_data.as_mut() {
            bss.trial_ends_at = 0;
        }
        say("kept: it schedules until it is stopped");
    }

    /// It was not kept.
    pub fn end() {
        say("not kept: back to the kernel's scheduler");
    }

    /// Readable when a key was pressed that may keep it.
    pub fn keys(&self) -> Option<BorrowedFd<'static>> {
        // SAFETY: standard input stays open as long as the process.
        self.listens
            .then(|| unsafe { BorrowedFd::borrow_raw(nix::libc::STDIN_FILENO) })
    }

    /// Has Enter been pressed? A terminal that is gone, or belongs to another job by now, is asked no more: reading it
    /// would stop this process.
    pub fn enter_pressed(&mut self) -> bool {
        let Some(keys) = self.keys() else {
            return false;
        };
        if wait::ready(&[keys], Duration::ZERO).is_none() {
            return false;
        }
        let mut typed = [0; 64];
        let ours = tcgetpgrp(keys).is_ok_and(|group| group == getpgrp());
        let length = if ours { read(keys, &mut typed) } else { Ok(0) };
        self.listens = matches!(length, Ok(1..));
        length.is_ok_and(|length| typed[..length].contains(&b'\n'))
    }
}

/// To standard error, which may be gone.
fn say(what: &str) {
    let _ = writeln!(stderr(), "scx_takt: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_when_its_time_is_over() {
        assert!(Trial::new(Duration::ZERO).left().is_zero());
        let trial = Trial::new(Duration::from_secs(60));
        assert!(trial.left() > Duration::from_secs(50));
        assert!(trial.ends_at_ns > monotonic_ns());
    }

    #[test]
    fn asks_no_terminal_where_there_is_none() {
        let mut trial = Trial {
            listens: false,
            ..Trial::new(Duration::from_secs(60))
        };
        assert!(!trial.enter_pressed() && trial.keys().is_none());
    }
}
