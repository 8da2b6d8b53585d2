//! The change to QEMU: the lines that are inserted into its sources, and where.
//!
//! Each edit inserts text beside an anchor. An anchor that does not occur exactly once means another
//! version of QEMU: the change then fails instead of being made in the wrong place.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// The scheduler of vCPUs, with the argument for its correctness.
const LOOP: &str = include_str!("side-by-side.c.inc");
/// Its path in the source.
const LOOP_FILE: &str = "accel/tcg/side-by-side.c.inc";

/// Configuration files with the devices to build: those of guests.
const DEVICES: [(&str, &str); 2] = [
    (
        "configs/devices/x86_64-softmmu/takt.mak",
        "CONFIG_Q35=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_SERIAL=y\n",
    ),
    (
        "configs/devices/aarch64-softmmu/takt.mak",
        "CONFIG_ARM_VIRT=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_SERIAL=y\n",
    ),
];

/// On which side of its anchor a text is inserted.
#[derive(Clone, Copy)]
enum Side {
    Before,
    After,
}

struct Edit {
    file: &'static str,
    anchor: &'static str,
    side: Side,
    text: &'static str,
}

/// The interface of plugins.
pub const PLUGIN_HEADER: &str = "include/qemu/qemu-plugin.h";
const PLUGIN_CODE: &str = "accel/tcg/plugin-gen.c";
const ROUND_ROBIN: &str = "accel/tcg/tcg-accel-ops-rr.c";
const COUNTING: &str = "accel/tcg/tcg-accel-ops-icount.c";
const CLOCK: &str = "accel/tcg/icount-common.c";

const EDITS: [Edit; 14] = [
    Edit {
        file: "accel/tcg/tcg-accel-ops-icount.h",
        anchor: "void icount_handle_deadline(void);\n",
        side: Side::After,
        text: "int64_t side_by_side(void);\nvoid side_end_slice(void);\n",
    },
    Edit {
        file: ROUND_ROBIN,
        anchor: "#include \"tcg-accel-ops-icount.h\"\n",
        side: Side::After,
        text: "#include \"qemu/qemu-plugin.h\"\n#include \"qemu/seqlock.h\"\n#include \"system/cpu-timers-internal.h\"\n",
    },
    Edit {
        file: ROUND_ROBIN,
        anchor: "static void *rr_cpu_thread_fn(void *arg)\n",
        side: Side::Before,
        text: "#include \"side-by-side.c.inc\"\n\n",
    },
    // Instead of the loop that gives all vCPUs one clock.
    Edit {
        file: ROUND_ROBIN,
        anchor: "    rr_start_kick_timer();\n\n    cpu = first_cpu;\n",
        side: Side::Before,
        text: "    if (side_by_side()) {\n        side_run();\n    }\n",
    },
    // A kick ends the time slice of the vCPU that sent it, and no other. A kick from another thread of the
    // emulator ends none, because its time depends on the host.
    Edit {
        file: ROUND_ROBIN,
        anchor: "void rr_kick_vcpu_thread(CPUState *unused)\n{\n    CPUState *cpu;\n",
        side: Side::After,
        text: "\n    if (side_by_side()) {\n        side_end_slice();\n        return;\n    }\n",
    },
    // An interrupt for another vCPU ends the sender's time slice: the target may have to run first.
    Edit {
        file: COUNTING,
        anchor: "    tcg_handle_interrupt(cpu, mask);\n",
        side: Side::After,
        text: "    if (side_by_side() && cpu != current_cpu) {\n        side_end_slice();\n    }\n",
    },
    // The host's clock must not decide how long a vCPU runs.
    Edit {
        file: COUNTING,
        anchor: "        deadline = qemu_soonest_timeout(deadline,\n",
        side: Side::Before,
        text: "        if (!side_by_side())\n",
    },
    Edit {
        file: CLOCK,
        anchor: "#include \"system/cpu-timers-internal.h\"\n",
        side: Side::After,
        text: "#include \"tcg-accel-ops-icount.h\"\n",
    },
    // side_run() itself moves the clock to the next timer when all vCPUs are idle.
    Edit {
        file: CLOCK,
        anchor: "    /* We want to use the earliest deadline from ALL vm_clocks */\n",
        side: Side::Before,
        text: "    if (side_by_side()) {\n        return;\n    }\n",
    },
    // What a plugin may call, see `caches.c`.
    Edit {
        file: PLUGIN_HEADER,
        anchor: "/**\n * typedef qemu_plugin_vcpu_mem_cb_t - memory callback function type\n",
        side: Side::Before,
        text: "QEMU_PLUGIN_API\nvoid qemu_plugin_charge_ns(unsigned int ns);\n\n",
    },
    // One thread is taken for one vCPU: plugins would take all vCPUs for the one that code was translated for.
    Edit {
        file: PLUGIN_CODE,
        anchor: "#include \"qemu/plugin.h\"\n",
        side: Side::After,
        text: "#include \"tcg-accel-ops-icount.h\"\n",
    },
    Edit {
        file: PLUGIN_CODE,
        anchor: "    if (!tcg_cflags_has(current_cpu, CF_PARALLEL)) {\n",
        side: Side::Before,
        text: "    if (!side_by_side())\n",
    },
    // A guest may read any subleaf of its topology. Above the last one an assertion of the emulator fails.
    Edit {
        file: "target/i386/cpu.c",
        anchor: "    assert(count <= CPU_TOPOLOGY_LEVEL_SOCKET);\n",
        side: Side::Before,
        text: "    count = MIN(count, CPU_TOPOLOGY_LEVEL_SOCKET);\n",
    },
    // The source package has no firmware to unpack.
    Edit {
        file: "pc-bios/meson.build",
        anchor: "if unpack_edk2_blobs\n",
        side: Side::Before,
        text: "unpack_edk2_blobs = false\n",
    },
];

