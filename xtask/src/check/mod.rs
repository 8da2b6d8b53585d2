//! `cargo xtask check`: what no compiler and no linter knows of the tree.

mod licences;

use crate::tree::Tree;
use anyhow::Result;
use clap::Subcommand;

/// One check each; `cargo xtask test` runs them as steps.
#[derive(Subcommand, Clone, Debug)]
pub enum CheckCommand {
    /// Licences of all dependencies
    Licences,
}

/// Runs `cargo xtask check`.
pub fn run(command: &CheckCommand) -> Result<i32> {
    let tree = Tree::find()?;
    match command {
        CheckCommand::Licences => licences::run(&tree)?,
    }
    Ok(0)
}
