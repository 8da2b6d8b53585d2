//! Where the machine gets its power from.

use std::fs;
use std::path::Path;

/// Does it run on battery? That is: some supply is a mains adapter, and none of those is plugged in.
/// A machine without adapters (a desktop, a server) does not.
pub fn on_battery() -> bool {
    on_battery_as_in(Path::new("/sys/class/power_supply"))
}

fn on_battery_as_in(supplies: &Path) -> bool {
    let online = |supply: &Path| {
        let kind = fs::read_to_string(supply.join("type")).ok()?;
        let is_mains = ["Mains", "USB"].contains(&kind.trim());
        let online = fs::read_to_string(supply.join("online")).ok()?;
        is_mains.then(|| online.trim() != "0")
    };
    let Ok(entries) = fs::read_dir(supplies) else {
        return false;
    };
    let mains: Vec<_> = entries
        .flatten()
        .filter_map(|entry| online(&entry.path()))
        .collect();
    let has_battery = fs::read_dir(supplies).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            fs::read_to_string(entry.path().join("type")).is_ok_and(|kind| kind.trim() == "Battery")
        })
    });
    has_battery && !mains.is_empty() && mains.iter().all(|online| !online)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supplies(of: &[(&str, Option<&str>)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (number, (kind, online)) in of.iter().enumerate() {
            let supply = directory.path().join(number.to_string());
            fs::create_dir(&supply).unwrap();
            fs::write(supply.join("type"), format!("{kind}\n")).unwrap();
            if let Some(online) = online {
                fs::write(supply.join("online"), format!("{online}\n")).unwrap();
            }
        }
        directory
    }

    #[test]
    fn only_an_unplugged_machine_runs_on_battery() {
        for (of, expected) in [
            (&[][..], false),
            (&[("Battery", None)], false),
            (&[("Battery", None), ("Mains", Some("1"))], false),
            (&[("Battery", None), ("Mains", Some("0"))], true),
            (
                &[("Battery", None), ("Mains", Some("0")), ("USB", Some("1"))],
                false,
            ),
            (&[("Mains", Some("0"))], false),
        ] {
            assert_eq!(on_battery_as_in(supplies(of).path()), expected, "{of:?}");
        }
        assert!(!on_battery_as_in(Path::new("/no/such/directory")));
    }
}
