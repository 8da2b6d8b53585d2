//! Compiles the plain C headers of `src/bpf` for the host and makes their functions callable.

use anyhow::{Context, Result};
use std::env;
use std::path::PathBuf;

/// Headers with formulas, in `src/bpf`. They include nothing of BPF.
const HEADERS: [&str; 4] = ["vtime.h", "run_length.h", "buckets.h", "limit.h"];

fn main() -> Result<()> {
    let bpf = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../src/bpf");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed={}", bpf.display());
    let wrappers = out.join("wrappers.c");
    let mut builder = bindgen::Builder::default()
        .wrap_static_fns(true)
        .wrap_static_fns_path(&wrappers)
        .allowlist_file(format!("{}/.*", bpf.display()))
        .derive_default(true)
        .layout_tests(false);
    for header in HEADERS {
        builder = builder.header(bpf.join(header).display().to_string());
    }
    builder
        .generate()
        .context("bindgen cannot read the formulas")?
        .write_to_file(out.join("formulas.rs"))
        .context("cannot write the bindings")?;
    cc::Build::new()
        .file(&wrappers)
        .include(&bpf)
        .warnings(false)
        .try_compile("takt_formulas")
        .context("cannot compile the formulas: is there a C compiler?")
}
