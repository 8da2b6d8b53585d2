//! A private apt root: suites that this machine does not subscribe to, fetched from the mirror
//! that its own apt is configured with, and checked by apt against Debian's own keys.
//!
//! Nothing outside the cache is changed. The mirror's address is read at run time.

use crate::arch::Arch;
use crate::{files, host, tree, ui};
use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

/// The suites of the kernels and of a newer QEMU.
const SUITES: [&str; 5] = [
    "trixie-backports",
    "sid",
    "experimental",
    "trixie",
    "bookworm-backports",
];
/// The suite of the source of that QEMU.
const SOURCE_SUITE: &str = "bookworm-backports";
/// Debian's own keys.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Names of Debian's main suites: a source with one of them is a Debian mirror.
const DEBIAN_SUITES: [&str; 10] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "stable",
    "testing",
    "unstable",
    "oldstable",
];
/// The list of sources, from the root.
const SOURCES: &str = "etc/xtask.sources";
/// The age up to which package lists are not updated.
const LISTS_FRESH: Duration = Duration::from_secs(12 * 3600);

/// A package in the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The size of its archive.
    pub size_bytes: u64,
}

/// The private root for one architecture.
pub struct Apt {
    root: PathBuf,
    config: PathBuf,
}

impl Apt {
    /// Opens the root of `architecture` (Debian's name) in the cache. Creates it if it does not exist.
    pub fn open(cache: &Path, architecture: &str) -> Result<Self> {
        for tool in ["apt-get", "dpkg-deb"] {
            if host::program(tool).is_none() {
                bail!(
                    "{tool} is missing: kernels and emulators come from a Debian mirror; install apt and \
                     dpkg (Fedora: apt dpkg; Arch: apt dpkg). A kernel of your own needs none: --kernel PATH"
                );
            }
        }
        let root = cache.join("apt").join(architecture);
        for folder in ["etc", "lists/partial", "archives/partial"] {
            fs::create_dir_all(root.join(folder))
                .with_context(|| format!("cannot create {}", root.join(folder).display()))?;
        }
        let config = root.join("etc/apt.conf");
        let at = |name: &str| root.join(name).display().to_string();
        let user = if nix::unistd::geteuid().is_root() {
            "APT::Sandbox::User \"root\";\n"
        } else {
            ""
        };
        let text = format!(
            "Dir::State \"{}\";\nDir::State::lists \"{}\";\nDir::State::status \"{}\";\n\
             Dir::Cache \"{}\";\nDir::Cache::archives \"{}\";\n\
             Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architecture \"{architecture}\";\n#clear APT::Architectures;\n\
             APT::Architectures:: \"{architecture}\";\nAcquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             #clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n{user}",
            root.display(),
            at("lists"),
            at("status"),
            root.display(),
            at("archives"),
            at(SOURCES),
        );
        files::write_atomically(&config, text.as_bytes())?;
        fs::File::options()
            .create(true)
            .append(true)
            .open(root.join("status"))?;
        Ok(Self { root, config })
    }

