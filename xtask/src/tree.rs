//! The source tree, its description by cargo, and the cache outside of it.

use crate::ui;
use anyhow::{Context, Result, bail};
use std::env;
use std::fs::{self, File};
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
            None => bail!(
                "no scx_takt tree in this folder or above it: change into one or set TAKT_TREE"
            ),
        }
    }

    /// A cargo command at the top of the tree, without the variables that an outer `cargo run` sets.
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

    /// The workspace as `cargo metadata` describes it.
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
        let json = serde_json::from_slice(&output.stdout)
            .context("the output of `cargo metadata` is not JSON")?;
        Ok(Metadata(json))
    }
}

/// The output of `cargo metadata`.
pub struct Metadata(serde_json::Value);

impl Metadata {
    /// `(package, binary)` of every binary except xtask.
    pub fn binaries(&self) -> Vec<(String, String)> {
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

/// The cache, outside the tree: `$TAKT_CACHE`, else `$XDG_CACHE_HOME/scx_takt`, else
/// `~/.cache/scx_takt`. It is created if it does not exist.
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
            "cannot create the cache {}: set TAKT_CACHE to a folder",
            path.display()
        )
    })?;
    path.canonicalize()
        .with_context(|| format!("cannot open the cache {}", path.display()))
}

/// Locks a part of the cache against other runs, until the returned file is dropped.
pub fn lock(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        ui::note(&format!(
            "waiting for another run that uses {}",
            folder.display()
        ));
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}
