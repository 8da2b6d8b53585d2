//! Side by side: an emulator whose CPUs run at the same guest time, while instructions are counted.
//!
//! It is QEMU with a change of ours, made from Debian's source package. Building takes minutes and is
//! done once for each version and change. An interrupted build goes on where it stopped.

mod change;

use crate::apt::Apt;
use crate::setup::{self, Purpose};
use crate::vm::Arch;
use crate::{tree, ui};
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The quantum's variable in the emulator's environment.
pub const QUANTUM_VARIABLE: &str = "SIDE_BY_SIDE_QUANTUM";
/// Set for the tests of `cargo xtask test --side-by-side`.
pub const ASK_VARIABLE: &str = "TAKT_SIDE_BY_SIDE";
/// How far CPUs may run apart when the user does not say, in ns of guest time.
pub const DEFAULT_QUANTUM_NS: u32 = 1000;

/// The version of the source package `qemu`: the one of the stock emulator that the lab uses.
const SOURCE_VERSION: &str = "1:10.0.2+ds-2+deb13u1~bpo12+1";
/// About what the source weighs, for the progress bar.
const SOURCE_SIZE_BYTES: u64 = 38 << 20;
/// What source and objects take while they are there.
const NEEDED_MIB: u64 = 2048;
/// Debian's interpreter: the build tools below are its packages.
pub const PYTHON: &str = "/usr/bin/python3";
/// Build tools that are too old in Debian 12.
const TOOLS: [&str; 2] = ["meson/trixie", "python3-pycotap/trixie"];
const TOOLS_SIZE_BYTES: u64 = 700 << 10;
const CONFIGURE: [&str; 11] = [
    "--target-list=x86_64-softmmu,aarch64-softmmu",
    "--without-default-features",
    "--without-default-devices",
    "--with-devices-x86_64=takt",
    "--with-devices-aarch64=takt",
    "--enable-tcg",
    "--enable-plugins",
    "--enable-fdt=system",
    "--disable-docs",
    "--disable-debug-info",
    "--disable-install-blobs",
];

/// The emulator for `arch`, built when it is not in the cache.
pub fn emulator(cache: &Path, arch: Arch) -> Result<PathBuf> {
    let parent = cache.join("qemu-side-by-side");
    let key = key();
    let ready = parent.join(&key);
    if !ready.is_dir() {
        let _lock = tree::lock(&parent)?;
        // Another run may have built it while this one waited.
        if !ready.is_dir() {
            Build::new(cache, &parent, &key).run(&ready)?;
        }
    }
    Ok(ready.join(program(arch)))
}

/// The emulator for `arch`; none, and a warning, where it cannot be built.
pub fn emulator_or_warning(cache: &Path, arch: Arch) -> Option<PathBuf> {
    emulator(cache, arch)
        .inspect_err(|why| {
            ui::note(&format!(
                "warning: no side-by-side emulator: {why:#}; the stock emulator runs instead, whose CPUs take \
                 turns, so figures of several CPUs are about the emulator"
            ));
        })
        .ok()
}

/// Whether all guests that count instructions shall run side by side.
pub fn is_asked_for() -> bool {
    std::env::var_os(ASK_VARIABLE).is_some_and(|value| !value.is_empty() && value != "0")
}

fn program(arch: Arch) -> String {
    format!("qemu-system-{}", arch.name())
}

/// Made of everything that decides what is built.
fn key() -> String {
    let upstream = SOURCE_VERSION.trim_start_matches("1:");
    let upstream = upstream.split('+').next().unwrap_or(upstream);
    let words = [&[SOURCE_VERSION], &CONFIGURE[..]].concat();
    format!("{upstream}-{:016x}", change::fingerprint(&words))
}

/// A build in its folder. Its steps leave their results under names that they get when they are whole.
struct Build<'a> {
    cache: &'a Path,
    folder: PathBuf,
}

impl<'a> Build<'a> {
    fn new(cache: &'a Path, parent: &Path, key: &str) -> Self {
        Self {
            cache,
            folder: parent.join(format!("{key}.build")),
        }
    }

