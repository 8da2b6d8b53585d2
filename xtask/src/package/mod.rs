//! `cargo xtask package`: a Debian package for this machine or for a Raspberry Pi, made by cargo-deb.
//!
//! Its files are listed in `[package.metadata.deb]` of `Cargo.toml` and under `dist/`. Manual pages and
//! completions are made on this machine by `examples/generate.rs`, from the command line's own definition.

mod check;
mod crates;
mod system;

use crate::arch::Arch;
use crate::cross::Target;
use crate::setup::{self, Purpose};
use crate::tree::{self, Tree};
use crate::ui;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The packager, and its versions that read our metadata.
const TOOL: &str = "cargo-deb";
const TOOL_VERSION: &str = "^3.8";

/// The folder of generated files for the packager, from the top of the tree (also in `Cargo.toml`).
const ASSETS: &str = "target/assets";

/// The flags of `cargo xtask package`.
#[derive(Args, Clone, Debug)]
pub struct PackageArgs {
    /// The architecture of the package
    #[arg(long, value_enum, default_value_t = Arch::host())]
    pub arch: Arch,
    /// Install it in a clean Debian, try it, and remove it again (needs root)
    #[arg(long)]
    pub check: bool,
    /// Make the crates for the registry instead, and build them from their packed files
    #[arg(long, conflicts_with_all = ["arch", "check"])]
    pub crates: bool,
}

/// Runs `cargo xtask package`: the path of the package goes to standard output.
pub fn run(args: &PackageArgs) -> Result<i32> {
    let tree = Tree::find()?;
    if args.crates {
        crates::run(&tree)?;
        return Ok(0);
    }
    let target = Target::new(args.arch)?;
    setup::ensure(Purpose::Package)?;
    generate(&tree)?;
    target.release_binaries(&tree, true)?;
    let package = make(&tree, target)?;
    println!("{}", package.display());
    if args.check {
        check::run(&package, args.arch)?;
    }
    Ok(0)
}

/// Writes manual pages and completions to [`ASSETS`].
fn generate(tree: &Tree) -> Result<()> {
    let folder = tree.top.join(ASSETS);
    if folder.is_dir() {
        // The page of a removed command must not be packed.
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let status = tree
        .cargo()
        .args(["run", "--release", "--quiet", "--package", "scx_takt"])
        .args(["--example", "generate", "--"])
        .arg(&folder)
        .envs(setup::build_environment()?)
        .stdout(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo run --example generate` failed: see above");
    }
    Ok(())
}

/// Makes the package from built files.
fn make(tree: &Tree, target: Target) -> Result<PathBuf> {
    let tool = tool(&tree::cache()?)?;
    let folder = tree.metadata()?.target_folder().join("debian");
    let mut command = Command::new(tool);
    command
        .args(["--no-build", "--strip", "--package", "scx_takt", "--output"])
        .arg(&folder)
        .current_dir(&tree.top)
        .env("CARGO_TARGET_DIR", target.folder(tree)?)
        .stderr(Stdio::inherit());
    if let Some(triple) = target.triple() {
        command.args(["--target", triple]);
    }
    if let Some(seconds) = commit_time(tree) {
        command.env("SOURCE_DATE_EPOCH", seconds);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let output = command.output().context("cannot run cargo-deb")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text
        .lines()
        .map(str::trim)
        .rfind(|line| line.ends_with(".deb"));
    match path.map(PathBuf::from) {
        Some(path) if output.status.success() && path.is_file() => Ok(path),
        _ => bail!("cargo-deb made no package: {}", text.trim()),
    }
}

/// The time that packed files get, in seconds since 1970: the commit's, so that the same commit gives the
/// same package. Without git it is the time of the build.
fn commit_time(tree: &Tree) -> Option<String> {
    if let Ok(seconds) = env::var("SOURCE_DATE_EPOCH") {
        return Some(seconds);
    }
    let output = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(&tree.top)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && text.parse::<u64>().is_ok()).then_some(text)
}

/// The packager in the cache. Builds it if it is missing.
fn tool(cache: &Path) -> Result<PathBuf> {
    let root = cache.join("tools");
    let path = root.join("bin").join(TOOL);
    if path.is_file() {
        return Ok(path);
    }
    let _lock = tree::lock(&root)?;
    let spinner = ui::spinner(&format!("building {TOOL}"));
    let output = Command::new("cargo")
        .args(["install", "--locked", TOOL, "--version", TOOL_VERSION])
        .arg("--root")
        .arg(&root)
        .arg("--target-dir")
        .arg(root.join("target"))
        // Outside of the tree, because its cargo configuration must not apply.
        .current_dir(&root)
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .output();
    spinner.finish_and_clear();
    let output = output.context("cannot run cargo: is it in the PATH?")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{TOOL} does not build: {}", text.trim());
    }
    Ok(path)
}
