use libbpf_rs::btf::types::MemberAttr;

use super::extract::{Wanted, extract};
use super::*;

fn wanted(names: &[&str]) -> Wanted {
    Wanted::new(
        names.iter().map(|name| name.as_bytes().to_vec()),
        "hrtimer_",
    )
}

/// The part of the host's kernel that `names` name, read again by libbpf.
fn part(names: &[&str]) -> Btf<'static> {
    let bytes = vmlinux(|vmlinux| extract(vmlinux, &wanted(names)))
        .unwrap()
        .0;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, bytes).unwrap();
    Btf::from_path(file.path()).unwrap()
}

/// Every member with its place; those without a name with what is in them.
fn members(btf: &Btf<'_>, name: &str) -> Vec<(String, String)> {
    let of: Struct<'_> = btf.type_by_name(name).unwrap();
    let told = |attr: &MemberAttr| match attr {
        MemberAttr::Normal { offset } => format!("{offset}"),
        MemberAttr::BitField { size, offset } => format!("{offset}:{size}"),
    };
    let kind = |id| {
        btf.type_by_id::<BtfType<'_>>(id)
            .unwrap()
            .skip_mods_and_typedefs()
            .kind()
    };
    let named = of.iter().map(|member| {
        let name = member
            .name
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        (
            name,
            format!("{} {:?}", told(&member.attr), kind(member.ty)),
        )
    });
    named.collect()
}

#[test]
fn a_part_says_what_the_whole_says() {
    let whole = Btf::from_vmlinux().unwrap();
    let part = part(&["task_struct", "cgroup", "no_such_struct"]);
    assert!(part.len() < whole.len() / 20, "{} types", part.len());
    // The last one is not asked for, but lies in the first.
    for name in ["task_struct", "cgroup", "sched_entity"] {
        let (in_whole, in_part) = (members(&whole, name), members(&part, name));
        assert!(in_whole.len() > 5);
        assert_eq!(in_whole, in_part, "{name}");
        let size = |btf: &Btf<'_>| btf.type_by_name::<Struct<'_>>(name).unwrap().size();
        assert_eq!(size(&whole), size(&part), "{name}");
    }
}

#[test]
fn enums_come_by_their_beginning() {
    let whole = Btf::from_vmlinux().unwrap();
    let part = part(&[]);
    let values = |btf: &Btf<'_>| {
        let of: Enum<'_> = btf.type_by_name("hrtimer_restart").unwrap();
        let values = of.iter().map(|e| (e.name.unwrap().to_owned(), e.value));
        values.collect::<Vec<_>>()
    };
    assert_eq!(values(&whole), values(&part));
    assert!(part.type_by_name::<Struct<'_>>("task_struct").is_none());
}

#[test]
fn a_name_must_be_the_same_to_its_end() {
    let part = part(&["task_struc", "task_struct_", "mm_struct"]);
    assert!(part.type_by_name::<Struct<'_>>("mm_struct").is_some());
    assert!(part.type_by_name::<Struct<'_>>("task_struct").is_none());
}

#[test]
fn what_is_no_btf_is_refused() {
    let refused = |bytes: &[u8], why: &str| {
        let error = extract(bytes, &wanted(&["task_struct"])).unwrap_err();
        assert!(format!("{error:#}").contains(why), "{error:#}");
    };
    refused(&[], "header");
    refused(&[0; 24], "no BTF");
    let whole = fs::read(BTF).unwrap();
    refused(&whole[..whole.len() / 8], "cut off");
    let mut newer = whole.clone();
    newer[2] = 2;
    refused(&newer, "version 2");
    let mut strange = whole.clone();
    strange[24 + 7] = 0x1f; // the kind of the first type
    refused(&strange, "kind 31 is newer");
}

#[test]
fn flavours_are_taken_off_as_libbpf_does() {
    for (name, essential) in [
        ("task_struct", "task_struct"),
        ("task_struct___old", "task_struct"),
        ("scx_a___b___c", "scx_a___b"),
        ("a____b", "a____b"),
        ("a___", "a___"),
        ("___b", "___b"),
    ] {
        assert_eq!(essential_name(name), essential, "{name}");
    }
}
