//! From rules as people write them to keys that the BPF side can look up.

use std::collections::HashSet;

use crate::bpf_abi::intf::{
    takt_latency_class_TAKT_LAT_BACKGROUND, takt_latency_class_TAKT_LAT_LATENCY,
    takt_latency_class_TAKT_LAT_NORMAL, takt_rule, takt_rule_consts_TAKT_MAX_CPU_SETS,
    takt_rule_key, takt_rule_kind_TAKT_RULE_CGROUP, takt_rule_kind_TAKT_RULE_COMM,
    takt_rule_kind_TAKT_RULE_EXE, takt_rule_kind_TAKT_RULE_UID, takt_rule_kind_TAKT_RULE_UNIT,
};
use crate::config::rules::{Class, Match, Rule, file_of};

/// Programs that are checked in one go. A check costs a microsecond or two.
const CHECKED_AT_ONCE: usize = 1024;

/// What the BPF side is given.
#[derive(Default)]
pub struct Compiled {
    /// One per rule that can match.
    pub entries: Vec<(takt_rule_key, takt_rule)>,
    /// Bit k: there are rules of kind k.
    pub kinds: u32,
    /// The CPU sets that rules point to; the first is empty.
    pub cpu_sets: Vec<Vec<u16>>,
    /// Rules that cannot match now.
    pub warnings: Vec<String>,
    /// The programs that rules name, with what the file behind the name was known by.
    programs: Vec<(String, Option<(u64, u64)>)>,
}

impl Compiled {
    /// Compiles rules of a checked configuration.
    pub fn new(rules: &[Rule]) -> Self {
        let mut compiled = Self {
            cpu_sets: vec![Vec::new()],
            ..Self::default()
        };
        let mut seen = HashSet::new();
        for (order, rule) in (0u32..).zip(rules) {
            let cpu_set = compiled.cpu_set(&rule.cpus);
            let key = key_of(&rule.of);
            if let Match::Exe(path) = &rule.of {
                let known_by = key.map(|key| (key.a, key.b));
                compiled.programs.push((path.clone(), known_by));
            }
            let Some(key) = key else {
                if !rule.included {
                    let what = "there is no such file now";
                    compiled.warnings.push(format!("{rule}: {what}"));
                }
                continue;
            };
            let value = takt_rule {
                order,
                weight_permille: rule.weight_permille,
                class_: match rule.class {
                    Class::Normal => takt_latency_class_TAKT_LAT_NORMAL,
                    Class::Latency => takt_latency_class_TAKT_LAT_LATENCY,
                    Class::Background => takt_latency_class_TAKT_LAT_BACKGROUND,
                } as u8,
                cpu_set,
                hits: 0,
            };
            if !seen.insert((key.kind, key.a, key.b)) {
                let what = "an earlier rule names the same file: that one counts";
                compiled.warnings.push(format!("{rule}: {what}"));
                continue;
            }
            compiled.kinds |= 1 << key.kind;
            compiled.entries.push((key, value));
        }
        compiled
    }

    /// Is there another file behind the name of one of the programs than there was? Checks
    /// [`CHECKED_AT_ONCE`] of them, from number `next` on, which is moved on.
    pub fn programs_have_changed(&self, next: &mut usize) -> bool {
        let count = self.programs.len().min(CHECKED_AT_ONCE);
        let from = std::mem::take(next).min(self.programs.len());
        let looked_at = self.programs.iter().cycle().skip(from).take(count);
        *next = (from + count).checked_rem(self.programs.len()).unwrap_or(0);
        looked_at
            .into_iter()
            .any(|(path, known_by)| *known_by != file_of(path.as_ref()))
    }

    /// The number of a CPU set; the configuration has checked that there are not too many.
    fn cpu_set(&mut self, cpus: &[u16]) -> u8 {
        let known = self.cpu_sets.iter().position(|set| set == cpus);
        let number = known.unwrap_or_else(|| {
            self.cpu_sets.push(cpus.to_vec());
            self.cpu_sets.len() - 1
        });
        if number < takt_rule_consts_TAKT_MAX_CPU_SETS as usize {
            number as u8
        } else {
            0
        }
    }
}

/// What a task must have to match; `None`: nothing can.
fn key_of(of: &Match) -> Option<takt_rule_key> {
    let (kind, a, b) = match of {
        Match::Comm(comm) => {
            let [a, b] = words::<2>(comm);
            (takt_rule_kind_TAKT_RULE_COMM, a, b)
        }
        Match::Uid(uid) => (takt_rule_kind_TAKT_RULE_UID, u64::from(*uid), 0),
        Match::Cgroup(path) => (takt_rule_kind_TAKT_RULE_CGROUP, hash_of_path(path), 0),
        Match::Unit(name) => (takt_rule_kind_TAKT_RULE_UNIT, hash_of_name(name), 0),
        Match::Exe(path) => {
            let (inode, size) = file_of(path.as_ref())?;
            (takt_rule_kind_TAKT_RULE_EXE, inode, size)
        }
    };
    Some(takt_rule_key {
        kind: u64::from(kind),
        a,
        b,
    })
}

