//! A clean Debian of this machine's release, for either architecture: made once by debootstrap, kept in the cache.
//!
//! The second stage of debootstrap runs programs of the new system. Those of another architecture cannot run
//! on this machine, so a guest of that architecture runs the second stage and sends the system back.

use crate::arch::Arch;
use crate::vm::{self, Copy, Fetch, VmArgs};
use crate::{apt, kernel, tree, ui};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The memory of a guest with a system, which is in memory twice: packed and unpacked.
pub const GUEST_MEMORY_MIB: u32 = 3072;
/// Ten times the duration on an idle host.
const SECOND_STAGE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Names in the guest: the script, the packed system, and the complete system.
const SCRIPT: &str = "second-stage.sh";
const PACKED: &str = "system.tar";
const GUEST_DONE: &str = "/tmp/done.tar";

/// A clean Debian of this machine's release with these packages.
///
/// # Errors
/// If this machine runs no Debian, or debootstrap fails.
pub fn clean(arch: Arch, packages: &[&str]) -> Result<PathBuf> {
    let suite = suite()?;
    let parent = tree::cache()?.join("roots");
    let _lock = tree::lock(&parent)?;
    let mut wanted = packages.to_vec();
    wanted.sort_unstable();
    let machine = match arch == Arch::host() {
        true => String::new(),
        false => format!("-{}", arch.debian_name()),
    };
    let target = parent.join(format!("{suite}{machine}+{}", wanted.join("+")));
    if target.is_dir() {
        return Ok(target);
    }
    let scratch = apt::scratch(&parent)?;
    let root = scratch.path().join("root");
    let spinner = ui::spinner(&format!("making a clean {suite} for {}", arch.name()));
    debootstrap(arch, &suite, &wanted, &root, &scratch.path().join("log"))?;
    if arch != Arch::host() {
        second_stage(arch, &root, scratch.path())?;
    }
    spinner.finish_and_clear();
    fs::rename(&root, &target)
        .with_context(|| format!("cannot put the system into {}", target.display()))?;
    Ok(target)
}

/// Packs the system in `root` without these paths.
///
/// # Errors
/// If tar fails.
pub fn pack(root: &Path, without: &[&str], target: &Path) -> Result<()> {
    let status = Command::new("tar")
        .arg("-C")
        .arg(root)
        .args(without.iter().map(|path| format!("--exclude={path}")))
        .arg("-cf")
        .arg(target)
        .arg(".")
        .status()
        .context("cannot run tar")?;
    if !status.success() {
        bail!("cannot pack {}: see above", root.display());
    }
    Ok(())
}

/// Runs debootstrap; for another architecture only its first stage.
fn debootstrap(arch: Arch, suite: &str, wanted: &[&str], root: &Path, log: &Path) -> Result<()> {
    let file = fs::File::create(log).context("cannot write a log")?;
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", &format!("--keyring={}", apt::KEYRING)]);
    command.arg(format!("--include={}", wanted.join(",")));
    if arch != Arch::host() {
        command.args([
            "--foreign".to_owned(),
            format!("--arch={}", arch.debian_name()),
        ]);
    }
    let status = command
        .arg(suite)
        .arg(root)
        .arg(apt::mirror()?)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status();
    if !status.context("cannot run debootstrap")?.success() {
        bail!("debootstrap failed:\n{}", ui::tail(log, 10));
    }
    Ok(())
}

/// Runs the second stage of debootstrap in a guest, and replaces `root` by the complete system.
fn second_stage(arch: Arch, root: &Path, folder: &Path) -> Result<()> {
    let packed = folder.join(PACKED);
    let script = folder.join(SCRIPT);
    let done = folder.join("done.tar");
    pack(root, &[], &packed)?;
    fs::write(&script, include_str!("../guest/second-stage.sh"))
        .context("cannot write the script")?;
    let mut args = guest(arch, SCRIPT, vec![packed, script]);
    args.timeout = Some(SECOND_STAGE_TIMEOUT);
    args.fetch.push(Fetch {
        guest: GUEST_DONE.to_owned(),
        host: done.clone(),
    });
    match vm::run(&args)? {
        0 => {}
        status => bail!("the second stage of debootstrap failed (status {status}): see above"),
    }
    fs::remove_dir_all(root).context("cannot remove the incomplete system")?;
    fs::create_dir(root).context("cannot create a folder for the system")?;
    let status = Command::new("tar")
        .arg("-C")
        .arg(root)
        .args(["--numeric-owner", "-xpf"])
        .arg(&done)
        .status()
        .context("cannot run tar")?;
    if !status.success() {
        bail!("cannot unpack the system from the guest: see above");
    }
    Ok(())
}

/// A guest that gets these files and runs one of them, a script.
pub fn guest(arch: Arch, script: &str, files: Vec<PathBuf>) -> VmArgs {
    let command = ["sh", script].map(str::to_owned).to_vec();
    let mut args = VmArgs::new(kernel::DEFAULT_SERIES, command);
    args.arch = Some(arch);
    args.no_binaries = true;
    args.memory_mib = Some(GUEST_MEMORY_MIB);
    args.copy = files.into_iter().map(Copy::plain).collect();
    args
}

/// The release of Debian that this machine runs, for which the package was built.
fn suite() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
    };
    match (value("ID").as_deref(), value("VERSION_CODENAME")) {
        (Some("debian"), Some(suite)) => Ok(suite),
        _ => bail!("--check works on Debian only: it makes a clean system of the same release"),
    }
}
