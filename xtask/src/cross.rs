//! What a build is for: this machine, or a Raspberry Pi on a machine that is none.
//!
//! The compiler for another architecture is one that has Rust's standard library for it: the usual one after
//! `rustup target add`, else Debian's own. Debian's multi-arch packages bring the C libraries. Such a build has
//! a target folder of its own, since build scripts and what they link are compiled by another compiler.

use crate::setup::{self, Purpose};
use crate::tree::Tree;
use crate::vm::Arch;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian has its compiler, whatever comes first in the PATH.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const TRIPLE: &str = "aarch64-unknown-linux-gnu";

/// The compiler that can build for aarch64, if there is one.
pub fn rustc() -> Option<&'static str> {
    ["rustc", DEBIAN_RUSTC]
        .into_iter()
        .find(|rustc| has_standard_library(rustc))
}

fn has_standard_library(rustc: &str) -> bool {
    let output = Command::new(rustc).args(["--print", "sysroot"]).output();
    output.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let folder = Path::new(&sysroot).join("lib/rustlib").join(TRIPLE);
        output.status.success() && folder.join("lib").is_dir()
    })
}

/// What a build is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(Arch);

impl Target {
    /// A build for machines of this architecture.
    ///
    /// # Errors
    /// If this machine cannot build for it.
    pub fn new(arch: Arch) -> Result<Self> {
        if arch == Arch::X86_64 && Arch::host() != arch {
            bail!("building for x86_64 on aarch64 is not set up: build on an x86_64 machine");
        }
        Ok(Self(arch))
    }

    /// Its name for cargo's `--target`; none for this machine's own.
    pub fn triple(self) -> Option<&'static str> {
        (self.0 != Arch::host()).then_some(TRIPLE)
    }

    /// Cargo's target folder.
    pub fn folder(self, tree: &Tree) -> Result<PathBuf> {
        let folder = tree.metadata()?.target_folder();
        Ok(match self.triple() {
            None => folder,
            Some(_) => folder.join("cross"),
        })
    }

    /// Where the release binaries end up.
    pub fn release_folder(self, tree: &Tree) -> Result<PathBuf> {
        let folder = self.folder(tree)?;
        Ok(match self.triple() {
            None => folder.join("release"),
            Some(triple) => folder.join(triple).join("release"),
        })
    }

    /// A cargo command (`build`, `test` ...) for this target, after making sure of its tools.
    pub fn cargo(self, tree: &Tree, subcommand: &str) -> Result<Command> {
        let mut cargo = tree.cargo();
        cargo.arg(subcommand).envs(setup::build_environment()?);
        if let Some(triple) = self.triple() {
            setup::ensure(Purpose::CrossAarch64)?;
            let rustc = rustc().context(
                "no Rust compiler for aarch64: run `rustup target add aarch64-unknown-linux-gnu`",
            )?;
            cargo
                .args(["--target", triple])
                .env("RUSTC", rustc)
                .env("CARGO_TARGET_DIR", self.folder(tree)?)
                .env(
                    "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
                    "aarch64-linux-gnu-gcc",
                )
                .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc");
        }
        Ok(cargo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_needs_no_target_triple() {
        let target = Target::new(Arch::host()).unwrap();
        assert_eq!(target.triple(), None);
        assert!(
            target
                .release_folder(&Tree::find().unwrap())
                .unwrap()
                .ends_with("release")
        );
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn another_machine_has_a_folder_of_its_own() {
        let tree = Tree::find().unwrap();
        let cross = Target::new(Arch::Aarch64).unwrap();
        let host = Target::new(Arch::X86_64).unwrap();
        assert_ne!(cross.folder(&tree).unwrap(), host.folder(&tree).unwrap());
        let folder = cross.release_folder(&tree).unwrap();
        assert!(folder.ends_with("cross/aarch64-unknown-linux-gnu/release"));
    }

    #[test]
    fn a_compiler_that_is_not_there_has_no_library() {
        assert!(!has_standard_library("/no/such/rustc"));
    }
}
