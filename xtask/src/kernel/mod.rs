//! `cargo xtask kernel`: real kernels with sched_ext, from Debian's archive, kept in the cache.
//!
//! A mirror replaces builds by newer ones, so a user names a *series*. `kernels.lock` maps a series to one
//! build. A series that is not in it means the newest build. The cache records which one that was, so that a
//! cached kernel needs no network.

mod build;
mod lock;
mod version;

use crate::apt::{self, Apt, Package};
use crate::arch::Arch;
use crate::{tree, ui};
use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use lock::{Entry, Lock};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The series that is booted when none is named.
pub const DEFAULT_SERIES: &str = "7.2";
/// The first series in which Debian enabled sched_ext.
const FIRST_SERIES: (u32, u32) = (6, 16);
/// Builds whose BTF lacks the `_impl` twins of 21 kfuncs: no program can call those.
const MALFORMED_BTF: [&str; 2] = ["7.1.13+deb13", "7.2.12+deb13"];

/// The subcommands of `cargo xtask kernel`.
#[derive(Subcommand, Clone, Debug)]
pub enum KernelCommand {
    /// Show the kernels that the mirror offers, and which of them are in the cache
    List {
        /// The architecture
        #[arg(long, value_enum, default_value_t = Arch::host())]
        arch: Arch,
    },
    /// Download a kernel into the cache
    Get {
        /// A series (6.16, 6.18, 7.0, 7.2, 7.3 ...) or an exact build (7.2.12+deb13, 7.3-rc)
        series: String,
        /// The architecture
        #[arg(long, value_enum, default_value_t = Arch::host())]
        arch: Arch,
    },
    /// Build a kernel that Debian ships without sched_ext, from Debian's source
    Build {
        /// The series: 6.12
        #[arg(default_value = "6.12")]
        series: String,
        /// The architecture
        #[arg(long, value_enum, default_value_t = Arch::host())]
        arch: Arch,
    },
    /// Update kernels.lock to the newest builds that the mirror offers
    Update {
        /// The series to update or to add [default: all that are locked]
        series: Vec<String>,
        /// The architecture
        #[arg(long, value_enum, default_value_t = Arch::host())]
        arch: Arch,
    },
}

/// A kernel that can be booted.
#[derive(Debug)]
pub struct Kernel {
    /// Its image.
    pub image: PathBuf,
    /// Its `uname -r`, when known.
    pub release: Option<String>,
    /// Configuration files in its folder.
    pub configs: Vec<PathBuf>,
}

impl Kernel {
    /// Its name in messages.
    pub fn name(&self) -> String {
        self.release
            .clone()
            .unwrap_or_else(|| self.image.display().to_string())
    }

    fn cached(folder: &Path) -> Self {
        let config = folder.join("config");
        Self {
            image: folder.join("vmlinuz"),
            release: folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
            configs: config.is_file().then_some(config).into_iter().collect(),
        }
    }

    fn at(image: &Path) -> Self {
        let folder = image.parent().unwrap_or(Path::new("."));
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let configs = entries.map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name == "config" || name.starts_with("config-")
        });
        Self {
            image: image.to_owned(),
            release: None,
            configs: configs.collect(),
        }
    }
}

/// One build that the mirror offers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Build {
    /// Its `uname -r`.
    release: String,
    /// Its package version.
    version: String,
    /// The package with the image.
    image: Package,
    /// The package with the configuration, if that is another one.
    config: Option<Package>,
}

/// Runs `cargo xtask kernel`.
pub fn run(command: &KernelCommand) -> Result<i32> {
    let cache = tree::cache()?;
    match command {
        KernelCommand::List { arch } => list(&cache, *arch)?,
        KernelCommand::Get { series, arch } => {
            let kernel = get(&cache, series, *arch)?;
            println!("{} {}", kernel.name(), kernel.image.display());
        }
        KernelCommand::Build { series, arch } => {
            let lock = Lock::read()?;
            let Some(entry) = lock
                .find(series, *arch)
                .filter(|entry| is_built_by_xtask(entry))
            else {
                bail!("kernels.lock names no {series} to build: xtask builds only 6.12 on x86_64");
            };
            let kernel = build::build(&cache, entry, *arch)?;
            println!("{} {}", kernel.name(), kernel.image.display());
        }
        KernelCommand::Update { series, arch } => update(&cache, series, *arch)?,
    }
    Ok(0)
}

