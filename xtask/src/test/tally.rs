//! Counts tests from the output of a test runner.

use std::fmt;
use std::ops::AddAssign;

/// Begins a line with the reason why a test cannot run on this machine.
const SKIP_MARK: &str = "SKIPPED: ";

/// How many checks passed, failed and were skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Checks that passed.
    pub passed: u32,
    /// Checks that failed.
    pub failed: u32,
    /// The reason for each check that was skipped.
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

    /// One check that was skipped.
    pub fn skip(reason: &str) -> Self {
        Self {
            skipped: vec![reason.to_owned()],
            ..Self::default()
        }
    }

    /// The tally of the output of `cargo test`. `succeeded` is whether its exit status was 0: a failure
    /// without a failed test, such as a failed build, counts as one.
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
        // The runner counts a test that skips itself as passed.
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
    fn results_of_several_binaries_are_added() {
        let tally = Tally::of_tests(OUTPUT, false);
        assert_eq!((tally.passed, tally.failed), (4, 4));
        assert_eq!(tally.skipped, ["no kernel at ../x"]);
        assert_eq!(tally.to_string(), "4 passed, 4 failed, 1 skipped");
    }

    #[test]
    fn failed_runner_without_a_failed_test_counts() {
        assert_eq!(Tally::of_tests("error: could not compile", false).failed, 1);
        assert_eq!(Tally::of_tests("", true), Tally::default());
    }

    #[test]
    fn summary_has_skipped_checks_only_if_there_are_some() {
        let mut tally = Tally::one(true);
        tally += Tally::one(false);
        assert_eq!(tally.to_string(), "1 passed, 1 failed");
        tally += Tally::skip("why");
        assert_eq!(tally.to_string(), "1 passed, 1 failed, 1 skipped");
    }
}
