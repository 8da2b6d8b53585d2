//! The emulator: which one, with which arguments, and its life as a child of this process.

use super::programs;
use crate::arch::Arch;
use crate::side_by_side::Caches;
use crate::topology::Topology;
use crate::{host, side_by_side};
use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// From this major version on, stock QEMU aborts when a guest reads the topology of dies.
const DIES_FAIL_MAJOR: u32 = 9;
/// The first major version whose instruction counting is fine enough for several CPUs.
const FINE_COUNTING_MAJOR: u32 = 10;

/// Firmware folders of Debian's packages. The side-by-side emulator has no firmware of its own.
const FIRMWARE: [&str; 2] = ["/usr/share/qemu", "/usr/share/seabios"];

/// A QEMU that can be started.
#[derive(Debug)]
pub struct Emulator {
    program: PathBuf,
    /// Its firmware folders, if they are not the default ones.
    firmware: Vec<PathBuf>,
    /// How far the clocks of CPUs may differ, in ns of guest time; none if all CPUs have one clock.
    quantum_ns: Option<u32>,
    /// The argument of `-plugin`, and an environment variable, if caches are modelled.
    cache_model: Option<(String, (&'static str, String))>,
    /// Whether CPUID may show the dies. It always shows their caches.
    shows_dies: bool,
}

impl Emulator {
    /// This machine's QEMU, or a newer one from the cache if the guest needs it.
    pub fn find(cache: &Path, arch: Arch, fine_counting: bool) -> Result<Self> {
        let name = format!("qemu-system-{}", arch.name());
        let program = host::program(&name)
            .with_context(|| format!("{name} is not installed: run `cargo xtask setup`"))?;
        let major = major(&program)?;
        if !fine_counting || major >= FINE_COUNTING_MAJOR {
            return Ok(Self {
                program,
                firmware: Vec::new(),
                quantum_ns: None,
                cache_model: None,
                shows_dies: major < DIES_FAIL_MAJOR,
            });
        }
        let folder = programs::newer_qemu(cache, arch)?;
        let share = folder.join("usr/share");
        Ok(Self {
            program: folder.join("usr/bin").join(name),
            firmware: ["qemu", "seabios"].map(|name| share.join(name)).to_vec(),
            quantum_ns: None,
            cache_model: None,
            shows_dies: false,
        })
    }

    /// The side-by-side emulator at `program`.
    pub fn side_by_side(program: PathBuf, quantum_ns: u32) -> Self {
        Self {
            program,
            firmware: FIRMWARE.map(PathBuf::from).to_vec(),
            quantum_ns: Some(quantum_ns),
            cache_model: None,
            shows_dies: true,
        }
    }

    /// The side-by-side emulator, with memory accesses that cost what they cost on that processor.
    pub fn with_caches(
        mut self,
        caches: Caches,
        topology: Topology,
        memory_mib: u32,
    ) -> Result<Self> {
        let model = side_by_side::cache_model(&self.program, caches, topology, memory_mib)?;
        self.cache_model = Some(model);
        Ok(self)
    }

    /// Whether its CPUs run at the same guest time.
    pub fn is_side_by_side(&self) -> bool {
        self.quantum_ns.is_some()
    }

    /// Whether CPUID may show the dies.
    pub fn shows_dies(&self) -> bool {
        self.shows_dies
    }
}

fn major(program: &Path) -> Result<u32> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match parse_major(&text) {
        Some(major) => Ok(major),
        None => bail!(
            "unexpected output of `{} --version`: {}",
            program.display(),
            text.trim()
        ),
    }
}

fn parse_major(text: &str) -> Option<u32> {
    text.split_once("version ")?
        .1
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// The machine to emulate.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The architecture.
    pub arch: Arch,
    /// The CPUs.
    pub topology: Topology,
    /// The memory.
    pub memory_mib: u32,
    /// Whether instructions are counted instead of time.
    pub deterministic: bool,
    /// Whether each CPU has a clock of its own.
    pub side_by_side: bool,
    /// Whether CPUID shows the dies.
    pub shows_dies: bool,
    /// The kernel image.
    pub kernel: &'a Path,
    /// The root file system.
    pub initramfs: &'a Path,
    /// Further parameters of the kernel.
    pub extra_cmdline: Option<&'a str>,
    /// A folder of this run's own for logs and fetched files.
    pub folder: &'a Path,
    /// Whether there is a console to type into.
    pub console: bool,
    /// How many files come back.
    pub fetched_files: usize,
}

impl Machine<'_> {
    /// The guest's kernel log.
    pub fn kernel_log(&self) -> PathBuf {
        self.folder.join("kernel.log")
    }