    /// Updates the lists if they are missing or old. Keeps old lists if the mirror does not answer.
    pub fn refresh(&self, even_if_fresh: bool) -> Result<()> {
        let stamp = self.root.join("updated");
        let age = fs::metadata(&stamp)
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        let has_sources = self.root.join(SOURCES).is_file();
        if !even_if_fresh && has_sources && age.is_some_and(|age| age < LISTS_FRESH) {
            return Ok(());
        }
        self.write_sources()?;
        let spinner = ui::spinner("reading the package lists of the Debian mirror");
        let output = self.apt_get(&["update", "-q", "--error-on=any"])?;
        spinner.finish_and_clear();
        if output.status.success() {
            fs::write(&stamp, "")?;
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let problem = explain(&text);
        if age.is_some() {
            ui::note(&format!(
                "cannot update the package lists, using the old ones: {problem}"
            ));
            return Ok(());
        }
        bail!("cannot read the package lists of the Debian mirror: {problem}")
    }

    /// The packages whose names `wanted` accepts, each in its preferred version.
    pub fn packages(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Package>> {
        let output = self
            .command("apt-cache")
            .arg("dumpavail")
            .output()
            .context("cannot run apt-cache")?;
        if !output.status.success() {
            bail!(
                "apt-cache failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(parse_packages(
            &String::from_utf8_lossy(&output.stdout),
            wanted,
        ))
    }

    /// Downloads packages (`name`, `name=version` or `name/suite`) into the empty `folder`.
    pub fn download(
        &self,
        what: &str,
        packages: &[String],
        total_bytes: u64,
        folder: &Path,
    ) -> Result<()> {
        let mut arguments = vec!["download", "-q"];
        arguments.extend(packages.iter().map(String::as_str));
        self.get_into(folder, what, &arguments, total_bytes)
    }

    /// Runs apt-get in `folder` with a progress bar.
    fn get_into(
        &self,
        folder: &Path,
        what: &str,
        arguments: &[&str],
        total_bytes: u64,
    ) -> Result<()> {
        let log = folder.join("apt.log");
        let file = fs::File::create(&log)?;
        let mut child = self
            .command("apt-get")
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot run apt-get")?;
        let bar = ui::download_bar(what, total_bytes);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            bar.set_position(size_of(folder) + size_of(&self.root.join("archives/partial")));
            std::thread::sleep(Duration::from_millis(100));
        };
        bar.finish_and_clear();
        if !status.success() {
            let text = fs::read_to_string(&log).unwrap_or_default();
            bail!("cannot download {what}: {}", explain(&text));
        }
        fs::remove_file(log)?;
        Ok(())
    }

    /// Whether the lists contain the source package `name` in `version`.
    pub fn has_source(&self, name: &str, version: &str) -> Result<bool> {
        let output = self
            .command("apt-cache")
            .args(["showsrc", "--only-source", name])
            .output()
            .context("cannot run apt-cache")?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text
            .lines()
            .any(|line| line.strip_prefix("Version: ") == Some(version)))
    }

    /// Downloads the archives of a source package (`name=version`) as its authors released it, without
    /// the distribution's packaging, into the empty `folder`.
    pub fn download_source(
        &self,
        what: &str,
        package: &str,
        total_bytes: u64,
        folder: &Path,
    ) -> Result<()> {
        let arguments = ["source", "--download-only", "--tar-only", "-q", package];
        self.get_into(folder, what, &arguments, total_bytes)
    }

    fn write_sources(&self) -> Result<()> {
        if !Path::new(KEYRING).exists() {
            bail!("{KEYRING} is missing: install the package debian-archive-keyring");
        }
        let mirror = mirror()?;
        let stanza = |kind: &str, suite: &str| {
            format!(
                "Types: {kind}\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
            )
        };
        let mut stanzas: Vec<String> = SUITES.iter().map(|suite| stanza("deb", suite)).collect();
        stanzas.push(stanza("deb-src", SOURCE_SUITE));
        files::write_atomically(&self.root.join(SOURCES), stanzas.join("\n").as_bytes())
    }

    fn apt_get(&self, arguments: &[&str]) -> Result<Output> {
        self.command("apt-get")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("cannot run apt-get")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(&self.config)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("APT_CONFIG");
        command
    }
}

/// The Debian mirror of this machine: `$TAKT_DEBIAN_MIRROR`, else the first source of its apt
/// that carries one of Debian's main suites.
pub fn mirror() -> Result<String> {
    if let Ok(mirror) = env::var("TAKT_DEBIAN_MIRROR") {
        return Ok(mirror);
    }
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        ])
        .output()
        .context("cannot run apt-get")?;
    match choose_mirror(&String::from_utf8_lossy(&output.stdout)) {
        Some(mirror) => Ok(mirror),
        None => bail!(
            "this machine's apt has no Debian mirror: set TAKT_DEBIAN_MIRROR to the address of one, \
             or use --kernel PATH"
        ),
    }
}

fn choose_mirror(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (uri, release, component) = (words.next()?, words.next()?, words.next()?);
        (DEBIAN_SUITES.contains(&release) && component == "main").then(|| uri.to_owned())
    })
}

fn parse_packages(text: &str, wanted: impl Fn(&str) -> bool) -> Vec<Package> {
    let mut found = Vec::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
        };
        let Some(name) = field("Package").filter(|name| wanted(name)) else {
            continue;
        };
        let size_bytes = field("Size")
            .and_then(|size| size.parse().ok())
            .unwrap_or(0);
        if let Some(version) = field("Version") {
            found.push(Package {
                name,
                version,
                size_bytes,
            });
        }
    }
    found
}

