//! Task rules in the kernel: compiled into a map, attached to the events that may change what a task
//! is. What happens there stands in `src/bpf/rules.bpf.h`.

mod compile;

use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _};

use anyhow::{Context, Result};
use libbpf_rs::{Iter, Link, MapCore as _, MapFlags, MapHandle, MapType};

use crate::bpf_abi::{BpfSkel, intf};
use crate::config::rules::Rule;
use compile::{Compiled, as_bytes};

/// The rules in force. Dropped, they are attached to nothing any more; tasks keep what they have.
#[derive(Default)]
pub struct Rules {
    links: Vec<Link>,
    map: Option<MapHandle>,
    compiled: Compiled,
    source: Vec<Rule>,
    /// The next program to look at.
    next_program: usize,
}

impl Rules {
    /// Puts `rules` into force in place of those before, for all tasks that are there and those to
    /// come. Returns warnings.
    ///
    /// # Errors
    /// If the kernel refuses; then the rules before stay in force.
    pub fn replace(&mut self, skel: &mut BpfSkel<'_>, rules: &[Rule]) -> Result<Vec<String>> {
        if rules.is_empty() && self.source.is_empty() {
            return Ok(Vec::new());
        }
        let compiled = Compiled::new(rules);
        let map = create(&compiled).context("cannot make a map for the rules")?;
        if self.links.is_empty() && !rules.is_empty() {
            self.links = attach(skel).context("cannot watch exec, rename and cgroup moves")?;
        }
        let bss = skel
            .maps
            .bss_data
            .as_mut()
            .context("the BPF object has no .bss")?;
        // More CPUs than wanted for a moment do no harm: they are a preference.
        for (to, from) in bss.cpu_sets.iter_mut().zip(&compiled.cpu_sets) {
            to.nr = 0;
            to.cpu[..from.len()].copy_from_slice(from);
            to.nr = from.len() as u32;
        }
        bss.rule_kinds |= compiled.kinds;
        let fd = map.as_fd().as_raw_fd().to_ne_bytes();
        skel.maps
            .rule_sets
            .update(&0u32.to_ne_bytes(), &fd, MapFlags::ANY)
            .context("cannot put the rules into force")?;
        if let Some(bss) = skel.maps.bss_data.as_mut() {
            bss.rule_kinds = compiled.kinds;
        }
        self.map = Some(map);
        self.compiled = compiled;
        self.source = rules.to_vec();
        let applied = apply_to_all(skel);
        if rules.is_empty() {
            self.links.clear();
        }
        applied?;
        let mut warnings = self.compiled.warnings.clone();
        warnings.extend(self.idle_rules());
        Ok(warnings)
    }

    /// Does what became due: threads that moved to another cgroup, programs that were replaced.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn refresh(&mut self, skel: &mut BpfSkel<'_>) -> Result<()> {
        if self.source.is_empty() {
            return Ok(());
        }
        if self.compiled.programs_have_changed(&mut self.next_program) {
            let rules = self.source.clone();
            return self.replace(skel, &rules).map(|_| ());
        }
        let stale = skel.maps.bss_data.as_mut().map(|bss| &mut bss.rules_stale);
        if let Some(stale) = stale.filter(|stale| **stale) {
            *stale = false;
            apply_to_all(skel)?;
        }
        Ok(())
    }

    /// Warnings about rules that no task has matched so far. Included rules are for programs that may not be here.
    fn idle_rules(&self) -> Vec<String> {
        let Some(map) = &self.map else {
            return Vec::new();
        };
        let idle = self.compiled.entries.iter().filter(|(key, _)| {
            let value = map.lookup(as_bytes(key), MapFlags::ANY).ok().flatten();
            // SAFETY: the map's values are of this type, which is plain data.
            let rule = value
                .filter(|bytes| bytes.len() == size_of::<intf::takt_rule>())
                .map(|bytes| unsafe { bytes.as_ptr().cast::<intf::takt_rule>().read_unaligned() });
            rule.is_none_or(|rule| rule.hits == 0)
        });
        let idle = idle.map(|(_, rule)| &self.source[rule.order as usize]);
        idle.filter(|rule| !rule.included)
            .map(|rule| format!("{rule} matches no task now"))
            .collect()
    }
}

/// A map of its own for one set of rules.
fn create(compiled: &Compiled) -> Result<MapHandle> {
    let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as _,
        ..Default::default()
    };
    let map = MapHandle::create(
        MapType::Hash,
        Some("rules"),
        size_of::<intf::takt_rule_key>() as u32,
        size_of::<intf::takt_rule>() as u32,
        compiled.entries.len().max(1) as u32,
        &options,
    )?;
    for (key, rule) in &compiled.entries {
        map.update(as_bytes(key), as_bytes(rule), MapFlags::ANY)?;
    }
    Ok(map)
}

fn attach(skel: &BpfSkel<'_>) -> Result<Vec<Link>> {
    let progs = &skel.progs;
    let watched = [
        &progs.takt_rules_exec,
        &progs.takt_rules_rename,
        &progs.takt_rules_moved,
    ];
    Ok(watched
        .into_iter()
        .map(|program| program.attach())
        .collect::<Result<_, _>>()?)
}

/// Runs the iterator program over all tasks.
fn apply_to_all(skel: &BpfSkel<'_>) -> Result<()> {
    let run = || -> Result<()> {
        let link = skel.progs.takt_rules_all.attach()?;
        let mut iter = Iter::new(&link)?;
        while iter.read(&mut [0; 64])? > 0 {}
        Ok(())
    };
    run().context("cannot apply the rules to the tasks that run")
}
