//! Every header of `src/bpf` compiles by itself: it includes all that it uses. Those for BPF (`*.bpf.h`) with the clang
//! and the flags of the build; the plain ones in that way too, after vmlinux.h, and with the host's C compiler.

// Helpers are not seen as tests by clippy.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A compiler and its flags.
struct Compiler {
    command: Vec<String>,
    /// What precedes a plain header.
    prelude: &'static str,
}

impl Compiler {
    fn host() -> Self {
        Self {
            command: vec!["cc".to_owned()],
            prelude: "",
        }
    }

    /// The build's own, as its script has printed it. `libbpf` gets the headers of libbpf, as in the build.
    fn bpf(libbpf: &Path) -> Self {
        let output = Path::new(env!("OUT_DIR")).with_file_name("output");
        let text = fs::read_to_string(&output).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("scx_utils:clang="))
            .unwrap();
        let clang = line.split('"').nth(1).unwrap();
        let flags = &line[line.find("} [").unwrap() + 2..];
        let flags: Vec<String> = serde_json::from_str(flags).unwrap();
        fs::create_dir(libbpf.join("bpf")).unwrap();
        for (name, contents) in libbpf_sys::API_HEADERS {
            fs::write(libbpf.join("bpf").join(name), contents).unwrap();
        }
        let mut command = vec![clang.to_owned(), "--target=bpf".to_owned()];
        command.extend(flags);
        command.push(format!("-I{}", libbpf.display()));
        Self {
            command,
            prelude: "#include <vmlinux.h>\n",
        }
    }

    /// The compiler's messages, if it refuses a file that includes `header` alone.
    fn refuses(&self, header: &Path) -> Option<String> {
        let (program, flags) = self.command.split_first().unwrap();
        let mut compiler = Command::new(program)
            .args(flags)
            .args(["-fsyntax-only", "-Wno-unused-function", "-x", "c", "-"])
            .args(["-Werror=implicit-function-declaration"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let prelude = if is_plain(header) { self.prelude } else { "" };
        let source = format!("{prelude}#include \"{}\"\n", header.display());
        // Closed at the end of the statement.
        let written = compiler.stdin.take().unwrap().write_all(source.as_bytes());
        written.unwrap();
        let ended = compiler.wait_with_output().unwrap();
        let messages = String::from_utf8_lossy(&ended.stderr).into_owned();
        (!ended.status.success()).then_some(messages)
    }
}

fn is_plain(header: &Path) -> bool {
    !header.to_string_lossy().ends_with(".bpf.h")
}

#[test]
fn every_bpf_header_compiles_by_itself() {
    let libbpf = TempDir::new().unwrap();
    let (bpf, host) = (Compiler::bpf(libbpf.path()), Compiler::host());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bpf");
    let mut headers: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "h"))
        .collect();
    headers.sort();
    assert!(headers.iter().any(|header| is_plain(header)));
    let refused: String = headers
        .iter()
        .flat_map(|header| {
            [
                is_plain(header).then(|| host.refuses(header)),
                Some(bpf.refuses(header)),
            ]
        })
        .flatten()
        .flatten()
        .collect();
    assert!(refused.is_empty(), "{refused}");
}

#[test]
fn header_that_misses_an_include_is_refused() {
    let folder = TempDir::new().unwrap();
    let (bpf, host) = (Compiler::bpf(folder.path()), Compiler::host());
    let top = env!("CARGO_MANIFEST_DIR");
    let header = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let misses = "static inline u32 of(struct task_ctx *t) { return t->est_run_ns; }\n";
    let includes = |file: &str| format!("#include \"{top}/src/bpf/{file}\"\n{misses}");
    for compiler in [&bpf, &host] {
        let refused = compiler.refuses(&header("misses.h", misses)).unwrap();
        assert!(refused.contains("misses.h"), "{refused}");
        let complete = compiler.refuses(&header("includes.h", &includes("types.h")));
        assert_eq!(complete, None);
    }
    // vmlinux.h does not come first.
    assert!(bpf.refuses(&header("misses.bpf.h", misses)).is_some());
    let call = "static inline u32 of(void) { return llc_of(0); }\n";
    assert!(bpf.refuses(&header("calls.bpf.h", call)).is_some());
    assert_eq!(
        bpf.refuses(&header("includes.bpf.h", &includes("takt.bpf.h"))),
        None
    );
}
