//! Compiles the policy, `src/bpf/main.bpf.c` as it is, for the host.
//!
//! `TAKT_SIM_BPF` names another folder with the sources, to try a change there.

use anyhow::{Context, Result};
use std::env;
use std::path::PathBuf;

fn main() -> Result<()> {
    let crate_folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let shim = crate_folder.join("shim");
    let bpf = env::var_os("TAKT_SIM_BPF")
        .map_or_else(|| crate_folder.join("../../src/bpf"), PathBuf::from);
    println!("cargo::rerun-if-env-changed=TAKT_SIM_BPF");
    println!("cargo::rerun-if-env-changed=BPF_CLANG");
    println!("cargo::rerun-if-changed={}", bpf.display());
    println!("cargo::rerun-if-changed={}", shim.display());
    // Unpacks the headers into OUT_DIR. The compiler is the one of the BPF programs.
    scx_cargo::BpfBuilder::new().context("cannot unpack vmlinux.h")?;
    let kernel = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => anyhow::bail!("no vmlinux.h for {other}"),
    };
    bindgen::Builder::default()
        .header(shim.join("sim.h").display().to_string())
        .allowlist_item("(sim_|SIM_).*")
        .blocklist_function("kernel_.*")
        .layout_tests(false)
        .generate()
        .context("bindgen cannot read sim.h")?
        .write_to_file(out.join("policy.rs"))
        .context("cannot write the bindings")?;
    cc::Build::new()
        .compiler(env::var("BPF_CLANG").unwrap_or_else(|_| "clang".into()))
        .file(shim.join("policy.c"))
        .include(&shim)
        .include(&bpf)
        .include(out.join("scx_utils-bpf_h/arch").join(kernel))
        .define(&format!("__TARGET_ARCH_{kernel}"), None)
        .flag("-fno-strict-aliasing")
        .opt_level(2)
        .warnings(false)
        .flag("-Wno-everything")
        .try_compile("takt_policy")
        .context("cannot compile the policy for the host: is clang in BPF_CLANG?")
}