    /// The output of the emulator.
    pub fn emulator_log(&self) -> PathBuf {
        self.folder.join("qemu.log")
    }

    /// The bytes of the file of that number, counted from 1.
    pub fn fetched_file(&self, number: usize) -> PathBuf {
        self.folder.join(format!("fetched-{number}"))
    }

    fn cmdline(&self) -> String {
        // cryptomgr.notests: self-tests of ciphers would run for seconds during a measurement.
        // nokaslr and mitigations=off: the same addresses and costs in each run. panic=-1 with
        // -no-reboot: a panic ends the emulator. oops=panic: no guest continues after an oops.
        let common = "rdinit=/init mitigations=off nokaslr cryptomgr.notests panic=-1 oops=panic \
                      loglevel=5";
        let own = match self.arch {
            // no_timer_check: the boot's timer test fails on a busy host.
            Arch::X86_64 => "console=ttyS0 tsc=reliable no_timer_check",
            Arch::Aarch64 => "console=ttyAMA0",
        };
        [own, common, self.extra_cmdline.unwrap_or_default()]
            .join(" ")
            .trim_end()
            .to_owned()
    }

    fn arguments(&self, ports: &[(&str, i32)]) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| word.to_string()));
        add(&[
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ]);
        match self.arch {
            // Only an Intel processor has dies that the guest's kernel sees, with an L3 each.
            Arch::X86_64 if self.topology.dies > 1 => {
                // CPUID leaf 0x1f describes dies, leaf 4 their caches.
                let level = if self.shows_dies { "" } else { ",level=0x1e" };
                let processor = format!("max,vendor=GenuineIntel{level}");
                add(&["-M", "q35", "-cpu", &processor]);
            }
            Arch::X86_64 => add(&["-M", "q35", "-cpu", "max"]),
            // The second version of the interrupt controller serves 8 CPUs.
            Arch::Aarch64 if self.topology.cpus() > 8 => {
                add(&["-M", "virt,gic-version=3", "-cpu", "cortex-a76"]);
            }
            Arch::Aarch64 => add(&["-M", "virt", "-cpu", "cortex-a76"]),
        }
        // One thread for all CPUs: with several threads, code patching in the guest's kernel fails.
        // Flushing the translation buffer ends a vCPU's time slice, so its size must not depend on the host.
        let accel = match self.side_by_side {
            true => "tcg,thread=single,tb-size=512",
            false => "tcg,thread=single",
        };
        add(&["-accel", accel, "-m", &format!("{}M", self.memory_mib)]);
        for word in self.topology.qemu_arguments(self.memory_mib) {
            add(&[&word]);
        }
        if self.deterministic {
            add(&["-icount", "shift=0,sleep=off", "-seed", "1"]);
            add(&["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
            if self.topology.cpus() > 1 && !self.side_by_side {
                // A timer of 10 us of guest time limits the time slices of vCPUs. With 50 us, a real-time thread
                // beside CPU-bound tasks starts up to 50 us late (docs/design/benchmark.md).
                add(&["-netdev", "hubport,id=n0,hubid=0"]);
                add(&[
                    "-object",
                    "filter-buffer,id=f0,netdev=n0,queue=rx,interval=10",
                ]);
            }
        }
        let file = |path: &Path| path.to_string_lossy().replace(',', ",,");
        add(&[
            "-kernel",
            &self.kernel.to_string_lossy(),
            "-initrd",
            &self.initramfs.to_string_lossy(),
        ]);
        add(&["-append", &self.cmdline()]);
        add(&[
            "-chardev",
            &format!("file,id=log,path={}", file(&self.kernel_log())),
        ]);
        // When instructions are counted, a device must handle a write of the guest at that instruction.
        // Another thread of the emulator would raise the interrupt at a time that depends on the host, and
        // no two boots would be equal.
        let ioeventfd = if self.deterministic {
            ",ioeventfd=off"
        } else {
            ""
        };
        let serial = format!("virtio-serial-pci,max_ports=31{ioeventfd}");
        add(&["-serial", "chardev:log", "-device", &serial]);
        for (index, (name, descriptor)) in ports.iter().enumerate() {
            add(&["-chardev", &format!("socket,id={name},fd={descriptor}")]);
            match *name {
                "console" => add(&["-device", "virtconsole,chardev=console,nr=0"]),
                name => {
                    let number = index + 1;
                    add(&[
                        "-device",
                        &format!("virtserialport,chardev={name},name=takt.{name},nr={number}"),
                    ]);
                }
            }
        }
        for number in 1..=self.fetched_files {
            let path = file(&self.fetched_file(number));
            add(&["-chardev", &format!("file,id=fetch{number},path={path}")]);
            let device = format!(
                "virtserialport,chardev=fetch{number},name=takt.fetch{number},nr={}",
                3 + number
            );
            add(&["-device", &device]);
        }
        arguments
    }
}

