//! `cargo xtask test`: every check, fast ones first.

mod step;
mod tally;

use crate::arch::Arch;
use crate::cross::Target;
use crate::setup::{self, Purpose};
use crate::side_by_side;
use crate::tree::{self, Tree};
use crate::ui::{self, Tone};
use anyhow::{Context, Result};
use clap::Args;
use std::env;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Command;
use step::Runner;

/// VM tests that run at a time. A guest is one busy thread, and correct with half a CPU, too.
const PARALLEL_VM_TESTS: &str = "2";

/// The tests that boot the Raspberry Pi's stand-in (`tests/vm/aarch64.rs`).
const STAND_IN_TESTS: &str = "aarch64::";

/// The tests whose guests need the side-by-side emulator (`tests/vm/side_by_side.rs`).
const SIDE_BY_SIDE_TESTS: &str = "side_by_side::";

/// The flags of `cargo xtask test`.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Leave out the tests that need a VM
    #[arg(long)]
    pub quick: bool,
    /// Run the tests that take many minutes as well
    #[arg(long, conflicts_with = "quick")]
    pub long: bool,
    /// Let all CPUs run at the same time in guests that count instructions
    #[arg(long, conflicts_with = "quick")]
    pub side_by_side: bool,
}

/// Runs `cargo xtask test`.
pub fn run(args: &TestArgs) -> Result<i32> {
    let tree = Tree::find()?;
    let cache = tree::cache()?;
    setup::ensure(Purpose::Test)?;
    // A copy, because the builds below may replace the binary that runs now.
    let folder = tempfile::Builder::new().prefix("takt-test-").tempdir()?;
    let xtask = folder.path().join("xtask");
    fs::copy(env::current_exe()?, &xtask).context("cannot copy the binary of xtask")?;
    let checks = Checks {
        tree,
        cache,
        xtask,
        environment: setup::build_environment()?,
    };
    let mut runner = Runner::new();
    checks.lints(&mut runner)?;
    checks.tests(&mut runner)?;
    if args.quick {
        runner.skip("VM tests", "--quick leaves them out");
    } else {
        checks.vm_tests(&mut runner, args)?;
        if args.long {
            checks.packages(&mut runner)?;
        }
    }
    let total = runner.total;
    for reason in &total.skipped {
        println!("skipped: {reason}");
    }
    let tone = if total.failed == 0 {
        Tone::Good
    } else {
        Tone::Bad
    };
    println!(
        "{}",
        ui::paint(&total.to_string(), tone, io::stdout().is_terminal())
    );
    Ok(i32::from(total.failed > 0))
}

struct Checks {
    tree: Tree,
    cache: PathBuf,
    xtask: PathBuf,
    environment: Vec<(String, String)>,
}

