//! What machine the figures come from, for the report.

use std::fs;

/// Pairs of a heading and its text.
pub fn describe() -> Vec<(&'static str, String)> {
    let uname = nix::sys::utsname::uname();
    let kernel = uname.map(|name| {
        format!(
            "{} {}",
            name.release().to_string_lossy(),
            name.version().to_string_lossy()
        )
    });
    let facts = [
        ("Processor", processor()),
        ("CPUs online", read("/sys/devices/system/cpu/online")),
        ("SMT", read("/sys/devices/system/cpu/smt/control")),
        (
            "Frequency governor",
            read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        ),
        ("Memory", value_of("/proc/meminfo", "MemTotal:")),
        ("Kernel", kernel.ok()),
        ("System", value_of("/etc/os-release", "PRETTY_NAME=")),
        ("scx_takt", Some(env!("CARGO_PKG_VERSION").to_owned())),
    ];
    facts
        .into_iter()
        .filter_map(|(name, text)| text.map(|text| (name, text)))
        .collect()
}

/// Release of the running kernel.
pub fn kernel_release() -> String {
    let name = nix::sys::utsname::uname();
    name.map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Model of the first CPU; Arm names none there, so that the device tree's board has to do.
fn processor() -> Option<String> {
    let model = value_of("/proc/cpuinfo", "model name").or_else(|| read("/proc/device-tree/model"));
    let guest = fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .contains(" hypervisor");
    model.map(|model| {
        if guest {
            format!("{model} (virtual machine)")
        } else {
            model
        }
    })
}

/// The rest of the first line that starts with `key`, without what separates the two.
fn value_of(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(rest.trim_matches([' ', '\t', ':', '"']).to_owned())
}

fn read(file: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let text = text.trim_matches(['\0', '\n', ' ']);
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_described() {
        let facts = describe();
        assert!(
            facts
                .iter()
                .any(|(name, text)| *name == "Kernel" && !text.is_empty())
        );
        assert!(
            facts
                .iter()
                .any(|(name, text)| *name == "Memory" && text.ends_with("kB"))
        );
    }
}
