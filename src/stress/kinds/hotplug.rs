//! CPUs that go offline and come back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::seq::IndexedRandom as _;

use crate::stress::worker_pool::WorkerPool;

/// The switches of all CPUs that can go offline, CPU 0 left out: one CPU always stays.
fn switches() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu") else {
        return Vec::new();
    };
    let is_cpu = |name: &str| {
        let number = name
            .strip_prefix("cpu")
            .and_then(|number| number.parse::<u32>().ok());
        number.is_some_and(|number| number > 0)
    };
    let mut switches: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_cpu))
        .map(|entry| entry.path().join("online"))
        // One that is offline already is a decision of the administrator.
        .filter(|switch| fs::read_to_string(switch).is_ok_and(|state| state.trim() == "1"))
        .collect();
    switches.sort();
    switches
}

/// Why no CPU can go offline, if none can.
pub fn obstacle() -> Option<String> {
    let switches = switches();
    let Some(first) = switches.first() else {
        return Some("no CPU but CPU 0 can go offline here".to_owned());
    };
    let error = fs::OpenOptions::new().write(true).open(first).err()?;
    Some(format!(
        "cannot write {} ({error}); run as root",
        first.display()
    ))
}

/// Takes a random CPU away for up to half a second at a time. Ticks per CPU that is back.
pub fn storm(pool: &mut WorkerPool) -> Result<()> {
    let switches = switches();
    pool.spawn("hotplug", move |worker| {
        while worker.running() {
            let switch = switches
                .choose(&mut worker.rng)
                .context("no CPU can go offline")?
                .clone();
            if let Some(away) = CpuAway::new(switch)? {
                worker.pause_us(10_000, 500_000);
                away.back()?;
                worker.tick();
            }
            worker.pause_us(10_000, 500_000);
        }
        Ok(())
    })?;
    Ok(())
}

/// A CPU that is offline until this is dropped.
struct CpuAway(Option<PathBuf>);

impl CpuAway {
    /// `None` if the kernel is too busy to take it away just now.
    fn new(switch: PathBuf) -> Result<Option<Self>> {
        match fs::write(&switch, "0") {
            Ok(()) => Ok(Some(Self(Some(switch)))),
            Err(error) if is_busy(&error) => Ok(None),
            Err(error) => {
                anyhow::bail!("cannot take a CPU away with {}: {error}", switch.display())
            }
        }
    }

    fn back(mut self) -> Result<()> {
        let Some(switch) = self.0.take() else {
            return Ok(());
        };
        bring_back(&switch)
            .map_err(|error| anyhow::anyhow!("cannot bring back {}: {error}", switch.display()))
    }
}

impl Drop for CpuAway {
    fn drop(&mut self) {
        if let Some(error) = self.0.take().and_then(|switch| bring_back(&switch).err()) {
            eprintln!("scx_takt: stress: a CPU stays offline: {error}");
        }
    }
}

fn bring_back(switch: &Path) -> io::Result<()> {
    loop {
        match fs::write(switch, "1") {
            // Nothing tells when the kernel is ready again.
            Err(error) if is_busy(&error) => thread::sleep(Duration::from_millis(1)),
            result => return result,
        }
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBUSY | libc::EAGAIN | libc::EINTR)
    )
}
