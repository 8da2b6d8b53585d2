//! What differs between the kernels from 6.12 on, in one table, and what we do without each.
//!
//! Names and versions: `kernel/sched/ext.c` (from 7.1 on `kernel/sched/ext/`) of each release.

use libbpf_rs::OpenObject;
use libbpf_rs::btf::ReferencesType;
use libbpf_rs::btf::types::{DataSec, MemberAttr, Struct, Var};
use scx_utils::compat;

use crate::btf::{self, KernelTypes};
use crate::{Error, Result};

/// What kind of thing a kernel may have or lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A member of `struct sched_ext_ops`.
    Callback,
    /// A function that BPF programs may call.
    Kfunc,
    /// A value of an enum, by the enum's name.
    Flag(&'static str),
}

/// One thing that kernels from 6.12 on may have or lack.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// Its name in the kernel's BTF.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The first release that has it.
    pub since: &'static str,
    /// What we do without it.
    pub fallback: &'static str,
}

const fn feature(
    name: &'static str,
    kind: Kind,
    since: &'static str,
    fallback: &'static str,
) -> Feature {
    Feature {
        name,
        kind,
        since,
        fallback,
    }
}

/// Gives the tasks of a CPU's local queue back to the scheduler. Before it, only cpu_release could.
pub const REENQUEUE_FROM_ANYWHERE: &str = "scx_bpf_reenqueue_local___v2";

/// The table. A test on each kernel of the VM harness holds `since` against that kernel's BTF.
pub const FEATURES: &[Feature] = &[
    feature(
        "scx_bpf_now",
        Kind::Kfunc,
        "6.14",
        "the clock is read with bpf_ktime_get_ns()",
    ),
    feature(
        "scx_bpf_dsq_peek",
        Kind::Kfunc,
        "6.19",
        "the head of a queue is read with an iterator, which takes its lock",
    ),
    feature(
        REENQUEUE_FROM_ANYWHERE,
        Kind::Kfunc,
        "6.19",
        "cpu_release reports when a higher class takes a CPU",
    ),
];

/// The section of constants that are set before loading.
const RODATA: &str = ".rodata";

impl Feature {
    /// Does the running kernel have it? Needs BTF.
    pub fn present(&self) -> bool {
        match self.kind {
            Kind::Callback => compat::struct_has_field("sched_ext_ops", self.name).unwrap_or(false),
            Kind::Kfunc => compat::ksym_exists(self.name).unwrap_or(false),
            Kind::Flag(of) => compat::read_enum(of, self.name).is_ok(),
        }
    }
}

/// Looks a name of the table up.
pub fn find(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

/// Takes the callbacks that the running kernel lacks, and those in `pretend_lacks`, out of the ops
/// table `ops_map` of an object that is open and not loaded. Returns their names.
///
/// Libbpf refuses to load an ops table with a callback that the kernel does not know; one that is
/// zero it passes over, and leaves its program unloaded.
///
/// # Errors
/// If the object has no such ops table, or one of `pretend_lacks` is no callback of it.
pub fn mask_callbacks(
    object: &mut OpenObject,
    kernel: &KernelTypes,
    ops_map: &str,
    pretend_lacks: &[String],
) -> Result<Vec<String>> {
    let members = callback_offsets(object)?;
    for name in pretend_lacks {
        if !members.iter().any(|(member, _)| member == name) {
            return Err(Error::NoCallback { name: name.clone() });
        }
    }
    let mut map = object
        .maps_mut()
        .find(|map| map.name() == ops_map)
        .ok_or_else(Error::lacks(&format!("ops table {ops_map}")))?;
    let ops = map
        .initial_value_mut()
        .ok_or_else(Error::lacks("ops table that is open"))?;
    let mut masked = Vec::new();
    for (name, offset_bytes) in members {
        let slot = ops
            .get_mut(offset_bytes..offset_bytes + size_of::<usize>())
            .ok_or_else(Error::lacks("ops table of the size of its type"))?;
        let used = slot.iter().any(|&byte| byte != 0);
        let lacked = || !kernel.has_member("sched_ext_ops", &name);
        if used && (pretend_lacks.contains(&name) || lacked()) {
            slot.fill(0);
            masked.push(name);
        }
    }
    Ok(masked)
}

/// Gives the variables of `object` that are named after enumerators of sched_ext (`__SCX_ENQ_HEAD` and the like,
/// from the headers of scx) the running kernel's values; 0 for what it lacks.
///
/// # Errors
/// If the object is not as the headers make it.
pub fn set_enumerators(object: &mut OpenObject, kernel: &KernelTypes) -> Result<()> {
    let values: Vec<_> = {
        let btf = btf::of_object(object)?;
        let mut sections = btf.type_by_kind::<DataSec<'_>>();
        let rodata = sections.find(|of| of.name().is_some_and(|name| name == RODATA));
        let rodata = rodata.ok_or_else(Error::lacks(RODATA))?;
        let value = |name: &str| kernel.scx_enumerator(name).unwrap_or(0);
        let named = rodata.iter().filter_map(|var| {
            let of = btf.type_by_id::<Var<'_>>(var.ty)?;
            let name = of.name()?.to_str()?.strip_prefix("__")?;
            let is_scx = name.starts_with("SCX_") && var.size == size_of::<u64>();
            is_scx.then(|| (var.offset as usize, value(name)))
        });
        named.collect()
    };
    let mut map = object
        .maps_mut()
        .find(|map| map.name().to_string_lossy().ends_with(RODATA))
        .ok_or_else(Error::lacks(RODATA))?;
    let rodata = map
        .initial_value_mut()
        .ok_or_else(Error::lacks(".rodata that is open"))?;
    for (offset_bytes, value) in values {
        let slot = rodata.get_mut(offset_bytes..offset_bytes + size_of::<u64>());
        slot.ok_or_else(Error::lacks(".rodata of the size of its type"))?
            .copy_from_slice(&value.to_ne_bytes());
    }
    Ok(())
}

/// The callbacks of `struct sched_ext_ops` as the object was built with, and where they stand.
fn callback_offsets(object: &OpenObject) -> Result<Vec<(String, usize)>> {
    let btf = btf::of_object(object)?;
    let ops: Struct<'_> = btf
        .type_by_name("sched_ext_ops")
        .ok_or_else(Error::lacks("type sched_ext_ops"))?;
    let pointers = ops.iter().filter(|member| {
        btf.type_by_id::<libbpf_rs::btf::types::Ptr<'_>>(member.ty)
            .is_some_and(|ptr| ptr.referenced_type().kind() == libbpf_rs::btf::BtfKind::FuncProto)
    });
    Ok(pointers
        .filter_map(|member| match member.attr {
            MemberAttr::Normal { offset } => {
                Some((member.name?.to_str()?.to_owned(), offset as usize / 8))
            }
            MemberAttr::BitField { .. } => None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_explained() {
        for (i, feature) in FEATURES.iter().enumerate() {
            assert!(
                FEATURES[i + 1..]
                    .iter()
                    .all(|other| other.name != feature.name)
            );
            assert!(!feature.fallback.is_empty(), "{}", feature.name);
        }
    }

    #[test]
    fn finds_by_name() {
        assert_eq!(find("scx_bpf_dsq_peek").map(|f| f.since), Some("6.19"));
        assert!(find("no_such_kfunc").is_none());
    }
}
