//! What the running kernel says of its types, as far as an object needs it.
//!
//! Libbpf reads the types of the whole kernel, some 130,000 of them, and goes through all of them once for each
//! type that a program touches. For an object that touches twenty this takes a tenth of a second (7.2.13,
//! counted in instructions), and to ask the kernel's BTF through libbpf again takes half as long. Here one pass
//! picks out what the object knows itself by name; libbpf is told to relocate against that part alone
//! (`btf_custom_path`), and questions about callbacks and enums are answered from it.

mod extract;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;

use libbpf_rs::btf::types::{Enum, Enum64, Struct};
use libbpf_rs::btf::{Btf, BtfKind, BtfType, HasSize, TypeId};
use libbpf_rs::{AsRawLibbpf, OpenObject};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::kernel::BTF;
use crate::{Error, Result};
pub use extract::Malformed;
use extract::{Wanted, extract};

/// Functions of the kernel that are asked for by name.
const FUNCTIONS: &[&str] = &[crate::compat::REENQUEUE_FROM_ANYWHERE];
/// What enums of sched_ext begin with.
const SCX: &str = "scx_";

/// A file in memory that is to hold the types that an object needs. Libbpf wants its path before it opens
/// the object, which says what they are.
pub struct Reserved {
    file: File,
}

impl Reserved {
    /// Makes the file.
    ///
    /// # Errors
    /// If the system has no memory for it.
    pub fn new() -> Result<Self> {
        let fd = memfd_create(c"kernel-types", MFdFlags::MFD_CLOEXEC)
            .map_err(|errno| Error::system("make a file in memory", errno))?;
        Ok(Self { file: fd.into() })
    }

    /// For libbpf's option `btf_custom_path`.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }

    /// Writes the kernel's version of every type that `object` knows.
    ///
    /// # Errors
    /// If the kernel's BTF cannot be read or made sense of.
    pub fn fill(mut self, object: &OpenObject) -> Result<KernelTypes> {
        let mut names = names_in(object)?;
        names.extend(FUNCTIONS.iter().map(|name| name.as_bytes().to_vec()));
        let wanted = Wanted::new(names, SCX);
        let (part, functions) = vmlinux(|vmlinux| extract(vmlinux, &wanted))?;
        self.file.write_all(&part).map_err(|source| {
            let what = "write to a file in memory";
            Error::System { what, source }
        })?;
        let btf = Btf::from_path(self.path()).map_err(|source| Error::Types { source })?;
        Ok(KernelTypes {
            scx_enums: enumerators(&btf)?,
            functions,
            btf,
            _file: self.file,
        })
    }
}

/// The kernel's version of the types that an object knows. Libbpf needs it until the object is loaded.
pub struct KernelTypes {
    btf: Btf<'static>,
    scx_enums: HashMap<String, u64>,
    functions: HashSet<Vec<u8>>,
    _file: File,
}

impl KernelTypes {
    /// Has the kernel's `struct name` this member? Not if the object does not know that struct.
    pub fn has_member(&self, name: &str, member: &str) -> bool {
        let found = self.btf.type_by_name::<Struct<'_>>(name);
        found.is_some_and(|of| {
            of.iter()
                .any(|has| has.name.is_some_and(|name| name == member))
        })
    }

    /// Has the kernel this function? To be asked of those in [`FUNCTIONS`] only.
    pub fn has_function(&self, name: &str) -> bool {
        self.functions.contains(name.as_bytes())
    }

    /// The value of an enumerator of one of sched_ext's enums; `None`: the kernel has no such thing.
    pub fn scx_enumerator(&self, name: &str) -> Option<u64> {
        self.scx_enums.get(name).copied()
    }
}

