//! What a build is for: this machine, or a Raspberry Pi on a machine that is none.
//!
//! The compiler for another architecture is one that has Rust's standard library for it: the usual one after
//! `rustup target add`, else Debian's own. Debian's multi-arch packages bring the C libraries. Such a build has
//! a target folder of its own, since build scripts and what they link are compiled by another compiler.

use crate::arch::Arch;
use crate::host::{self, AARCH64_TRIPLE};
use crate::setup::{self, Purpose};
use crate::tree::Tree;
use anyhow::{Context, Result, bail};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::{Command, Stdio};

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

    /// The command that builds the release binaries of the workspace, all that a guest gets.
    pub fn release_build(self, tree: &Tree) -> Result<Command> {
        let mut cargo = self.cargo(tree, "build")?;
        cargo.arg("--release");
        // Progress is for people; a log gets the warnings and errors only.
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

    /// Builds the release binaries of the workspace (a no-op when they are up to date) and says
    /// where they are.
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

    /// Builds an integration test of a package and says where its binary is.
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
            None => bail!("cargo does not say where the test {test} of {package} is"),
        }
    }
}

/// The executable of a test among cargo's messages, one JSON object a line.
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
    fn another_machine_has_a_folder_of_its_own() {
        let tree = Tree::find().unwrap();
        let cross = Target::new(Arch::Aarch64).unwrap();
        let host = Target::new(Arch::X86_64).unwrap();
        assert_ne!(cross.folder(&tree).unwrap(), host.folder(&tree).unwrap());
        let folder = cross.release_folder(&tree).unwrap();
        assert!(folder.ends_with("cross/aarch64-unknown-linux-gnu/release"));
    }

    #[test]
    fn the_executable_is_the_one_of_the_test() {
        let messages = "not json\n\
            {\"target\":{\"name\":\"other\"},\"executable\":\"/a\"}\n\
            {\"target\":{\"name\":\"ring\"},\"executable\":null}\n\
            {\"target\":{\"name\":\"ring\"},\"executable\":\"/b\"}\n";
        assert_eq!(executable(messages, "ring"), Some(PathBuf::from("/b")));
        assert_eq!(executable(messages, "none"), None);
    }
}
