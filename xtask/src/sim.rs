//! `cargo xtask sim`: the policy on simulated machines (`crates/takt_sim`).

use crate::setup;
use crate::tree::Tree;
use anyhow::{Context, Result};
use clap::Args;

/// The flags of `cargo xtask sim`: those of the simulator, which has its own help.
#[derive(Args, Clone, Debug)]
pub struct SimArgs {
    /// Flags of the simulator: --seed, --worlds, --seconds, --cpus, --topology, --help and others
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "FLAG"
    )]
    pub flags: Vec<String>,
}

/// Builds the simulator and runs it; returns its exit status.
pub fn run(args: &SimArgs) -> Result<i32> {
    let status = Tree::find()?
        .cargo()
        .args(["run", "--release", "--quiet", "-p", "takt_sim", "--"])
        .args(&args.flags)
        .envs(setup::build_environment()?)
        .status()
        .context("cannot run cargo: is it in the PATH?")?;
    Ok(status.code().unwrap_or(1))
}