/// The kernel that `--kernel` names: a path, or a name that is searched in the cache and then on the
/// mirror.
pub fn find(cache: &Path, wanted: &str, arch: Arch) -> Result<Kernel> {
    let path = Path::new(wanted);
    if path.is_file() {
        return Ok(Kernel::at(path));
    }
    if wanted.contains('/') {
        bail!(
            "no kernel at {wanted}: give the path of an image, or a series such as {DEFAULT_SERIES}"
        );
    }
    get(cache, wanted, arch)
}

fn get(cache: &Path, wanted: &str, arch: Arch) -> Result<Kernel> {
    if let Some(entry) = Lock::read()?.find(wanted, arch) {
        return get_locked(cache, entry, arch);
    }
    match cached(cache, wanted, arch) {
        Some(kernel) => Ok(kernel),
        None => fetch(cache, wanted, arch),
    }
}

/// The build that a series is locked to.
fn get_locked(cache: &Path, entry: &Entry, arch: Arch) -> Result<Kernel> {
    let folder = folder(cache, arch).join(&entry.release);
    if folder.join("vmlinuz").is_file() {
        return Ok(Kernel::cached(&folder));
    }
    let Entry {
        series,
        release,
        version,
        ..
    } = entry;
    if is_built_by_xtask(entry) {
        bail!(
            "{release} is not in the cache, and Debian does not ship it: `cargo xtask kernel build {series}` makes it"
        );
    }
    fetch(cache, release, arch).with_context(|| {
        format!(
            "kernels.lock has {release} (package version {version}) for {series}; if that build has left the \
             mirror, `cargo xtask kernel update {series}` locks the newest one, and --kernel \
             PATH takes an image"
        )
    })
}

/// Locks the newest builds. Does not change the cached kernels.
fn update(cache: &Path, wanted: &[String], arch: Arch) -> Result<()> {
    let mut lock = Lock::read()?;
    let all: Vec<String> = match wanted {
        [] => lock
            .of(arch)
            .filter(|entry| !is_built_by_xtask(entry))
            .map(|entry| entry.series.clone())
            .collect(),
        wanted => wanted.to_vec(),
    };
    let mut builds = {
        let _lock = tree::lock(&folder(cache, arch))?;
        let apt = Apt::open(cache, arch.debian_name())?;
        apt.refresh(true)?;
        builds(&apt, arch)?
    };
    builds.retain(|build| !is_malformed(&build.release));
    for series in all {
        if !version::is_series(&series) {
            bail!("`{series}` is no series such as {DEFAULT_SERIES}");
        }
        let Some(build) = resolve(&builds, &series, flavour(arch)) else {
            bail!(
                "the mirror has no kernel {series}: `cargo xtask kernel list` shows what there is"
            );
        };
        let old = lock.find(&series, arch).map(|entry| entry.release.clone());
        match old {
            Some(old) if old == build.release => println!("{series}: {old}, which is the newest"),
            Some(old) => println!("{series}: {old} -> {}", build.release),
            None => println!("{series}: {}", build.release),
        }
        lock.set(Entry {
            arch: arch.name().to_owned(),
            series,
            release: build.release,
            version: build.version,
        });
    }
    lock.write()
}

fn is_built_by_xtask(entry: &Entry) -> bool {
    entry.release.ends_with(build::SUFFIX)
}

fn is_malformed(release: &str) -> bool {
    MALFORMED_BTF
        .iter()
        .any(|bad| release.starts_with(&format!("{bad}-")))
}

fn folder(cache: &Path, arch: Arch) -> PathBuf {
    cache.join("kernels").join(arch.name())
}

fn flavour(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "cloud-amd64",
        Arch::Aarch64 => "arm64-16k",
    }
}

/// The file that records the build of a name.
fn record_path(cache: &Path, wanted: &str, arch: Arch) -> PathBuf {
    folder(cache, arch).join("resolved").join(wanted)
}

fn cached(cache: &Path, wanted: &str, arch: Arch) -> Option<Kernel> {
    let release = fs::read_to_string(record_path(cache, wanted, arch)).ok()?;
    let folder = folder(cache, arch).join(release.trim());
    folder
        .join("vmlinuz")
        .is_file()
        .then(|| Kernel::cached(&folder))
}

