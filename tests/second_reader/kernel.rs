//! Maps and programs of the running kernel, by their ids: each map is read with the type information that the
//! kernel holds for it, so that nothing here knows a layout.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys as sys;

/// Figures by name, as `placed[3]` or `tunables.slot[0].latency_ns`.
pub type Figures = BTreeMap<String, u64>;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;

/// One map.
pub struct Map {
    fd: OwnedFd,
    value_size: usize,
    is_per_cpu: bool,
    /// Where each figure lies in a value: first byte, and number of bytes.
    fields: Vec<(String, usize, usize)>,
}

impl Map {
    /// The only map of this name.
    pub fn find(name: &str) -> Self {
        let found: Vec<_> = ids(sys::bpf_map_get_next_id)
            .filter_map(|id| open(id, sys::bpf_map_get_fd_by_id))
            .map(|fd| (info(&fd, sys::bpf_map_get_info_by_fd), fd))
            .filter(|(info, _): &(sys::bpf_map_info, _)| text(&info.name) == name)
            .collect();
        let [(info, fd)] = <[_; 1]>::try_from(found)
            .unwrap_or_else(|found| panic!("{} maps are called {name}", found.len()));
        // SAFETY: the id is of the kernel, and the result is checked.
        let btf = unsafe { sys::btf__load_from_kernel_by_id(info.btf_id) };
        assert!(!btf.is_null(), "{name} has no type information");
        let mut fields = Vec::new();
        flatten(btf, info.btf_value_type_id, String::new(), 0, &mut fields);
        assert!(!fields.is_empty(), "{name} has no fields");
        Self {
            fd,
            value_size: info.value_size as usize,
            is_per_cpu: info.type_ == sys::BPF_MAP_TYPE_PERCPU_ARRAY,
            fields,
        }
    }

    /// What stands under key 0, over all CPUs.
    pub fn sums(&self) -> Figures {
        let copies = if self.is_per_cpu { possible_cpus() } else { 1 };
        let stride = self.value_size.next_multiple_of(8);
        let mut bytes = vec![0u8; stride * copies];
        let key = 0u32;
        // SAFETY: the kernel writes one value, or one per possible CPU in steps of eight bytes.
        let result = unsafe {
            sys::bpf_map_lookup_elem(
                self.fd.as_raw_fd(),
                (&raw const key).cast(),
                bytes.as_mut_ptr().cast(),
            )
        };
        assert_eq!(result, 0, "a map cannot be read");
        let sum = |at: usize, len: usize| {
            let word = |value: &[u8]| {
                let mut word = [0; 8];
                word[..len].copy_from_slice(&value[at..at + len]);
                u64::from_le_bytes(word)
            };
            bytes.chunks(stride).map(word).sum::<u64>()
        };
        let fields = self.fields.iter();
        fields
            .map(|(name, at, len)| (name.clone(), sum(*at, *len)))
            .collect()
    }
}

/// Calls and run time of every scheduler callback, by the name of its program.
pub fn callbacks() -> BTreeMap<String, (u64, u64)> {
    ids(sys::bpf_prog_get_next_id)
        .filter_map(|id| open(id, sys::bpf_prog_get_fd_by_id))
        .map(|fd| info(&fd, sys::bpf_prog_get_info_by_fd))
        .filter(|info: &sys::bpf_prog_info| info.type_ == sys::BPF_PROG_TYPE_STRUCT_OPS)
        .map(|info| (text(&info.name), (info.run_cnt, info.run_time_ns)))
        .collect()
}

fn ids(next: unsafe extern "C" fn(u32, *mut u32) -> i32) -> impl Iterator<Item = u32> {
    let mut id = 0;
    std::iter::from_fn(move || {
        // SAFETY: the kernel writes one id.
        (unsafe { next(id, &raw mut id) } == 0).then_some(id)
    })
}

/// `None`: it is gone.
fn open(id: u32, by_id: unsafe extern "C" fn(u32) -> i32) -> Option<OwnedFd> {
    // SAFETY: asks for a descriptor.
    let fd = unsafe { by_id(id) };
    // SAFETY: it is ours, as it is new.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn info<T: Default>(fd: &OwnedFd, of: unsafe extern "C" fn(i32, *mut T, *mut u32) -> i32) -> T {
    let mut info = T::default();
    let mut len = size_of::<T>() as u32;
    // SAFETY: the kernel writes at most `len` bytes; all zeros ask for no arrays.
    let result = unsafe { of(fd.as_raw_fd(), &raw mut info, &raw mut len) };
    assert_eq!(result, 0, "the kernel does not describe an object");
    info
}

fn text(name: &[std::ffi::c_char]) -> String {
    let bytes = name.iter().map(|&c| c as u8).take_while(|&c| c != 0);
    String::from_utf8(bytes.collect()).unwrap()
}

fn possible_cpus() -> usize {
    // SAFETY: only reads sysfs.
    usize::try_from(unsafe { sys::libbpf_num_possible_cpus() }).unwrap()
}

/// Finds every integer of a type, with the name that leads to it.
fn flatten(
    btf: *const sys::btf,
    id: u32,
    name: String,
    at: usize,
    fields: &mut Vec<(String, usize, usize)>,
) {
    // SAFETY: the ids come from the same type information.
    let ty = unsafe { &*sys::btf__type_by_id(btf, id) };
    // SAFETY: both members of the union are integers.
    let (size, target) = unsafe { (ty.__bindgen_anon_1.size, ty.__bindgen_anon_1.type_) };
    let (kind, nr) = (ty.info >> 24 & 0x1f, ty.info as usize & 0xffff);
    // What belongs to a type follows it.
    let rest = std::ptr::from_ref(ty).wrapping_add(1);
    match kind {
        KIND_INT => fields.push((name, at, size as usize)),
        KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_VAR => {
            flatten(btf, target, name, at, fields);
        }
        KIND_ARRAY => {
            // SAFETY: one `btf_array` follows an array.
            let array = unsafe { &*rest.cast::<sys::btf_array>() };
            // SAFETY: as above.
            let each = unsafe { sys::btf__resolve_size(btf, array.type_) };
            for i in 0..array.nelems as usize {
                let at = at + i * usize::try_from(each).unwrap();
                flatten(btf, array.type_, format!("{name}[{i}]"), at, fields);
            }
        }
        KIND_STRUCT => {
            // SAFETY: `nr` members follow a struct.
            let members = unsafe { std::slice::from_raw_parts(rest.cast::<sys::btf_member>(), nr) };
            for member in members {
                let at = at + member.offset as usize / 8;
                let name = join(&name, &name_of(btf, member.name_off));
                flatten(btf, member.type_, name, at, fields);
            }
        }
        KIND_DATASEC => {
            // SAFETY: `nr` variables follow a section.
            let variables =
                unsafe { std::slice::from_raw_parts(rest.cast::<sys::btf_var_secinfo>(), nr) };
            for variable in variables {
                // SAFETY: as above.
                let of = unsafe { &*sys::btf__type_by_id(btf, variable.type_) };
                let name = name_of(btf, of.name_off);
                flatten(btf, variable.type_, name, variable.offset as usize, fields);
            }
        }
        other => panic!("{name}: a type of kind {other}"),
    }
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

fn name_of(btf: *const sys::btf, offset: u32) -> String {
    // SAFETY: the offset comes from the same type information, which outlives this.
    let name = unsafe { CStr::from_ptr(sys::btf__name_by_offset(btf, offset)) };
    name.to_str().unwrap().to_owned()
}
