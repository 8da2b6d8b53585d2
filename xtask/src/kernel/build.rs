//! `cargo xtask kernel build`: a kernel that Debian ships without sched_ext, from Debian's own source.
//!
//! The source is a package that apt checks, the configuration is in the tree, and names and dates in the
//! image are fixed, so that each machine builds the same kernel.

use super::lock::Entry;
use super::{Kernel, folder};
use crate::apt::Apt;
use crate::arch::Arch;
use crate::setup::{self, Purpose};
use crate::steps::Steps;
use crate::{apt, tree, ui};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Suffix of `uname -r` of the kernels that xtask builds.
pub const SUFFIX: &str = "-takt";

/// The configuration, as `make savedefconfig` writes it.
const CONFIG_6_12: &str = include_str!("config-6.12");
/// Approximate size of the package, for the progress bar.
const SOURCE_SIZE_BYTES: u64 = 147 << 20;
/// Disk space that source and objects need during the build.
const NEEDED_MIB: u64 = 6144;

/// Builds the kernel that `entry` locks, unless it is in the cache.
pub fn build(cache: &Path, entry: &Entry, arch: Arch) -> Result<Kernel> {
    let config = match (entry.series.as_str(), arch) {
        ("6.12", Arch::X86_64) => CONFIG_6_12,
        (series, arch) => bail!(
            "there is no configuration for {series} on {}: xtask builds only 6.12 on x86_64",
            arch.name()
        ),
    };
    let parent = folder(cache, arch);
    let target = parent.join(&entry.release);
    let work = parent.join(format!("{}.build", entry.release));
    let _lock = tree::lock(&work)?;
    if !target.join("vmlinuz").is_file() {
        setup::ensure(Purpose::KernelBuild)?;
        let build = Build {
            cache,
            entry,
            steps: Steps::in_folder(&work),
            folder: work.clone(),
        };
        build.run(config, &target)?;
    }
    // The result is complete: files that cannot be removed only cost disk space.
    let _ = fs::remove_dir_all(&work);
    Ok(Kernel::cached(&target))
}

/// A build in its folder. The source gets its final name when it is complete, so that an interrupted build
/// can continue.
struct Build<'a> {
    cache: &'a Path,
    entry: &'a Entry,
    folder: PathBuf,
    steps: Steps,
}

impl Build<'_> {
    fn run(&self, config: &str, target: &Path) -> Result<()> {
        let source = self.folder.join("source");
        if !source.is_dir() {
            self.steps.check_space("the kernel", NEEDED_MIB)?;
            self.get_source(&source)?;
        }
        ui::note(
            "building the kernel: 15 to 30 minutes on two CPUs; an interrupted build continues where it stopped",
        );
        fs::write(source.join(".config"), config).context("cannot write the configuration")?;
        self.make(&source, &["olddefconfig"])?;
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        self.make(&source, &[&format!("-j{jobs}"), "bzImage"])?;
        self.check_release(&source)?;
        let ready = self.folder.join("ready");
        fs::create_dir_all(&ready)?;
        for (from, to) in [("arch/x86/boot/bzImage", "vmlinuz"), (".config", "config")] {
            fs::copy(source.join(from), ready.join(to))
                .with_context(|| format!("cannot copy {to} to {}", ready.display()))?;
        }
        fs::rename(&ready, target)
            .with_context(|| format!("cannot put the kernel into {}", target.display()))
    }

    fn get_source(&self, source: &Path) -> Result<()> {
        let part = self.folder.join("source.part");
        let debs = self.folder.join("debs");
        let unpacked = self.folder.join("unpacked");
        for path in [&part, &debs, &unpacked] {
            if path.exists() {
                fs::remove_dir_all(path)?;
            }
            fs::create_dir(path)?;
        }
        let Entry {
            series, version, ..
        } = self.entry;
        let package = format!("linux-source-{series}={version}");
        {
            // The lists are those of the other kernels: the lock is the same.
            let _lists = tree::lock(&folder(self.cache, Arch::host()))?;
            let apt = Apt::open(self.cache, Arch::host().debian_name())?;
            apt.refresh(false)?;
            apt.download("the kernel's source", &[package], SOURCE_SIZE_BYTES, &debs)
                .with_context(|| {
                    format!("kernels.lock has linux-source-{series} {version}; if the mirror no longer has it, write the \
                             version that `apt-cache policy` shows into kernels.lock")
                })?;
        }
        apt::unpack(&debs, &unpacked)?;
        let archive = unpacked.join(format!("usr/src/linux-source-{series}.tar.xz"));
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--strip-components=1", "--file"])
            .arg(&archive)
            .current_dir(&part);
        self.steps.run("unpacking the kernel's source", &mut tar)?;
        fs::rename(&part, source).context("cannot rename the source's folder")?;
        for path in [&debs, &unpacked] {
            fs::remove_dir_all(path)?;
        }
        Ok(())
    }

    fn make(&self, source: &Path, arguments: &[&str]) -> Result<()> {
        let mut make = Command::new("make");
        make.args(arguments)
            .current_dir(source)
            .env("KBUILD_BUILD_USER", "takt")
            .env("KBUILD_BUILD_HOST", "takt")
            .env("KBUILD_BUILD_TIMESTAMP", "2026-01-01")
            .env("KBUILD_BUILD_VERSION", "1");
        self.steps.run("building the kernel", &mut make)
    }

    /// Fails if the release of the image is not the locked one.
    fn check_release(&self, source: &Path) -> Result<()> {
        let path = source.join("include/config/kernel.release");
        let release =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if release.trim() != self.entry.release {
            bail!(
                "this source makes {}, but kernels.lock says {}: correct kernels.lock",
                release.trim(),
                self.entry.release
            );
        }
        Ok(())
    }
}
