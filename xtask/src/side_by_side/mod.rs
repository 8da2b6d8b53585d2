//! Side by side: an emulator whose CPUs run at the same guest time, while instructions are counted.
//!
//! It is a modified QEMU, built from Debian's source package. The build takes minutes and is done once for
//! each version and change. An interrupted build continues where it stopped.

mod caches;
mod change;

use crate::apt::{self, Apt};
use crate::arch::Arch;
use crate::host::PYTHON;
use crate::setup::{self, Purpose};
use crate::steps::Steps;
use crate::topology::Topology;
use crate::{tree, ui};
use anyhow::{Context, Result};
pub use caches::Caches;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Environment variable of the emulator: the quantum in ns.
pub const QUANTUM_VARIABLE: &str = "SIDE_BY_SIDE_QUANTUM";
/// Environment variable that `cargo xtask test --side-by-side` sets for the tests (`tests/common`).
pub const REQUEST_VARIABLE: &str = "TAKT_SIDE_BY_SIDE";
/// Default of how far the clocks of CPUs may differ, in ns of guest time.
pub const DEFAULT_QUANTUM_NS: u32 = 1000;

/// The version of the source package `qemu`: that of the stock emulator for other guests.
const SOURCE_VERSION: &str = "1:10.0.2+ds-2+deb13u1~bpo12+1";
/// Approximate size of the source, for the progress bar.
const SOURCE_SIZE_BYTES: u64 = 38 << 20;
/// Disk space that source and objects need during the build.
const NEEDED_MIB: u64 = 2048;
/// Build tools that are too old in Debian 12.
const TOOLS: [&str; 2] = ["meson/trixie", "python3-pycotap/trixie"];
const TOOLS_SIZE_BYTES: u64 = 700 << 10;
const CONFIGURE: [&str; 11] = [
    "--target-list=x86_64-softmmu,aarch64-softmmu",
    "--without-default-features",
    "--without-default-devices",
    "--with-devices-x86_64=takt",
    "--with-devices-aarch64=takt",
    "--enable-tcg",
    "--enable-plugins",
    "--enable-fdt=system",
    "--disable-docs",
    "--disable-debug-info",
    "--disable-install-blobs",
];

/// The emulator for `arch`. Builds it if it is not in the cache.
pub fn emulator(cache: &Path, arch: Arch) -> Result<PathBuf> {
    let parent = cache.join("qemu-side-by-side");
    let key = key();
    let ready = parent.join(&key);
    if !ready.is_dir() {
        let _lock = tree::lock(&parent)?;
        // Another run may have built it while this one waited.
        if !ready.is_dir() {
            Build::new(cache, &parent, &key).run(&ready)?;
        }
    }
    Ok(ready.join(program(arch)))
}

/// What the emulator at `program` needs to model caches: the words of `-plugin`, and an environment variable.
///
/// # Errors
/// If the plugin cannot be compiled.
pub fn cache_model(
    program: &Path,
    caches: Caches,
    topology: Topology,
    memory_mib: u32,
) -> Result<(String, (&'static str, String))> {
    let folder = program
        .parent()
        .context("the emulator has no folder of its own")?;
    let plugin = caches::plugin(folder)?;
    // QEMU takes a comma for the end of a value.
    let path = plugin.to_string_lossy().replace(',', ",,");
    let words = format!("{path},{}", caches.arguments(topology, memory_mib));
    Ok((words, caches::smt_variable(topology)))
}

/// The emulator for `arch`. Prints a warning and returns none if it cannot be built.
pub fn emulator_or_warn(cache: &Path, arch: Arch) -> Option<PathBuf> {
    emulator(cache, arch)
        .inspect_err(|why| {
            ui::note(&format!(
                "warning: no side-by-side emulator: {why:#}; the stock emulator runs instead. It runs \
                 one CPU at a time, which distorts the figures of several CPUs"
            ));
        })
        .ok()
}

fn program(arch: Arch) -> String {
    format!("qemu-system-{}", arch.name())
}

/// A name that differs for each version, configuration and change.
fn key() -> String {
    let upstream = SOURCE_VERSION.trim_start_matches("1:");
    let upstream = upstream.split('+').next().unwrap_or(upstream);
    let words = [&[SOURCE_VERSION], &CONFIGURE[..]].concat();
    format!("{upstream}-{:016x}", change::fingerprint(&words))
}

/// A build in its folder. Each step renames its result to the final name when it is complete.
struct Build<'a> {
    cache: &'a Path,
    folder: PathBuf,
    steps: Steps,
}

impl<'a> Build<'a> {
    fn new(cache: &'a Path, parent: &Path, key: &str) -> Self {
        let folder = parent.join(format!("{key}.build"));
        Self {
            cache,
            steps: Steps::in_folder(&folder),
            folder,
        }
    }

