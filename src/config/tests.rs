//! What a user may write, and what a user may get wrong.

use proptest::prelude::*;

use super::*;

/// Beside the rules that the package ships.
fn read(text: &str) -> Result<Config, Wrong> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/f.toml");
    Config::check(&Source::new("f.toml", text.to_owned()), &path)
}

fn complaint(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn nothing_is_the_defaults() {
    let config = read("").unwrap();
    assert_eq!(config.profile, Profile::Auto);
    assert!(config.tune && !config.goal.is_set() && config.rules.is_empty());
    assert!(config.warnings.is_empty());
    let tunables = config.tunables(false);
    assert_eq!(
        tunables.slice_max_ns,
        tunables::default_tunables().slice_max_ns
    );
}

#[test]
fn the_file_comes_before_the_profile() {
    let config = read("profile = \"server\"\n[tunables]\nslice_max_ns = 7_000_000").unwrap();
    let tunables = config.tunables(false);
    assert_eq!(tunables.slice_max_ns, 7_000_000);
    assert_eq!(
        tunables.slice_min_ns,
        Profile::Server.tunables(false).slice_min_ns
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, expected) in [
        (
            "profle = \"auto\"",
            "f.toml:1:1: unknown key \"profle\"; did you mean \"profile\"?",
        ),
        (
            "[goal]\nwakeup_p99 = 5",
            "f.toml:2:1: unknown key \"wakeup_p99\"; did you mean \"wakeup_p99_us\"?",
        ),
        (
            "[goal]\nxyz = 5",
            "f.toml:2:1: unknown key \"xyz\"; known are wakeup_p99_us, latency_wakeup_p99_us",
        ),
        (
            "[goal]\nwakeup_p99_us = 5",
            "f.toml:2:17: wakeup_p99_us takes 20 to 1_000_000, not 5",
        ),
        (
            "[goal]\nwakeup_p99_us = -5",
            "f.toml:2:17: wakeup_p99_us takes 20 to 1_000_000, not -5",
        ),
        (
            "\n[tunables]\nslice_mx_ns = 1",
            "f.toml:3:1: unknown tunable \"slice_mx_ns\"; did you mean \"slice_max_ns\"?",
        ),
        (
            "[tunables]\nslice_max_ns = 1",
            "f.toml:2:16: slice_max_ns takes 100_000 to 100_000_000, not 1",
        ),
        (
            "[tuner]\nperiod_ms = 5",
            "f.toml:2:13: period_ms takes 100 to 1_000, not 5",
        ),
        (
            "[[rule]]\nclass = \"latency\"",
            "exactly one of comm, exe, user, cgroup, unit",
        ),
        ("[[rule]]\ncomm = \"a\"\nuser = \"b\"", "exactly one of"),
        ("[[rule]]\ncomm = \"sixteen-letters!\"", "keeps 15 bytes"),
        ("[[rule]]\nexe = \"mpv\"", "\"mpv\" is no absolute path"),
        ("[[rule]]\nunit = \"a/b\"", "is no name of a unit"),
        (
            "[[rule]]\ncomm = \"a\"\ncpus = \"3-1\"",
            "f.toml:3:8: cpus: \"3-1\" runs backwards",
        ),
        (
            "[gaol]\nwakeup_p99_us = 500",
            "unknown key \"gaol\"; did you mean \"goal\"?",
        ),
        (
            "[goal]\nwakeup_p99_ms = 1",
            "f.toml:2:1: unknown key \"wakeup_p99_ms\"; did you mean \"wakeup_p99_us\"?",
        ),
        (
            "[goal]\nwakeup_p99_us = 0.5",
            "f.toml:2:17: invalid type: floating point `0.5`",
        ),
        (
            "[[rules]]\ncomm = \"a\"",
            "unknown key \"rules\"; did you mean \"rule\"?",
        ),
        (
            "profile = \"gamin\"",
            "f.toml:1:11: unknown value \"gamin\"; did you mean \"gaming\"?",
        ),
        (
            "\n[[rule]]\ncomm = \"a\"\nclss = \"latency\"",
            "f.toml:4:1: unknown key \"clss\"; did you mean \"class\"?",
        ),
        (
            "[[rule]]\ncomm = \"a\"\nclass = \"latncy\"",
            "f.toml:3:9: unknown value \"latncy\"; did you mean \"latency\"?",
        ),
        (
            "[[rule]]\ncomm = \"a\"\nweight_permille = 1",
            "f.toml:3:19: weight_permille takes 10 to 10_000",
        ),
    ] {
        let said = complaint(text);
        assert!(said.contains(expected), "{text:?}: {said}");
    }
    for text in [
        "[goal]\nwakeup_p99_us = \"5\"",
        "profile = \"speed\"",
        "tuner = 1",
    ] {
        let said = complaint(text);
        assert!(
            said.starts_with("f.toml:") && !said.contains('\n'),
            "{text:?}: {said}"
        );
    }
    let said = complaint("[goal]\nwakeup_p99_us = \"5\"");
    assert!(
        said.starts_with("f.toml:2:17:") && said.ends_with("takes 20 to 1_000_000 microseconds"),
        "{said}"
    );
    assert!(
        complaint("profile = \"speed\"").contains("gaming"),
        "{}",
        complaint("profile = \"speed\"")
    );
}

#[test]
fn all_that_is_out_of_range_is_said_at_once() {
    let said = complaint("[goal]\nwakeup_p99_us = 1\n[tunables]\nslice_max_ns = 1\nnope_nope = 2");
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn of_thousands_of_wrong_lines_the_first_few_are_said() {
    let said = complaint(&"[[rule]]\nexe = \"mpv\"\n".repeat(10_000));
    assert_eq!(said.lines().count(), 21, "{said}");
    assert!(said.ends_with("f.toml: 9980 more like these"), "{said}");
}

/// Files made to be expensive: whatever grows with the square of their length, or with the depth of what is in
/// them, would not end, or end badly.
#[test]
fn large_files_are_read_at_once() {
    let most = file::MAX_BYTES as usize / 8;
    let fill = |start: &str, piece: &str, end: &str| {
        let pieces = (most - start.len() - end.len()) / piece.len();
        format!("{start}{}{end}", piece.repeat(pieces))
    };
    let rule = format!("{{comm = \"a\"}}, {}", " ".repeat(100));
    for (text, is_good) in [
        (
            fill("[[rule]]\ncomm = \"a\"\ncpus = \"0", ",0-1023", "\""),
            true,
        ),
        (fill("[[rule]]\ncgroup = \"", "/a", "\""), true),
        (fill("[tunables]\n", "a", " = 1"), false),
        (fill("", "a", " = 1"), false),
        (fill("profile = \"", "a", "\""), false),
        (fill("goal", ".a", " = 1"), false),
        (fill("[goal", ".a", "]"), false),
        (fill("goal = ", "{a=", "1"), false),
        (fill("goal = ", "[", "1"), false),
        (fill("", "[[rule]]\n", ""), false),
        (fill("", "\n", ""), true),
        (format!("rule = [{}]", rule.repeat(5_000)), true),
    ] {
        let start: String = text.chars().take(40).collect();
        match read(&text) {
            Ok(_) => assert!(is_good, "{start}"),
            Err(wrong) => {
                assert!(!is_good, "{start}: {wrong}");
                let said = wrong.to_string();
                assert!(
                    said.len() < 10_000,
                    "{start}: {} bytes are said",
                    said.len()
                );
            }
        }
    }
}

#[test]
fn the_first_of_two_rules_for_the_same_tasks_counts() {
    let config =
        read("[[rule]]\ncomm = \"a\"\nclass = \"latency\"\n[[rule]]\ncomm = \"a\"").unwrap();
    assert_eq!(
        (config.rules.len(), config.rules[0].class),
        (1, rules::Class::Latency)
    );
    assert_eq!(
        config.warnings,
        ["f.toml:4:1: the same tasks have a rule at f.toml:1:1: that one counts"]
    );
}

#[test]
fn a_rule_for_what_an_earlier_one_covers_is_useless() {
    for (earlier, later, is_useless) in [
        ("cgroup = \"/a\"", "cgroup = \"/a/b\"", true),
        ("cgroup = \"/a/\"", "cgroup = \"//a\"", true),
        ("cgroup = \"/a/b\"", "cgroup = \"/a\"", false),
        ("cgroup = \"/a\"", "cgroup = \"/ab\"", false),
        ("unit = \"x.service\"", "cgroup = \"/s/x.service/y\"", true),
        ("cgroup = \"/s/x.service\"", "unit = \"x.service\"", false),
        ("cgroup = \"/\"", "comm = \"a\"", true),
        ("comm = \"a\"", "cgroup = \"/\"", false),
    ] {
        let text = format!("[[rule]]\n{earlier}\nclass = \"latency\"\n[[rule]]\n{later}");
        let config = read(&text).unwrap();
        let kept = if is_useless { 1 } else { 2 };
        assert_eq!(config.rules.len(), kept, "{text}: {:?}", config.warnings);
        assert_eq!(config.warnings.len(), 2 - kept, "{text}");
    }
}

#[test]
fn goals_that_nothing_is_done_for_are_warned_of() {
    let config = read("[goal]\nlatency_wakeup_p99_us = 200").unwrap();
    let expected =
        "f.toml:2:25: no rule gives the class latency: latency_wakeup_p99_us is about no task";
    assert_eq!(config.warnings, [expected]);
    let config = read("[goal]\nwakeup_p99_us = 200\n[tuner]\nenabled = false").unwrap();
    assert!(config.warnings[0].starts_with("f.toml:2:17: [tuner] enabled = false"));
    let rule = "[[rule]]\ncomm = \"a\"\nclass = \"latency\"";
    let config = read(&format!("[goal]\nlatency_wakeup_p99_us = 200\n{rule}")).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn the_rule_that_names_one_cpu_set_too_many_is_told() {
    let rule = |cpu: usize| format!("[[rule]]\ncomm = \"c{cpu}\"\ncpus = \"{cpu}\"\n");
    let text: String = (0..15).map(rule).collect();
    assert!(read(&text).is_ok());
    let said = complaint(&format!("{text}{}", rule(15)));
    assert!(said.starts_with("f.toml:46:1: cpus:"), "{said}");
}

#[test]
fn a_cgroup_too_deep_to_be_found_is_a_warning() {
    let deep = "/a".repeat(17);
    let config = read(&format!("[[rule]]\ncgroup = \"{deep}\"")).unwrap();
    assert!(
        config.warnings[0].contains("16 levels deep"),
        "{:?}",
        config.warnings
    );
}

#[test]
fn a_user_that_does_not_exist_is_a_warning() {
    let config = read("[[rule]]\nuser = \"no-such-user-here\"").unwrap();
    assert!(config.rules.is_empty());
    assert!(
        config.warnings[0].contains("matches nothing"),
        "{:?}",
        config.warnings
    );
}

/// The rules of the file come first, and an included rule that one of them replaces is no reason to warn.
#[test]
fn rules_are_included_after_those_of_the_file() {
    let config = read(
        "include = [\"audio\", \"games\"]\n[[rule]]\ncomm = \"pipewire\"\nclass = \"background\"",
    )
    .unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let of_pipewire: Vec<_> = config
        .rules
        .iter()
        .filter(|rule| rule.of == rules::Match::Comm("pipewire".into()))
        .collect();
    assert_eq!(of_pipewire.len(), 1);
    assert_eq!(of_pipewire[0].class, rules::Class::Background);
    let (own, included) = config.rules.split_at(1);
    assert!(!own[0].included && included.iter().all(|rule| rule.included));
    let places: Vec<_> = included.iter().map(|rule| rule.at.as_str()).collect();
    assert!(places[0].contains("rules.d/audio.toml:"), "{places:?}");
    assert!(places[places.len() - 1].contains("rules.d/games.toml:"));
    let twice = read("include = [\"audio\", \"audio\"]").unwrap();
    assert_eq!(twice.warnings.len(), 1, "{:?}", twice.warnings);
}

#[test]
fn what_cannot_be_included_is_said_with_its_place() {
    for (name, expected) in [
        ("audoi", "f.toml:1:12: include looks in"),
        ("audoi", "did you mean \"audio\"?"),
        ("../audio", "letters, digits, - and _"),
        ("audio.toml", "letters, digits, - and _"),
        ("", "letters, digits, - and _"),
    ] {
        let complaint = complaint(&format!("include = [{name:?}]"));
        assert!(complaint.contains(expected), "{name}: {complaint}");
    }
}

/// A file of rules holds nothing else, and what is wrong in it is said with its own place.
#[test]
fn a_wrong_file_of_rules_names_itself() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("rules.d")).unwrap();
    let read = |rules: &str| {
        std::fs::write(dir.path().join("rules.d/mine.toml"), rules).unwrap();
        let source = Source::new("f.toml", "include = [\"mine\"]".to_owned());
        Config::check(&source, &dir.path().join("f.toml"))
    };
    assert_eq!(read("[[rule]]\ncomm = \"a\"").unwrap().rules.len(), 1);
    for (rules, expected) in [
        ("profile = \"auto\"", "rules.d/mine.toml:1:1: unknown key"),
        (
            "[[rule]]\nexe = \"mpv\"",
            "rules.d/mine.toml:1:1: \"mpv\" is no absolute path",
        ),
        ("[[rule]", "rules.d/mine.toml:1:"),
    ] {
        let complaint = read(rules).unwrap_err().to_string();
        assert!(complaint.contains(expected), "{rules}: {complaint}");
    }
}

/// The manual's file is valid, commented out and not; and it leaves no key out.
#[test]
fn the_printed_default_is_valid_and_complete() {
    let text = keys::print_default();
    let config = read(&text).unwrap();
    assert_eq!(config.profile, Profile::Auto);
    for key in keys::all() {
        let header = if key.table.is_empty() {
            String::new()
        } else {
            format!("[{}]\n", key.table)
        };
        // A rule needs something that names tasks; the value that is tried may be just that.
        let names = ["comm", "exe", "user", "cgroup", "unit"].contains(&key.name);
        let matcher = if key.table == "[rule]" && !names {
            "comm = \"x\"\n"
        } else {
            ""
        };
        let tried = format!("{header}{matcher}{} = {}", key.name, key.value);
        assert!(read(&tried).is_ok(), "{tried}: {:?}", read(&tried));
        assert!(text.contains(&format!("#{} = {}\n", key.name, key.value)));
    }
    // What serde knows and the table does not would be named here.
    for (table, header) in [
        ("", ""),
        ("goal", "[goal]\n"),
        ("tuner", "[tuner]\n"),
        ("[rule]", "[[rule]]\n"),
    ] {
        let said = toml::from_str::<Raw>(&format!("{header}qqqqqqqq = 1")).unwrap_err();
        for name in said.message().split('`').skip(3).step_by(2) {
            let documented = keys::all()
                .iter()
                .any(|key| key.table == table && key.name == name);
            let is_table = keys::TABLES
                .iter()
                .any(|(t, _)| t.trim_matches(['[', ']']) == name);
            assert!(
                documented || (table.is_empty() && is_table),
                "[{table}] {name} is not documented"
            );
        }
    }
}

/// What packages install is what the manual says; `scx_takt config --print-default` makes it.
#[test]
fn the_file_that_packages_install_is_up_to_date() {
    let installed = include_str!("../../dist/config.toml");
    assert!(
        installed == keys::print_default(),
        "scx_takt config --print-default >dist/config.toml"
    );
}

/// Lines that look like configuration, whole and torn.
fn line() -> impl Strategy<Value = String> {
    let keys: Vec<String> = keys::all().iter().map(|key| key.name.to_owned()).collect();
    let key = prop::sample::select(keys);
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        "\"[ -~]{0,20}\"",
        "[\\[\\]{}\"'0-9a-z.,=-]{0,12}",
        Just("[".repeat(200)),
    ];
    prop_oneof![
        (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        prop::sample::select(vec![
            "[goal]",
            "[tuner]",
            "[tunables]",
            "[[rule]]",
            "[",
            "]]",
            "= ="
        ])
        .prop_map(String::from),
        any::<String>(),
    ]
}

proptest! {
    /// No input makes the reader panic, and what it complains about is as short as the input is long.
    #[test]
    fn no_text_makes_the_reader_panic(lines in prop::collection::vec(line(), 0..30)) {
        let text = lines.join("\n");
        match read(&text) {
            Ok(config) => prop_assert!(tunables::out_of_range(&config.tunables(false)).is_none()),
            Err(wrong) => prop_assert!(wrong.to_string().len() < 4096 + 64 * text.len()),
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = read(&String::from_utf8_lossy(&bytes));
    }
}
