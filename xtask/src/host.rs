//! Paths of programs of this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's Rust compiler, even where another one comes first in the PATH.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Name of the 64-bit ARM target for cargo and rustc.
pub const AARCH64_TRIPLE: &str = "aarch64-unknown-linux-gnu";
/// The distribution's Python. Build tools that come as packages of the distribution need this one.
pub const PYTHON: &str = "/usr/bin/python3";

/// The path of a program in `$PATH`.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The Rust compiler that has the standard library for aarch64, if there is one.
pub fn aarch64_rustc() -> Option<&'static str> {
    ["rustc", DEBIAN_RUSTC]
        .into_iter()
        .find(|rustc| has_standard_library(rustc))
}

fn has_standard_library(rustc: &str) -> bool {
    let output = Command::new(rustc).args(["--print", "sysroot"]).output();
    output.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let folder = Path::new(&sysroot).join("lib/rustlib").join(AARCH64_TRIPLE);
        output.status.success() && folder.join("lib").is_dir()
    })
}

/// The static busybox of this machine.
pub fn static_busybox() -> Option<PathBuf> {
    let candidates = [
        "/bin/busybox",
        "/usr/bin/busybox",
        "/usr/lib/busybox/busybox",
        "/usr/sbin/busybox",
    ];
    candidates.iter().map(PathBuf::from).find(|path| {
        let Ok(data) = fs::read(path) else {
            return false;
        };
        goblin::elf::Elf::parse(&data).is_ok_and(|elf| elf.interpreter.is_none())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_compiler_has_no_standard_library() {
        assert!(!has_standard_library("/no/such/rustc"));
    }
}
