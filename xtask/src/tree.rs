//! Where things are: the source tree, its release binaries, and the cache outside of it.

use crate::cross::Target;
use anyhow::{Context, Result, bail};
use std::env;
use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The source tree that this run works on.
pub struct Tree {
    /// The folder that holds the workspace's `Cargo.toml`.
    pub top: PathBuf,
}

impl Tree {
    /// Finds the tree: `$TAKT_TREE`, else the tree around the package that cargo runs, else the
    /// one around the current folder, else the one this binary was built from.
    pub fn find() -> Result<Self> {
        if let Some(top) = env::var_os("TAKT_TREE").map(PathBuf::from) {
            if !is_top(&top) {
                bail!(
                    "TAKT_TREE={} is no scx_takt tree: point it at one or unset it",
                    top.display()
                );
            }
            return Ok(Self { top });
        }
        let starts = [
            env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from),
            env::current_dir().ok(),
            Some(PathBuf::from(env!("CARGO_MANIFEST_DIR"))),
        ];
        let found = starts
            .iter()
            .flatten()
            .find_map(|start| start.ancestors().find(|at| is_top(at)));
        match found {
            Some(top) => Ok(Self {
                top: top.to_owned(),
            }),
            None => bail!("no scx_takt tree around here: change into one or set TAKT_TREE"),
        }
    }

    /// A cargo command at the top of the tree, free of what an outer `cargo run` left behind.
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.top);
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(&name);
            }
        }
        cargo
    }

    /// The workspace as `cargo metadata` tells it.
    pub fn metadata(&self) -> Result<Metadata> {
        let output = self
            .cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo: is it in the PATH?")?;
        if !output.status.success() {
            bail!("`cargo metadata` failed in {}", self.top.display());
        }
        let json = serde_json::from_slice(&output.stdout).context("`cargo metadata` is no JSON")?;
        Ok(Metadata(json))
    }

    /// The command that builds the release binaries of the workspace, all that a guest gets.
    pub fn release_build(&self, target: Target) -> Result<Command> {
        let mut cargo = target.cargo(self, "build")?;
        cargo.arg("--release");
        // Progress is for people; a log gets the warnings and errors only.
        if !io::stderr().is_terminal() {
            cargo.arg("--quiet");
        }
        let binaries = self.metadata()?.binaries();
        let mut packages: Vec<_> = binaries.iter().map(|(package, _)| package).collect();
        packages.dedup();
        for package in packages {
            cargo.args(["-p", package]);
        }
        Ok(cargo)
    }

    /// Builds the release binaries of the workspace (a no-op when they are up to date) and says
    /// where they are.
    pub fn release_binaries(&self, target: Target, build: bool) -> Result<Vec<PathBuf>> {
        if build {
            let mut cargo = self.release_build(target)?;
            // Standard output belongs to the guest's command.
            let status = cargo
                .stdout(Stdio::null())
                .status()
                .context("cannot run cargo")?;
            if !status.success() {
                bail!(
                    "`cargo build --release` failed in {}: see above",
                    self.top.display()
                );
            }
        }
        let folder = target.release_folder(self)?;
        self.metadata()?
            .binaries()
            .iter()
            .map(|(_, name)| folder.join(name))
            .map(|path| match path.is_file() {
                true => Ok(path),
                false => bail!(
                    "{} is not built: run `cargo build --release`",
                    path.display()
                ),
            })
            .collect()
    }

    /// Builds an integration test of a package and says where its binary is.
    pub fn test_binary(&self, target: Target, package: &str, test: &str) -> Result<PathBuf> {
        let output = target
            .cargo(self, "test")?
            .args(["--release", "--no-run", "--quiet", "--message-format=json"])
            .args(["-p", package, "--test", test])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            bail!("the test {test} of {package} does not build: see above");
        }
        match executable(&String::from_utf8_lossy(&output.stdout), test) {
            Some(path) => Ok(path),
            None => bail!("cargo does not say where the test {test} of {package} is"),
        }
    }
}

/// The executable of a test among cargo's messages, one JSON object a line.
fn executable(messages: &str, test: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == test)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// What `cargo metadata` says.
pub struct Metadata(serde_json::Value);

impl Metadata {
    /// `(package, binary)` of every binary except the lab's own.
    fn binaries(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for package in self.packages() {
            let Some(name) = package["name"].as_str().filter(|name| *name != "xtask") else {
                continue;
            };
            for target in package["targets"].as_array().into_iter().flatten() {
                let kinds = target["kind"].as_array();
                let is_binary = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin"));
                if let Some(binary) = target["name"].as_str().filter(|_| is_binary) {
                    found.push((name.to_owned(), binary.to_owned()));
                }
            }
        }
        found
    }

    /// True when `package` has a test target named `test`.
    pub fn has_test(&self, package: &str, test: &str) -> bool {
        self.packages().any(|candidate| {
            candidate["name"] == package
                && candidate["targets"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|target| {
                        target["name"] == test
                            && target["kind"]
                                .as_array()
                                .is_some_and(|kinds| kinds.contains(&"test".into()))
                    })
        })
    }

    /// Cargo's target folder.
    pub fn target_folder(&self) -> PathBuf {
        PathBuf::from(self.0["target_directory"].as_str().unwrap_or("target"))
    }

    fn packages(&self) -> impl Iterator<Item = &serde_json::Value> {
        self.0["packages"].as_array().into_iter().flatten()
    }
}

fn is_top(path: &Path) -> bool {
    path.join("Cargo.toml").is_file() && path.join("xtask/Cargo.toml").is_file()
}

/// The lab's cache, outside the tree: `$TAKT_CACHE`, else `$XDG_CACHE_HOME/scx_takt`, else
/// `~/.cache/scx_takt`. Made when it is not there.
pub fn cache() -> Result<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let path = match (set("TAKT_CACHE"), set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(path), _, _) => path,
        (None, Some(base), _) => base.join("scx_takt"),
        (None, None, Some(home)) => home.join(".cache/scx_takt"),
        (None, None, None) => bail!("no place for the cache: set TAKT_CACHE to a folder"),
    };
    fs::create_dir_all(&path).with_context(|| {
        format!(
            "cannot make the cache {}: set TAKT_CACHE to a folder",
            path.display()
        )
    })?;
    path.canonicalize()
        .with_context(|| format!("cannot open the cache {}", path.display()))
}

/// Holds the lock of a part of the cache against other runs until it is dropped.
pub fn lock(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        crate::ui::note(&format!(
            "waiting for another run that uses {}",
            folder.display()
        ));
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_the_one_of_the_test() {
        let messages = "not json\n\
            {\"target\":{\"name\":\"other\"},\"executable\":\"/a\"}\n\
            {\"target\":{\"name\":\"ring\"},\"executable\":null}\n\
            {\"target\":{\"name\":\"ring\"},\"executable\":\"/b\"}\n";
        assert_eq!(executable(messages, "ring"), Some(PathBuf::from("/b")));
        assert_eq!(executable(messages, "none"), None);
    }
}
