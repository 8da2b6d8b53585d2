//! Boots a kernel in a VM of the VM harness and runs a script in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Functions for the scripts.
const LIBRARY: &str = include_str!("guest.sh");

/// A 6.12 with sched_ext switched on; it is built apart, so a clone may be without it.
pub const KERNEL_6_12: &str = "../shared/kernels/6.12/vmlinuz";

/// What a guest is given of the host's time, busy as that may be: only one that hangs takes it all.
const TIMEOUT_S: u32 = 600;

/// A virtual machine to be.
pub struct Vm {
    kernel: String,
    flags: Vec<String>,
    /// None where a machine or its topology says it.
    cpus: Option<u32>,
    timeout_s: u32,
    /// Whether the VM harness builds the binaries, or finds them built.
    is_built: bool,
}

impl Vm {
    /// A machine with one CPU and this kernel: a series as `cargo xtask kernel list` has it, or a path
    /// from the top of the tree.
    pub fn new(kernel: &str) -> Self {
        Self {
            kernel: kernel.to_owned(),
            flags: Vec::new(),
            cpus: Some(1),
            timeout_s: TIMEOUT_S,
            is_built: false,
        }
    }

    /// For the Raspberry Pi's stand-in. Its binaries are built first.
    pub fn aarch64(mut self) -> Self {
        self.flags
            .extend(["--arch".to_owned(), "aarch64".to_owned()]);
        self.is_built = true;
        self
    }

    /// With an integration test, as `PACKAGE:TEST`, in its PATH.
    pub fn with_test(mut self, name: &str) -> Self {
        self.flags
            .extend(["--with-test".to_owned(), name.to_owned()]);
        self
    }

    /// With this many CPUs.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = Some(cpus);
        self
    }

    /// One of the VM harness's machines.
    pub fn machine(mut self, name: &str) -> Self {
        self.flags.extend(["--machine".to_owned(), name.to_owned()]);
        self.cpus = None;
        self
    }

    /// With this many SOCKETS:CORES:THREADS; each socket has a last-level cache of its own.
    pub fn topology(mut self, shape: &str) -> Self {
        self.flags
            .extend(["--topology".to_owned(), shape.to_owned()]);
        self
    }

    /// Its clock counts instructions: times do not depend on the host. Several CPUs run one at a time, as the
    /// thresholds of these tests were found so, unless `cargo xtask test --side-by-side` runs them.
    pub fn deterministic(mut self) -> Self {
        self.flags.push("--deterministic".to_owned());
        let requested = std::env::var_os("TAKT_SIDE_BY_SIDE");
        if requested.is_none_or(|value| value.is_empty() || value == "0") {
            self.flags.push("--one-at-a-time".to_owned());
        }
        self
    }

    /// Deterministic, with CPUs that run at the same time.
    pub fn side_by_side(mut self) -> Self {
        self.flags.push("--side-by-side".to_owned());
        self
    }

    /// Deterministic, with CPUs that run at the same time and the caches of a processor.
    pub fn caches(mut self, name: &str) -> Self {
        self.flags.extend(["--caches".to_owned(), name.to_owned()]);
        self
    }

    /// With so many seconds of work more than others have.
    pub fn busy_for(mut self, seconds: u32) -> Self {
        self.timeout_s = TIMEOUT_S + seconds;
        self
    }

    /// Runs `script` with the functions of `guest.sh`; it must end with status 0. Returns what it printed.
    pub fn passes(self, script: &str) -> String {
        let kernel = self.kernel.clone();
        if kernel.contains('/') && !tree().join(&kernel).exists() {
            // Not a pass in silence: the reason is printed, and the runner counts such lines.
            eprintln!("SKIPPED: no kernel at {kernel}");
            return String::new();
        }
        let output = self.run(script);
        let text = format!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            output.status.success(),
            "on kernel {kernel}: {}\n{text}",
            output.status
        );
        // Seen with --nocapture, and when an assertion of the caller fails.
        println!("{text}");
        text
    }

    fn run(self, script: &str) -> Output {
        let mut command = xtask();
        command.args(["vm", "--kernel", &self.kernel]);
        if let Some(cpus) = self.cpus {
            command.args(["--cpus", &cpus.to_string()]);
        }
        command.args(["--timeout", &self.timeout_s.to_string()]);
        command.args(&self.flags);
        command.args(["--", "sh", "-c", &format!("{LIBRARY}\n{script}")]);
        if self.is_built {
            command.env_remove("TAKT_VM_NO_BUILD");
        }
        command.current_dir(tree()).stdin(Stdio::null());
        command
            .output()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
    }
}

/// The VM harness: the binary that `cargo xtask test` names, or else cargo makes one.
fn xtask() -> Command {
    match std::env::var_os("TAKT_XTASK") {
        Some(xtask) => Command::new(xtask),
        None => {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["run", "--quiet", "--package", "xtask", "--"]);
            cargo
        }
    }
}

/// The top of the source tree.
fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
