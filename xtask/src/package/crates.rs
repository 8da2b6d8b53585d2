//! `cargo xtask package --crates`: the crates as the registry would get them, built from their packed files.
//!
//! `cargo package` can verify both at once, but its copy of the library stays in cargo's home by name and version:
//! the second run would build against the files of the first. So both are unpacked and built here.

use crate::setup;
use crate::tree::Tree;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library, and the program that needs it.
const CRATES: [&str; 2] = ["scx_ops", "scx_takt"];

/// Packs the crates, and builds the program and the library from the packed files.
pub fn run(tree: &Tree) -> Result<()> {
    let mut cargo = tree.cargo();
    cargo.args(["package", "--no-verify", "--allow-dirty", "--quiet"]);
    for name in CRATES {
        cargo.args(["--package", name]);
    }
    run_command(&mut cargo, "cargo package")?;
    let target = tree.metadata()?.target_folder();
    let folder = tempfile::Builder::new().prefix("takt-crates-").tempdir()?;
    let mut unpacked = Vec::new();
    for name in CRATES {
        let packed = newest(&target.join("package"), name)?;
        run_command(
            Command::new("tar")
                .arg("-C")
                .arg(folder.path())
                .arg("-xf")
                .arg(&packed),
            "tar",
        )?;
        println!("{}", packed.display());
        unpacked.push(folder.path().join(packed.file_stem().unwrap_or_default()));
    }
    let [library, program] = &unpacked[..] else {
        bail!("there are {} crates, not 2", unpacked.len());
    };
    let patch = format!(
        "patch.crates-io.scx_ops.path={:?}",
        library.display().to_string()
    );
    run_command(
        tree.cargo()
            .args(["build", "--quiet", "--config", &patch])
            .envs(setup::build_environment()?)
            .env("CARGO_TARGET_DIR", target.join("packed"))
            .current_dir(program),
        "the build from the packed files",
    )
}

/// The newest packed crate of this name.
fn newest(folder: &Path, name: &str) -> Result<PathBuf> {
    let prefix = format!("{name}-");
    let packed = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(&prefix) && file.ends_with(".crate")
    };
    let written = |path: &PathBuf| path.metadata().and_then(|meta| meta.modified()).ok();
    std::fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(packed)
        .max_by_key(written)
        .with_context(|| format!("cargo package left no {name} in {}", folder.display()))
}

fn run_command(command: &mut Command, what: &str) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {what}"))?;
    if !status.success() {
        bail!("{what} failed: see above");
    }
    Ok(())
}
