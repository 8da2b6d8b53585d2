//! `cargo xtask peers`: builds other sched_ext schedulers from the crate registry into the cache,
//! to compare with. They are built one at a time in one target folder, so that shared dependencies are built
//! once.

use crate::setup::{self, Purpose};
use crate::tree;
use crate::ui::{self, Tone};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The known peers: crates of the registry, each with a binary of the same name.
pub const NAMES: [&str; 8] = [
    "scx_bpfland",
    "scx_cosmos",
    "scx_lavd",
    "scx_flash",
    "scx_p2dq",
    "scx_rusty",
    "scx_pandemonium",
    "scx_cake",
];

/// How many lines of a failed build's log are shown.
const LOG_LINES: usize = 25;

/// The flags of `cargo xtask peers`.
#[derive(Args, Clone, Debug)]
pub struct PeersArgs {
    /// The peers to build [default: all]
    #[arg(value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(NAMES))]
    pub names: Vec<String>,
    /// Build the newest versions, even of peers that are in the cache
    #[arg(long)]
    pub update: bool,
}

/// Runs `cargo xtask peers`.
pub fn run(args: &PeersArgs) -> Result<i32> {
    let cache = tree::cache()?;
    let all: Vec<String> = NAMES.map(str::to_owned).to_vec();
    let names = if args.names.is_empty() {
        &all
    } else {
        &args.names
    };
    let failed = build(&cache, names, args.update)?;
    if !failed.is_empty() {
        bail!("not built: {}; the reasons are above", failed.join(", "));
    }
    Ok(0)
}

/// The binary of a peer in the cache. Builds it if it is missing.
pub fn binary(cache: &Path, name: &str) -> Result<PathBuf> {
    let path = folder(cache).join("bin").join(name);
    if !path.is_file() {
        if !NAMES.contains(&name) {
            bail!("unknown peer `{name}`: the peers are {}", NAMES.join(", "));
        }
        let failed = build(cache, &[name.to_owned()], false)?;
        if !failed.is_empty() {
            bail!("{name} does not build: the reason is above");
        }
    }
    Ok(path)
}

fn folder(cache: &Path) -> PathBuf {
    cache.join("peers")
}

/// Builds missing peers, or all if `update` is set. Returns the names of those that failed.
fn build(cache: &Path, names: &[String], update: bool) -> Result<Vec<String>> {
    let root = folder(cache);
    let _lock = tree::lock(&root)?;
    let to_terminal = io::stdout().is_terminal();
    let mut failed = Vec::new();
    for name in names {
        if !update && root.join("bin").join(name).is_file() {
            println!("{name} {} is in the cache", version(&root, name));
            continue;
        }
        setup::ensure(Purpose::Peers)?;
        let started = Instant::now();
        let log = root.join(format!("{name}.log"));
        let spinner = ui::spinner(&format!("building {name}"));
        let built = install(&root, name, &log)?;
        spinner.finish_and_clear();
        let seconds = started.elapsed().as_secs();
        if built {
            println!(
                "{} {name} {} ({seconds} s)",
                ui::paint("built", Tone::Good, to_terminal),
                version(&root, name)
            );
        } else {
            eprint!("{}", ui::tail(&log, LOG_LINES));
            println!(
                "{} {name} ({seconds} s): {}",
                ui::paint("failed", Tone::Bad, to_terminal),
                log.display()
            );
            failed.push(name.clone());
        }
    }
    Ok(failed)
}

fn install(root: &Path, name: &str, log: &Path) -> Result<bool> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = Command::new("cargo")
        .args(["install", "--locked", "--force", name, "--root"])
        .arg(root)
        .arg("--target-dir")
        .arg(root.join("target"))
        .envs(setup::build_environment()?)
        // Outside of the tree, because its cargo configuration must not apply.
        .current_dir(root)
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .context("cannot run cargo: is it in the PATH?")?;
    Ok(status.success())
}

/// The version that cargo recorded when it installed a peer.
fn version(root: &Path, name: &str) -> String {
    let text = fs::read_to_string(root.join(".crates2.json")).unwrap_or_default();
    parse_version(&text, name).unwrap_or_else(|| "of unknown version".to_owned())
}

fn parse_version(crates2: &str, name: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(crates2).ok()?;
    let installs = json["installs"].as_object()?;
    installs.keys().find_map(|key| {
        let mut words = key.split(' ');
        (words.next() == Some(name))
            .then(|| words.next().map(str::to_owned))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_records_of_cargo() {
        let text = r#"{"installs":{"scx_x 1.2.3 (registry+x)":{},"scx_xy 4.5.6 (registry+x)":{}}}"#;
        assert_eq!(parse_version(text, "scx_xy").as_deref(), Some("4.5.6"));
        assert_eq!(parse_version(text, "scx"), None);
        assert_eq!(parse_version("", "scx"), None);
    }
}
