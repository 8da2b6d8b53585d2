//! What scx_takt does not do for cgroups: a warning for the administrator.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::bpf_abi::BpfSkel;

/// Where version 2 of the cgroup file system is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// Says once that a cgroup sets `cpu.max`, which is not enforced. Kernels that have no callback for it (`check`
/// names what is there) report nothing, so that nothing is said there.
#[derive(Default)]
pub struct CpuMax {
    warned: bool,
}

impl CpuMax {
    /// Checks whether the kernel has reported such a cgroup to the scheduler.
    pub fn check(&mut self, skel: &BpfSkel<'_>) {
        let id = skel.maps.bss_data.as_ref().map(|bss| bss.cgroup_with_max);
        if let Some(id) = id.filter(|id| *id != 0 && !self.warned) {
            self.warned = true;
            eprintln!(
                "scx_takt: {}",
                warning(path_of(id, Path::new(ROOT)).as_deref())
            );
        }
    }
}

fn warning(path: Option<&Path>) -> String {
    let which = path.map_or("a cgroup".to_owned(), |path| {
        format!("the cgroup {}", path.display())
    });
    format!(
        "warning: {which} sets cpu.max, which scx_takt does not enforce: it may use more CPU time than \
         that (cpu.weight is kept; where the limit matters, use EEVDF)"
    )
}

/// The cgroup with this number below `root`, which is that of its folder's inode; `None`: it is gone, or
/// mounted elsewhere.
fn path_of(id: u64, root: &Path) -> Option<PathBuf> {
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        if fs::symlink_metadata(&dir).is_ok_and(|dir| dir.ino() == id) {
            return Some(dir);
        }
        // A cgroup that has gone meanwhile has nothing below it.
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        let inside = entries.flatten().filter(|entry| {
            let kind = entry.file_type();
            kind.is_ok_and(|kind| kind.is_dir())
        });
        left.extend(inside.map(|entry| entry.path()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_folder_by_its_inode() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("some.slice/some.service/deep");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(root.path().join("other.slice")).unwrap();
        fs::write(deep.join("cpu.max"), "max 100000").unwrap();
        let id = |path: &Path| fs::metadata(path).unwrap().ino();
        assert_eq!(path_of(id(&deep), root.path()), Some(deep.clone()));
        assert_eq!(
            path_of(id(root.path()), root.path()).as_deref(),
            Some(root.path())
        );
        let file = id(&deep.join("cpu.max"));
        assert_eq!(path_of(file, root.path()), None, "no folder");
    }

    #[test]
    fn names_the_cgroup_if_it_is_still_there() {
        let named = warning(Some(Path::new("/sys/fs/cgroup/a.slice")));
        assert!(
            named.contains("the cgroup /sys/fs/cgroup/a.slice sets cpu.max"),
            "{named}"
        );
        assert!(warning(None).contains("a cgroup sets cpu.max"));
    }
}
