//! `cargo xtask demo`: from a bare machine to the live scheduler on a real kernel, in one command.

use crate::arch::Arch;
use crate::cross::Target;
use crate::kernel;
use crate::setup::{self, Purpose};
use crate::tree::{self, Tree};
use crate::ui::{self, Tone};
use crate::vm::{self, Fetch, VmArgs};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{self, IsTerminal};
use std::time::Duration;

/// The script that runs in the guest.
const SCRIPT: &str = include_str!("guest/demo.sh");
/// Prefix of the names of all ops of scx_takt.
const OPS_PREFIX: &str = "takt_";
/// Real time that the live part may take on a busy host.
const LIVE_TIMEOUT: Duration = Duration::from_secs(900);
/// Real time that the comparison may take.
const BENCH_TIMEOUT: Duration = Duration::from_secs(3600);

/// Runs `cargo xtask demo`.
pub fn run() -> Result<i32> {
    heading("1 of 4: tools");
    setup::ensure(Purpose::Vm)?;
    heading("2 of 4: build and kernel");
    Target::new(Arch::host())?.release_binaries(&Tree::find()?, true)?;
    kernel::find(&tree::cache()?, kernel::DEFAULT_SERIES, Arch::host())?;
    heading("3 of 4: the scheduler, live in a virtual machine");
    let report = live()?;
    heading("4 of 4: the comparison with EEVDF, in instruction time");
    compare()?;
    println!(
        "Result: {}; sched_ext was disabled afterwards.",
        report.trim()
    );
    Ok(0)
}

fn heading(text: &str) {
    println!(
        "{}",
        ui::paint(
            &format!("== {text}"),
            Tone::Strong,
            io::stdout().is_terminal()
        )
    );
}

/// Runs the scheduler under a load. Returns the report of the guest.
fn live() -> Result<String> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let host = folder.path().join("report");
    let mut vm = VmArgs::new(
        kernel::DEFAULT_SERIES,
        ["sh", "-c", SCRIPT].map(str::to_owned).to_vec(),
    );
    vm.no_build = true;
    vm.timeout = Some(LIVE_TIMEOUT);
    vm.fetch = vec![Fetch {
        guest: "/tmp/report".to_owned(),
        host: host.clone(),
    }];
    let status = vm::run(&vm)?;
    if status != 0 {
        bail!("the live run failed with status {status}: see above");
    }
    let report = fs::read_to_string(&host).context("the guest left no report")?;
    if !report.starts_with(OPS_PREFIX) {
        bail!("the active scheduler was not scx_takt: {}", report.trim());
    }
    Ok(report)
}

fn compare() -> Result<()> {
    let words = [
        "scx_takt",
        "bench",
        "--deterministic",
        "--rounds",
        "3",
        "--workloads",
        "wakeup,pipe,messaging",
    ];
    let mut vm = VmArgs::new(kernel::DEFAULT_SERIES, words.map(str::to_owned).to_vec());
    vm.no_build = true;
    vm.deterministic = true;
    vm.timeout = Some(BENCH_TIMEOUT);
    match vm::run(&vm)? {
        0 => Ok(()),
        status => bail!("the comparison failed with status {status}: see above"),
    }
}
