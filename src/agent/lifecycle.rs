//! The scheduler's life: open, configure, load, attach, run, report, detach.

use std::mem::MaybeUninit;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use libbpf_rs::PrintLevel;
use libbpf_rs::ProgramInput;
use libbpf_rs::skel::OpenSkel;
use scx_ops::compat::{self, Kind};
use scx_ops::kernel;
use scx_ops::lifecycle::{self, Attached, Next};
use scx_ops::nice::PriorityBoost;
use scx_utils::compat::function_tracer_available;
use scx_utils::{uei_read, uei_set_size};

use super::cgroups::CgroupWarnings;
use super::control::Control;
use super::main_loop::Session;
use super::open::{self, Opened};
use super::power;
use super::trial::Trial;
use crate::base::clock;
use crate::bpf_abi::{BpfSkel, OpenBpfSkel, intf};
use crate::cli::RunArgs;
use crate::config::{Config, tunables};
use crate::events::{EventReader, Printer};
use crate::signals::Signals;
use crate::snapshot::Ejection;
use crate::state;
use crate::stats::publisher::Publisher;
use crate::topology::Machine;

/// Name of the ops table in `main.bpf.c`.
const OPS: &str = "takt_ops";

/// Schedules until it is asked to stop or the kernel ends it.
///
/// # Errors
/// If this kernel cannot run it, or throws it out.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let mut config = Config::load(&args.config_flags())?;
    libbpf_rs::set_print(args.verbose.then_some((PrintLevel::Info, print_libbpf)));
    kernel::require()?;
    let mut session = Session {
        signals: Signals::take_over()?,
        publisher: Publisher::new(args.metrics)?,
        cgroup_warnings: CgroupWarnings::default(),
        trial: args.try_for.map(Duration::from_secs_f64).map(Trial::new),
    };
    while run_once(args, &mut config, &mut session)? == Next::Restart {}
    Ok(ExitCode::SUCCESS)
}

fn print_libbpf(_level: PrintLevel, message: String) {
    eprint!("{message}");
}

/// One life of the scheduler, from open to detached.
fn run_once(args: &RunArgs, config: &mut Config, session: &mut Session) -> Result<Next> {
    let boost = PriorityBoost::new();
    let machine = Machine::read()?;
    let mut storage = MaybeUninit::uninit();
    let mut opened = open::open(&mut storage, args)?;
    if config.rules.is_empty() {
        leave_out_rules(&mut opened.skel);
    }
    configure(
        &mut opened,
        &machine,
        args,
        &config.tunables(power::on_battery()),
    )?;
    let mut skel = load(opened)?;
    skel.progs
        .takt_know_agent
        .test_run(ProgramInput::default())
        .context("the kernel does not run the program that passes the agent's pid")?;
    session.publisher.count(&mut skel, args, false);
    let attached = Attached::attach(&mut skel.maps.takt_ops)?;
    let switches = &skel.progs.takt_sched_switch;
    let switches = switches.autoload().then(|| switches.attach());
    let switches = switches
        .transpose()
        .context("the kernel does not run the program that sees real-time tasks")?;
    drop(boost);
    let mut event_reader = EventReader::new(&skel.maps.events)?;
    let mut printer = Printer::new(args, &machine);
    let mut control = Control::new(&mut skel, args, config, machine.nr_cpus)?;
    printer.tunables(
        &tunables::default_tunables(),
        control.tunables(),
        "set on the command line, in the configuration or by the profile",
    );
    session.publisher.open(&skel, control.tunables());
    let watched = session.watch(
        &mut skel,
        &mut event_reader,
        &mut printer,
        &mut control,
        args,
    );
    let load_again = control.must_load_again();
    drop(control);
    drop(switches);
    attached.detach()?;
    let (account, imbalance) =
        event_reader.close(&skel.maps.cpu_stats, |event| printer.note(event))?;
    if let Some(imbalance) = imbalance {
        printer.imbalance(imbalance);
    }
    printer.account(account);
    let exit = uei_read!(&skel, uei);
    let next = lifecycle::next(&exit).inspect_err(remember_ejection)?;
    watched?;
    Ok(match next {
        _ if session.signals.stopped() || session.trial_is_over() => Next::Stop,
        _ if load_again => Next::Restart,
        Next::Restart => {
            eprintln!("scx_takt: the machine's CPUs have changed, loading again");
            next
        }
        Next::Stop => next,
    })
}

/// For `top` and the like, which outlive us.
fn remember_ejection(error: &scx_ops::Error) {
    let scx_ops::Error::Ejected { reason } = error else {
        return;
    };
    let ejection = Ejection {
        unix_s: clock::unix_s(),
        reason: reason.strip_prefix("EXIT: ").unwrap_or(reason).to_owned(),
    };
    if let Err(error) = state::remember_ejection(&ejection) {
        eprintln!("scx_takt: {error:#}");
    }
}

/// Most machines have no rules, and the verifier takes 0.11 s for the programs that apply them (7.2.13,
/// deterministic).
fn leave_out_rules(skel: &mut OpenBpfSkel<'_>) {
    skel.progs.takt_rules_exec.set_autoload(false);
    skel.progs.takt_rules_rename.set_autoload(false);
    skel.progs.takt_rules_moved.set_autoload(false);
    skel.progs.takt_rules_all.set_autoload(false);
    if let Some(rodata) = skel.maps.rodata_data.as_mut() {
        rodata.can_rule = false;
    }
}

