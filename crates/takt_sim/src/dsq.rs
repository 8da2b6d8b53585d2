//! Dispatch queues, in the order that the kernel keeps them in.

use std::collections::VecDeque;

/// `SCX_DSQ_LOCAL`: the local queue of the CPU that asks.
pub const LOCAL: u64 = 0x8000_0000_0000_0002;
/// `SCX_DSQ_LOCAL_ON`, plus the number of a CPU.
pub const LOCAL_ON: u64 = 0xc000_0000_0000_0000;

/// One that waits.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The number of the task.
    pub task: usize,
    /// `dsq_vtime` as it was inserted.
    pub vtime: u64,
    /// The number of its insertion.
    pub turn: u64,
}

/// A dispatch queue.
#[derive(Clone, Debug, Default)]
pub struct Dsq {
    entries: VecDeque<Entry>,
    last_turn: u64,
}

/// Is `a` before `b`? `time_before64()`.
pub fn is_before(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b) as i64) < 0
}

impl Dsq {
    /// Inserts at the head, or at the end.
    pub fn insert(&mut self, task: usize, at_head: bool) {
        self.last_turn += 1;
        let entry = Entry {
            task,
            vtime: 0,
            turn: self.last_turn,
        };
        if at_head {
            self.entries.push_front(entry);
        } else {
            self.entries.push_back(entry);
        }
    }

    /// Inserts by vtime, behind those of the same: `rb_add()` with `scx_dsq_priq_less()`.
    pub fn insert_ordered(&mut self, task: usize, vtime: u64) {
        self.last_turn += 1;
        let at = self
            .entries
            .partition_point(|entry| !is_before(vtime, entry.vtime));
        self.entries.insert(
            at,
            Entry {
                task,
                vtime,
                turn: self.last_turn,
            },
        );
    }

    /// Takes a task out; false: it is not in it.
    pub fn remove(&mut self, task: usize) -> bool {
        let at = self.entries.iter().position(|entry| entry.task == task);
        at.and_then(|at| self.entries.remove(at)).is_some()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Does none wait?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first task.
    pub fn first(&self) -> Option<usize> {
        self.entries.front().map(|entry| entry.task)
    }

    /// All of them, from the head.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The number of the last insertion.
    pub fn last_turn(&self) -> u64 {
        self.last_turn
    }

    /// The first one, of those inserted no later than `until`, behind the place of (`vtime`, `turn`);
    /// from the head if that is nothing. A queue ordered by vtime only.
    pub fn next_behind(&self, place: Option<(u64, u64)>, until: u64) -> Option<Entry> {
        let is_behind = |entry: &Entry| {
            place.is_none_or(|(vtime, turn)| {
                is_before(vtime, entry.vtime) || (vtime == entry.vtime && entry.turn > turn)
            })
        };
        let found = |entry: &&Entry| entry.turn <= until && is_behind(entry);
        self.entries.iter().find(found).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(dsq: &Dsq) -> Vec<usize> {
        dsq.iter().map(|entry| entry.task).collect()
    }

    #[test]
    fn orders_by_vtime_and_keeps_ties_in_turn() {
        let mut dsq = Dsq::default();
        for (task, vtime) in [(1, 20), (2, 10), (3, 20), (4, 10), (5, u64::MAX)] {
            dsq.insert_ordered(task, vtime);
        }
        assert_eq!(
            tasks(&dsq),
            [5, 2, 4, 1, 3],
            "u64::MAX is before 10: times wrap"
        );
        assert!(dsq.remove(4) && !dsq.remove(4));
        assert_eq!(tasks(&dsq), [5, 2, 1, 3]);
    }

    #[test]
    fn iterates_over_what_was_there_when_it_began() {
        let mut dsq = Dsq::default();
        dsq.insert_ordered(1, 10);
        dsq.insert_ordered(2, 20);
        let until = dsq.last_turn();
        let first = dsq.next_behind(None, until).unwrap();
        dsq.remove(1);
        dsq.insert_ordered(1, 30);
        let second = dsq
            .next_behind(Some((first.vtime, first.turn)), until)
            .unwrap();
        assert_eq!((first.task, second.task), (1, 2));
        let place = Some((second.vtime, second.turn));
        assert!(
            dsq.next_behind(place, until).is_none(),
            "1 was inserted anew"
        );
    }

    #[test]
    fn local_queues_are_first_in_first_out() {
        let mut dsq = Dsq::default();
        dsq.insert(1, false);
        dsq.insert(2, false);
        dsq.insert(3, true);
        assert_eq!(tasks(&dsq), [3, 1, 2]);
    }
}