/// A running guest. It is killed when this is dropped, and by the kernel when this process dies.
pub struct Guest {
    child: Child,
    /// The command's standard output.
    pub stdout: Option<UnixStream>,
    /// The command's standard error.
    pub stderr: Option<UnixStream>,
    /// Messages of the guest's first process.
    pub control: Option<UnixStream>,
    /// The guest's terminal.
    pub console: Option<UnixStream>,
}

impl Guest {
    /// Starts the emulator. Must be called from the main thread: the child dies with the thread
    /// that made it.
    pub fn start(emulator: &Emulator, machine: &Machine<'_>) -> Result<Self> {
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        let names = ["control", "stdout", "stderr", "console"];
        for name in &names[..if machine.console { 4 } else { 3 }] {
            let (our_end, their_end) = UnixStream::pair().context("cannot create a socket pair")?;
            our_end
                .set_nonblocking(true)
                .context("cannot set a socket up")?;
            ours.push(our_end);
            theirs.push((*name, their_end));
        }
        let ports: Vec<(&str, i32)> = theirs
            .iter()
            .map(|(name, stream)| (*name, stream.as_raw_fd()))
            .collect();
        let log =
            File::create(machine.emulator_log()).context("cannot write the emulator's log")?;
        let mut command = Command::new(&emulator.program);
        for folder in &emulator.firmware {
            command.arg("-L").arg(folder);
        }
        match emulator.quantum_ns {
            Some(quantum_ns) => command.env(side_by_side::QUANTUM_VARIABLE, quantum_ns.to_string()),
            None => command.env_remove(side_by_side::QUANTUM_VARIABLE),
        };
        if let Some((plugin, (variable, value))) = &emulator.cache_model {
            command.args(["-plugin", plugin]).env(variable, value);
        }
        command.args(machine.arguments(&ports)).process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let descriptors: Vec<i32> = ports.iter().map(|(_, descriptor)| *descriptor).collect();
        let parent = nix::unistd::getpid();
        // SAFETY: between fork and exec only async-signal-safe system calls are made (prctl,
        // getppid, fcntl) and nothing is allocated; the descriptors stay open in `theirs`.
        unsafe {
            command.pre_exec(move || {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                if nix::unistd::getppid() != parent {
                    return Err(std::io::ErrorKind::BrokenPipe.into());
                }
                for descriptor in &descriptors {
                    let descriptor = std::os::fd::BorrowedFd::borrow_raw(*descriptor);
                    nix::fcntl::fcntl(
                        descriptor,
                        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
                    )?;
                }
                Ok(())
            });
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", emulator.program.display()))?;
        drop(theirs);
        let mut ours = ours.into_iter();
        Ok(Self {
            child,
            control: ours.next(),
            stdout: ours.next(),
            stderr: ours.next(),
            console: ours.next(),
        })
    }

    /// Whether a port is still open.
    pub fn any_open(&self) -> bool {
        [&self.control, &self.stdout, &self.stderr, &self.console]
            .into_iter()
            .any(Option::is_some)
    }

    /// Ends the emulator. Data in the sockets can still be read.
    pub fn kill(&mut self) {
        // It fails only if the child has ended already.
        let _ = self.child.kill();
    }

    /// Waits until the emulator has ended, and reaps it.
    pub fn wait(&mut self) {
        let _ = self.child.wait();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
        self.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(arch: Arch, cpus: u32, deterministic: bool) -> String {
        let machine = Machine {
            arch,
            topology: Topology::flat(cpus),
            memory_mib: 512,
            deterministic,
            side_by_side: false,
            shows_dies: true,
            kernel: Path::new("/k/vmlinuz"),
            initramfs: Path::new("/r,oot"),
            extra_cmdline: Some("quiet"),
            folder: Path::new("/tmp/a,b"),
            console: false,
            fetched_files: 1,
        };
        machine
            .arguments(&[("control", 5), ("stdout", 6), ("stderr", 7)])
            .join(" ")
    }

    #[test]
    fn real_time_counts_no_instructions() {
        let line = machine(Arch::X86_64, 2, false);
        assert!(
            line.contains("-M q35 -cpu max -accel tcg,thread=single"),
            "{line}"
        );
        assert!(!line.contains("icount"), "{line}");
        assert!(line.contains("path=/tmp/a,,b/kernel.log"), "{line}");
        assert!(
            line.contains("chardev=stderr,name=takt.stderr,nr=3"),
            "{line}"
        );
        assert!(
            line.contains("chardev=fetch1,name=takt.fetch1,nr=4"),
            "{line}"
        );
    }

    #[test]
    fn deterministic_mode_has_a_timer_for_several_cpus_only() {
        let one = machine(Arch::X86_64, 1, true);
        assert!(one.contains("-icount shift=0,sleep=off -seed 1"), "{one}");
        assert!(one.contains("max_ports=31,ioeventfd=off"), "{one}");
        assert!(!one.contains("filter-buffer"), "{one}");
        assert!(machine(Arch::X86_64, 2, true).contains("filter-buffer"));
    }

    #[test]
    fn several_dies_need_an_intel_processor() {
        let mut machine = Machine {
            arch: Arch::X86_64,
            topology: Topology {
                dies: 4,
                ..Topology::flat(2)
            },
            memory_mib: 512,
            deterministic: false,
            side_by_side: false,
            shows_dies: true,
            kernel: Path::new("/k"),
            initramfs: Path::new("/r"),
            extra_cmdline: None,
            folder: Path::new("/tmp"),
            console: true,
            fetched_files: 0,
        };
        let line = machine.arguments(&[("console", 5)]).join(" ");
        assert!(line.contains("max,vendor=GenuineIntel "), "{line}");
        assert!(line.contains("dies=4"), "{line}");
        assert!(line.contains("virtconsole,chardev=console,nr=0"), "{line}");
        machine.shows_dies = false;
        let line = machine.arguments(&[]).join(" ");
        assert!(
            line.contains("max,vendor=GenuineIntel,level=0x1e "),
            "{line}"
        );
    }

    #[test]
    fn major_version_of_qemu_is_parsed() {
        assert_eq!(
            parse_major("QEMU emulator version 7.2.22 (Debian 1:7.2)"),
            Some(7)
        );
        assert_eq!(parse_major("QEMU emulator version 10.0.2"), Some(10));
        assert_eq!(parse_major("nothing"), None);
    }
}
