//! The guest's root file system, written for one run.

use super::{Copy, Mode};
use crate::arch::Arch;
use crate::cpio::Archive;
use crate::elf::{self, Libraries};
use crate::kernel::Kernel;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Tools of this machine that tests of schedulers use and that busybox does not have.
const EXTRA_TOOLS: [&str; 4] = [
    "/usr/bin/chrt",
    "/usr/bin/nice",
    "/usr/bin/nohup",
    "/usr/bin/uclampset",
];

/// What goes into the root file system.
pub struct Content<'a> {
    /// The guest's architecture.
    pub arch: Arch,
    /// The static busybox: the shell and most tools.
    pub busybox: &'a Path,
    /// The kernel, for its configuration.
    pub kernel: &'a Kernel,
    /// Programs for `/usr/bin`.
    pub binaries: &'a [PathBuf],
    /// The `--copy` arguments.
    pub copies: &'a [Copy],
    /// The command, each word as it is; empty for a shell.
    pub command: &'a [String],
    /// Guest paths of the files to send to the host.
    pub fetch: &'a [String],
    /// The capacity of each CPU that sysfs shows; empty if all are equal.
    pub capacities: &'a [u32],
    /// How CPUs and memory are emulated: environment variables for `scx_takt bench`, whose results record it.
    pub setting: &'a [(&'a str, &'a str)],
    /// How the command is connected.
    pub mode: Mode,
}

/// Writes the root file system to `path`.
pub fn write(path: &Path, content: &Content<'_>) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut root = Root {
        archive: Archive::new(BufWriter::new(file)),
        libraries: Libraries::default(),
        arch: content.arch,
    };
    root.archive.directory("dev")?;
    root.archive.device("dev/console", 0o600, 5, 1)?;
    root.archive.device("dev/null", 0o666, 1, 3)?;
    root.archive
        .file("init", 0o755, include_bytes!("../guest/init.sh"))?;
    root.archive.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    )?;
    root.archive
        .file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    root.archive
        .file("etc/hosts", 0o644, b"127.0.0.1 localhost takt\n")?;
    root.add_file(content.busybox, "bin/busybox", Some(0o755))?;
    // The user's copies come first, because the first of two files of one path stays.
    for copy in content.copies {
        root.add_copy(copy)?;
    }
    for binary in content.binaries {
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        root.add_file(binary, &format!("usr/bin/{name}"), Some(0o755))?;
    }
    if content.arch == Arch::host() {
        for tool in EXTRA_TOOLS
            .iter()
            .map(Path::new)
            .filter(|tool| tool.is_file())
        {
            root.add_file(tool, &tool.to_string_lossy(), Some(0o755))?;
        }
    }
    for config in &content.kernel.configs {
        let name = config.file_name().unwrap_or_default().to_string_lossy();
        let guest_name = match &content.kernel.release {
            Some(release) if name == "config" => format!("boot/config-{release}"),
            _ => format!("boot/{name}"),
        };
        root.add_file(config, &guest_name, Some(0o644))?;
    }
    let folders = root.add_libraries()?;
    root.archive.file(
        "takt/command",
        0o755,
        command_script(content.command).as_bytes(),
    )?;
    root.archive.file(
        "takt/fetch",
        0o644,
        (content.fetch.join("\n") + "\n").as_bytes(),
    )?;
    root.archive
        .file("takt/env", 0o644, environment(content, &folders).as_bytes())?;
    root.archive.finish()?;
    Ok(())
}

struct Root {
    archive: Archive<BufWriter<File>>,
    libraries: Libraries,
    arch: Arch,
}

impl Root {
    fn add_copy(&mut self, copy: &Copy) -> Result<()> {
        let meta = fs::metadata(&copy.source).with_context(|| {
            format!(
                "cannot copy {}: no such file or folder",
                copy.source.display()
            )
        })?;
        if meta.is_dir() {
            return self.add_folder(&copy.source, &copy.guest_path(true, false)?);
        }
        let executable = meta.permissions().mode() & 0o111 != 0;
        self.add_file(&copy.source, &copy.guest_path(false, executable)?, None)
    }

