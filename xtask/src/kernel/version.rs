//! Versions of Debian packages, and the names of kernel builds.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::str::Chars;

/// Compares two package versions as dpkg does, with `~` before everything.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left_rest) = split_epoch(left);
    let (right_epoch, right_rest) = split_epoch(right);
    let (left_upstream, left_revision) = split_revision(left_rest);
    let (right_upstream, right_revision) = split_revision(right_rest);
    left_epoch
        .cmp(&right_epoch)
        .then_with(|| compare_part(left_upstream, right_upstream))
        .then_with(|| compare_part(left_revision, right_revision))
}

fn split_epoch(version: &str) -> (u32, &str) {
    match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    }
}

fn split_revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// Compares sequences of non-digits and of digits alternately.
fn compare_part(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.chars().peekable(), right.chars().peekable());
    loop {
        let order = compare_text(&mut left, &mut right)
            .then_with(|| number(&mut left).cmp(&number(&mut right)));
        if order != Ordering::Equal || (left.peek().is_none() && right.peek().is_none()) {
            return order;
        }
    }
}

fn compare_text(left: &mut Peekable<Chars<'_>>, right: &mut Peekable<Chars<'_>>) -> Ordering {
    loop {
        let next = |chars: &mut Peekable<Chars<'_>>| chars.next_if(|c| !c.is_ascii_digit());
        let (a, b) = (next(left), next(right));
        match rank(a).cmp(&rank(b)) {
            Ordering::Equal if a.is_none() => return Ordering::Equal,
            Ordering::Equal => {}
            order => return order,
        }
    }
}

/// `~` before the end, the end before letters, letters before the rest.
fn rank(character: Option<char>) -> u32 {
    match character {
        Some('~') => 0,
        None => 1,
        Some(c) if c.is_ascii_alphabetic() => u32::from(c),
        Some(c) => 0x1_0000 + u32::from(c),
    }
}

fn number(chars: &mut Peekable<Chars<'_>>) -> u64 {
    let mut value = 0_u64;
    while let Some(digit) = chars
        .next_if(char::is_ascii_digit)
        .and_then(|c| c.to_digit(10))
    {
        value = value.saturating_mul(10).saturating_add(u64::from(digit));
    }
    value
}

/// The series that a release or version belongs to: its first two numbers.
pub fn series(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// True when `wanted` names the whole series `N.N` and nothing more.
pub fn is_series(wanted: &str) -> bool {
    let mut parts = wanted.split('.');
    let mut next_is_number = || {
        parts
            .next()
            .is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    next_is_number() && next_is_number() && parts.next().is_none()
}

/// True when `wanted` (a series, `7.3-rc`, an upstream version, a release with or without its
/// flavour, or a package version) means the build of this `release` and package `version`.
pub fn matches(wanted: &str, release: &str, version: &str, flavour: &str) -> bool {
    let without_flavour = release
        .strip_suffix(flavour)
        .and_then(|text| text.strip_suffix('-'));
    if wanted == release || wanted == version {
        return true;
    }
    if is_series(wanted) {
        return series(wanted) == series(release);
    }
    if let Some(base) = wanted.strip_suffix("-rc") {
        return version.starts_with(&format!("{base}~rc"));
    }
    let upstream = split_revision(split_epoch(version).1).0;
    Some(wanted) == without_flavour || wanted == upstream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_like_dpkg() {
        let ascending = [
            "6.16.3-1~bpo13+1",
            "6.16.12-1~bpo13+1",
            "7.2.6-1~bpo13+1",
            "7.2.12-1~bpo13+1",
            "7.2.13-1~bpo13+1",
            "7.2.13-1",
            "7.3~rc2-1~exp1",
            "7.3~rc10-1~exp1",
            "7.3-1",
            "7.3.4-1~bpo13+1",
            "1:0.1-1",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("1.0-1", "1.00-1"), Ordering::Equal);
        assert_eq!(compare("1.0a", "1.0+"), Ordering::Less);
        assert_eq!(compare("1.0", "1.0-0"), Ordering::Equal);
    }

    #[test]
    fn names_match_their_builds_only() {
        let flavour = "cloud-amd64";
        let (release, version) = ("7.2.13+deb14-cloud-amd64", "7.2.13-1");
        for wanted in ["7.2", "7.2.13", "7.2.13+deb14", release, version] {
            assert!(matches(wanted, release, version, flavour), "{wanted}");
        }
        for wanted in ["7", "7.2.1", "7.1", "7.2.12", "7.2-rc", "7.2.13+deb13"] {
            assert!(!matches(wanted, release, version, flavour), "{wanted}");
        }
        let (release, version) = ("7.3-cloud-amd64", "7.3~rc7-1~exp1");
        for wanted in ["7.3", "7.3-rc", "7.3~rc7", release] {
            assert!(matches(wanted, release, version, flavour), "{wanted}");
        }
        assert!(!matches(
            "7.3-rc",
            "7.3.4+deb13-cloud-amd64",
            "7.3.4-1~bpo13+1",
            flavour
        ));
    }

    #[test]
    fn a_series_has_two_numbers() {
        assert!(is_series("7.2") && is_series("6.18"));
        assert!(!is_series("7") && !is_series("7.2.1") && !is_series("7.x") && !is_series("7."));
    }
}
