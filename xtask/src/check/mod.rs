//! `cargo xtask check`: documentation, layers, licences and words of the tree.

mod docs;
mod layers;
mod licences;
mod words;

use crate::tree::Tree;
use anyhow::Result;
use clap::Subcommand;

/// The checks; `cargo xtask test` runs all of them as steps.
#[derive(Subcommand, Clone, Debug)]
pub enum CheckCommand {
    /// Links, paths and line lengths of the documentation
    Docs,
    /// Which module may import which, and no import cycle
    Layers,
    /// Licences of all dependencies
    Licences,
    /// Words that the glossary replaces
    Words,
}

/// Runs `cargo xtask check`.
pub fn run(command: &CheckCommand) -> Result<i32> {
    let tree = Tree::find()?;
    match command {
        CheckCommand::Docs => docs::run(&tree)?,
        CheckCommand::Layers => layers::run(&tree)?,
        CheckCommand::Licences => licences::run(&tree)?,
        CheckCommand::Words => words::run(&tree)?,
    }
    Ok(0)
}
