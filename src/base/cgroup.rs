//! cgroups of version 2: whether they can have CPU shares, and figures of their files.

use std::fs;
use std::path::Path;

use super::CGROUP_MOUNT;

/// Why cgroups can have no share of the CPU here, if they cannot.
pub fn obstacle() -> Option<String> {
    let file = Path::new(CGROUP_MOUNT).join("cgroup.controllers");
    let Ok(controllers) = fs::read_to_string(file) else {
        return Some(format!(
            "no cgroup version 2 at {CGROUP_MOUNT}; mount one there"
        ));
    };
    let has_cpu = controllers.split_whitespace().any(|name| name == "cpu");
    (!has_cpu).then(|| format!("the cgroups at {CGROUP_MOUNT} have no cpu controller"))
}

/// A figure of a file that has a name and a number in each line, such as `cpu.stat`.
pub fn figure(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
}
