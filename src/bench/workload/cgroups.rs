//! cgroups (v2) of a workload: a place for them, and the small tree with weights of `fairness`.
//!
//! All stand below `scx_takt_bench`, which is removed at the end of the workload, by the benchmark if the workload's
//! process was killed, or at the start of the next.
//!
//! ```text
//! scx_takt_bench
//!   a      weight 100            1/6 of the CPU
//!   b      weight 300            3/6
//!   c      weight 200            2/6
//!     c/d  weight 100              of these 1/3
//!     c/e  weight 200              of these 2/3
//! ```

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::{CGROUP_MOUNT, cgroup};

const NAME: &str = "scx_takt_bench";
/// How long processes that are killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// Folders with their weights, parents first.
const FOLDERS: [(&str, u32); 5] = [
    ("a", 100),
    ("b", 300),
    ("c", 200),
    ("c/d", 100),
    ("c/e", 200),
];
/// The ones that hold hogs, with their share of the CPU.
const LEAVES: [(&str, f64); 4] = [
    ("a", 1.0 / 6.0),
    ("b", 3.0 / 6.0),
    ("c/d", 2.0 / 18.0),
    ("c/e", 4.0 / 18.0),
];

/// Why a workload can have no cgroups, if it cannot.
pub fn obstacle() -> Option<String> {
    let no_root =
        || (!nix::unistd::geteuid().is_root()).then(|| "making cgroups takes root".to_owned());
    cgroup::obstacle().or_else(no_root)
}

/// A place for the cgroups of a workload; removed with all that is inside when dropped.
pub struct Yard(PathBuf);

impl Yard {
    /// Makes it; what an earlier one has left behind is removed.
    ///
    /// # Errors
    /// If there can be none: [`obstacle`], or the kernel refuses.
    pub fn make() -> Result<Self> {
        remove_leftovers();
        let mount = Path::new(CGROUP_MOUNT);
        delegate(mount)?;
        let yard = Self(mount.join(NAME));
        make(&yard.0)?;
        delegate(&yard.0)?;
        Ok(yard)
    }

    /// Makes a cgroup at `path` inside, whose parent there is; returns its folder.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn add(&self, path: &str) -> Result<PathBuf> {
        let folder = self.0.join(path);
        folder.parent().map_or(Ok(()), delegate)?;
        make(&folder)?;
        Ok(folder)
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        remove_leftovers();
    }
}

/// Ends the processes in the cgroups of a workload, if there are any, and removes these; what cannot be removed stays.
pub fn remove_leftovers() {
    let root = Path::new(CGROUP_MOUNT).join(NAME);
    if !root.exists() {
        return;
    }
    // Fails where the kernel has none (before 5.14): then only empty ones go.
    let _ = fs::write(root.join("cgroup.kill"), "1");
    wait_until_empty(&root);
    remove(&root);
}

/// Waits until no process is in a cgroup, or those inside, any more.
fn wait_until_empty(folder: &Path) {
    let Ok(mut events) = File::open(folder.join("cgroup.events")) else {
        return;
    };
    let started = Instant::now();
    loop {
        let mut text = String::new();
        let read = events
            .rewind()
            .and_then(|()| events.read_to_string(&mut text));
        let left = PATIENCE.saturating_sub(started.elapsed());
        if read.is_err() || text.contains("populated 0") || left.is_zero() {
            return;
        }
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        let left = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
        // Fails for a signal: then the file is read once more.
        let _ = poll(&mut fds, left);
    }
}

fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// The tree of `fairness`.
pub struct Tree {
    yard: Yard,
}

/// A cgroup for one CPU-bound task.
pub struct Leaf {
    path: PathBuf,
    /// Its ideal share of the CPU, 0 to 1.
    pub share: f64,
}

impl Leaf {
    /// Moves the calling process there.
    pub fn enter(&self) -> Result<()> {
        enter(&self.path)
    }
}

impl Tree {
    /// Makes the tree; none where there is no cpu controller of cgroup v2 to use.
    pub fn make() -> Result<Option<Self>> {
        if obstacle().is_some() {
            return Ok(None);
        }
        let yard = Yard::make()?;
        for (name, weight) in FOLDERS {
            let folder = yard.add(name)?;
            write(&folder.join("cpu.weight"), &weight.to_string())?;
        }
        Ok(Some(Self { yard }))
    }

    /// Where hogs go.
    pub fn leaves(&self) -> impl Iterator<Item = Leaf> {
        LEAVES.iter().map(|(name, share)| Leaf {
            path: self.yard.0.join(name),
            share: *share,
        })
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Moves the calling process to a cgroup.
///
/// # Errors
/// If there is none such, or this process may not go there.
pub fn enter(folder: &Path) -> Result<()> {
    write(&folder.join("cgroup.procs"), "0")
}

/// Lets the children of a cgroup have weights.
fn delegate(folder: &Path) -> Result<()> {
    write(&folder.join("cgroup.subtree_control"), "+cpu")
}

/// Writes a setting of a cgroup.
///
/// # Errors
/// If the kernel refuses.
pub fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// CPU time of a cgroup so far, in seconds.
///
/// # Errors
/// If it is gone.
pub fn used_s(folder: &Path) -> Result<f64> {
    let file = folder.join("cpu.stat");
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let us = cgroup::figure(&text, "usage_usec").context("cpu.stat has no usage_usec")?;
    Ok(us as f64 / 1e6)
}