/// A hash of the whole change and of `more`.
pub fn fingerprint(more: &[&str]) -> u64 {
    let edits = EDITS
        .iter()
        .flat_map(|edit| [edit.file, edit.anchor, edit.text]);
    let devices = DEVICES.iter().flat_map(|(file, text)| [*file, *text]);
    let words = edits
        .chain(devices)
        .chain([LOOP])
        .chain(more.iter().copied());
    hash(words)
}

/// A hash of texts, each of which ends where the next one begins (FNV-1a, 64 bits).
pub fn hash<'a>(words: impl Iterator<Item = &'a str>) -> u64 {
    words
        .flat_map(|word| word.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Changes the source in `folder`, which must be unchanged.
pub fn apply(folder: &Path) -> Result<()> {
    for edit in &EDITS {
        let path = folder.join(edit.file);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("QEMU's source has no {}", edit.file))?;
        fs::write(&path, edited(&text, edit)?).with_context(|| cannot_write(&path))?;
    }
    for (file, text) in DEVICES.iter().chain([&(LOOP_FILE, LOOP)]) {
        let path = folder.join(file);
        fs::write(&path, text).with_context(|| cannot_write(&path))?;
    }
    Ok(())
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn edited(text: &str, edit: &Edit) -> Result<String> {
    let places = text.matches(edit.anchor).count();
    if places != 1 {
        bail!(
            "the change to QEMU does not fit: {places} places for `{}` in {}",
            edit.anchor.trim(),
            edit.file
        );
    }
    let (anchor, new) = (edit.anchor, edit.text);
    Ok(match edit.side {
        Side::Before => text.replacen(anchor, &format!("{new}{anchor}"), 1),
        Side::After => text.replacen(anchor, &format!("{anchor}{new}"), 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDIT: Edit = Edit {
        file: "a.c",
        anchor: "b;\n",
        side: Side::Before,
        text: "new;\n",
    };

    #[test]
    fn edit_is_inserted_beside_its_anchor() {
        assert_eq!(edited("a;\nb;\nc;\n", &EDIT).unwrap(), "a;\nnew;\nb;\nc;\n");
        let after = Edit {
            side: Side::After,
            ..EDIT
        };
        assert_eq!(
            edited("a;\nb;\nc;\n", &after).unwrap(),
            "a;\nb;\nnew;\nc;\n"
        );
    }

    #[test]
    fn anchor_that_is_not_unique_is_refused() {
        for text in ["a;\n", "b;\nb;\n"] {
            let why = edited(text, &EDIT).unwrap_err().to_string();
            assert!(why.contains("does not fit") && why.contains("a.c"), "{why}");
        }
    }

    #[test]
    fn fingerprint_depends_on_every_word() {
        assert_eq!(fingerprint(&["x"]), fingerprint(&["x"]));
        assert_ne!(fingerprint(&["x"]), fingerprint(&["y"]));
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
    }
}