/// The first error of apt, and what to do if that is known.
fn explain(text: &str) -> String {
    let first = |start: &str| text.lines().find(|line| line.starts_with(start));
    // A line that starts with "Err" has only the address: the reason is in a line that starts with "E:".
    let what = first("E:").or(first("Err")).or(text.lines().last());
    let what = what.unwrap_or("apt-get failed").trim();
    let contains = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let advice = if contains(&["NO_PUBKEY"]) {
        "the keys of this machine are too old: upgrade the package debian-archive-keyring"
    } else if contains(&["Unable to find a source package", "was not found"]) {
        "the mirror no longer has this version: set TAKT_DEBIAN_MIRROR to a mirror that has it"
    } else if contains(&[
        "Could not connect",
        "Could not resolve",
        "Temporary failure",
    ]) {
        "check the network, then run the same command again"
    } else {
        return what.to_owned();
    };
    format!("{what} ({advice})")
}

fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|meta| meta.is_file())
        .map(|meta| meta.len())
        .sum()
}

/// Unpacks every package in `folder` into `target`.
pub fn unpack(folder: &Path, target: &Path) -> Result<()> {
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "deb") {
            continue;
        }
        let output = Command::new("dpkg-deb")
            .arg("-x")
            .arg(&path)
            .arg(target)
            .output()
            .context("cannot run dpkg-deb")?;
        if !output.status.success() {
            bail!(
                "cannot unpack {}: {}",
                path.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
    }
    Ok(())
}

/// Creates a temporary folder in `parent`, and removes those that interrupted runs left there.
/// The caller holds the lock of `parent`.
pub fn scratch(parent: &Path) -> Result<tempfile::TempDir> {
    for entry in fs::read_dir(parent)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".part-") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    tempfile::Builder::new()
        .prefix(".part-")
        .tempdir_in(parent)
        .context("cannot create a folder in the cache")
}

/// Downloads packages and unpacks them into `target`. An interrupted run leaves no `target`.
pub fn get_unpacked(
    cache: &Path,
    arch: Arch,
    what: &str,
    packages: &[String],
    size_bytes: u64,
    target: &Path,
) -> Result<()> {
    let parent = target.parent().unwrap_or(cache);
    let _lock = tree::lock(parent)?;
    if target.is_dir() {
        return Ok(());
    }
    // The lists are those of the kernels: the lock is the same.
    let _lists = tree::lock(&cache.join("kernels").join(arch.name()))?;
    let apt = Apt::open(cache, arch.debian_name())?;
    apt.refresh(false)?;
    let scratch = scratch(parent)?;
    let debs = scratch.path().join("debs");
    fs::create_dir(&debs)?;
    apt.download(what, packages, size_bytes, &debs)?;
    let root = scratch.path().join("root");
    unpack(&debs, &root)?;
    fs::rename(&root, target).with_context(|| format!("cannot put {what} into the cache"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_is_the_first_source_with_a_main_suite() {
        let targets = "https://a.example/apt cloud-sdk main\n\
                       http://b.example/debian-security/ bookworm-security main\n\
                       http://c.example/debian/ bookworm contrib\n\
                       http://c.example/debian/ bookworm main\n";
        assert_eq!(
            choose_mirror(targets).as_deref(),
            Some("http://c.example/debian/")
        );
        assert_eq!(choose_mirror("http://d.example/ubuntu noble main"), None);
    }

    #[test]
    fn packages_are_parsed_from_stanzas() {
        let text =
            "Package: linux-a\nVersion: 1-2\nSize: 77\n\nPackage: other\nVersion: 3\nSize: 5\n\n";
        let expected = Package {
            name: "linux-a".into(),
            version: "1-2".into(),
            size_bytes: 77,
        };
        assert_eq!(
            parse_packages(text, |name| name.starts_with("linux")),
            [expected]
        );
    }

    #[test]
    fn explanation_is_the_first_error_of_apt() {
        let text = "W: x\nE: The repository is not signed.\nE: more";
        assert_eq!(explain(text), "E: The repository is not signed.");
        assert!(explain("Err:1 sid\n NO_PUBKEY 123").contains("debian-archive-keyring"));
        let text = "Err:1 http://mirror sid InRelease\n  Could not connect to mirror\n\
                    E: Failed to fetch http://mirror Could not connect to mirror";
        let why = explain(text);
        assert!(why.starts_with("E: Failed to fetch"), "{why}");
        assert!(why.ends_with("(check the network, then run the same command again)"));
        let why = explain("E: Unable to find a source package for qemu=1");
        assert!(why.contains("TAKT_DEBIAN_MIRROR"), "{why}");
    }
}
