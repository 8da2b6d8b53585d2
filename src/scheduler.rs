//! The scheduler's life: open, configure, load, attach, run, report, detach.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use libbpf_rs::OpenObject;
use libbpf_rs::PrintLevel;
use libbpf_rs::skel::OpenSkel;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use scx_ops::lifecycle::{self, Attached, Next};
use scx_ops::{compat, kernel};
use scx_utils::{scx_ops_load, scx_ops_open, uei_exited, uei_read};

use crate::bpf_abi::{BpfSkel, BpfSkelBuilder, OpenBpfSkel, intf};
use crate::cli::RunArgs;
use crate::config::{Config, knobs};
use crate::control::Control;
use crate::events::{self, Intake, Printer};
use crate::power;
use crate::signals::{Signal, Signals};
use crate::snapshot::Snapshot;
use crate::stats::line;
use crate::topology::Machine;

/// Name of the ops table in `main.bpf.c`.
const OPS: &str = "takt_ops";

/// Schedules until it is told to stop or the kernel ends it.
///
/// # Errors
/// If this kernel cannot run it, or throws it out.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let mut config = Config::load(args)?;
    libbpf_rs::set_print(args.verbose.then_some((PrintLevel::Info, print_libbpf)));
    kernel::require()?;
    let mut signals = Signals::take_over()?;
    while run_once(args, &mut config, &mut signals)? == Next::Restart {
        eprintln!("scx_takt: the machine's CPUs have changed, loading again");
    }
    Ok(ExitCode::SUCCESS)
}

fn print_libbpf(_level: PrintLevel, message: String) {
    eprint!("{message}");
}

/// One life of the scheduler, from open to detached.
fn run_once(args: &RunArgs, config: &mut Config, signals: &mut Signals) -> Result<Next> {
    let hurry = lifecycle::Hurry::new();
    let machine = Machine::read()?;
    let mut storage = MaybeUninit::uninit();
    let mut open = open(&mut storage, args)?;
    configure(
        &mut open,
        &machine,
        args,
        &config.knobs(power::on_battery()),
    )?;
    let mut skel = load(open)?;
    let attached = Attached::attach(&mut skel.maps.takt_ops)?;
    drop(hurry);
    let mut intake = Intake::new(&skel.maps.events)?;
    let mut printer = Printer::new(args, &machine);
    let mut control = Control::new(&mut skel, args, config, machine.nr_cpus)?;
    printer.knobs(
        &knobs::default_knobs(),
        control.knobs(),
        "set on the command line, in the configuration or by the profile",
    );
    let watched = watch(
        &mut skel,
        &mut intake,
        &mut printer,
        args,
        &mut control,
        signals,
    );
    drop(control);
    attached.detach()?;
    let (account, imbalance) = intake.close(&skel.maps.cpu_stats, |event| printer.note(event))?;
    if let Some(imbalance) = imbalance {
        printer.imbalance(imbalance);
    }
    printer.account(account);
    let exit = uei_read!(&skel, uei);
    let next = lifecycle::next(&exit)?;
    watched?;
    Ok(if signals.stopped() { Next::Stop } else { next })
}

/// Opens the BPF object, without the programs that are not for scheduling.
pub fn open<'a>(
    storage: &'a mut MaybeUninit<OpenObject>,
    args: &RunArgs,
) -> Result<OpenBpfSkel<'a>> {
    let builder = BpfSkelBuilder::default();
    let options = args.libbpf.clone().into_bpf_open_opts();
    let mut skel = scx_ops_open!(builder, storage, takt_ops, options)?;
    skel.progs.scx_lib_init_probe.set_autoload(false);
    skel.progs.takt_selftest_dsq.set_autoload(false);
    skel.progs.takt_selftest_ring.set_autoload(false);
    skel.progs.takt_selftest_flood.set_autoload(false);
    skel.struct_ops.takt_ops_mut().exit_dump_len = args.exit_dump_len;
    Ok(skel)
}

