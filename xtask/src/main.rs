//! Everything around the scheduler: tools, kernels, virtual machines, tests, benchmarks and packages.
//! A bare machine needs cargo and nothing else.

mod apt;
mod arch;
mod bench;
mod check;
mod cpio;
mod cross;
mod demo;
mod elf;
mod files;
mod host;
mod kernel;
mod package;
mod peers;
mod setup;
mod side_by_side;
mod sim;
mod steps;
mod test;
mod topology;
mod tree;
mod ui;
mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Tools, kernels, virtual machines, tests, benchmarks and packages of scx_takt
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install missing tools, or name their packages
    Setup {
        /// What the tools are for
        #[arg(
            long = "for",
            value_enum,
            default_value = "test",
            value_name = "PURPOSE"
        )]
        purpose: setup::Purpose,
    },
    /// Show, download or build the kernels that guests boot
    #[command(subcommand)]
    Kernel(kernel::KernelCommand),
    /// Run a command on a real kernel in a virtual machine
    Vm(Box<vm::VmArgs>),
    /// Run the scheduler live on a real kernel, starting from a bare machine, and compare it with EEVDF
    Demo,
    /// Build peer schedulers into the cache
    Peers(peers::PeersArgs),
    /// Compare scx_takt with EEVDF and peers in a virtual machine
    Bench(bench::BenchArgs),
    /// Run the policy on simulated machines, and check its invariants
    #[command(disable_help_flag = true)]
    Sim(sim::SimArgs),
    /// Make a Debian package
    Package(package::PackageArgs),
    /// Check the documentation, layers, licences and words of the tree
    #[command(subcommand)]
    Check(check::CheckCommand),
    /// Run every check; the last line counts them
    Test(test::TestArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup { purpose } => setup::run(purpose),
        Command::Kernel(command) => kernel::run(&command),
        Command::Vm(args) => vm::run(&args),
        Command::Demo => demo::run(),
        Command::Peers(args) => peers::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Package(args) => package::run(&args),
        Command::Check(command) => check::run(&command),
        Command::Test(args) => test::run(&args),
    };
    match result {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            ui::failure(&format!("{error:#}"));
            ExitCode::from(if error.is::<ui::UsageError>() { 2 } else { 1 })
        }
    }
}