    /// Builds the emulators, and moves them to `ready`.
    fn run(&self, ready: &Path) -> Result<()> {
        setup::ensure(Purpose::SideBySide)?;
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create {}", self.folder.display()))?;
        self.check_space()?;
        let tools = self.cache.join("build-tools/qemu");
        self.get_tools(&tools)?;
        self.get_source()?;
        ui::note(
            "building the side-by-side emulator, once: 5 to 10 minutes on two CPUs; an interrupted build \
             continues where it stopped",
        );
        self.configure(&tools)?;
        self.compile(&tools)?;
        let new = self.folder.join("ready");
        fs::create_dir_all(&new)?;
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let name = program(arch);
            fs::copy(self.objects().join(&name), new.join(&name))
                .with_context(|| format!("cannot copy {name} to {}", new.display()))?;
        }
        // What a plugin is compiled with (`caches.rs`).
        let header = Path::new(change::PLUGIN_HEADER);
        fs::copy(
            self.source().join(header),
            new.join(header.file_name().unwrap_or_default()),
        )
        .context("cannot copy the header of plugins")?;
        fs::rename(&new, ready)
            .with_context(|| format!("cannot put QEMU into {}", ready.display()))?;
        // The result is complete: files that cannot be removed only cost disk space.
        let _ = fs::remove_dir_all(&self.folder);
        Ok(())
    }

    fn source(&self) -> PathBuf {
        self.folder.join("source")
    }

    fn objects(&self) -> PathBuf {
        self.folder.join("objects")
    }

    fn check_space(&self) -> Result<()> {
        // An interrupted build occupies its disk space already.
        if self.source().is_dir() {
            return Ok(());
        }
        self.steps.check_space("QEMU", NEEDED_MIB)
    }

    fn get_tools(&self, target: &Path) -> Result<()> {
        if target.is_dir() {
            return Ok(());
        }
        apt::get_unpacked(
            self.cache,
            Arch::host(),
            "build tools",
            &TOOLS.map(str::to_owned),
            TOOLS_SIZE_BYTES,
            target,
        )
    }

    /// Downloads and changes the source.
    fn get_source(&self) -> Result<()> {
        if self.source().is_dir() {
            return Ok(());
        }
        let part = self.folder.join("source.part");
        for path in [&part, &self.objects()] {
            if path.exists() {
                fs::remove_dir_all(path)?;
            }
        }
        fs::create_dir(&part)?;
        // The lists are those of the kernels: the lock is the same.
        let _lists = tree::lock(&self.cache.join("kernels").join(Arch::host().name()))?;
        let apt = Apt::open(self.cache, Arch::host().debian_name())?;
        let wanted = format!("qemu={SOURCE_VERSION}");
        apt.refresh(false)?;
        if !apt.has_source("qemu", SOURCE_VERSION)? {
            apt.refresh(true)?;
        }
        apt.download_source("the source of QEMU", &wanted, SOURCE_SIZE_BYTES, &part)?;
        let archive = archive(&part)?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--strip-components=1", "--file"])
            .arg(&archive)
            .current_dir(&part);
        self.steps.run("unpacking the source of QEMU", &mut tar)?;
        fs::remove_file(&archive)?;
        change::apply(&part)?;
        fs::rename(&part, self.source()).context("cannot rename the source's folder")
    }

    fn configure(&self, tools: &Path) -> Result<()> {
        let objects = self.objects();
        let done = objects.join("configured");
        if done.is_file() {
            return Ok(());
        }
        if objects.exists() {
            fs::remove_dir_all(&objects)?;
        }
        fs::create_dir(&objects)?;
        let mut configure = Command::new(self.source().join("configure"));
        configure
            .args(CONFIGURE)
            .arg(format!("--python={PYTHON}"))
            .arg("--disable-download")
            .current_dir(&objects);
        self.steps
            .run("configuring QEMU", with_tools(&mut configure, tools))?;
        File::create(&done).context("cannot write into the build's folder")?;
        Ok(())
    }

    fn compile(&self, tools: &Path) -> Result<()> {
        let mut ninja = Command::new("ninja");
        ninja
            .args([program(Arch::X86_64), program(Arch::Aarch64)])
            .current_dir(self.objects());
        self.steps
            .run("building QEMU", with_tools(&mut ninja, tools))
    }
}

fn with_tools<'a>(command: &'a mut Command, tools: &Path) -> &'a mut Command {
    command.env("PYTHONPATH", tools.join("usr/lib/python3/dist-packages"))
}

/// The source archive that apt has downloaded into `folder`.
fn archive(folder: &Path) -> Result<PathBuf> {
    let is_archive = |path: &PathBuf| path.to_string_lossy().contains(".orig.tar.");
    fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(is_archive)
        .context("apt downloaded no source archive of QEMU")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_has_version_and_fingerprint() {
        let key = key();
        assert!(key.starts_with("10.0.2-"), "{key}");
        assert_eq!(key.len(), "10.0.2-".len() + 16);
    }
}
