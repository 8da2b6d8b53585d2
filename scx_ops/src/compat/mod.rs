//! What differs between the kernels from 6.12 on, in two tables, and what we do without each.
//!
//! [`FEATURES`] is looked up in BTF, [`DIFFERENCES`] cannot be. `docs/design/kernels.md` is made of both.
//! Names and versions: `kernel/sched/ext.c` (from 7.1 on `kernel/sched/ext/`) of each release.

mod table;

use libbpf_rs::OpenObject;
use libbpf_rs::btf::ReferencesType;
use libbpf_rs::btf::types::{DataSec, MemberAttr, Struct, Var};

use crate::btf::{self, KernelTypes};
use crate::{Error, Result};

pub use table::{
    DIFFERENCES, Difference, FEATURES, Fallback, Feature, Kind, PEEK, REENQUEUE_FROM_ANYWHERE,
    find, has_callback,
};

/// The section of constants that are set before loading.
const RODATA: &str = ".rodata";

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
