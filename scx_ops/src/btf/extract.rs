//! A few types out of the kernel's BTF, as BTF of their own.
//!
//! The format: Documentation/bpf/btf.rst of the kernel. All numbers are 32 bits wide and in the byte order of
//! the machine; a type is three of them (name, info, size or type) and what its kind adds.

use std::collections::HashSet;
use std::fmt;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 24;
/// Number of words of every type, before what its kind adds.
const TYPE_WORDS: usize = 3;

/// `BTF_KIND_*` of `include/uapi/linux/btf.h`.
mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Number of words that a type of each kind has beyond the first three: always, and for each of its members.
const ADDED: [(u8, u8); 20] = {
    use kind::*;
    let mut words = [(0, 0); 20];
    words[INT as usize] = (1, 0);
    words[ARRAY as usize] = (3, 0);
    words[STRUCT as usize] = (0, 3);
    words[UNION as usize] = (0, 3);
    words[ENUM as usize] = (0, 2);
    words[FUNC_PROTO as usize] = (0, 2);
    words[VAR as usize] = (1, 0);
    words[DATASEC as usize] = (0, 3);
    words[DECL_TAG as usize] = (1, 0);
    words[ENUM64 as usize] = (0, 3);
    words
};

/// What is wrong with a BTF blob, or new in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It does not begin with the magic number of BTF.
    NoBtf,
    /// Its format is of another version.
    Version(u8),
    /// It ends before the end of this part.
    CutOff(&'static str),
    /// The types do not begin at a multiple of four bytes.
    Unaligned,
    /// A type of a kind that is not known here.
    Kind(u32),
    /// A type of this kind lies in a struct.
    KindInStruct(u32),
    /// A type refers to one of this number, which there is not.
    NoType(u32),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBtf => write!(f, "it is no BTF"),
            Self::Version(version) => write!(f, "version {version} is not known"),
            Self::CutOff(part) => write!(f, "the {part} is cut off"),
            Self::Unaligned => write!(f, "the types are not aligned"),
            Self::Kind(kind) => write!(f, "kind {kind} is newer than this program"),
            Self::KindInStruct(kind) => write!(f, "a type of kind {kind} lies in a struct"),
            Self::NoType(id) => write!(f, "there is no type {id}"),
        }
    }
}

impl std::error::Error for Malformed {}

type Result<T> = std::result::Result<T, Malformed>;

const TYPES_CUT_OFF: Malformed = Malformed::CutOff("section of types");

/// Number of words of a type.
fn words_of(info: u32) -> Result<usize> {
    let kind = kind_of(info);
    let Some(&(always, each)) = ADDED.get(kind as usize).filter(|_| kind != 0) else {
        return Err(Malformed::Kind(kind));
    };
    Ok(TYPE_WORDS + usize::from(always) + usize::from(each) * (info & 0xffff) as usize)
}

fn kind_of(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

fn is_enum(kind: u32) -> bool {
    kind == kind::ENUM || kind == kind::ENUM64
}

/// Is it of a kind that has names which may be wanted? Most are not.
fn may_be_wanted(info: u32) -> bool {
    const KINDS: u32 = 1 << kind::STRUCT
        | 1 << kind::UNION
        | 1 << kind::ENUM
        | 1 << kind::ENUM64
        | 1 << kind::FUNC;
    KINDS & 1 << kind_of(info) != 0
}

/// Names of structs, unions, enums and functions that are wanted. Most names of the kernel are not: those are passed over
/// by their first four bytes.
#[derive(Default)]
pub struct Wanted {
    names: HashSet<Vec<u8>>,
    /// A bit per hash of the first four bytes of a name.
    may_be: Vec<u64>,
    enum_prefix: Vec<u8>,
}

const FILTER_BITS: u32 = 12;

impl Wanted {
    /// These names, and every enum that begins with `enum_prefix`.
    pub fn new(names: impl IntoIterator<Item = Vec<u8>>, enum_prefix: &str) -> Self {
        let mut wanted = Self {
            may_be: vec![0; (1 << FILTER_BITS) / 64],
            enum_prefix: enum_prefix.into(),
            ..Self::default()
        };
        for name in names {
            let (word, bit) = Self::slot(&[&name[..], &[0]].concat());
            wanted.may_be[word] |= bit;
            wanted.names.insert(name);
        }
        wanted
    }

    /// `text` begins with a name and the zero that ends it.
    fn slot(text: &[u8]) -> (usize, u64) {
        // What follows the end of a short name is of another one.
        let start = match *text {
            [a, 0, ..] => [a, 0, 0, 0],
            [a, b, 0, ..] => [a, b, 0, 0],
            [a, b, c, d, ..] => [a, b, c, d],
            _ => [0; 4],
        };
        let hash = u32::from_ne_bytes(start).wrapping_mul(0x9e37_79b1) >> (32 - FILTER_BITS);
        (hash as usize / 64, 1 << (hash % 64))
    }

    /// Is the type of this `kind` wanted, whose name `text` begins with?
    fn has(&self, kind: u32, text: &[u8]) -> bool {
        if is_enum(kind) && text.starts_with(&self.enum_prefix) {
            return true;
        }
        let (word, bit) = Self::slot(text);
        self.may_be[word] & bit != 0 && self.names.contains(until_nul(text))
    }
}

fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|&c| c == 0).next().unwrap_or_default()
}

/// The sections of a BTF blob.
struct Sections<'a> {
    types: &'a [u32],
    strings: &'a [u8],
}

