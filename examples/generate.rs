//! Writes the manual pages and the shell completions, made from `src/cli/mod.rs`, as `cargo xtask package` wants
//! them: `man/*.8` and `completions/*` under the folder that is given.
//!
//! An example, so that what makes them is no part of the program, and always runs on the machine that builds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use scx_takt::cli::Cli;

/// The section of the manual for what only an administrator can make use of.
const SECTION: &str = "8";

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

fn main() -> Result<()> {
    let to = std::env::args_os().nth(1);
    generate(Path::new(&to.context("usage: generate DIR")?))
}

fn generate(to: &Path) -> Result<()> {
    let mut command = visible(&Cli::command());
    command.build();
    pages(&command, &folder(to, "man")?)?;
    let completions = folder(to, "completions")?;
    for shell in SHELLS {
        let name = command.get_name().to_owned();
        clap_complete::generate_to(shell, &mut command, name, &completions)
            .with_context(|| format!("cannot write to {}", completions.display()))?;
    }
    Ok(())
}

fn folder(parent: &Path, name: &str) -> Result<PathBuf> {
    let path = parent.join(name);
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// The command without anything hidden: what tests and other programs use is not for completion.
fn visible(command: &Command) -> Command {
    let mut shown = Command::new(command.get_name().to_owned())
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()))
        .subcommands(
            command
                .get_subcommands()
                .filter(|sub| !sub.is_hide_set())
                .map(visible),
        )
        .disable_help_subcommand(true);
    if let Some(version) = command.get_version() {
        shown = shown.version(version.to_owned());
    }
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        shown = shown.long_about(about.clone());
    }
    if let Some(text) = command.get_after_help() {
        shown = shown.after_help(text.clone());
    }
    shown
}

/// One page for the command and one for each subcommand, as `scx_takt-bench.8`.
fn pages(command: &Command, folder: &Path) -> Result<()> {
    clap_mangen::Man::new(command.clone())
        .section(SECTION)
        .source(concat!("scx_takt ", env!("CARGO_PKG_VERSION")))
        .manual("System Administration")
        .generate_to(folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    command
        .get_subcommands()
        .try_for_each(|sub| pages(sub, folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap()
    }

    #[test]
    fn every_visible_command_has_a_page_and_a_completion() {
        let folder = tempfile::tempdir().unwrap();
        generate(folder.path()).unwrap();
        let main = read(folder.path(), "man/scx_takt.8");
        assert!(main.starts_with(".ie \\n(.g") && main.contains(".TH scx_takt 8"));
        for name in Cli::command()
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set())
        {
            let name = name.get_name();
            let page = read(folder.path(), &format!("man/scx_takt-{name}.8"));
            assert!(page.contains(&format!(".TH scx_takt-{name} 8")), "{name}");
            for file in ["scx_takt.bash", "_scx_takt", "scx_takt.fish"] {
                let text = read(folder.path(), &format!("completions/{file}"));
                assert!(text.contains(name), "{file} lacks {name}");
            }
        }
        assert!(main.contains("stats"));
    }

    /// Every flag that is to be seen, with the name of its command's page.
    fn flags(command: &Command, page: &str, found: &mut Vec<(String, String)>) {
        let longs = command.get_arguments().filter(|arg| !arg.is_hide_set());
        found.extend(
            longs
                .filter_map(|arg| arg.get_long())
                .map(|long| (page.to_owned(), long.to_owned())),
        );
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            flags(sub, &format!("{page}-{}", sub.get_name()), found);
        }
    }

    #[test]
    fn every_visible_flag_is_in_its_page_and_in_each_completion() {
        let folder = tempfile::tempdir().unwrap();
        generate(folder.path()).unwrap();
        let mut found = Vec::new();
        flags(&Cli::command(), "scx_takt", &mut found);
        assert!(found.len() > 30, "{found:?}");
        for (page, long) in found {
            let text = read(folder.path(), &format!("man/{page}.8"));
            let escaped = format!("\\-\\-{}", long.replace('-', "\\-"));
            assert!(text.contains(&escaped), "{page}.8 lacks --{long}");
            for (file, word) in [
                ("scx_takt.bash", format!("--{long}")),
                ("_scx_takt", format!("--{long}")),
                ("scx_takt.fish", format!("-l {long}")),
            ] {
                let text = read(folder.path(), &format!("completions/{file}"));
                assert!(text.contains(&word), "{file} lacks --{long}");
            }
        }
    }

    #[test]
    fn what_is_hidden_stays_hidden() {
        let folder = tempfile::tempdir().unwrap();
        generate(folder.path()).unwrap();
        for file in [
            "man/scx_takt.8",
            "man/scx_takt-bench.8",
            "completions/scx_takt.bash",
        ] {
            let text = read(folder.path(), file);
            for hidden in ["stress", "run-one", "run\\-one", "pretend"] {
                assert!(!text.contains(hidden), "{file} tells of {hidden}");
            }
        }
    }
}
