//! Counts what a test runner says it ran.

use std::fmt;
use std::ops::AddAssign;

/// Begins a line in which a test says that it could not run here, and why.
const SKIP_MARK: &str = "SKIPPED: ";

/// How many checks passed, failed and were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Checks that passed.
    pub passed: u32,
    /// Checks that failed.
    pub failed: u32,
    /// Why each of the others was left out.
    pub skipped: Vec<String>,
}

impl Tally {
    /// One check that passed or failed.
    pub fn one(passed: bool) -> Self {
        Self {
            passed: passed.into(),
            failed: (!passed).into(),
            skipped: Vec::new(),
        }
    }

    /// One check that was left out.
    pub fn skip(reason: &str) -> Self {
        Self {
            skipped: vec![reason.to_owned()],
            ..Self::default()
        }
    }

    /// What the output of cargo's test runner adds up to. `succeeded` is the runner's own verdict:
    /// a runner that fails without a failed test (it did not build, say) counts as one.
    pub fn of_tests(output: &str, succeeded: bool) -> Self {
        let mut tally = Self::default();
        for line in output.lines() {
            if let Some(rest) = line.strip_prefix("test result: ") {
                tally.passed += count(rest, "passed");
                tally.failed += count(rest, "failed");
            } else if let Some(reason) = line.trim_start().strip_prefix(SKIP_MARK) {
                tally.skipped.push(reason.trim().to_owned());
            }
        }
        // A test that skips itself ends well as far as its runner knows.
        tally.passed = tally.passed.saturating_sub(tally.skipped.len() as u32);
        if !succeeded && tally.failed == 0 {
            tally.failed = 1;
        }
        tally
    }
}

/// The number before `word` in `12 passed; 0 failed; ...`.
fn count(text: &str, word: &str) -> u32 {
    let words: Vec<&str> = text
        .split([' ', ';', '.'])
        .filter(|word| !word.is_empty())
        .collect();
    words
        .windows(2)
        .find(|pair| pair[1] == word)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or(0)
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        match self.skipped.len() {
            0 => Ok(()),
            skipped => write!(f, ", {skipped} skipped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test a ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
---- b stderr ----
SKIPPED: no kernel at ../x
test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s
";

    #[test]
    fn adds_up_the_results_of_several_binaries() {
        let tally = Tally::of_tests(OUTPUT, false);
        assert_eq!((tally.passed, tally.failed), (4, 4));
        assert_eq!(tally.skipped, ["no kernel at ../x"]);
        assert_eq!(tally.to_string(), "4 passed, 4 failed, 1 skipped");
    }

    #[test]
    fn a_runner_that_fails_without_a_test_is_a_failure() {
        assert_eq!(Tally::of_tests("error: could not compile", false).failed, 1);
        assert_eq!(Tally::of_tests("", true), Tally::default());
    }

    #[test]
    fn the_summary_names_skips_only_when_there_are_some() {
        let mut tally = Tally::one(true);
        tally += Tally::one(false);
        assert_eq!(tally.to_string(), "1 passed, 1 failed");
        tally += Tally::skip("why");
        assert_eq!(tally.to_string(), "1 passed, 1 failed, 1 skipped");
    }
}
