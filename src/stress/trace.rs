//! What a load has done over time, as a file of JSON lines for plots.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::report;
use super::watch::KindResult;
use crate::collect;

/// Where the lines go. Unbuffered, so that a reader beside us sees whole lines.
pub struct Trace(File);

/// One line.
#[derive(Serialize)]
struct Line {
    /// CLOCK_MONOTONIC in seconds.
    clock_s: f64,
    /// Operations since the start of the run, by kind.
    operations: BTreeMap<String, u64>,
}

impl Trace {
    /// Makes the file.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path);
        Ok(Self(file.with_context(|| {
            format!("stress: cannot write {}", path.display())
        })?))
    }

    /// Adds a line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, results: &[KindResult]) -> Result<()> {
        let line = Line {
            clock_s: collect::monotonic_ns() as f64 / 1e9,
            operations: results
                .iter()
                .map(|result| (report::name(result.kind), result.operations))
                .collect(),
        };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        self.0
            .write_all(text.as_bytes())
            .context("cannot write to the file of --trace")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::cli::StressKind;

    #[test]
    fn a_line_per_look_with_what_each_kind_has_done() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace");
        let mut trace = Trace::create(&path).unwrap();
        for operations in [3, 7] {
            let result = KindResult {
                kind: StressKind::RtHogs,
                workers: 1,
                operations,
                longest_pause: Duration::ZERO,
            };
            trace.write(&[result]).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["operations"]["rt-hogs"], 7);
        assert!(lines[1]["clock_s"].as_f64() >= lines[0]["clock_s"].as_f64());
        assert!(Trace::create(directory.path()).is_err());
    }
}
