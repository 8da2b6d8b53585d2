//! Compiles `src/bpf` into skeletons: of the scheduler and of its observers. Headers and vmlinux.h
//! come from the scx_cargo crate.

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=src/bpf");
    scx_cargo::BpfBuilder::new()?
        .enable_intf("src/bpf/intf.h", "bpf_intf.rs")
        .enable_skel("src/bpf/main.bpf.c", "bpf")
        .build()?;
    scx_cargo::BpfBuilder::new()?
        .enable_skel("src/bpf/tasks.bpf.c", "tasks")
        .build()?;
    scx_cargo::BpfBuilder::new()?
        .enable_skel("src/bpf/observe.bpf.c", "observe")
        .build()?;
    scx_cargo::BpfBuilder::new()?
        .enable_skel("src/bpf/observe_idle.bpf.c", "observe_idle")
        .build()?;
    scx_cargo::BpfBuilder::new()?
        .enable_skel("src/bpf/wait_check.bpf.c", "wait_check")
        .build()?;
    scx_cargo::BpfBuilder::new()?
        .enable_skel("src/bpf/why.bpf.c", "why")
        .build()
}