/// Finds the build on the mirror, and downloads it unless it is in the cache.
fn fetch(cache: &Path, wanted: &str, arch: Arch) -> Result<Kernel> {
    if !wanted.starts_with(|c: char| c.is_ascii_digit()) {
        bail!(
            "`{wanted}` is no kernel: give a series such as {DEFAULT_SERIES}, a build, or the path of an image"
        );
    }
    if version::series(wanted).is_some_and(|series| series < FIRST_SERIES) {
        bail!(
            "Debian's kernels before 6.16 have sched_ext disabled: build one and use --kernel PATH"
        );
    }
    let parent = folder(cache, arch);
    let _lock = tree::lock(&parent)?;
    let apt = Apt::open(cache, arch.debian_name())?;
    let mut problem =
        anyhow!("the mirror has no kernel {wanted}: `cargo xtask kernel list` shows what there is");
    // Lists that are fresh by their age may name a build that the mirror has removed.
    for even_if_fresh in [false, true] {
        apt.refresh(even_if_fresh)?;
        let Some(build) = resolve(&builds(&apt, arch)?, wanted, flavour(arch)) else {
            continue;
        };
        let target = parent.join(&build.release);
        if !target.join("vmlinuz").is_file()
            && let Err(error) = download(&apt, &build, &parent, &target)
        {
            problem = error;
            continue;
        }
        crate::files::write_atomically(
            &record_path(cache, wanted, arch),
            build.release.as_bytes(),
        )?;
        ui::note(&format!(
            "kernel {wanted} is {} (package version {})",
            build.release, build.version
        ));
        return Ok(Kernel::cached(&target));
    }
    Err(problem)
}

fn download(apt: &Apt, build: &Build, parent: &Path, target: &Path) -> Result<()> {
    let scratch = apt::scratch(parent)?;
    let packages: Vec<&Package> = [Some(&build.image), build.config.as_ref()]
        .into_iter()
        .flatten()
        .collect();
    let names: Vec<String> = packages
        .iter()
        .map(|package| format!("{}={}", package.name, package.version))
        .collect();
    let total_bytes = packages.iter().map(|package| package.size_bytes).sum();
    let debs = scratch.path().join("debs");
    let root = scratch.path().join("root");
    fs::create_dir(&debs)?;
    apt.download(
        &format!("kernel {}", build.release),
        &names,
        total_bytes,
        &debs,
    )?;
    apt::unpack(&debs, &root)?;
    let modules = root.join("usr/lib/modules").join(&build.release);
    let boot = root.join("boot");
    let ready = scratch.path().join("ready");
    fs::create_dir(&ready)?;
    let take = |name: &str| -> Result<bool> {
        let places = [
            modules.join(name),
            boot.join(format!("{name}-{}", build.release)),
        ];
        match places.iter().find(|place| place.is_file()) {
            Some(place) => fs::rename(place, ready.join(name))
                .context("cannot move a file")
                .map(|()| true),
            None => Ok(false),
        }
    };
    if !take("vmlinuz")? {
        bail!("the package {} holds no vmlinuz", build.image.name);
    }
    take("config")?;
    fs::rename(&ready, target)
        .with_context(|| format!("cannot put the kernel into {}", target.display()))
}

/// Every build that the lists offer, oldest first.
fn builds(apt: &Apt, arch: Arch) -> Result<Vec<Build>> {
    let flavour = flavour(arch);
    let packages = apt.packages(|name| name.starts_with("linux-") && name.ends_with(flavour))?;
    Ok(assemble(packages, flavour))
}

fn assemble(packages: Vec<Package>, flavour: &str) -> Vec<Build> {
    let by_name: BTreeMap<String, Package> = packages
        .into_iter()
        .map(|package| (package.name.clone(), package))
        .collect();
    let mut builds = Vec::new();
    for (name, package) in &by_name {
        let release = name.strip_prefix("linux-image-").filter(|release| {
            release.starts_with(|c: char| c.is_ascii_digit()) && release.ends_with(flavour)
        });
        let Some(release) = release else { continue };
        // If the image is split, this package is empty and its parts are other packages.
        let part = |kind: &str| by_name.get(&format!("linux-{kind}-{release}")).cloned();
        let (image, config) = match part("binary") {
            Some(binary) => (binary, part("base")),
            None => (package.clone(), None),
        };
        if version::series(release).is_some_and(|series| series >= FIRST_SERIES) {
            builds.push(Build {
                release: release.to_owned(),
                version: package.version.clone(),
                image,
                config,
            });
        }
    }
    builds.sort_by(|left, right| version::compare(&left.version, &right.version));
    builds
}

