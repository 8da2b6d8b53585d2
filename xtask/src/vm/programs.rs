//! Programs that a guest needs and that this machine may lack: from the Debian mirror, kept in the cache.

use crate::arch::Arch;
use crate::{apt, host};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Approximate size of busybox, for the progress bar.
const BUSYBOX_SIZE_BYTES: u64 = 1 << 20;
/// Approximate size of the four packages of QEMU, for the progress bar.
const QEMU_SIZE_BYTES: u64 = 16 << 20;

/// The static busybox for guests of `arch`: this machine's, or one of another architecture from the
/// Debian mirror.
pub fn busybox(arch: Arch, cache: &Path) -> Result<PathBuf> {
    if arch == Arch::host() {
        return host::static_busybox().context("no static busybox: run `cargo xtask setup`");
    }
    foreign_busybox(cache, arch)
}

/// The folder of a QEMU that counts instructions finely, unpacked in the cache.
pub fn newer_qemu(cache: &Path, arch: Arch) -> Result<PathBuf> {
    let package = match arch {
        Arch::X86_64 => "qemu-system-x86",
        Arch::Aarch64 => "qemu-system-arm",
    };
    let target = cache.join("qemu").join(package);
    if target.is_dir() {
        return Ok(target);
    }
    if !fs::read_to_string("/etc/os-release")
        .unwrap_or_default()
        .contains("VERSION_CODENAME=bookworm")
    {
        bail!(
            "deterministic mode with several CPUs needs QEMU 10 or later, and this machine's is older: \
             upgrade it, or use --cpus 1"
        );
    }
    let names = [package, "qemu-system-common", "qemu-system-data", "seabios"];
    let names = names.map(|name| format!("{name}/bookworm-backports"));
    apt::get_unpacked(
        cache,
        Arch::host(),
        "QEMU 10",
        &names,
        QEMU_SIZE_BYTES,
        &target,
    )?;
    Ok(target)
}

/// A static busybox for guests of an architecture that is not this machine's.
fn foreign_busybox(cache: &Path, arch: Arch) -> Result<PathBuf> {
    let target = cache.join("busybox").join(arch.name());
    let places = ["usr/bin/busybox", "bin/busybox"].map(|place| target.join(place));
    if !target.is_dir() {
        let what = format!("busybox for {}", arch.name());
        apt::get_unpacked(
            cache,
            arch,
            &what,
            &["busybox-static/trixie".to_owned()],
            BUSYBOX_SIZE_BYTES,
            &target,
        )?;
    }
    let found = places.into_iter().find(|place| place.is_file());
    found.with_context(|| {
        format!(
            "no busybox in {}: remove that folder and try again",
            target.display()
        )
    })
}
