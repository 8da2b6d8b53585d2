//! The cgroups of version 2 that use most CPU time, from their files.
//!
//! A reader of snapshots looks at them itself, in its own time: it opens a file of each cgroup there is, and the
//! agent does not. What the limits did is not in these files unless EEVDF schedules: [`Counted`].

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::base::CGROUP_MOUNT;
use crate::base::cgroup::figure;
use crate::base::clock::monotonic_ns;
use crate::snapshot::{Cgroup, Limit, Throttling};

/// How many are shown. As metrics, each is a label.
const SHOWN: usize = 20;

/// What has counted periods and throttling.
pub enum Counted<'a> {
    /// EEVDF, in `cpu.stat`.
    ByKernel,
    /// scx_takt; a cgroup that is not among these was never throttled.
    ByTakt(&'a [Limit]),
    /// A scheduler that does not count, or is not asked.
    Unknown,
}

/// Looks at the cgroups again and again.
pub struct Cgroups {
    mount: PathBuf,
    /// CPU time of each at the last look, in nanoseconds, by its id.
    earlier: HashMap<u64, u64>,
    /// When that was; 0: never.
    looked_at_ns: u64,
}

/// A cgroup that was found, with no more than its place in the order needs.
struct Found {
    folder: PathBuf,
    id: u64,
    used_ns: u64,
    lately_ns: u64,
}

impl Cgroups {
    /// Prepares to look at those of this machine.
    ///
    /// # Errors
    /// If version 2 is not mounted where it should be.
    pub fn open() -> Result<Self> {
        Self::at(Path::new(CGROUP_MOUNT))
    }

    fn at(mount: &Path) -> Result<Self> {
        ensure!(
            mount.join("cgroup.controllers").exists(),
            "no cgroup version 2 at {}: mount one there",
            mount.display()
        );
        Ok(Self {
            mount: mount.to_owned(),
            earlier: HashMap::new(),
            looked_at_ns: 0,
        })
    }

    /// Those that used most since the last look, or since they were made if this is the first; without the root.
    /// One that is removed meanwhile is left out.
    pub fn sample(&mut self, counted: &Counted<'_>) -> Vec<Cgroup> {
        let now_ns = monotonic_ns();
        let span_ns = match self.looked_at_ns {
            0 => 0,
            earlier_ns => now_ns - earlier_ns,
        };
        let mut found = self.find();
        self.looked_at_ns = now_ns;
        self.earlier = found.iter().map(|one| (one.id, one.used_ns)).collect();
        found.sort_by(|a, b| (b.lately_ns, &a.folder).cmp(&(a.lately_ns, &b.folder)));
        let shown = found
            .iter()
            .filter_map(|one| self.describe(one, span_ns, counted));
        shown.take(SHOWN).collect()
    }

    fn find(&self) -> Vec<Found> {
        let mut found = Vec::new();
        let mut left = vec![self.mount.clone()];
        while let Some(folder) = left.pop() {
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            left.extend(folders.map(|entry| entry.path()));
            if folder != self.mount {
                found.extend(self.look_at(folder));
            }
        }
        found
    }

    fn look_at(&self, folder: PathBuf) -> Option<Found> {
        let id = fs::symlink_metadata(&folder).ok()?.ino();
        let used_ns = 1_000 * figure(&read(&folder, "cpu.stat")?, "usage_usec")?;
        let earlier_ns = self.earlier.get(&id).copied().unwrap_or(0);
        Some(Found {
            folder,
            id,
            used_ns,
            lately_ns: used_ns.saturating_sub(earlier_ns),
        })
    }

    fn describe(&self, found: &Found, span_ns: u64, counted: &Counted<'_>) -> Option<Cgroup> {
        let Found { folder, id, .. } = found;
        let stat = read(folder, "cpu.stat")?;
        let (quota_ns, period_ns) = read(folder, "cpu.max").map_or((None, 0), |max| limit(&max));
        let throttling = match counted {
            Counted::ByKernel => of_kernel(&stat),
            Counted::ByTakt(limits) => {
                let own = limits.iter().find(|limit| limit.id == *id);
                Some(
                    own.map(|limit| limit.throttling.clone())
                        .unwrap_or_default(),
                )
            }
            Counted::Unknown => None,
        };
        Some(Cgroup {
            path: escaped(folder.strip_prefix(&self.mount).ok()?),
            id: *id,
            weight: read(folder, "cpu.weight").and_then(|weight| weight.trim().parse().ok()),
            quota_ns,
            period_ns,
            used_ns: found.used_ns,
            used_permille: (1_000 * found.lately_ns).checked_div(span_ns).unwrap_or(0),
            throttling,
        })
    }
}

fn read(folder: &Path, file: &str) -> Option<String> {
    fs::read_to_string(folder.join(file)).ok()
}

/// Quota and period of a `cpu.max`, in nanoseconds.
fn limit(text: &str) -> (Option<u64>, u64) {
    let mut words = text.split_whitespace().map(|word| word.parse::<u64>().ok());
    let (quota_us, period_us) = (words.next().flatten(), words.next().flatten());
    let ns = |us: u64| us.saturating_mul(1_000);
    (quota_us.map(ns), period_us.map_or(0, ns))
}

