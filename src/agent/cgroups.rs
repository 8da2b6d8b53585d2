//! What scx_takt does not do for cgroups: a warning for the administrator.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::CGROUP_MOUNT;
use crate::bpf_abi::{BpfSkel, intf};

/// Says once that a cgroup found no place among those whose weight counts.
#[derive(Default)]
pub struct CgroupWarnings {
    of_number: bool,
}

impl CgroupWarnings {
    /// Checks whether the scheduler has seen such cgroups.
    pub fn check(&mut self, skel: &BpfSkel<'_>) {
        let Some(bss) = skel.maps.bss_data.as_ref() else {
            return;
        };
        warn_once(&mut self.of_number, bss.cgroup_without_slot, number_warning);
    }
}

/// Prints a warning about the cgroup `id`, if there is one and this was not `said` yet.
fn warn_once(said: &mut bool, id: u64, warning: fn(&str) -> String) {
    if id == 0 || *said {
        return;
    }
    *said = true;
    let name = name_of(path_of(id, Path::new(CGROUP_MOUNT)).as_deref());
    eprintln!("scx_takt: {}", warning(&name));
}

fn name_of(path: Option<&Path>) -> String {
    path.map_or("a cgroup".to_owned(), |path| {
        format!("the cgroup {}", path.display())
    })
}

fn number_warning(cgroup: &str) -> String {
    format!(
        "warning: {cgroup} is one of too many: cpu.weight counts for {} cgroups, and the tasks of others have the \
         weights that they would have in the root (remove cgroups, or use EEVDF)",
        intf::takt_consts_TAKT_MAX_CGROUPS - 1
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
        let name = name_of(Some(Path::new("/sys/fs/cgroup/a.slice")));
        assert!(number_warning(&name).contains("warning: the cgroup /sys/fs/cgroup/a.slice is"));
        assert!(number_warning(&name_of(None)).contains("warning: a cgroup is"));
        assert!(number_warning(&name).contains("counts for 16383 cgroups"));
    }

    #[test]
    fn warns_once_of_each() {
        let mut said = false;
        warn_once(&mut said, 0, number_warning);
        assert!(!said, "there is no such cgroup");
        warn_once(&mut said, u64::MAX, number_warning);
        assert!(said);
    }
}