    /// Builds, and puts the emulators into `ready`.
    fn run(&self, ready: &Path) -> Result<()> {
        setup::ensure(Purpose::SideBySide)?;
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        self.check_space()?;
        let tools = self.cache.join("build-tools/qemu");
        self.get_tools(&tools)?;
        self.get_source()?;
        ui::note(
            "building QEMU side by side, once: 5 to 10 minutes on two CPUs; an interrupted build goes on \
             where it stopped",
        );
        self.configure(&tools)?;
        self.compile(&tools)?;
        let new = self.folder.join("ready");
        fs::create_dir_all(&new)?;
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let name = program(arch);
            fs::copy(self.objects().join(&name), new.join(&name))
                .with_context(|| format!("cannot copy {name} to {}", new.display()))?;
        }
        fs::rename(&new, ready)
            .with_context(|| format!("cannot put QEMU into {}", ready.display()))?;
        // The result is in its place; what cannot be removed only takes room.
        let _ = fs::remove_dir_all(&self.folder);
        Ok(())
    }

    fn source(&self) -> PathBuf {
        self.folder.join("source")
    }

    fn objects(&self) -> PathBuf {
        self.folder.join("objects")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("build.log")
    }

    fn check_space(&self) -> Result<()> {
        let stat = nix::sys::statvfs::statvfs(&self.folder)
            .with_context(|| format!("cannot look at {}", self.folder.display()))?;
        let free_mib = (stat.blocks_available() * stat.fragment_size()) >> 20;
        // A build that stopped has taken its room already.
        if free_mib < NEEDED_MIB && !self.source().is_dir() {
            bail!(
                "building QEMU takes {NEEDED_MIB} MiB in {}, which has {free_mib} MiB free: make room, or set \
                 TAKT_CACHE to another folder",
                self.cache.display()
            );
        }
        Ok(())
    }

    fn get_tools(&self, target: &Path) -> Result<()> {
        if target.is_dir() {
            return Ok(());
        }
        crate::apt::get_unpacked(
            self.cache,
            Arch::host(),
            "build tools",
            &TOOLS.map(str::to_owned),
            TOOLS_SIZE_BYTES,
            target,
        )
    }

    /// The changed source.
    fn get_source(&self) -> Result<()> {
        if self.source().is_dir() {
            return Ok(());
        }
        let part = self.folder.join("source.part");
        for path in [&part, &self.objects()] {
            if path.exists() {
                fs::remove_dir_all(path)?;
            }
        }
        fs::create_dir(&part)?;
        // The same lists as for the kernels, so the same lock.
        let _lists = tree::lock(&self.cache.join("kernels").join(Arch::host().name()))?;
        let apt = Apt::open(self.cache, Arch::host().debian_name())?;
        let wanted = format!("qemu={SOURCE_VERSION}");
        apt.refresh(false)?;
        if !apt.has_source("qemu", SOURCE_VERSION)? {
            apt.refresh(true)?;
        }
        apt.download_source("the source of QEMU", &wanted, SOURCE_SIZE_BYTES, &part)?;
        let archive = archive(&part)?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--strip-components=1", "--file"])
            .arg(&archive)
            .current_dir(&part);
        self.step("unpacking the source of QEMU", &mut tar)?;
        fs::remove_file(&archive)?;
        change::apply(&part)?;
        fs::rename(&part, self.source()).context("cannot rename the source's folder")
    }

    fn configure(&self, tools: &Path) -> Result<()> {
        let objects = self.objects();
        let done = objects.join("configured");
        if done.is_file() {
            return Ok(());
        }
        if objects.exists() {
            fs::remove_dir_all(&objects)?;
        }
        fs::create_dir(&objects)?;
        let mut configure = Command::new(self.source().join("configure"));
        configure
            .args(CONFIGURE)
            .arg(format!("--python={PYTHON}"))
            .arg("--disable-download")
            .current_dir(&objects);
        self.step("configuring QEMU", with_tools(&mut configure, tools))?;
        File::create(&done).context("cannot write into the build's folder")?;
        Ok(())
    }

    fn compile(&self, tools: &Path) -> Result<()> {
        let mut ninja = Command::new("ninja");
        ninja
            .args([program(Arch::X86_64), program(Arch::Aarch64)])
            .current_dir(self.objects());
        self.step("building QEMU", with_tools(&mut ninja, tools))
    }

    /// Runs a step whose output goes to the log, and shows how far it has come.
    fn step(&self, what: &str, command: &mut Command) -> Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut log = File::create(self.log()).context("cannot write the build's log")?;
        let parent = nix::unistd::getpid();
        // SAFETY: between fork and exec only async-signal-safe system calls are made and nothing is
        // allocated.
        unsafe {
            command.pre_exec(move || {
                nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
                if nix::unistd::getppid() != parent {
                    return Err(std::io::ErrorKind::BrokenPipe.into());
                }
                Ok(())
            });
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let bar = ui::steps_bar(what);
        if let Some(output) = child.stdout.take() {
            follow(output, &mut log, &bar)?;
        }
        let status = child.wait()?;
        bar.finish_and_clear();
        if status.success() {
            return Ok(());
        }
        bail!(
            "{what} failed: {}; the log is {}",
            self.reason(),
            self.log().display()
        )
    }

    /// Why the last step failed, from its log.
    fn reason(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if text.contains("No space left on device") {
            return format!(
                "the disk of {} is full: make room and run the same command again",
                self.cache.display()
            );
        }
        explain(&text)
    }
}

