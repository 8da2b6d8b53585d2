//! A small tree of nested cgroups (v2) with weights, for `fairness`; removed when dropped.
//!
//! ```text
//! scx_takt_bench
//!   a      weight 100            1/6 of the CPU
//!   b      weight 300            3/6
//!   c      weight 200            2/6
//!     c/d  weight 100              of these 1/3
//!     c/e  weight 200              of these 2/3
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::CGROUP_MOUNT;

const NAME: &str = "scx_takt_bench";
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

/// The tree.
pub struct Tree {
    root: PathBuf,
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
        let mount = Path::new(CGROUP_MOUNT);
        let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
        let may = nix::unistd::geteuid().is_root();
        if !may || !controllers.split_whitespace().any(|name| name == "cpu") {
            return Ok(None);
        }
        let tree = Self {
            root: mount.join(NAME),
        };
        tree.remove();
        delegate(mount)?;
        make(&tree.root)?;
        delegate(&tree.root)?;
        for (name, weight) in FOLDERS {
            let folder = tree.root.join(name);
            make(&folder)?;
            write(&folder.join("cpu.weight"), &weight.to_string())?;
            if FOLDERS
                .iter()
                .any(|(other, _)| other.starts_with(&format!("{name}/")))
            {
                delegate(&folder)?;
            }
        }
        Ok(Some(tree))
    }

    /// Where hogs go.
    pub fn leaves(&self) -> impl Iterator<Item = Leaf> {
        LEAVES.iter().map(|(name, share)| Leaf {
            path: self.root.join(name),
            share: *share,
        })
    }

    /// Removes what there is of it, children first; what is still in use stays.
    fn remove(&self) {
        for (name, _) in FOLDERS.iter().rev() {
            let _ = fs::remove_dir(self.root.join(name));
        }
        let _ = fs::remove_dir(&self.root);
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.remove();
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

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