/// The newest build that `wanted` matches.
fn resolve(builds: &[Build], wanted: &str, flavour: &str) -> Option<Build> {
    builds
        .iter()
        .rfind(|build| version::matches(wanted, &build.release, &build.version, flavour))
        .cloned()
}

fn list(cache: &Path, arch: Arch) -> Result<()> {
    let builds = {
        let _lock = tree::lock(&folder(cache, arch))?;
        let apt = Apt::open(cache, arch.debian_name())?;
        apt.refresh(false)?;
        builds(&apt, arch)?
    };
    println!("{:<8} {:<32} {:<8} note", "series", "build", "cached");
    for build in builds.iter().rev() {
        let Some((major, minor)) = version::series(&build.release) else {
            continue;
        };
        let series = format!("{major}.{minor}");
        let newest =
            resolve(&builds, &series, flavour(arch)).is_some_and(|newest| &newest == build);
        let cached = folder(cache, arch)
            .join(&build.release)
            .join("vmlinuz")
            .is_file();
        let note = match (is_malformed(&build.release), newest) {
            (true, _) => "malformed BTF: no BPF program can call 21 of its kfuncs",
            (false, true) => "newest of its series",
            (false, false) => "",
        };
        let shown = if newest { series.as_str() } else { "" };
        let line = format!(
            "{shown:<8} {:<32} {:<8} {note}",
            build.release,
            if cached { "yes" } else { "" }
        );
        println!("{}", line.trim_end());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            size_bytes: 1,
        }
    }

    fn sample() -> Vec<Build> {
        let packages = vec![
            package("linux-image-6.12.107+deb13-cloud-amd64", "6.12.107-1"),
            package("linux-image-6.18.15+deb13-cloud-amd64", "6.18.15-1~bpo13+1"),
            package("linux-image-7.2.13+deb14-cloud-amd64", "7.2.13-1"),
            package("linux-binary-7.2.13+deb14-cloud-amd64", "7.2.13-1"),
            package("linux-base-7.2.13+deb14-cloud-amd64", "7.2.13-1"),
            package("linux-binary-unsigned-7.2.13+deb14-cloud-amd64", "7.2.13-1"),
            package("linux-image-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1"),
            package("linux-binary-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1"),
            package("linux-image-7.3-cloud-amd64", "7.3~rc7-1~exp1"),
            package("linux-image-cloud-amd64", "7.2.13-1"),
        ];
        assemble(packages, "cloud-amd64")
    }

    #[test]
    fn builds_are_assembled_from_their_packages() {
        let builds = sample();
        let releases: Vec<&str> = builds.iter().map(|build| build.release.as_str()).collect();
        assert_eq!(
            releases,
            [
                "6.18.15+deb13-cloud-amd64",
                "7.2.9+deb13-cloud-amd64",
                "7.2.13+deb14-cloud-amd64",
                "7.3-cloud-amd64"
            ]
        );
        assert_eq!(
            builds[0].image.name,
            "linux-image-6.18.15+deb13-cloud-amd64"
        );
        assert_eq!(
            builds[2].image.name,
            "linux-binary-7.2.13+deb14-cloud-amd64"
        );
        assert!(builds[2].config.is_some() && builds[1].config.is_none());
    }

    #[test]
    fn series_resolves_to_its_newest_build() {
        let resolved =
            |wanted| resolve(&sample(), wanted, "cloud-amd64").map(|build| build.version);
        assert_eq!(resolved("7.2").as_deref(), Some("7.2.13-1"));
        assert_eq!(resolved("7.2.9").as_deref(), Some("7.2.9-1~bpo13+1"));
        assert_eq!(resolved("7.3").as_deref(), Some("7.3~rc7-1~exp1"));
        assert_eq!(resolved("7.9"), None);
    }
}
