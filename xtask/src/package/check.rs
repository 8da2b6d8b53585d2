//! `cargo xtask package --check`: the package in a clean Debian of this machine's release.
//!
//! The clean system is made once by debootstrap and kept in the cache; each check works on a copy, in a mount
//! and process namespace of its own. What is tried stands in `guest/package.sh`.

use crate::setup::{self, Purpose};
use crate::{apt, tree, ui};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the checks use beside what the package depends on.
const TOOLS: [&str; 5] = ["systemd", "man-db", "bash-completion", "zsh", "fish"];

/// Where the package and the script lie in the copy.
const GUEST_PACKAGE: &str = "tmp/package.deb";
const GUEST_SCRIPT: &str = "tmp/check.sh";

/// Installs, tries and removes `package`.
pub fn run(package: &Path) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("--check needs root, to make a clean Debian and to change into it");
    }
    setup::ensure(Purpose::PackageCheck)?;
    let clean = clean_system(&dependencies(package)?)?;
    let copy = tempfile::Builder::new().prefix("takt-package-").tempdir()?;
    let root = copy.path().join("root");
    let status = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .args([&clean, &root])
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