    fn add_folder(&mut self, host: &Path, guest: &str) -> Result<()> {
        self.archive.directory(guest)?;
        let entries =
            fs::read_dir(host).with_context(|| format!("cannot read {}", host.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let inside = format!("{guest}/{name}");
            let kind = fs::symlink_metadata(&path)?.file_type();
            if kind.is_symlink() {
                self.archive
                    .symlink(&inside, &fs::read_link(&path)?.to_string_lossy())?;
            } else if kind.is_dir() {
                self.add_folder(&path, &inside)?;
            } else if kind.is_file() {
                self.add_file(&path, &inside, None)?;
            }
        }
        Ok(())
    }

    /// Adds one file, and collects the libraries that it needs if it is a program.
    fn add_file(&mut self, host: &Path, guest: &str, mode: Option<u32>) -> Result<()> {
        let data = fs::read(host).with_context(|| format!("cannot read {}", host.display()))?;
        let mode = match mode {
            Some(mode) => mode,
            None => fs::metadata(host)?.permissions().mode(),
        };
        if elf::is_elf(&data) && mode & 0o111 != 0 {
            match elf::machine(&data) {
                Some(machine) if machine == self.arch.name() => self.libraries.add(host, &data)?,
                machine => bail!(
                    "{} is built for {} and cannot run in a guest of {}",
                    host.display(),
                    machine.unwrap_or("another machine"),
                    self.arch.name()
                ),
            }
        }
        self.archive.file(guest, mode, &data)?;
        Ok(())
    }

    /// Adds the collected libraries. Returns the folders that a loader does not search by default.
    fn add_libraries(&mut self) -> Result<Vec<String>> {
        for guest in std::mem::take(&mut self.libraries.files) {
            let host = elf::host_path(&guest);
            let data =
                fs::read(&host).with_context(|| format!("cannot read {}", host.display()))?;
            self.archive.file(&guest.to_string_lossy(), 0o755, &data)?;
        }
        Ok(self
            .libraries
            .extra_folders
            .iter()
            .map(|folder| folder.to_string_lossy().into())
            .collect())
    }
}

fn environment(content: &Content<'_>, folders: &[String]) -> String {
    let (mode, rows, columns) = match content.mode {
        Mode::Stream => ("stream", 24, 80),
        Mode::Console { rows, columns } => ("console", rows, columns),
    };
    let term = std::env::var("TERM").unwrap_or_else(|_| "linux".into());
    let capacities: Vec<String> = content.capacities.iter().map(u32::to_string).collect();
    let mut text = format!(
        "TAKT_MODE={mode}\nTAKT_FETCH={}\nTAKT_ROWS={rows}\nTAKT_COLUMNS={columns}\n\
         TAKT_CAPACITIES={}\nexport TERM={}\n",
        content.fetch.len(),
        quote(&capacities.join(" ")),
        quote(&term)
    );
    for (name, value) in content.setting {
        text.push_str(&format!("export {name}={}\n", quote(value)));
    }
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        text.push_str("export NO_COLOR=1\n");
    }
    if !folders.is_empty() {
        text.push_str(&format!(
            "export LD_LIBRARY_PATH={}\n",
            quote(&folders.join(":"))
        ));
    }
    text
}

fn command_script(command: &[String]) -> String {
    if command.is_empty() {
        return "exec sh -l\n".to_owned();
    }
    let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    format!("exec {}\n", words.join(" "))
}

/// `word` as one word of a shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_quoted_for_the_shell() {
        let command = ["printf".to_owned(), "%s\n".into(), "it's; $HOME".into()];
        let script = command_script(&command);
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"it's; $HOME\n");
        assert_eq!(command_script(&[]), "exec sh -l\n");
    }
}
