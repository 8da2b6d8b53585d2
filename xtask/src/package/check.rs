//! `cargo xtask package --check`: the package in a clean Debian of this machine's release.
//!
//! The clean system is made once by debootstrap and kept in the cache. Two checks work on copies of it:
//! `guest/package.sh` installs, tries and removes the package, in a mount and process namespace of its own;
//! `guest/unit.sh` has systemd run the unit, in a virtual machine.

use crate::setup::{self, Purpose};
use crate::vm::{self, Copy, VmArgs};
use crate::{apt, kernel, tree, ui};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the checks use beside what the package depends on.
const TOOLS: [&str; 5] = ["systemd", "man-db", "bash-completion", "zsh", "fish"];

/// Where the package and the script lie in the copy.
const GUEST_PACKAGE: &str = "tmp/package.deb";
const GUEST_SCRIPT: &str = "tmp/check.sh";

/// What of the clean system the unit does not need, which makes its copy a third as large.
const NOT_FOR_THE_UNIT: [&str; 9] = [
    "./usr/share/doc",
    "./usr/share/man",
    "./usr/share/locale",
    "./usr/share/fish",
    "./usr/share/zsh",
    "./usr/share/i18n",
    "./usr/share/zoneinfo",
    "./var/cache",
    "./var/lib/apt",
];
/// The guest's memory: the system lies there twice, packed and unpacked.
const GUEST_MEMORY_MIB: u32 = 3072;
/// Ten times what a quiet host takes.
const GUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// Installs, tries and removes `package`, and runs its unit.
pub fn run(package: &Path) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("--check needs root, to make a clean Debian and to change into it");
    }
    setup::ensure(Purpose::PackageCheck)?;
    let clean = clean_system(&dependencies(package)?)?;
    try_package(&clean, package)?;
    try_unit(&clean, package)
}

/// Runs `guest/package.sh` in a copy of the clean system.
fn try_package(clean: &Path, package: &Path) -> Result<()> {
    let copy = tempfile::Builder::new().prefix("takt-package-").tempdir()?;
    let root = copy.path().join("root");
    let status = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .args([clean, &root])
        .status()
        .context("cannot run cp")?;
    if !status.success() {
        bail!("cannot copy {}: see above", clean.display());
    }
    fs::copy(package, root.join(GUEST_PACKAGE)).context("cannot copy the package")?;
    fs::write(root.join(GUEST_SCRIPT), include_str!("../guest/package.sh"))
        .context("cannot write the script")?;
    // The mount goes away with its namespace, so the copy can be removed however this ends.
    let enter = "mount -t proc proc \"$1/proc\" && exec chroot \"$1\" sh \"/$2\" \"/$3\"";
    let status = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--"])
        .args(["sh", "-c", enter, "sh"])
        .arg(&root)
        .args([GUEST_SCRIPT, GUEST_PACKAGE])
        .env_clear()
        .envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
            ("DEBIAN_FRONTEND", "noninteractive"),
        ])
        .stdin(Stdio::null())
        .status()
        .context("cannot run unshare")?;
    if !status.success() {
        bail!("the package failed its check: see above");
    }
    Ok(())
}

/// Runs `guest/unit.sh` in a guest that has the clean system and the package.
fn try_unit(clean: &Path, package: &Path) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("takt-unit-").tempdir()?;
    let system = folder.path().join("system.tar");
    let script = folder.path().join("unit.sh");
    let packed = folder.path().join("package.deb");
    fs::copy(package, &packed).context("cannot copy the package")?;
    fs::write(&script, include_str!("../guest/unit.sh")).context("cannot write the script")?;
    let status = Command::new("tar")
        .arg("-C")
        .arg(clean)
        .args(NOT_FOR_THE_UNIT.map(|path| format!("--exclude={path}")))
        .arg("-cf")
        .arg(&system)
        .arg(".")
        .status()
        .context("cannot run tar")?;
    if !status.success() {
        bail!("cannot pack {}: see above", clean.display());
    }
    let command = ["sh", "unit.sh"].map(str::to_owned).to_vec();
    let mut args = VmArgs::new(kernel::DEFAULT_SERIES, command);
    args.no_binaries = true;
    args.memory = GUEST_MEMORY_MIB;
    args.timeout = Some(GUEST_TIMEOUT);
    args.copy = [system, script, packed].map(Copy::plain).to_vec();
    match vm::run(&args)? {
        0 => Ok(()),
        status => bail!("the unit failed its check (status {status}): see above"),
    }
}

/// The names of the packages that `package` depends on.
fn dependencies(package: &Path) -> Result<Vec<String>> {
    let output = Command::new("dpkg-deb")
        .arg("--field")
        .arg(package)
        .arg("Depends")
        .output()
        .context("cannot run dpkg-deb")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!(
            "dpkg-deb cannot read {}: {}",
            package.display(),
            text.trim()
        );
    }
    Ok(names(&String::from_utf8_lossy(&output.stdout)))
}

/// The names in a `Depends` field; of alternatives the first one.
fn names(field: &str) -> Vec<String> {
    field
        .split(',')
        .filter_map(|entry| entry.split(['(', '|', ':']).next())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// A clean Debian of this machine's release with these packages, from the cache.
fn clean_system(packages: &[String]) -> Result<PathBuf> {
    let suite = suite()?;
    let parent = tree::cache()?.join("roots");
    let _lock = tree::lock(&parent)?;
    let mut wanted: Vec<&str> = packages.iter().map(String::as_str).chain(TOOLS).collect();
    wanted.sort_unstable();
    let target = parent.join(format!("{suite}+{}", wanted.join("+")));
    if target.is_dir() {
        return Ok(target);
    }
    let scratch = apt::scratch(&parent)?;
    let root = scratch.path().join("root");
    let log = scratch.path().join("log");
    let file = fs::File::create(&log).context("cannot write a log")?;
    let spinner = ui::spinner(&format!("making a clean {suite}"));
    let status = Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--keyring={}", apt::KEYRING)])
        .arg(format!("--include={}", wanted.join(",")))
        .arg(&suite)
        .arg(&root)
        .arg(apt::mirror()?)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status();
    spinner.finish_and_clear();
    if !status.context("cannot run debootstrap")?.success() {
        bail!("debootstrap failed:\n{}", ui::tail(&log, 10));
    }
    fs::rename(&root, &target)
        .with_context(|| format!("cannot put the system into {}", target.display()))?;
    Ok(target)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_names() {
        let field = "libc6 (>= 2.34), libelf1t64 (>= 0.142) | libelf1, zlib1g:any\n";
        assert_eq!(names(field), ["libc6", "libelf1t64", "zlib1g"]);
        assert!(names("\n").is_empty());
    }
}
