//! What the running kernel offers to a `sched_ext` agent.

use std::fs;
use std::path::Path;

use nix::unistd::{SysconfVar, sysconf};

use crate::sched_ext::{self, Active};
use crate::{Error, Result};

pub(crate) const BTF: &str = "/sys/kernel/btf/vmlinux";

/// The kernel's release string, as `uname -r` prints it.
pub fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|s| s.trim().to_owned())
        .unwrap_or_default()
}

/// Is this kernel of that release or a later one? For what its type information does not show.
pub fn is_at_least(major: u32, minor: u32) -> bool {
    parse_release(&release()).is_some_and(|found| found >= (major, minor))
}

/// Major and minor number of a release string.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit());
    let minor = &rest[..digits.unwrap_or(rest.len())];
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Does the kernel describe its types (BTF)?
pub fn has_btf() -> bool {
    Path::new(BTF).exists()
}

/// Is the BPF just-in-time compiler on? `None`: the kernel does not tell.
pub fn jit_enabled() -> Option<bool> {
    let text = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok()?;
    Some(text.trim() != "0")
}

/// Size of a memory page, in bytes.
pub fn page_size_bytes() -> usize {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| usize::try_from(size).ok())
        .unwrap_or(4096)
}

/// May this process load BPF programs? Root, or `CAP_BPF` with `CAP_PERFMON` and `CAP_SYS_ADMIN`,
/// which `sched_ext` asks for as well.
pub fn privileged() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return false;
    };
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|caps| caps & (1 << CAP_SYS_ADMIN) != 0)
}

/// The kfuncs among `wanted` whose BTF on this kernel is malformed, so that no program can call them:
/// they carry an implicit `aux` argument and lack the `_impl` twin that would take it (Debian's
/// 7.1.13+deb13 and 7.2.12+deb13, built with a pahole before 1.26).
///
/// Needs [`has_btf`].
pub fn malformed_kfuncs() -> Vec<String> {
    if has_btf() {
        scx_utils::compat::malformed_scx_kfuncs()
    } else {
        Vec::new()
    }
}

/// Why the kernel may have refused a program that is right: to be asked after it did, since the
/// answer costs a walk over the types of the whole kernel. `None`: not for a reason known here.
pub fn why_refused() -> Option<String> {
    let malformed = malformed_kfuncs();
    let first = malformed.first()?;
    Some(format!(
        "kernel {} carries malformed BTF: {} scheduler kfuncs, {first} among them, cannot be called by \
         any program (built with pahole before 1.26): boot another build, such as Debian's 6.18, 7.0 or \
         7.2.13",
        release(),
        malformed.len(),
    ))
}

/// What `what`, which loads BPF programs that name the kernel's types, cannot do without.
///
/// # Errors
/// The first thing that is missing: what, why, and what to do.
pub fn require_bpf(what: &str) -> Result<()> {
    if !privileged() {
        let what = what.to_owned();
        return Err(Error::NotPrivileged { what });
    }
    if !has_btf() {
        let release = release();
        return Err(Error::NoBtf { release });
    }
    Ok(())
}

/// Everything without which no `sched_ext` scheduler can run here, cheapest test first; all but
/// [`why_refused`].
///
/// # Errors
/// The first thing that is missing: what, why, and what to do.
pub fn require() -> Result<()> {
    require_bpf("loading a scheduler")?;
    match sched_ext::active()? {
        Active::Unsupported => Err(Error::NoSchedExt { release: release() }),
        Active::Kernel => Ok(()),
        other => Err(Error::OtherScheduler(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_have_two_numbers() {
        for (release, expected) in [
            ("7.0.0-rc7", Some((7, 0))),
            ("6.18.15-takt", Some((6, 18))),
            ("7.2.13+deb13-cloud-amd64", Some((7, 2))),
            ("7.3-rc1", Some((7, 3))),
            ("6.12", Some((6, 12))),
            ("7", None),
            ("", None),
            ("x.y", None),
        ] {
            assert_eq!(parse_release(release), expected, "{release}");
        }
        assert!(is_at_least(3, 0));
        assert!(!is_at_least(1_000, 0));
    }
}
