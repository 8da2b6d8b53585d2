//! Builds for this machine, and on x86_64 for aarch64.
//!
//! The compiler for another architecture needs Rust's standard library for it: rustc after `rustup target add`,
//! else Debian's rustc. The C libraries come from Debian's multi-arch packages. Such a build has a target folder
//! of its own, because another compiler builds its build scripts.

use crate::arch::Arch;
use crate::host::{self, AARCH64_TRIPLE};
use crate::setup::{self, Purpose};
use crate::tree::Tree;
use anyhow::{Context, Result, bail};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The architecture that a build is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(Arch);

impl Target {
    /// A build for machines of this architecture.
    ///
    /// # Errors
    /// If this machine cannot build for it.
    pub fn new(arch: Arch) -> Result<Self> {
        if arch == Arch::X86_64 && Arch::host() != arch {
            bail!("building for x86_64 on aarch64 is not supported: build on an x86_64 machine");
        }
        Ok(Self(arch))
    }

    /// The triple for cargo's `--target`; none for this machine's architecture.
    pub fn triple(self) -> Option<&'static str> {
        (self.0 != Arch::host()).then_some(AARCH64_TRIPLE)
    }

    /// Cargo's target folder.
    pub fn folder(self, tree: &Tree) -> Result<PathBuf> {
        let folder = tree.metadata()?.target_folder();
        Ok(match self.triple() {
            None => folder,
            Some(_) => folder.join("cross"),
        })
    }

    /// The folder of the release binaries.
    pub fn release_folder(self, tree: &Tree) -> Result<PathBuf> {
        let folder = self.folder(tree)?;
        Ok(match self.triple() {
            None => folder.join("release"),
            Some(triple) => folder.join(triple).join("release"),
        })
    }

    /// A cargo command (`build`, `test` ...) for this target. Installs missing tools first.
    pub fn cargo(self, tree: &Tree, subcommand: &str) -> Result<Command> {
        let mut cargo = tree.cargo();
        cargo.arg(subcommand).envs(setup::build_environment()?);
        if let Some(triple) = self.triple() {
            setup::ensure(Purpose::CrossAarch64)?;
            let rustc = host::aarch64_rustc().context(
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

    /// The command that builds the release binaries of the workspace, which every guest gets.
    pub fn release_build(self, tree: &Tree) -> Result<Command> {
        let mut cargo = self.cargo(tree, "build")?;
        cargo.arg("--release");
        // Progress is for terminals; a log gets warnings and errors only.
        if !io::stderr().is_terminal() {
            cargo.arg("--quiet");
        }
        let binaries = tree.metadata()?.binaries();
        let mut packages: Vec<_> = binaries.iter().map(|(package, _)| package).collect();
        packages.dedup();
        for package in packages {
            cargo.args(["-p", package]);
        }
        Ok(cargo)
    }

    /// The paths of the release binaries of the workspace. Builds them first if `build` is set.
    pub fn release_binaries(self, tree: &Tree, build: bool) -> Result<Vec<PathBuf>> {
        if build {
            let mut cargo = self.release_build(tree)?;
            // Standard output belongs to the guest's command.
            let status = cargo
                .stdout(Stdio::null())
                .status()
                .context("cannot run cargo")?;
            if !status.success() {
                bail!(
                    "`cargo build --release` failed in {}: see above",
                    tree.top.display()
                );
            }
        }
        let folder = self.release_folder(tree)?;
        tree.metadata()?
            .binaries()
            .iter()
            .map(|(_, name)| folder.join(name))
            .map(|path| match path.is_file() {
                true => Ok(path),
                false => bail!(
                    "{} is not built: run `cargo build --release`",
                    path.display()
                ),
            })
            .collect()
    }

    /// Builds an integration test of a package and returns the path of its binary.
    pub fn test_binary(self, tree: &Tree, package: &str, test: &str) -> Result<PathBuf> {
        let output = self
            .cargo(tree, "test")?
            .args(["--release", "--no-run", "--quiet", "--message-format=json"])
            .args(["-p", package, "--test", test])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            bail!("the test {test} of {package} does not build: see above");
        }
        match executable(&String::from_utf8_lossy(&output.stdout), test) {
            Some(path) => Ok(path),
            None => {
                bail!("the output of cargo names no executable of the test {test} of {package}")
            }
        }
    }
}

/// The executable of a test in cargo's messages: one JSON object per line.
fn executable(messages: &str, test: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == test)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
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
    fn another_architecture_has_its_own_target_folder() {
        let tree = Tree::find().unwrap();
        let cross = Target::new(Arch::Aarch64).unwrap();
        let host = Target::new(Arch::X86_64).unwrap();
        assert_ne!(cross.folder(&tree).unwrap(), host.folder(&tree).unwrap());
        let folder = cross.release_folder(&tree).unwrap();
        assert!(folder.ends_with("cross/aarch64-unknown-linux-gnu/release"));
    }

    #[test]
    fn executable_of_a_test_is_found_in_messages_of_cargo() {
        let messages = "not json\n\
            {\"target\":{\"name\":\"other\"},\"executable\":\"/a\"}\n\
            {\"target\":{\"name\":\"ring\"},\"executable\":null}\n\
            {\"target\":{\"name\":\"ring\"},\"executable\":\"/b\"}\n";
        assert_eq!(executable(messages, "ring"), Some(PathBuf::from("/b")));
        assert_eq!(executable(messages, "none"), None);
    }
}
