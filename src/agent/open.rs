//! Opening the BPF object: what `scx_ops_open!` of scx_utils does, less what costs a fifth of a second of
//! loading and is of no use here: it reads the whole of the kernel's BTF a second time, and makes a BPF arena to
//! see what the compiler of the kernel can do with it (7.2.13, deterministic: 45 and 25 ms of 0.47 s).

use std::mem::MaybeUninit;

use anyhow::{Context, Result};
use libbpf_rs::OpenObject;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use scx_ops::btf::{KernelTypes, Reserved};
use scx_ops::{compat, sched_ext};
use scx_utils::build_id::ops_version_suffix;

use crate::bpf_abi::{BpfSkelBuilder, OpenBpfSkel};
use crate::cli::RunArgs;

/// As in other schedulers of sched_ext: how long a task may wait before the kernel ends the scheduler, in ms.
const TIMEOUT_MS: &str = "SCX_TIMEOUT_MS";

/// The BPF object, open and not loaded.
pub struct Opened<'a> {
    /// What may still be changed.
    pub skel: OpenBpfSkel<'a>,
    /// What it will be loaded against.
    pub types: KernelTypes,
}

/// Opens the BPF object, without the programs that are not for scheduling.
///
/// # Errors
/// If the kernel does not show what must be known before.
pub fn open<'a>(storage: &'a mut MaybeUninit<OpenObject>, args: &RunArgs) -> Result<Opened<'a>> {
    let types = Reserved::new()?;
    let mut options = args.libbpf.clone();
    options.btf_custom_path.get_or_insert_with(|| types.path());
    let options = options.into_bpf_open_opts();
    let options = options.context("libbpf's options contain a zero byte")?;
    let mut skel = BpfSkelBuilder::default()
        .open_opts(options, storage)
        .context("cannot open the BPF object")?;
    let types = types.fill(skel.open_object())?;
    compat::set_enumerators(skel.open_object_mut(), &types)?;
    leave_out(&mut skel);
    let ops = skel.struct_ops.takt_ops_mut();
    ops.exit_dump_len = args.exit_dump_len;
    ops.hotplug_seq = sched_ext::hotplug_seq()?;
    append(
        &mut ops.name,
        &ops_version_suffix(env!("CARGO_PKG_VERSION")),
    );
    if let Ok(text) = std::env::var(TIMEOUT_MS) {
        let timeout_ms = text.parse();
        ops.timeout_ms = timeout_ms.with_context(|| format!("{TIMEOUT_MS}={text} is no number"))?;
    }
    Ok(Opened { skel, types })
}

/// The programs of scx's headers and of `check`.
fn leave_out(skel: &mut OpenBpfSkel<'_>) {
    skel.progs.scx_lib_init_probe.set_autoload(false);
    skel.progs.takt_selftest_dsq.set_autoload(false);
    skel.progs.takt_selftest_ring.set_autoload(false);
    skel.progs.takt_selftest_flood.set_autoload(false);
}

/// Appends `suffix` to a C string in a buffer of fixed size, as much of it as there is room for. The skeleton has
/// `i8` for the `char` of BPF on every machine.
fn append(name: &mut [i8], suffix: &str) {
    let end = name.iter().position(|&c| c == 0).unwrap_or(name.len());
    let Some((last, room)) = name[end..].split_last_mut() else {
        return;
    };
    *last = 0;
    for (to, from) in room.iter_mut().zip(suffix.bytes().chain([0])) {
        *to = from as i8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &[i8]) -> String {
        let bytes = name.iter().map(|&c| c as u8).take_while(|&c| c != 0);
        String::from_utf8(bytes.collect()).unwrap()
    }

    #[test]
    fn a_suffix_goes_as_far_as_there_is_room() {
        let named = |size: usize, suffix| {
            let mut name = vec![0; size];
            append(&mut name, "takt");
            append(&mut name, suffix);
            text(&name)
        };
        assert_eq!(named(16, "_0.1.0"), "takt_0.1.0");
        assert_eq!(named(8, "_0.1.0"), "takt_0.");
        assert_eq!(named(5, "_0.1.0"), "takt");
        assert_eq!(named(0, "_0.1.0"), "");
    }
}
