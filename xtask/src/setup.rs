//! `cargo xtask setup`: the tools that builds and guests need. Root on Debian or Ubuntu installs the
//! missing ones; any other user gets the names of their packages.

mod needs;

use crate::arch::Arch;
use crate::host::{self, program};
use crate::tree::Tree;
use crate::ui;
use needs::{NEEDS, Need};

use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest clang that builds the BPF programs: scx_cargo uses version 4 of the BPF instruction set.
const OLDEST_CLANG: u32 = 18;
/// The newest libclang that is searched.
const NEWEST_CLANG: u32 = 24;
/// The script that finds the clang for BPF, from the top of the tree.
const CLANG_SCRIPT: &str = "xtask/bpf-clang";

/// What the tools are for. Each purpose includes `Build`, and those that run guests include `Vm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// Building the workspace.
    Build,
    /// Running guests.
    Vm,
    /// Running guests of aarch64.
    VmAarch64,
    /// Running every check.
    Test,
    /// Building peers.
    Peers,
    /// Building the emulator whose CPUs run side by side.
    SideBySide,
    /// Building a kernel.
    KernelBuild,
    /// Building for aarch64 on another machine.
    CrossAarch64,
    /// Making packages.
    Package,
    /// Checking packages in a clean system.
    PackageCheck,
}

impl Purpose {
    /// Running guests of this architecture.
    pub fn vm(arch: Arch) -> Self {
        match arch {
            Arch::X86_64 => Self::Vm,
            Arch::Aarch64 => Self::VmAarch64,
        }
    }

    /// Whether this purpose needs the tools of `other`.
    fn includes(self, other: Self) -> bool {
        match other {
            Self::Build => true,
            Self::Vm => matches!(self, Self::Vm | Self::VmAarch64 | Self::Test | Self::Peers),
            _ => self == other,
        }
    }
}

/// Runs `cargo xtask setup`.
pub fn run(purpose: Purpose) -> Result<i32> {
    ensure(purpose)?;
    for need in NEEDS.iter().filter(|need| purpose.includes(need.purpose)) {
        println!("present: {}", need.what);
    }
    Ok(0)
}

/// Installs the missing tools for `purpose`, or fails with the names of their packages. Changes nothing if no
/// tool is missing.
pub fn ensure(purpose: Purpose) -> Result<()> {
    let missing = missing(purpose);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|need| need.what).collect();
    let names = names.join(", ");
    if !nix::unistd::geteuid().is_root() || !has("apt-get") || !is_debian_like() {
        bail!("missing: {names}; install the packages{}", advice(&missing));
    }
    ui::note(&format!("missing: {names}"));
    if purpose == Purpose::CrossAarch64 {
        add_architecture(Arch::Aarch64)?;
    }
    // A fresh container has no package lists. Old lists name packages that the mirror has removed, or an
    // older clang than the mirror has.
    if let Err(why) = update_lists() {
        ui::note(&format!("{why:#}; using the package lists of this machine"));
    }
    let packages = missing
        .iter()
        .map(|need| choose_package(need))
        .collect::<Result<Vec<_>>>()?;
    install(&packages)?;
    let still: Vec<&str> = self::missing(purpose)
        .iter()
        .map(|need| need.what)
        .collect();
    if !still.is_empty() {
        bail!(
            "still missing after apt-get install: {}; install it by hand",
            still.join(", ")
        );
    }
    Ok(())
}

/// Installs packages of this machine's distribution.
pub fn install(packages: &[String]) -> Result<()> {
    let list = packages.join(" ");
    ui::note(&format!("apt-get install {list}"));
    let spinner = ui::spinner(&format!("installing {list}"));
    let output = Command::new("apt-get")
        .args([
            "install",
            "-y",
            "-q",
            "--no-install-recommends",
            "-o",
            "DPkg::Lock::Timeout=300",
        ])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("cannot run apt-get")?;
    spinner.finish_and_clear();
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("`apt-get install {list}` failed: {}", text.trim());
    }
    Ok(())
}

/// The environment for builds of the workspace: the clang for BPF. With any other variable, cargo would build
/// everything again after each change between plain cargo commands and xtask.
pub fn build_environment() -> Result<Vec<(String, String)>> {
    ensure(Purpose::Build)?;
    Ok(find_clang()
        .map(|clang| ("BPF_CLANG".to_owned(), clang))
        .into_iter()
        .collect())
}

/// clang-format 19 or later, whose format the sources have.
pub fn find_clang_format() -> Option<PathBuf> {
    program("clang-format-19").or_else(|| {
        program("clang-format")
            .filter(|path| version_of(&path.to_string_lossy()).is_some_and(|major| major >= 19))
    })
}

fn missing(purpose: Purpose) -> Vec<&'static Need> {
    NEEDS
        .iter()
        .filter(|need| purpose.includes(need.purpose) && !(need.present)())
        .collect()
}

fn has(name: &str) -> bool {
    program(name).is_some()
}

fn has_header(name: &str) -> bool {
    ["/usr/include", "/usr/local/include"]
        .iter()
        .any(|folder| Path::new(folder).join(name).exists())
}

/// `$BPF_CLANG`, else the script that plain cargo commands use as well (`.cargo/config.toml`). None if that
/// clang is too old.
fn find_clang() -> Option<String> {
    let clang = env::var("BPF_CLANG").ok().or_else(|| {
        let script = Tree::find().ok()?.top.join(CLANG_SCRIPT);
        Some(script.display().to_string())
    })?;
    version_of(&clang)
        .is_some_and(|major| major >= OLDEST_CLANG)
        .then_some(clang)
}

