//! Long builds in the cache: their commands write to a log, show progress, and fail with one line.

use crate::ui;
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The commands of one build.
pub struct Steps {
    folder: PathBuf,
}

impl Steps {
    /// A build in `folder`, which also contains its log.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("build.log")
    }

    /// Fails if the folder's file system has less than `needed_mib` free.
    pub fn check_space(&self, what: &str, needed_mib: u64) -> Result<()> {
        let stat = nix::sys::statvfs::statvfs(&self.folder)
            .with_context(|| format!("statvfs({}) failed", self.folder.display()))?;
        let free_mib = (stat.blocks_available() * stat.fragment_size()) >> 20;
        if free_mib < needed_mib {
            bail!(
                "building {what} takes {needed_mib} MiB in {}, which has {free_mib} MiB free: free some space, or set \
                 TAKT_CACHE to another folder",
                self.folder.display()
            );
        }
        Ok(())
    }

    /// Runs a step: writes its output to the log and shows its progress.
    pub fn run(&self, what: &str, command: &mut Command) -> Result<()> {
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
                "the disk of {} is full: free some space and run the same command again",
                self.folder.display()
            );
        }
        explain(&text)
    }
}

/// The first line with an error, else the last line.
fn explain(text: &str) -> String {
    let is_error = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.contains("error:") || line.starts_with("e:") || line.contains("killed")
    };
    let line = text.lines().find(is_error).or(text.lines().last());
    line.unwrap_or("no reason given").trim().to_owned()
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
    fn progress_of_ninja_is_read() {
        assert_eq!(
            progress("[12/1464] Compiling C object x.o\n"),
            Some((12, 1464))
        );
        for line in ["ninja: no work to do.", "[x/2] y", "[1]", ""] {
            assert_eq!(progress(line), None, "{line}");
        }
    }

    #[test]
    fn reason_is_the_first_line_with_an_error() {
        let text = "a\n../x.c:1:2: error: no b\nninja: build stopped\n";
        assert_eq!(explain(text), "../x.c:1:2: error: no b");
        assert_eq!(explain("a\nb\n"), "b");
        assert_eq!(explain(""), "no reason given");
    }

    #[test]
    fn reason_names_a_full_disk() {
        let folder = tempfile::tempdir().unwrap();
        let build = Steps::in_folder(folder.path());
        fs::write(build.log(), "x.o: No space left on device\n").unwrap();
        assert!(build.reason().contains("is full"), "{}", build.reason());
    }

    #[test]
    fn failed_step_reports_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let build = Steps::in_folder(folder.path());
        let mut command = Command::new("sh");
        command.args(["-c", "echo '[1/2] x'; echo 'error: it broke' >&2; exit 3"]);
        let why = build.run("trying", &mut command).unwrap_err().to_string();
        assert!(why.starts_with("trying failed: error: it broke"), "{why}");
    }
}