impl<'a> Sections<'a> {
    fn of(btf: &'a [u8]) -> Result<Self> {
        let header = btf.get(..HEADER_BYTES).ok_or(Malformed::CutOff("header"))?;
        let word = |at| u32::from_ne_bytes([0, 1, 2, 3].map(|i: usize| header[at + i])) as usize;
        if header[..2] != MAGIC.to_ne_bytes() {
            return Err(Malformed::NoBtf);
        }
        if header[2] != VERSION {
            return Err(Malformed::Version(header[2]));
        }
        let section = |offset: usize, len: usize| {
            let start = word(4).checked_add(offset)?;
            btf.get(start..start.checked_add(len)?)
        };
        let types = section(word(8), word(12)).ok_or(TYPES_CUT_OFF)?;
        let strings = section(word(16), word(20)).ok_or(Malformed::CutOff("section of strings"))?;
        let types = plain::slice_from_bytes(types).map_err(|_| Malformed::Unaligned)?;
        Ok(Self { types, strings })
    }

    fn text(&self, offset: u32) -> &'a [u8] {
        self.strings.get(offset as usize..).unwrap_or_default()
    }
}

/// The types that are wanted, with all that lies in them; what pointers in them point to is left out, since
/// no relocation asks for it. Of functions, only the names of those that are there.
///
/// # Errors
/// If `vmlinux` is no BTF, or one of kinds that are not known here.
pub fn extract(vmlinux: &[u8], wanted: &Wanted) -> Result<(Vec<u8>, HashSet<Vec<u8>>)> {
    let from = Sections::of(vmlinux)?;
    let mut starts = Vec::with_capacity(from.types.len() / 6);
    let mut roots = Vec::new();
    let mut functions = HashSet::new();
    let mut at = 0;
    while let Some(&[name, info, _]) = from.types.get(at..at + TYPE_WORDS) {
        starts.push(at as u32);
        if may_be_wanted(info) && wanted.has(kind_of(info), from.text(name)) {
            if kind_of(info) == kind::FUNC {
                functions.insert(until_nul(from.text(name)).to_vec());
            } else {
                roots.push(starts.len() as u32);
            }
        }
        at += words_of(info)?;
    }
    let mut part = Part {
        new_ids: vec![0; starts.len() + 1],
        from,
        starts,
        taken: Vec::new(),
        types: Vec::new(),
        strings: vec![0],
    };
    for root in roots {
        part.id_of(root)?;
    }
    part.copy()?;
    Ok((part.into_bytes(), functions))
}

/// A part of the kernel's types, in the making.
struct Part<'a> {
    from: Sections<'a>,
    /// Where each type begins, from number 1 on.
    starts: Vec<u32>,
    /// The new number of each old one; 0: not taken.
    new_ids: Vec<u32>,
    /// The old number of each new one, from 1 on.
    taken: Vec<u32>,
    types: Vec<u32>,
    strings: Vec<u8>,
}

impl Part<'_> {
    /// The new number of type `old`, which is taken along if it was not yet.
    fn id_of(&mut self, old: u32) -> Result<u32> {
        let new = self.new_ids.get_mut(old as usize);
        let new = new.ok_or(Malformed::NoType(old))?;
        if *new == 0 && old != 0 {
            self.taken.push(old);
            *new = self.taken.len() as u32;
        }
        Ok(*new)
    }

    /// The new place of a name. A name that is there twice is there twice: that is allowed, and costs less than
    /// to look for it.
    fn name(&mut self, old: u32) -> u32 {
        let name = until_nul(self.from.text(old));
        if name.is_empty() {
            return 0;
        }
        let new = self.strings.len() as u32;
        self.strings.extend_from_slice(name);
        self.strings.push(0);
        new
    }

    /// Copies what was taken, and takes what lies in it.
    fn copy(&mut self) -> Result<()> {
        let mut next = 0;
        while let Some(&old) = self.taken.get(next) {
            let start = self.starts[old as usize - 1] as usize;
            let len = words_of(self.from.types[start + 1])?;
            let words = self.from.types.get(start..start + len);
            let mut words = words.ok_or(TYPES_CUT_OFF)?.to_vec();
            self.renumber(&mut words)?;
            self.types.extend_from_slice(&words);
            next += 1;
        }
        Ok(())
    }

    /// Gives a type its new names and numbers.
    fn renumber(&mut self, words: &mut [u32]) -> Result<()> {
        use kind::*;
        words[0] = self.name(words[0]);
        let (head, added) = words.split_at_mut(TYPE_WORDS);
        match kind_of(head[1]) {
            INT | FWD | FLOAT => {}
            PTR => head[2] = 0,
            TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => head[2] = self.id_of(head[2])?,
            ARRAY => {
                added[0] = self.id_of(added[0])?;
                added[1] = self.id_of(added[1])?;
            }
            STRUCT | UNION => {
                for member in added.chunks_exact_mut(3) {
                    member[0] = self.name(member[0]);
                    member[1] = self.id_of(member[1])?;
                }
            }
            ENUM => added
                .iter_mut()
                .step_by(2)
                .for_each(|name| *name = self.name(*name)),
            ENUM64 => added
                .iter_mut()
                .step_by(3)
                .for_each(|name| *name = self.name(*name)),
            other => return Err(Malformed::KindInStruct(other)),
        }
        Ok(())
    }

    fn into_bytes(self) -> Vec<u8> {
        let types_bytes = 4 * self.types.len() as u32;
        let strings_bytes = self.strings.len() as u32;
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([VERSION, 0]);
        for word in [
            HEADER_BYTES as u32,
            0,
            types_bytes,
            types_bytes,
            strings_bytes,
        ] {
            bytes.extend(word.to_ne_bytes());
        }
        // SAFETY: any integer is four bytes.
        bytes.extend_from_slice(unsafe { plain::as_bytes(&self.types[..]) });
        bytes.extend(self.strings);
        bytes
    }
}