/// `HASH_START` of `src/bpf/buckets.h`.
const HASH_START: u64 = 0x9e37_79b9_7f4a_7c15;
/// Words of `CGROUP_NAME_LEN` bytes.
const NAME_WORDS: usize = 16;

fn hash_step(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(HASH_START);
    hash ^ (hash >> 32)
}

/// As `hash_of_name()` of the BPF side.
fn hash_of_name(name: &str) -> u64 {
    let words = words::<NAME_WORDS>(name);
    words
        .into_iter()
        .take_while(|word| *word != 0)
        .fold(HASH_START, hash_step)
}

/// Of a path below the cgroup root, "" being the root itself.
fn hash_of_path(path: &str) -> u64 {
    let names = path.split('/').filter(|name| !name.is_empty());
    names.fold(HASH_START, |hash, name| hash_step(hash, hash_of_name(name)))
}

/// The text as the kernel would copy it into a buffer of `N` words: cut off, ended by a NUL.
fn words<const N: usize>(text: &str) -> [u64; N] {
    let mut bytes = text.as_bytes().iter().take(8 * N - 1).copied();
    std::array::from_fn(|_| u64::from_ne_bytes(std::array::from_fn(|_| bytes.next().unwrap_or(0))))
}

/// A plain C value as the bytes of a map's key or value.
pub fn as_bytes<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: only used with `takt_rule_key` and `takt_rule`, `repr(C)` integers without padding (their
    // sizes are checked below); any initialised memory may be read as bytes.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

const _: () = assert!(size_of::<takt_rule_key>() == 24 && size_of::<takt_rule>() == 16);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn rule(of: Match, cpus: &[u16]) -> Rule {
        Rule {
            of,
            class: Class::Latency,
            weight_permille: 1000,
            cpus: cpus.to_vec(),
            reason: String::new(),
            included: false,
            at: "f:1:1".into(),
        }
    }

    #[test]
    fn every_rule_keeps_its_place_and_sets_are_shared() {
        let rules = [
            rule(Match::Comm("a".into()), &[1, 2]),
            rule(Match::Exe("/no/such/file".into()), &[]),
            rule(Match::Uid(3), &[1, 2]),
        ];
        let compiled = Compiled::new(&rules);
        let orders: Vec<_> = compiled
            .entries
            .iter()
            .map(|(_, rule)| rule.order)
            .collect();
        assert_eq!(orders, [0, 2]);
        assert_eq!(compiled.cpu_sets, [vec![], vec![1, 2]]);
        assert!(compiled.entries.iter().all(|(_, rule)| rule.cpu_set == 1));
        assert_eq!(compiled.kinds, 0b11);
        assert!(compiled.warnings[0].contains("no such file"));
        assert!(!compiled.programs_have_changed(&mut 0));
    }

    #[test]
    fn a_replaced_program_is_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rules = [rule(Match::Exe(file.path().display().to_string()), &[])];
        let compiled = Compiled::new(&rules);
        assert!(!compiled.programs_have_changed(&mut 0));
        fs::write(file.path(), "longer").unwrap();
        assert!(compiled.programs_have_changed(&mut 0));
    }

    /// However many programs the rules name, a check is bounded, and each is checked in the end.
    #[test]
    fn many_programs_are_looked_at_in_turn() {
        let directory = tempfile::tempdir().unwrap();
        let path = |i: usize| directory.path().join(i.to_string());
        let count = 2 * CHECKED_AT_ONCE + 10;
        let rules: Vec<_> = (0..count)
            .map(|i| rule(Match::Exe(path(i).display().to_string()), &[]))
            .collect();
        let compiled = Compiled::new(&rules);
        assert_eq!(compiled.warnings.len(), count, "there are no such files");
        fs::write(path(count - 1), "now there is").unwrap();
        let mut next = 0;
        let seen: Vec<_> = (0..4)
            .map(|_| compiled.programs_have_changed(&mut next))
            .collect();
        assert_eq!(seen, [false, false, true, false]);
    }

    #[test]
    fn a_step_of_the_hash_is_that_of_the_bpf_side() {
        for (hash, word) in [
            (HASH_START, 0),
            (0, 1),
            (u64::MAX, 0x6162),
            (1 << 63, u64::MAX),
        ] {
            assert_eq!(hash_step(hash, word), takt_formulas::hash_step(hash, word));
        }
    }

    #[test]
    fn paths_and_names() {
        assert_eq!(hash_of_path(""), HASH_START);
        assert_eq!(hash_of_path("/a/b"), hash_of_path("/a/b/"));
        assert_ne!(hash_of_path("/a/b"), hash_of_path("/b/a"));
        // The BPF side reads 127 bytes at most.
        assert_eq!(
            hash_of_name(&"x".repeat(127)),
            hash_of_name(&"x".repeat(200))
        );
        assert_ne!(
            hash_of_name(&"x".repeat(126)),
            hash_of_name(&"x".repeat(127))
        );
        assert_eq!(
            words::<2>("ab"),
            [u64::from_ne_bytes(*b"ab\0\0\0\0\0\0"), 0]
        );
    }
}