/// Tells the BPF side about the machine and its knobs, and takes out what this kernel lacks.
pub fn configure(
    skel: &mut OpenBpfSkel<'_>,
    machine: &Machine,
    args: &RunArgs,
    knobs: &intf::takt_knobs,
) -> Result<()> {
    let (callbacks, kfuncs): (Vec<_>, Vec<_>) = args
        .pretend_lacks
        .iter()
        .cloned()
        .partition(|name| compat::find(name).is_none());
    let rodata = skel
        .maps
        .rodata_data
        .as_mut()
        .context("the BPF object has no .rodata")?;
    rodata.nr_llcs = machine.nr_llcs;
    rodata.nr_cpus_at_start = machine.nr_cpus;
    rodata.nr_cpu_ids = machine.llc_of_cpu.len() as u32;
    for (cpu, llc) in machine.llc_of_cpu.iter().enumerate() {
        rodata.cpu_to_llc[cpu] = llc.unwrap_or(0);
        rodata.cpu_known[cpu] = llc.is_some();
    }
    for (row, order) in rodata
        .steal_order
        .chunks_exact_mut(intf::takt_consts_TAKT_MAX_LLCS as usize)
        .zip(&machine.steal_order)
    {
        row[..order.len()].copy_from_slice(order);
    }
    rodata.event_limit = args.event_limit.unwrap_or(rodata.event_limit);
    rodata.pretend_no_peek = kfuncs.iter().any(|name| name == "scx_bpf_dsq_peek");
    let slots = skel
        .maps
        .data_knobs_data
        .as_mut()
        .context("the BPF object has no knobs")?;
    // SAFETY: bindgen's and the skeleton's `takt_knobs` are made from the same C type.
    slots.knobs.slot = [unsafe { std::mem::transmute_copy(knobs) }; 2];
    let bss = skel
        .maps
        .bss_data
        .as_mut()
        .context("the BPF object has no .bss")?;
    bss.watched = args.stats.is_some() || args.events.is_some();
    bss.events_wanted = events::wanted(args);
    let masked = compat::mask_callbacks(skel.open_object_mut(), OPS, &callbacks)?;
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
pub fn load(mut skel: OpenBpfSkel<'_>) -> Result<BpfSkel<'_>> {
    scx_ops_load!(skel, takt_ops, uei).map_err(|error| match kernel::why_refused() {
        Some(reason) => anyhow!(reason),
        None => error.context("the kernel's verifier refuses the scheduler (-v shows its log)"),
    })
}

/// How long an event may stay in the ring while somebody reads events.
const EVENT_DELAY: Duration = Duration::from_millis(50);
/// How often to look when nobody reads. An exit event can only be lost when the ring is full; it is found
/// so all the same.
const IDLE_DELAY: Duration = Duration::from_secs(1);

/// Reports and turns knobs until the scheduler is told to stop or has left the kernel.
fn watch(
    skel: &mut BpfSkel<'_>,
    intake: &mut Intake,
    printer: &mut Printer,
    args: &RunArgs,
    control: &mut Control<'_>,
    signals: &mut Signals,
) -> Result<()> {
    let period = args.stats.map(Duration::from_secs_f64);
    let mut reporter = period
        .map(|period| Reporter::new(skel, period))
        .transpose()?;
    let delay = args.events.map_or(IDLE_DELAY, |_| EVENT_DELAY);
    loop {
        let due = reporter.as_ref().map_or(delay, |r| r.due_in().min(delay));
        wait(signals, intake, control, due.min(control.due_in()))?;
        while let Some(signal) = signals.next() {
            match signal {
                Signal::Stop => return Ok(()),
                Signal::Reload => control.reload(skel),
            }
        }
        if uei_exited!(skel, uei) {
            return Ok(());
        }
        control.look_at_file(skel);
        control.tick(skel);
        for change in control.take_changes() {
            printer.knobs(&change.from, &change.knobs, &change.why);
        }
        let imbalance = intake.check(&skel.maps.cpu_stats, |event| printer.note(event))?;
        if let Some(imbalance) = imbalance {
            printer.imbalance(imbalance);
        }
        if printer.ended()?.is_break() {
            return Ok(());
        }
        if let Some(reporter) = &mut reporter
            && reporter.due_in().is_zero()
            && reporter.report(skel, control.last_change())?.is_break()
        {
            return Ok(());
        }
    }
}

/// Waits for a signal, an urgent event, a change of the configuration file, or `timeout`.
fn wait(
    signals: &Signals,
    intake: &mut Intake,
    control: &Control<'_>,
    timeout: Duration,
) -> Result<()> {
    let ready = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = vec![ready(intake.as_fd()), ready(signals.as_fd())];
    fds.extend(control.config_fd().map(ready));
    let timeout = timeout.as_micros().div_ceil(1000);
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error).context("cannot wait for events"),
    }
    let notified = fds[0].any().unwrap_or(false);
    drop(fds);
    if notified {
        intake.acknowledge()?;
    }
    Ok(())
}

/// Prints a line per period.
struct Reporter {
    period: Duration,
    last_at: Instant,
    last: Snapshot,
    lost: u64,
    /// The latest turn of the knobs that was printed.
    told: String,
}

impl Reporter {
    fn new(skel: &BpfSkel<'_>, period: Duration) -> Result<Self> {
        let last = Snapshot::take(&skel.maps.cpu_stats)?;
        let _ = line::print(line::LEGEND)?;
        Ok(Self {
            period,
            last_at: Instant::now(),
            last,
            lost: 0,
            told: String::new(),
        })
    }

    fn due_in(&self) -> Duration {
        self.period.saturating_sub(self.last_at.elapsed())
    }

    fn report(&mut self, skel: &mut BpfSkel<'_>, change: Option<&str>) -> Result<ControlFlow<()>> {
        if let Some(change) = change.filter(|change| self.told != *change) {
            let _ = line::print(&format!("knobs: {change}"))?;
            self.told = change.to_owned();
        }
        let now = Snapshot::take(&skel.maps.cpu_stats)?;
        let delta = now.since(&self.last);
        self.lost += delta.ev_failed.iter().sum::<u64>();
        let line = line::format(&delta, self.lost, self.last_at.elapsed());
        self.last = now;
        self.last_at = Instant::now();
        if let Some(bss) = skel.maps.bss_data.as_mut() {
            bss.watch_epoch += 1;
        }
        line::print(&line)
    }
}