fn version_of(program: &str) -> Option<u32> {
    let output = Command::new(program).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<u32> {
    let rest = text.split_once("version ")?.1;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// Whether there is a libclang in a folder that bindgen searches.
fn has_libclang() -> bool {
    let numbered = (OLDEST_CLANG..=NEWEST_CLANG).map(|major| format!("/usr/lib/llvm-{major}/lib"));
    let plain = [
        "/usr/lib64",
        "/usr/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
    ];
    numbered.chain(plain.map(str::to_owned)).any(|folder| {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("libclang.so")
                    || (name.starts_with("libclang-") && name.contains(".so"))
            })
    })
}

/// Whether the distribution's own Python can make virtual environments.
fn has_venv() -> bool {
    let output = Command::new(host::PYTHON)
        .args(["-c", "import venv, ensurepip"])
        .output();
    output.is_ok_and(|output| output.status.success())
}

fn is_debian_like() -> bool {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines().any(|line| {
        let value = line
            .strip_prefix("ID=")
            .or_else(|| line.strip_prefix("ID_LIKE="));
        value.is_some_and(|value| value.contains("debian") || value.contains("ubuntu"))
    })
}

fn advice(missing: &[&Need]) -> String {
    let list = |pick: fn(&Need) -> &str| {
        missing
            .iter()
            .map(|need| pick(need))
            .filter(|packages| !packages.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    };
    format!(
        "\n  Debian, Ubuntu: {}\n  Fedora: {}\n  Arch: {}",
        list(|need| need.debian.first().copied().unwrap_or_default()),
        list(|need| need.fedora),
        list(|need| need.arch)
    )
}

/// The first of a need's packages that the distribution has.
fn choose_package(need: &Need) -> Result<String> {
    let available = |package: &&&str| {
        let output = Command::new("apt-cache").args(["show", package]).output();
        output.is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
    };
    match need.debian.iter().find(available) {
        Some(package) => Ok(package.to_string()),
        None => bail!(
            "apt knows none of {}: upgrade the system",
            need.debian.join(", ")
        ),
    }
}

/// Enables the packages of another architecture.
fn add_architecture(arch: Arch) -> Result<()> {
    let name = arch.debian_name();
    let output = Command::new("dpkg")
        .arg("--print-foreign-architectures")
        .output()
        .context("cannot run dpkg")?;
    let known = String::from_utf8_lossy(&output.stdout)
        .lines()
        .any(|known| known == name);
    if !known {
        ui::note(&format!("dpkg --add-architecture {name}"));
        let status = Command::new("dpkg")
            .args(["--add-architecture", name])
            .status()
            .context("cannot run dpkg")?;
        if !status.success() {
            bail!("`dpkg --add-architecture {name}` failed: see above");
        }
    }
    Ok(())
}

fn update_lists() -> Result<()> {
    let spinner = ui::spinner("apt-get update");
    let output = Command::new("apt-get")
        .args(["update", "-q"])
        .stdin(Stdio::null())
        .output();
    spinner.finish_and_clear();
    let output = output.context("cannot run apt-get")?;
    if !output.status.success() {
        bail!(
            "`apt-get update` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn major_version_of_clang_is_parsed() {
        assert_eq!(parse_version("Debian clang version 14.0.6"), Some(14));
        assert_eq!(parse_version("clang version 22.1.8 (x)"), Some(22));
        assert_eq!(
            parse_version("Debian clang-format version 19.1.7"),
            Some(19)
        );
        assert_eq!(parse_version("no"), None);
    }

    /// Runs the script where the PATH holds these programs only, each of which prints a version.
    fn bpf_clang(programs: &[(&str, &str)]) -> std::process::Output {
        let folder = tempfile::tempdir().unwrap();
        for (name, version) in programs {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\necho \"{version}\"\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf-clang"))
            .arg("--version")
            .env_remove("OUT_DIR")
            .env("PATH", folder.path())
            .output()
            .unwrap()
    }

    #[test]
    fn bpf_clang_is_the_newest_clang_in_the_path() {
        let old = ("clang", "Debian clang version 14.0.6");
        let numbered = ("clang-19", "Debian clang version 19.1.7");
        for (programs, version) in [
            (
                vec![old, numbered, ("clang-22", "clang version 22.1.8")],
                "22.1.8",
            ),
            (vec![old, numbered], "19.1.7"),
            (vec![("clang", "clang version 21.0.1")], "21.0.1"),
        ] {
            let output = bpf_clang(&programs);
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains(version), "{text}");
        }
    }

    #[test]
    fn bpf_clang_without_a_clang_names_the_packages() {
        for programs in [vec![], vec![("clang", "Debian clang version 14.0.6")]] {
            let output = bpf_clang(&programs);
            assert_eq!(output.status.code(), Some(1));
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(
                text.contains("apt-get install clang-22 libclang-22-dev"),
                "{text}"
            );
        }
    }

    #[test]
    fn advice_names_packages_of_three_distributions() {
        let text = advice(&[&NEEDS[0]]);
        assert!(text.contains("Debian, Ubuntu: clang-22"), "{text}");
        assert!(
            text.contains("Fedora: clang") && text.contains("Arch: clang"),
            "{text}"
        );
    }
}