/// Gives the BPF side the machine and its tunables, and takes out what this kernel lacks.
pub fn configure(
    opened: &mut Opened<'_>,
    machine: &Machine,
    args: &RunArgs,
    tunables: &intf::takt_tunables,
) -> Result<()> {
    let (mut callbacks, kfuncs): (Vec<_>, Vec<_>) = args
        .pretend_lacks
        .iter()
        .cloned()
        .partition(|name| compat::find(name).is_none_or(|known| known.kind == Kind::Callback));
    let Opened { skel, types } = opened;
    let rodata = skel
        .maps
        .rodata_data
        .as_mut()
        .context("the BPF object has no .rodata")?;
    rodata.nr_llcs = machine.nr_llcs;
    rodata.nr_cpus_at_start = machine.nr_cpus;
    rodata.nr_cpu_ids = machine.llc_of_cpu.len() as u32;
    rodata.nr_possible_cpus = machine.nr_possible_cpus;
    for (cpu, llc) in machine.llc_of_cpu.iter().enumerate() {
        rodata.cpu_to_llc[cpu] = llc.unwrap_or(0);
        rodata.cpu_known[cpu] = llc.is_some();
        if let Some(llc) = llc.map(usize::from) {
            rodata.known_mask[cpu / 64] |= 1 << (cpu % 64);
            if rodata.llc_nr_cpus[llc] == 0 {
                rodata.llc_first_cpu[llc] = cpu as u16;
            }
            rodata.llc_nr_cpus[llc] += 1;
        }
    }
    for (row, order) in rodata
        .steal_order
        .chunks_exact_mut(intf::takt_consts_TAKT_MAX_LLCS as usize)
        .zip(&machine.steal_order)
    {
        row[..order.len()].copy_from_slice(order);
    }
    let hybrid = !machine.big_cpus.is_empty();
    rodata.big_cpus.nr = machine.big_cpus.len() as u32;
    rodata.big_cpus.cpu[..machine.big_cpus.len()].copy_from_slice(&machine.big_cpus);
    for cpu in 0..machine.llc_of_cpu.len() {
        let small = hybrid && !machine.big_cpus.contains(&(cpu as u16));
        rodata.is_small[cpu] = small;
    }
    rodata.without = args.without.iter().fold(0, |off, &rule| off | rule as u32);
    rodata.event_limit = args.event_limit.unwrap_or(rodata.event_limit);
    rodata.pretend_no_peek = kfuncs.iter().any(|name| name == compat::PEEK);
    // Without it the kernel (since 6.14) leaves a task that may not migrate on its CPU with a slice of 20 ms, and
    // takes each that a real-time task has preempted for one: a task that runs there as real-time tasks come and
    // go would keep the CPU for ever. The same holds for tasks that exit.
    // With the third, the last task of a CPU is asked for too: it may have to stop (cpu.max), or to go to a big CPU.
    for flag in [
        "SCX_OPS_ENQ_MIGRATION_DISABLED",
        "SCX_OPS_ENQ_EXITING",
        "SCX_OPS_ENQ_LAST",
    ] {
        skel.struct_ops.takt_ops_mut().flags |= types.scx_enumerator(flag).unwrap_or(0);
    }
    // A CPU does part of the work of a wakeup by itself instead of leaving it to the waker. Before 7.0 (6.18.22) the
    // kernel keeps a placement by select_cpu for a task that leaves us before it is enqueued, and warns at the next
    // one (scx_dsq_insert_commit()): rare as long as the waker does both at once.
    if machine.nr_cpus > 1 && kernel::is_at_least(7, 0) {
        let flag = types.scx_enumerator("SCX_OPS_ALLOW_QUEUED_WAKEUP");
        skel.struct_ops.takt_ops_mut().flags |= flag.unwrap_or(0);
    }
    // One of the two reports real-time tasks that take a CPU: see main.bpf.c.
    let traces_switches = types.has_function(compat::REENQUEUE_FROM_ANYWHERE)
        && !kfuncs
            .iter()
            .any(|name| name == compat::REENQUEUE_FROM_ANYWHERE);
    if traces_switches {
        callbacks.push("cpu_release".to_owned());
    }
    let switches = &mut skel.progs.takt_sched_switch;
    switches.set_autoload(traces_switches && machine.nr_cpus > 1);
    let slots = skel
        .maps
        .data_tunables_data
        .as_mut()
        .context("the BPF object has no tunables")?;
    // SAFETY: bindgen's and the skeleton's `takt_tunables` are made from the same C type.
    slots.tunables.slot = [unsafe { std::mem::transmute_copy(tunables) }; 2];
    let masked = compat::mask_callbacks(skel.open_object_mut(), types, OPS, &callbacks)?;
    if args.verbose {
        eprintln!(
            "scx_takt: kernel {}, {} CPUs, {} LLCs; callbacks it lacks: {}",
            kernel::release(),
            machine.nr_cpus,
            machine.nr_llcs,
            if masked.is_empty() {
                "none".into()
            } else {
                masked.join(", ")
            }
        );
    }
    Ok(())
}

/// Hands the programs to the kernel's verifier.
pub fn load(opened: Opened<'_>) -> Result<BpfSkel<'_>> {
    let Opened { mut skel, types } = opened;
    if !function_tracer_available() {
        bail!(
            "kernel {} was built without CONFIG_FUNCTION_TRACER, which BPF schedulers hang on to: boot another build",
            kernel::release()
        );
    }
    uei_set_size!(skel, takt_ops, uei);
    let loaded = skel.load();
    drop(types);
    loaded.map_err(|error| match kernel::why_refused() {
        Some(reason) => anyhow!(reason),
        None => {
            anyhow!(error).context("the kernel's verifier refuses the scheduler (-v shows its log)")
        }
    })
}