fn of_kernel(stat: &str) -> Option<Throttling> {
    Some(Throttling {
        nr_periods: figure(stat, "nr_periods")?,
        nr_throttled: figure(stat, "nr_throttled")?,
        throttled_ns: 1_000 * figure(stat, "throttled_usec")?,
    })
}

/// `/a/b` without what a terminal or a line cannot have: a name is whatever its maker chose.
fn escaped(path: &Path) -> String {
    let mut text = "/".to_owned();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\'' => text.push(c),
                _ => text.extend(c.escape_debug()),
            }
        }
        let bytes = chunk.invalid().iter();
        text.extend(bytes.map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a mount, with a cgroup for each path and microseconds.
    fn mount(cgroups: &[(&str, u64)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu\n").unwrap();
        for (path, us) in cgroups {
            use_us(&root, path, *us);
        }
        root
    }

    fn use_us(root: &tempfile::TempDir, path: &str, us: u64) {
        let folder = root.path().join(path);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cpu.weight"), "300\n").unwrap();
        fs::write(folder.join("cpu.max"), "20000 100000\n").unwrap();
        let stat = format!(
            "usage_usec {us}\nuser_usec 1\nnr_periods 7\nnr_throttled 5\nthrottled_usec 40\n"
        );
        fs::write(folder.join("cpu.stat"), stat).unwrap();
    }

    fn paths(found: &[Cgroup]) -> Vec<&str> {
        found.iter().map(|cgroup| cgroup.path.as_str()).collect()
    }

    #[test]
    fn those_that_used_most_lately_come_first() {
        let root = mount(&[("a", 900), ("a/inner", 800), ("b", 100), ("c", 100)]);
        let mut cgroups = Cgroups::at(root.path()).unwrap();
        let first = cgroups.sample(&Counted::ByKernel);
        assert_eq!(paths(&first), ["/a", "/a/inner", "/b", "/c"]);
        assert_eq!((first[0].weight, first[0].used_ns), (Some(300), 900_000));
        assert_eq!(
            (first[0].quota_ns, first[0].period_ns),
            (Some(20_000_000), 100_000_000)
        );
        let expected = Throttling {
            nr_periods: 7,
            nr_throttled: 5,
            throttled_ns: 40_000,
        };
        assert_eq!(first[0].throttling, Some(expected));
        use_us(&root, "c", 700);
        use_us(&root, "a", 901);
        let then = cgroups.sample(&Counted::Unknown);
        assert_eq!(paths(&then), ["/c", "/a", "/a/inner", "/b"]);
        assert!(then[0].used_permille > 0 && then[0].throttling.is_none());
    }

    #[test]
    fn scx_takt_counts_by_id() {
        let root = mount(&[("a", 900), ("b", 100)]);
        let id = fs::metadata(root.path().join("b")).unwrap().ino();
        let throttling = Throttling {
            nr_periods: 3,
            ..Default::default()
        };
        let limits = [Limit {
            id,
            throttling: throttling.clone(),
        }];
        let mut cgroups = Cgroups::at(root.path()).unwrap();
        let found = cgroups.sample(&Counted::ByTakt(&limits));
        assert_eq!(
            found[0].throttling,
            Some(Throttling::default()),
            "never throttled"
        );
        assert_eq!(found[1].throttling, Some(throttling));
    }

    #[test]
    fn of_many_20_are_shown_and_those_that_go_are_left_out() {
        let names: Vec<String> = (0..300).map(|number| format!("g{number:03}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), 5)).collect();
        let root = mount(&many);
        let mut cgroups = Cgroups::at(root.path()).unwrap();
        assert_eq!(cgroups.sample(&Counted::Unknown).len(), SHOWN);
        use_us(&root, "g150", 6);
        // A folder whose files are gone is what a cgroup is that is being removed.
        fs::remove_file(root.path().join("g000/cpu.stat")).unwrap();
        let found = cgroups.sample(&Counted::Unknown);
        assert_eq!(paths(&found)[..2], ["/g150", "/g001"]);
    }

    #[test]
    fn without_a_cpu_controller_there_is_no_weight_and_no_limit() {
        let root = mount(&[("a", 900)]);
        for file in ["cpu.weight", "cpu.max"] {
            fs::remove_file(root.path().join("a").join(file)).unwrap();
        }
        let found = Cgroups::at(root.path()).unwrap().sample(&Counted::Unknown);
        assert_eq!(
            (found[0].weight, found[0].quota_ns, found[0].period_ns),
            (None, None, 0)
        );
        assert_eq!(limit("max 100000\n"), (None, 100_000_000));
    }

    #[test]
    fn names_cannot_break_a_line_or_a_terminal() {
        let path = std::ffi::OsStr::from_bytes(b"a\nb\x1b[31m/j\xc3\xb6rg's\xff\\");
        assert_eq!(escaped(Path::new(path)), r"/a\nb\u{1b}[31m/jörg's\xff\\");
    }

    #[test]
    fn no_version_2_is_said_in_one_line() {
        let root = tempfile::tempdir().unwrap();
        let error = Cgroups::at(root.path()).err().unwrap().to_string();
        assert!(error.contains("no cgroup version 2 at"), "{error}");
    }
}
