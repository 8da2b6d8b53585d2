//! The scheduler's life: open, configure, load, attach, run, report, detach.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use libbpf_rs::OpenObject;
use libbpf_rs::PrintLevel;
use libbpf_rs::skel::OpenSkel;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use scx_ops::lifecycle::{self, Attached, Next};
use scx_ops::{compat, kernel};
use scx_utils::{scx_ops_load, scx_ops_open, uei_exited, uei_read};

use crate::bpf_abi::{BpfSkel, BpfSkelBuilder, OpenBpfSkel, intf};
use crate::cli::RunArgs;
use crate::collect;
use crate::config;
use crate::events::{self, Intake, Printer};
use crate::snapshot::{Counters, Ejection};
use crate::state;
use crate::stats::desk::Desk;
use crate::stats::line;
use crate::topology::Machine;

/// Name of the ops table in `main.bpf.c`.
const OPS: &str = "takt_ops";

/// Schedules until it is told to stop or the kernel ends it.
///
/// # Errors
/// If this kernel cannot run it, or throws it out.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let mut knobs = config::default_knobs();
    if let Err(error) = config::apply(&mut knobs, &args.knobs) {
        eprintln!("scx_takt: {error:#}");
        return Ok(ExitCode::from(2));
    }
    libbpf_rs::set_print(args.verbose.then_some((PrintLevel::Info, print_libbpf)));
    kernel::require()?;
    let stop = stop_signal()?;
    let mut desk = Desk::new(&knobs, args.metrics)?;
    while run_once(args, &knobs, &stop, &mut desk)? == Next::Restart {
        eprintln!("scx_takt: the machine's CPUs have changed, loading again");
    }
    Ok(ExitCode::SUCCESS)
}

fn print_libbpf(_level: PrintLevel, message: String) {
    eprint!("{message}");
}

/// An event that SIGINT and SIGTERM raise, to be waited for beside others.
pub fn stop_signal() -> Result<Arc<EventFd>> {
    let event = Arc::new(EventFd::from_flags(
        EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK,
    )?);
    let raise = Arc::clone(&event);
    ctrlc::set_handler(move || {
        // Fails only when it is raised already.
        let _ = raise.write(1);
    })
    .context("cannot take over SIGINT and SIGTERM")?;
    Ok(event)
}

/// One life of the scheduler, from open to detached.
fn run_once(
    args: &RunArgs,
    knobs: &intf::takt_knobs,
    stop: &EventFd,
    desk: &mut Desk,
) -> Result<Next> {
    let hurry = lifecycle::Hurry::new();
    let machine = Machine::read()?;
    let mut storage = MaybeUninit::uninit();
    let mut open = open(&mut storage, args)?;
    configure(&mut open, &machine, args, knobs)?;
    let mut skel = load(open)?;
    let attached = Attached::attach(&mut skel.maps.takt_ops)?;
    drop(hurry);
    let mut intake = Intake::new(&skel.maps.events)?;
    let mut printer = Printer::new(args, &machine);
    printer.knobs(knobs);
    desk.open(&skel);
    let watched = watch(&mut skel, &mut intake, &mut printer, args, stop, desk);
    attached.detach()?;
    let (account, imbalance) = intake.close(&skel.maps.cpu_stats, |event| printer.note(event))?;
    if let Some(imbalance) = imbalance {
        printer.imbalance(imbalance);
    }
    printer.account(account);
    let exit = uei_read!(&skel, uei);
    let next = lifecycle::next(&exit).inspect_err(remember_ejection)?;
    watched?;
    Ok(if stopped(stop) { Next::Stop } else { next })
}

/// For `top` and the like, which outlive us.
fn remember_ejection(error: &anyhow::Error) {
    let reason = error.root_cause().to_string();
    let ejection = Ejection {
        unix_s: collect::unix_s(),
        reason: reason.strip_prefix("EXIT: ").unwrap_or(&reason).to_owned(),
    };
    if let Err(error) = state::remember_ejection(&ejection) {
        eprintln!("scx_takt: {error:#}");
    }
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

fn stopped(stop: &EventFd) -> bool {
    matches!(
        poll(
            &mut [PollFd::new(stop.as_fd(), PollFlags::POLLIN)],
            PollTimeout::ZERO
        ),
        Ok(1..)
    )
}

/// How long an event may stay in the ring while somebody reads events.
const EVENT_DELAY: Duration = Duration::from_millis(50);
/// How often to look when nobody reads. An exit event can only be lost when the ring is full; it is found
/// so all the same.
const IDLE_DELAY: Duration = Duration::from_secs(1);

/// Reports until the scheduler is told to stop or has left the kernel.
fn watch(
    skel: &mut BpfSkel<'_>,
    intake: &mut Intake,
    printer: &mut Printer,
    args: &RunArgs,
    stop: &EventFd,
    desk: &mut Desk,
) -> Result<()> {
    let period = args.stats.map(Duration::from_secs_f64);
    let mut reporter = period
        .map(|period| Reporter::new(skel, period))
        .transpose()?;
    let delay = args.events.map_or(IDLE_DELAY, |_| EVENT_DELAY);
    loop {
        let due = reporter.as_ref().map_or(delay, |r| r.due_in().min(delay));
        if wait(stop, intake, desk, due)? || uei_exited!(skel, uei) {
            return Ok(());
        }
        let imbalance = intake.check(&skel.maps.cpu_stats, |event| {
            printer.note(event);
            desk.note(event, printer);
        })?;
        if let Some(imbalance) = imbalance {
            printer.imbalance(imbalance);
        }
        if printer.ended()?.is_break() {
            return Ok(());
        }
        desk.attend(skel, args);
        if let Some(reporter) = &mut reporter
            && reporter.due_in().is_zero()
            && reporter.report(skel)?.is_break()
        {
            return Ok(());
        }
    }
}

/// Waits for the stop signal (true), an urgent event, a reader who asks, or `timeout`.
fn wait(stop: &EventFd, intake: &mut Intake, desk: &Desk, timeout: Duration) -> Result<bool> {
    let mut fds = [
        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        PollFd::new(intake.as_fd(), PollFlags::POLLIN),
        PollFd::new(desk.asked(), PollFlags::POLLIN),
    ];
    let timeout = timeout.as_micros().div_ceil(1000);
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error).context("cannot wait for events"),
    }
    let [stop, notified, _] = fds.map(|fd| fd.any().unwrap_or(false));
    if notified {
        intake.acknowledge()?;
    }
    Ok(stop)
}

/// Prints a line per period.
struct Reporter {
    period: Duration,
    last_at: Instant,
    last: Counters,
    lost: u64,
}

impl Reporter {
    fn new(skel: &BpfSkel<'_>, period: Duration) -> Result<Self> {
        let last = Counters::take(&skel.maps.cpu_stats)?;
        let _ = line::print(line::LEGEND)?;
        Ok(Self {
            period,
            last_at: Instant::now(),
            last,
            lost: 0,
        })
    }

    fn due_in(&self) -> Duration {
        self.period.saturating_sub(self.last_at.elapsed())
    }

    fn report(&mut self, skel: &mut BpfSkel<'_>) -> Result<ControlFlow<()>> {
        let now = Counters::take(&skel.maps.cpu_stats)?;
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
