//! Compiles `src/floor.bpf.c` into a skeleton.

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=src/floor.bpf.c");
    scx_cargo::BpfBuilder::new()?
        .enable_skel("src/floor.bpf.c", "bpf")
        .build()
}
