//! Every key of the configuration file: the one place from which `scx_takt config --print-default`
//! and the manual are made.

use std::fmt::Write as _;

use super::tunables::{TUNABLES, default_tunables};

/// One key.
pub struct Key {
    /// The table it stands in, "" for the top level.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The default as it would be written, or an example if there is none.
    pub value: String,
    /// Is `value` in force when the key is left out?
    pub is_default: bool,
    /// What may be written, with its unit.
    pub allowed: String,
    /// What it does.
    pub doc: &'static str,
}

/// The least and the greatest goal, in microseconds.
pub const GOAL_US: (u64, u64) = (20, 1_000_000);
/// The least and the greatest period of the tuner, in milliseconds.
pub const PERIOD_MS: (u64, u64) = (100, 1_000);
/// The default of it.
pub const PERIOD_DEFAULT_MS: u64 = 250;
/// The least and the greatest weight factor of a rule, in thousandths.
pub const WEIGHT_PERMILLE: (u64, u64) = (10, 10_000);

/// A table, and what it is for.
pub const TABLES: [(&str, &str); 4] = [
    (
        "goal",
        "What to reach. Without a goal the tuner only adapts to load and power source.",
    ),
    (
        "tuner",
        "The control loop that sets the tunables toward the goal.",
    ),
    (
        "tunables",
        "Where the tuner starts from, if not from what the profile says. Nanoseconds.",
    ),
    (
        "[rule]",
        "Rules for tasks, as many as you like; each names tasks in exactly one way (comm, exe, user, \
         cgroup or unit). If several rules match a task, the first in the file wins.",
    ),
];

/// All keys, in the order in which they are shown.
pub fn all() -> Vec<Key> {
    let goal = range(GOAL_US, "microseconds");
    let mut keys = vec![
        key(
            "",
            "profile",
            "\"auto\"",
            true,
            "auto, gaming, latency, server, powersave or pi",
            "what the machine is for",
        ),
        key(
            "",
            "include",
            "[\"audio\", \"desktop\"]",
            false,
            "names of files in rules.d beside this file, or else in /usr/share/scx_takt/rules.d, without .toml",
            "adds the rules of these files after those of this file",
        ),
        key(
            "goal",
            "wakeup_p99_us",
            "500",
            false,
            &goal,
            "99 % of all wakeups but those of background tasks get a CPU within this",
        ),
        key(
            "goal",
            "latency_wakeup_p99_us",
            "200",
            false,
            &goal,
            "the same, for tasks of class latency alone",
        ),
        key(
            "tuner",
            "enabled",
            "true",
            true,
            "true or false",
            "false: tunables stay as they are set",
        ),
        key(
            "tuner",
            "period_ms",
            &PERIOD_DEFAULT_MS.to_string(),
            true,
            &range(PERIOD_MS, "milliseconds"),
            "how often it reads the figures",
        ),
    ];
    let defaults = default_tunables();
    keys.extend(TUNABLES.iter().map(|tunable| {
        let value = digits(tunable.of(&defaults));
        key(
            "tunables",
            tunable.name,
            &value,
            true,
            &range(tunable.range, "nanoseconds"),
            tunable.doc,
        )
    }));
    keys.extend(rule_keys());
    keys
}

fn rule_keys() -> Vec<Key> {
    let table = "[rule]";
    vec![
        key(
            table,
            "comm",
            "\"pipewire\"",
            false,
            "up to 15 bytes",
            "tasks of this name (a thread may have another name than its process)",
        ),
        key(
            table,
            "exe",
            "\"/usr/bin/mpv\"",
            false,
            "an absolute path",
            "tasks that run this program",
        ),
        key(
            table,
            "user",
            "\"backup\"",
            false,
            "a user's name or number",
            "tasks of this user",
        ),
        key(
            table,
            "cgroup",
            "\"/system.slice\"",
            false,
            "an absolute path below the cgroup root",
            "tasks in this cgroup or below it",
        ),
        key(
            table,
            "unit",
            "\"nginx.service\"",
            false,
            "the name of a systemd unit",
            "tasks in this unit: in a cgroup of this name or below it",
        ),
        key(
            table,
            "class",
            "\"normal\"",
            true,
            "latency, normal or background",
            "latency: preempts at a quarter of the margin, earlier deadlines; background: never preempts, later deadlines",
        ),
        key(
            table,
            "weight_permille",
            "1000",
            true,
            &range(WEIGHT_PERMILLE, "thousandths"),
            "multiplies the task's share of the CPU",
        ),
        key(
            table,
            "cpus",
            "\"0-3,8\"",
            false,
            "CPU numbers and ranges",
            "CPUs that it is placed on first when one of them is idle",
        ),
        key(
            table,
            "reason",
            "\"late audio clicks\"",
            false,
            "a text",
            "why there is this rule: scx_takt rules shows it",
        ),
    ]
}

fn key(
    table: &'static str,
    name: &'static str,
    value: &str,
    is_default: bool,
    allowed: &str,
    doc: &'static str,
) -> Key {
    let (value, allowed) = (value.to_owned(), allowed.to_owned());
    Key {
        table,
        name,
        value,
        is_default,
        allowed,
        doc,
    }
}

fn range((min, max): (u64, u64), unit: &str) -> String {
    format!("{} to {} {unit}", digits(min), digits(max))
}

/// A number as TOML allows it to be written for people: 20_000_000.
pub fn digits(number: u64) -> String {
    let plain = number.to_string();
    let mut out = String::new();
    for (i, digit) in plain.chars().enumerate() {
        if i > 0 && (plain.len() - i).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

/// A configuration file with every key, all of them commented out.
pub fn print_default() -> String {
    let mut text = String::from(
        "# scx_takt configuration: /etc/scx_takt/config.toml, or --config FILE.\n\
         # Flags on the command line come before this file, this file before the profile.\n\
         # A change of this file, or SIGHUP, is taken over while the scheduler runs:\n\
         # as a whole, or not at all if anything in it is wrong.\n",
    );
    let keys = all();
    for key in keys.iter().filter(|key| key.table.is_empty()) {
        describe(&mut text, key);
    }
    for (table, about) in TABLES {
        let _ = write!(text, "\n# {about}\n#[{table}]\n");
        for key in keys.iter().filter(|key| key.table == table) {
            describe(&mut text, key);
        }
    }
    text
}

/// Every key in one line, for help and the manual page.
pub fn manual() -> String {
    let keys = all().into_iter().map(|key| {
        let table = match key.table {
            "" => String::new(),
            table => format!("[{table}] "),
        };
        let default = if key.is_default { "default" } else { "e.g." };
        let (name, value) = (key.name, key.value);
        format!(
            "{table}{name}: {}; {}; {default} {value}",
            key.doc, key.allowed
        )
    });
    format!("Keys:\n{}", keys.collect::<Vec<_>>().join("\n"))
}

fn describe(text: &mut String, key: &Key) {
    let kind = if key.is_default {
        "default"
    } else {
        "no default, e.g."
    };
    let _ = write!(
        text,
        "\n# {}\n# {}; {kind} {}\n#{} = {}\n",
        key.doc, key.allowed, key.value, key.name, key.value
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1_000"),
            (20_000_000, "20_000_000"),
        ] {
            assert_eq!(digits(number), text);
        }
    }
}