impl Checks {
    fn lints(&self, runner: &mut Runner) -> Result<()> {
        runner.check("rustfmt", self.cargo(&["fmt", "--all", "--check"]))?;
        let sources = c_sources(&self.tree.top.join("src/bpf"));
        match setup::find_clang_format() {
            _ if sources.is_empty() => runner.skip("clang-format", "src/bpf holds no C"),
            None => runner.skip("clang-format", "clang-format 19 is not installed"),
            Some(program) => {
                let mut command = Command::new(program);
                command
                    .args(["--dry-run", "--Werror"])
                    .args(sources)
                    .current_dir(&self.tree.top);
                runner.check("clang-format", command)?;
            }
        }
        runner.check(
            "clippy",
            self.cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ]),
        )?;
        // After clippy, because cargo downloads all dependencies for it.
        for check in ["layers", "docs", "words", "licences"] {
            runner.check(check, self.xtask(&["check", check]))?;
        }
        Ok(())
    }

    fn tests(&self, runner: &mut Runner) -> Result<()> {
        runner.tests(
            "unit tests",
            self.cargo(&["test", "--workspace", "--quiet", "--no-fail-fast"]),
        )?;
        let ring = self.tree.top.join("scx_ops/tests");
        if ring.join("loom_ring.rs").is_file() {
            let mut command =
                self.cargo(&["test", "-p", "scx_ops", "--release", "--test", "loom_ring"]);
            // The flag changes every build product: a folder of its own keeps the others.
            command
                .env("RUSTFLAGS", "--cfg loom")
                .env("CARGO_TARGET_DIR", self.target_folder()?.join("loom"));
            runner.tests("loom", command)?;
        } else {
            runner.skip("loom", "scx_ops/tests/loom_ring.rs is not there");
        }
        if ring.join("ring_host.rs").is_file() {
            if nix::unistd::geteuid().is_root() {
                let arguments = [
                    "test",
                    "-p",
                    "scx_ops",
                    "--release",
                    "--test",
                    "ring_host",
                    "--",
                    "--show-output",
                ];
                runner.tests("ring on this kernel", self.cargo(&arguments))?;
            } else {
                runner.skip("ring on this kernel", "loading BPF needs root");
            }
        } else {
            runner.skip(
                "ring on this kernel",
                "scx_ops/tests/ring_host.rs is not there",
            );
        }
        Ok(())
    }

    fn vm_tests(&self, runner: &mut Runner, args: &TestArgs) -> Result<()> {
        if !self.tree.metadata()?.has_test("scx_takt", "vm") {
            runner.skip("VM tests", "tests/vm.rs is not there");
            return Ok(());
        }
        // All programs that a guest gets: the tests build none themselves.
        let target = Target::new(Arch::host())?;
        runner.check("release build", target.release_build(&self.tree)?)?;
        let mut command = self.cargo(&[
            "test",
            "--release",
            "--quiet",
            "-p",
            "scx_takt",
            "--test",
            "vm",
            "--",
        ]);
        command.args([
            "--ignored",
            "--test-threads",
            PARALLEL_VM_TESTS,
            "--show-output",
        ]);
        // A cold build for another architecture takes minutes.
        if args.long {
            match self.build_for_stand_in() {
                Ok(build) => runner.check("release build for aarch64", build)?,
                Err(why) => {
                    runner.skip("VM tests for aarch64", &format!("{why:#}"));
                    command.args(["--skip", STAND_IN_TESTS]);
                }
            }
        } else {
            command.args(["--skip", "long_"]);
        }
        // Built here, not in the middle of a test.
        match side_by_side::emulator(&self.cache, Arch::host()) {
            Ok(_) => {}
            Err(why) => {
                runner.skip("VM tests of CPUs side by side", &format!("{why:#}"));
                command.args(["--skip", SIDE_BY_SIDE_TESTS]);
            }
        }
        command.env("TAKT_VM_NO_BUILD", "1");
        if args.side_by_side {
            command.env(side_by_side::REQUEST_VARIABLE, "1");
        }
        runner.tests("VM tests", command)
    }

    /// The build for the Raspberry Pi's stand-in. Fails if this machine cannot build it or boot it.
    fn build_for_stand_in(&self) -> Result<Command> {
        setup::ensure(Purpose::VmAarch64)?;
        Target::new(Arch::Aarch64)?.release_build(&self.tree)
    }

    /// The package in a clean Debian, one for the Raspberry Pi, and the crates as the registry would get them.
    fn packages(&self, runner: &mut Runner) -> Result<()> {
        let package = |arguments: &[&str]| {
            let mut command = self.xtask(&["package"]);
            command.args(arguments);
            command
        };
        if nix::unistd::geteuid().is_root() {
            runner.check("package in a clean Debian", package(&["--check"]))?;
            runner.check(
                "package for aarch64 in a clean Debian",
                package(&["--arch", "aarch64", "--check"]),
            )?;
        } else {
            runner.skip("packages in a clean Debian", "making one needs root");
            runner.check("package for aarch64", package(&["--arch", "aarch64"]))?;
        }
        runner.check("crates from their packed files", package(&["--crates"]))
    }

    /// A command of xtask itself.
    fn xtask(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.xtask);
        command.args(arguments).current_dir(&self.tree.top);
        command
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = self.tree.cargo();
        cargo
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .env("TAKT_XTASK", &self.xtask)
            .env("TAKT_TREE", &self.tree.top)
            .env("TAKT_CACHE", &self.cache);
        cargo
    }

    fn target_folder(&self) -> Result<PathBuf> {
        Ok(self.tree.metadata()?.target_folder())
    }
}

/// The C files under a folder.
fn c_sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
    {
        if path.is_dir() {
            found.extend(c_sources(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "c" || extension == "h")
        {
            found.push(path);
        }
    }
    found.sort();
    found
}
