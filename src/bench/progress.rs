//! Progress on standard error: a bar with the time left on a terminal, else a line per round.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What takes time: a workload under a scheduler, or the start of a scheduler.
pub type Step = (usize, usize);

/// Shows how far the comparison is. Nothing is drawn while a workload runs: it would disturb it.
pub struct Progress {
    bar: Option<ProgressBar>,
    took: BTreeMap<Step, Duration>,
    left: Vec<Step>,
}

impl Progress {
    /// Begins with all `steps` to do.
    pub fn new(steps: Vec<Step>) -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let bar = terminal.then(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(steps.len() as u64), target);
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
            style.map_or(bar.clone(), |style| bar.with_style(style))
        });
        Self {
            bar,
            took: BTreeMap::new(),
            left: steps,
        }
    }

    /// Does one step and notes how long it took.
    pub fn step<T>(&mut self, step: Step, what: &str, work: impl FnOnce() -> T) -> T {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{what} {}", left_text(self.time_left())));
        }
        let started = Instant::now();
        let result = work();
        self.took.insert(step, started.elapsed());
        if let Some(index) = self.left.iter().position(|other| *other == step) {
            self.left.swap_remove(index);
        }
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        result
    }

    /// Says something that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Says how far it is, unless the bar says so anyway.
    pub fn round_ended(&self, text: &str) {
        if self.bar.is_none() {
            eprintln!("{text} {}", left_text(self.time_left()));
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// What is left, guessed from what each step took the last time, or from the average.
    fn time_left(&self) -> Option<Duration> {
        let count = u32::try_from(self.took.len())
            .ok()
            .filter(|count| *count > 0)?;
        let average = self.took.values().sum::<Duration>() / count;
        Some(
            self.left
                .iter()
                .map(|step| self.took.get(step).copied().unwrap_or(average))
                .sum(),
        )
    }
}

fn left_text(left: Option<Duration>) -> String {
    match left.map(|left| left.as_secs()) {
        None => String::new(),
        Some(0) => "(nearly done)".to_owned(),
        Some(seconds @ 1..120) => format!("({seconds} s left)"),
        Some(seconds) => format!("({} min left)", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_uses_what_a_step_took_before() {
        let mut progress = Progress::new(vec![(0, 0), (0, 1), (0, 0)]);
        assert_eq!(progress.time_left(), None);
        progress.step((0, 0), "", || ());
        progress.took.insert((0, 0), Duration::from_secs(4));
        // (0, 1) is unknown and taken for average.
        assert_eq!(progress.time_left(), Some(Duration::from_secs(8)));
    }

    #[test]
    fn time_left_is_said_in_words() {
        assert_eq!(left_text(Some(Duration::from_secs(90))), "(90 s left)");
        assert_eq!(left_text(Some(Duration::from_secs(150))), "(3 min left)");
    }
}