/// All enumerators of sched_ext by name.
fn enumerators(btf: &Btf<'_>) -> Result<HashMap<String, u64>> {
    let mut found = HashMap::new();
    for id in (1..btf.len() as u32).map(TypeId::from) {
        let Some(of) = btf.type_by_id::<BtfType<'_>>(id) else {
            continue;
        };
        let name = of.name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with(SCX) {
            continue;
        }
        if let Ok(of) = Enum64::try_from(of) {
            let values = of.iter().filter_map(|e| Some((e.name?, e.value as u64)));
            found.extend(values.map(|(name, value)| (name.to_string_lossy().into_owned(), value)));
        } else if let Ok(of) = Enum::try_from(of) {
            let is_cut = of.size() > 4;
            for (enumerator, value) in of.iter().filter_map(|e| Some((e.name?, e.value as u64))) {
                let enumerator = enumerator.to_string_lossy().into_owned();
                // 64 bits, written by a pahole that knows but 32.
                let value = if is_cut {
                    scx_utils::compat::read_enum(&name, &enumerator).map_err(|reason| {
                        Error::Enumerator {
                            name: enumerator.clone(),
                            reason: format!("{reason:#}"),
                        }
                    })?
                } else {
                    value
                };
                found.insert(enumerator, value);
            }
        }
    }
    Ok(found)
}

/// The BTF of an object that is open.
pub(crate) fn of_object(object: &OpenObject) -> Result<Btf<'_>> {
    // SAFETY: the pointer is to the object that we borrow, and the BTF borrows it no longer.
    let raw = unsafe { object.as_libbpf_object().as_ref() };
    let btf = Btf::from_bpf_object(raw).ok().flatten();
    btf.ok_or_else(Error::lacks("BTF"))
}

/// The names of all structs, unions and enums that `object` knows, without their flavours: `type___old` is
/// relocated against `type`.
fn names_in(object: &OpenObject) -> Result<Vec<Vec<u8>>> {
    let btf = of_object(object)?;
    let types = (1..btf.len() as u32).filter_map(|id| btf.type_by_id::<BtfType<'_>>(id.into()));
    let types = types.filter(|of| {
        matches!(
            of.kind(),
            BtfKind::Struct | BtfKind::Union | BtfKind::Enum | BtfKind::Enum64
        )
    });
    let names = types.filter_map(|of| Some(essential_name(of.name()?.to_str()?).into()));
    Ok(names.collect())
}

/// As libbpf has it (`bpf_core_essential_name_len()`): what stands before the last three underscores that are
/// neither more than three nor at an end.
fn essential_name(name: &str) -> &str {
    let separates = |at: &usize| {
        let (before, after) = (&name.as_bytes()[..*at], &name.as_bytes()[*at..]);
        before.last().is_some_and(|&c| c != b'_')
            && after.starts_with(b"___")
            && after.get(3).is_some_and(|&c| c != b'_')
    };
    let at = (1..name.len()).rev().find(separates);
    at.map_or(name, |at| &name[..at])
}

/// Calls `look` with the kernel's BTF: mapped, or read where the kernel cannot map it (before 6.16).
fn vmlinux<R>(look: impl FnOnce(&[u8]) -> std::result::Result<R, Malformed>) -> Result<R> {
    let file = File::open(BTF).map_err(Error::reading(BTF))?;
    let len_bytes = file.metadata().map_err(Error::reading(BTF))?.len();
    let len = usize::try_from(len_bytes).ok().and_then(NonZeroUsize::new);
    let len = len.ok_or(Malformed::CutOff("whole of it"))?;
    let (read, private) = (ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE);
    // SAFETY: a mapping of our own at an address that the kernel chooses.
    let Ok(start) = (unsafe { mmap(None, len, read, private, &file, 0) }) else {
        return Ok(look(&fs::read(BTF).map_err(Error::reading(BTF))?)?);
    };
    // SAFETY: `len` bytes are mapped there until the call below; the kernel never changes them.
    let found = look(unsafe { std::slice::from_raw_parts(start.cast().as_ptr(), len.get()) });
    // SAFETY: as mapped above; nothing borrows from it any longer.
    unsafe { munmap(start, len.get()) }
        .map_err(|errno| Error::system("unmap the kernel's BTF", errno))?;
    Ok(found?)
}

#[cfg(test)]
mod tests;
