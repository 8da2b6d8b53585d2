//! The maps of the scx_takt that schedules, to be read by the kernel side of `why`.

use std::ffi::OsStr;

use libbpf_rs::query::{MapInfo, MapInfoIter};
use libbpf_rs::{MapHandle, MapType};
use scx_ops::sched_ext;

use crate::bpf_abi::intf::takt_tunable_slots;
use crate::bpf_abi::types::data_cpus;

/// What of it is read.
pub struct Takt {
    /// Its records of CPUs.
    pub cpus: MapHandle,
    /// Its records of tasks.
    pub tasks: MapHandle,
    /// Its tunables.
    pub tunables: MapHandle,
}

impl Takt {
    /// That which schedules now; `None`: another scheduler does, or a scx_takt of another version, whose records
    /// may look different.
    pub fn find() -> Option<Self> {
        let ops = sched_ext::active().ok()?.ops()?;
        if !ops.starts_with(concat!("takt_", env!("CARGO_PKG_VERSION"))) {
            return None;
        }
        let of_size = |size: usize| move |map: &MapInfo| map.value_size as usize == size;
        Some(Self {
            cpus: newest(".data.cpus", of_size(size_of::<data_cpus>()))?,
            tasks: newest("task_ctxs", |map| map.ty == MapType::TaskStorage)?,
            tunables: newest(".data.tunables", of_size(size_of::<takt_tunable_slots>()))?,
        })
    }
}

/// The map of this name that was made last.
fn newest(name: &str, is_wanted: impl Fn(&MapInfo) -> bool) -> Option<MapHandle> {
    let maps = MapInfoIter::default()
        .filter(|map| map.name.as_os_str() == OsStr::new(name) && is_wanted(map));
    MapHandle::from_map_id(maps.map(|map| map.id).max()?).ok()
}
