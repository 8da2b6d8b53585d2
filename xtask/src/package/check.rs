//! `cargo xtask package --check`: the package in a clean Debian of this machine's release.
//!
//! Two checks use copies of that system: `guest/package.sh` installs, tries and removes the package, in a mount and
//! process namespace of its own; `guest/unit.sh` has systemd run the unit, in a virtual machine. A package for
//! another architecture goes through both in virtual machines.

use super::system;
use crate::arch::Arch;
use crate::setup::{self, Purpose};
use crate::vm;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Packages that the checks need besides the package's dependencies.
const TOOLS: [&str; 5] = ["systemd", "man-db", "bash-completion", "zsh", "fish"];

/// Paths of the package and the script in the copy.
const GUEST_PACKAGE: &str = "tmp/package.deb";
const GUEST_SCRIPT: &str = "tmp/check.sh";

/// Paths of the clean system that the unit does not need: without them its copy is a third as large.
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
/// Ten times the duration on an idle host.
const GUEST_TIMEOUT: Duration = Duration::from_secs(900);

/// Runs Debian's package checker. Prints warnings; fails on errors.
fn run_lintian(package: &Path) -> Result<()> {
    let status = Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error"])
        .arg(package)
        .status()
        .context("cannot run lintian")?;
    if !status.success() {
        bail!("lintian finds errors in {}: see above", package.display());
    }
    println!("ok    lintian finds no error");
    Ok(())
}

/// Checks `package` with lintian, installs, tries and removes it, and runs its unit.
pub fn run(package: &Path, arch: Arch) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("--check needs root, to make a clean Debian and to change into it");
    }
    setup::ensure(Purpose::PackageCheck)?;
    run_lintian(package)?;
    let needed = dependencies(package)?;
    let wanted: Vec<&str> = needed.iter().map(String::as_str).chain(TOOLS).collect();
    let clean = system::clean(arch, &wanted)?;
    match arch == Arch::host() {
        true => try_package(&clean, package)?,
        false => try_foreign_package(&clean, package, arch)?,
    }
    try_unit(&clean, package, arch)
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
    // The mount ends with its namespace, so the copy can always be removed.
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

/// Runs `guest/package.sh` in a guest that has the clean system.
fn try_foreign_package(clean: &Path, package: &Path, arch: Arch) -> Result<()> {
    let scripts = [
        ("foreign.sh", include_str!("../guest/foreign.sh")),
        ("package.sh", include_str!("../guest/package.sh")),
    ];
    match in_guest(arch, clean, &[], package, &scripts)? {
        0 => Ok(()),
        status => bail!("the package failed its check (status {status}): see above"),
    }
}

/// Runs `guest/unit.sh` in a guest that has the clean system and the package.
fn try_unit(clean: &Path, package: &Path, arch: Arch) -> Result<()> {
    let scripts = [("unit.sh", include_str!("../guest/unit.sh"))];
    match in_guest(arch, clean, &NOT_FOR_THE_UNIT, package, &scripts)? {
        0 => Ok(()),
        status => bail!("the unit failed its check (status {status}): see above"),
    }
}

/// Runs the first of these scripts in a guest that has the clean system `without` some paths, and the package; its
/// status.
fn in_guest(
    arch: Arch,
    clean: &Path,
    without: &[&str],
    package: &Path,
    scripts: &[(&str, &str)],
) -> Result<i32> {
    let folder = tempfile::Builder::new().prefix("takt-check-").tempdir()?;
    let place = |name: &str| folder.path().join(name);
    system::pack(clean, without, &place("system.tar"))?;
    fs::copy(package, place("package.deb")).context("cannot copy the package")?;
    let mut files = vec![place("system.tar"), place("package.deb")];
    for (name, text) in scripts {
        fs::write(place(name), text).context("cannot write a script")?;
        files.push(place(name));
    }
    let first = scripts.first().map_or("", |(name, _)| *name);
    let mut args = system::guest(arch, first, files);
    args.timeout = Some(GUEST_TIMEOUT);
    vm::run(&args)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_parsed_as_names() {
        let field = "libc6 (>= 2.34), libelf1t64 (>= 0.142) | libelf1, zlib1g:any\n";
        assert_eq!(names(field), ["libc6", "libelf1t64", "zlib1g"]);
        assert!(names("\n").is_empty());
    }
}