/// The first line that speaks of an error, else the last one.
fn explain(text: &str) -> String {
    let speaks = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.contains("error:") || line.starts_with("e:") || line.contains("killed")
    };
    let line = text.lines().find(speaks).or(text.lines().last());
    line.unwrap_or("no reason given").trim().to_owned()
}

fn with_tools<'a>(command: &'a mut Command, tools: &Path) -> &'a mut Command {
    command.env("PYTHONPATH", tools.join("usr/lib/python3/dist-packages"))
}

/// The source archive among what apt has put into `folder`.
fn archive(folder: &Path) -> Result<PathBuf> {
    let is_archive = |path: &PathBuf| path.to_string_lossy().contains(".orig.tar.");
    fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(is_archive)
        .context("apt brought no source archive of QEMU")
}

/// Copies a step's output to the log; ninja's `[done/all]` moves the bar.
fn follow(output: impl Read, log: &mut File, bar: &indicatif::ProgressBar) -> Result<()> {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        log.write_all(&line)
            .context("cannot write the build's log")?;
        if let Some((done, all)) = progress(&String::from_utf8_lossy(&line)) {
            bar.set_length(all);
            bar.set_position(done);
        }
        line.clear();
    }
    Ok(())
}

fn progress(line: &str) -> Option<(u64, u64)> {
    let (done, all) = line.strip_prefix('[')?.split_once(']')?.0.split_once('/')?;
    Some((done.parse().ok()?, all.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_names_version_and_change() {
        let key = key();
        assert!(key.starts_with("10.0.2-"), "{key}");
        assert_eq!(key.len(), "10.0.2-".len() + 16);
    }

    #[test]
    fn ninja_says_how_far_it_is() {
        assert_eq!(
            progress("[12/1464] Compiling C object x.o\n"),
            Some((12, 1464))
        );
        for line in ["ninja: no work to do.", "[x/2] y", "[1]", ""] {
            assert_eq!(progress(line), None, "{line}");
        }
    }

    #[test]
    fn the_reason_is_the_first_error() {
        let text = "a\n../x.c:1:2: error: no b\nninja: build stopped\n";
        assert_eq!(explain(text), "../x.c:1:2: error: no b");
        assert_eq!(explain("a\nb\n"), "b");
        assert_eq!(explain(""), "no reason given");
    }

    #[test]
    fn a_full_disk_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let build = Build::new(folder.path(), folder.path(), "k");
        fs::create_dir(&build.folder).unwrap();
        fs::write(build.log(), "x.o: No space left on device\n").unwrap();
        assert!(build.reason().contains("is full"), "{}", build.reason());
    }

    #[test]
    fn a_step_that_fails_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let build = Build::new(folder.path(), folder.path(), "k");
        fs::create_dir(&build.folder).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo '[1/2] x'; echo 'error: it broke' >&2; exit 3"]);
        let why = build.step("trying", &mut command).unwrap_err().to_string();
        assert!(why.starts_with("trying failed: error: it broke"), "{why}");
    }
}
