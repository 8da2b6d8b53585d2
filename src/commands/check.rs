//! Preflight: what this kernel offers, a self-test, and what to do if it falls short.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use libbpf_rs::ProgramInput;
use nix::errno::Errno;
use scx_ops::compat::{self, Fallback, Feature};
use scx_ops::kernel;
use scx_ops::sched_ext::{self, Active};
use serde::Serialize;

use crate::agent::{lifecycle, open};
use crate::base::output;
use crate::bpf_abi::{BpfSkel, intf};
use crate::cli::{CheckArgs, Cli};
use crate::config::tunables;
use crate::events::EventReader;
use crate::topology::Machine;

/// How one item came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// Works, with something less; or could not be tried.
    Note,
    Fail,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Item {
    name: &'static str,
    status: Status,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Serialize)]
struct Report {
    kernel: String,
    can_run: bool,
    items: Vec<Item>,
}

/// Looks, tries and reports; exit status 0 only if scx_takt can run here.
///
/// # Errors
/// If the report cannot be written.
pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    libbpf_rs::set_print(None);
    let mut items = vec![privileges(), sched_ext(), btf(), jit()];
    let basics = items.iter().all(|item| item.status != Status::Fail);
    if basics {
        items.extend([kfuncs(), cgroups(), features()]);
    }
    items.extend([page_size(), topology()]);
    if basics && items.iter().all(|item| item.status != Status::Fail) {
        items.extend(self_test());
    }
    let can_run = items.iter().all(|item| item.status != Status::Fail);
    let report = Report {
        kernel: kernel::release(),
        can_run,
        items,
    };
    if args.json {
        let _ = output::print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        let _ = output::print(&text(&report))?;
    }
    Ok(if can_run {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for item in &report.items {
        let status = match item.status {
            Status::Ok => "ok  ",
            Status::Note => "note",
            Status::Fail => "FAIL",
        };
        lines.push(format!("{status}  {:<11} {}", item.name, item.found));
        lines.extend(
            item.advice
                .iter()
                .map(|advice| format!("                  -> {advice}")),
        );
    }
    let verdict = if report.can_run { "can" } else { "cannot" };
    lines.push(format!(
        "scx_takt {verdict} run on kernel {}",
        report.kernel
    ));
    lines.join("\n")
}

fn item(name: &'static str, status: Status, found: impl Into<String>) -> Item {
    Item {
        name,
        status,
        found: found.into(),
        advice: None,
    }
}

fn failed(name: &'static str, found: impl Into<String>, advice: &str) -> Item {
    Item {
        name,
        status: Status::Fail,
        found: found.into(),
        advice: Some(advice.into()),
    }
}

fn privileges() -> Item {
    if kernel::privileged() {
        item("privileges", Status::Ok, "may load BPF programs")
    } else {
        failed(
            "privileges",
            "may not load BPF programs",
            "run it with sudo",
        )
    }
}

fn sched_ext() -> Item {
    match sched_ext::active() {
        Ok(Active::Kernel) => item("sched_ext", Status::Ok, "present; EEVDF schedules now"),
        Ok(Active::Unsupported) => failed(
            "sched_ext",
            "not in this kernel",
            "boot Linux 6.12 or later built with CONFIG_SCHED_CLASS_EXT=y (Debian: 6.16 or later)",
        ),
        Ok(other) => failed(
            "sched_ext",
            format!("{other} is active"),
            "stop that scheduler first",
        ),
        Err(error) => failed("sched_ext", format!("{error:#}"), "is /sys mounted?"),
    }
}

fn btf() -> Item {
    if kernel::has_btf() {
        item("BTF", Status::Ok, "the kernel describes its types")
    } else {
        let found = "the kernel does not describe its types";
        failed(
            "BTF",
            found,
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        )
    }
}

fn jit() -> Item {
    match kernel::jit_enabled() {
        Some(true) => item("JIT", Status::Ok, "BPF programs are compiled"),
        Some(false) => failed(
            "JIT",
            "BPF programs would be interpreted, which sched_ext refuses",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        None => item(
            "JIT",
            Status::Note,
            "the kernel does not show it (often: always on)",
        ),
    }
}

fn kfuncs() -> Item {
    let malformed = kernel::malformed_kfuncs();
    match malformed.first() {
        None => item("kfuncs", Status::Ok, "callable"),
        Some(first) => failed(
            "kfuncs",
            format!(
                "malformed BTF: {} of them, {first} among them, cannot be called by any program \
                 (the kernel was built with pahole before 1.26)",
                malformed.len()
            ),
            "boot another build, such as Debian's 6.18, 7.0 or 7.2.13",
        ),
    }
}

fn cgroups() -> Item {
    if compat::has_callback("cgroup_set_weight") {
        item("cgroup ops", Status::Ok, "weights and limits")
    } else {
        item(
            "cgroup ops",
            Status::Note,
            "none: built without CONFIG_EXT_GROUP_SCHED",
        )
    }
}

fn features() -> Item {
    let lost = |feature: &&Feature| matches!(feature.fallback, Fallback::Less(_));
    let missing: Vec<_> = compat::FEATURES
        .iter()
        .filter(lost)
        .filter(|feature| !feature.present())
        .collect();
    if missing.is_empty() {
        return item("features", Status::Ok, "all that scx_takt can make use of");
    }
    let lacks = missing.iter().map(|feature| {
        let (major, minor) = feature.since;
        let fallback = feature.fallback.text();
        format!("{} ({major}.{minor}): {fallback}", feature.name)
    });
    item(
        "features",
        Status::Note,
        format!("without {}", lacks.collect::<Vec<_>>().join("; ")),
    )
}

fn page_size() -> Item {
    item(
        "page size",
        Status::Ok,
        format!("{} bytes", kernel::page_size_bytes()),
    )
}

fn topology() -> Item {
    match Machine::read() {
        Ok(machine) => item("topology", Status::Ok, shape(&machine)),
        Err(error) => failed(
            "topology",
            format!("{error:#}"),
            "report this machine to us",
        ),
    }
}

/// The CPUs, caches and nodes of `machine` in words.
fn shape(machine: &Machine) -> String {
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let nodes: BTreeSet<u32> = machine.node_of_llc.iter().copied().collect();
    format!(
        "{}{}, {}, {}",
        count(machine.nr_cpus as usize, "CPU"),
        if machine.smt { " with SMT" } else { "" },
        count(machine.nr_llcs as usize, "last-level cache"),
        count(nodes.len().max(1), "NUMA node")
    )
}

/// Loads the whole scheduler without attaching it, makes a DSQ, and sends a record through the ring.
fn self_test() -> Vec<Item> {
    let mut storage = MaybeUninit::uninit();
    let skel = match load(&mut storage) {
        Ok(skel) => skel,
        Err(error) => {
            let advice = "scx_takt -v shows the verifier's log; please report it";
            return vec![failed("programs", format!("{error:#}"), advice)];
        }
    };
    let dsq = match dsq_round_trip(&skel) {
        Ok(true) => item("DSQ", Status::Ok, "made and destroyed one"),
        Ok(false) => item(
            "DSQ",
            Status::Note,
            "only an active scheduler may make one here",
        ),
        Err(error) => failed("DSQ", format!("{error:#}"), "please report it"),
    };
    let ring = match ring_round_trip(&skel) {
        Ok(records) => item(
            "ring",
            Status::Ok,
            format!("{records} records, more than fit, all accounted for"),
        ),
        Err(error) => failed("ring", format!("{error:#}"), "please report it"),
    };
    vec![item("programs", Status::Ok, "pass the verifier"), dsq, ring]
}

fn load(storage: &mut MaybeUninit<libbpf_rs::OpenObject>) -> Result<BpfSkel<'_>> {
    let args = <Cli as clap::Parser>::try_parse_from(["scx_takt"])?.run;
    let mut opened = open::open(storage, &args)?;
    opened.skel.progs.takt_selftest_dsq.set_autoload(true);
    opened.skel.progs.takt_selftest_ring.set_autoload(true);
    opened.skel.progs.takt_selftest_flood.set_autoload(true);
    lifecycle::configure(
        &mut opened,
        &Machine::read()?,
        &args,
        &tunables::default_tunables(),
    )?;
    lifecycle::load(opened)
}

/// True: done; false: this kernel does not allow it outside an active scheduler.
fn dsq_round_trip(skel: &BpfSkel<'_>) -> Result<bool> {
    let result = skel
        .progs
        .takt_selftest_dsq
        .test_run(ProgramInput::default())?;
    match result.return_value as i32 {
        0 => Ok(true),
        code if code == -(Errno::ENODEV as i32) => Ok(false),
        code => bail!(
            "making one failed: {}",
            std::io::Error::from_raw_os_error(-code)
        ),
    }
}

/// How long a notification may take to come.
const NOTIFICATION: Duration = Duration::from_secs(10);

/// Sends records of each kind: urgent ones must wake us, others must not. Then twice more than the ring
/// can hold, which must wake us as it fills up; each must be received or counted as lost. Returns how
/// many there were.
fn ring_round_trip(skel: &BpfSkel<'_>) -> Result<u64> {
    let mut event_reader = EventReader::new(&skel.maps.events)?;
    for (event_type, urgent) in [
        (intf::takt_event_type_TAKT_EV_LONG_WAIT, false),
        (intf::takt_event_type_TAKT_EV_FAULT, true),
        (intf::takt_event_type_TAKT_EV_EXIT, true),
    ] {
        send(skel, event_type)?;
        let patience = if urgent { NOTIFICATION } else { Duration::ZERO };
        let notified = event_reader.notified_within(patience)?;
        ensure!(
            notified == urgent,
            "an event of type {event_type} woke us: {notified}, not {urgent}"
        );
        let mut types = Vec::new();
        event_reader.drain(|event| types.push(u32::from(event.type_)))?;
        ensure!(
            types == [event_type],
            "sent one event of type {event_type}, received {types:?}"
        );
    }
    for _ in 0..2 {
        skel.progs
            .takt_selftest_flood
            .test_run(ProgramInput::default())?;
        ensure!(
            event_reader.notified_within(NOTIFICATION)?,
            "the ring filled up and the agent was not woken"
        );
        event_reader.drain(|_| {})?;
    }
    let (account, imbalance) = event_reader.close(&skel.maps.cpu_stats, |_| {})?;
    if let Some(imbalance) = imbalance {
        return Err(imbalance.into());
    }
    ensure!(account.lost > 0, "a flood did not fill the ring: {account}");
    ensure!(account.balanced, "records of a wrong size: {account}");
    ensure!(account.missed_notifications == 0, "{account}");
    Ok(account.attempts)
}

fn send(skel: &BpfSkel<'_>, event_type: u32) -> Result<()> {
    let mut context = event_type.to_ne_bytes();
    skel.progs.takt_selftest_ring.test_run(ProgramInput {
        context_in: Some(&mut context),
        ..ProgramInput::default()
    })?;
    Ok(())
}
