//! Where each command line of the documentation is run: `tests/doc_commands.toml`, as Rust.

// Each test uses its part.
#![allow(dead_code)]

use std::collections::BTreeMap;

use serde::Deserialize;

/// The lists of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocCommands {
    pub this_machine: Vec<String>,
    pub guest: Guest,
    /// File and text of the test or script that runs it.
    pub elsewhere: BTreeMap<String, (String, String)>,
    /// Why nothing runs it.
    pub by_hand: BTreeMap<String, String>,
}

/// What `tests/vm/docs.rs` runs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    pub once: Vec<String>,
    pub agents: Vec<String>,
    pub viewers: Vec<String>,
    pub benchmarks: Vec<String>,
}

impl DocCommands {
    /// Reads the file.
    pub fn read() -> Self {
        toml::from_str(include_str!("../doc_commands.toml")).unwrap()
    }

    /// Every command of every list.
    pub fn all(&self) -> Vec<&str> {
        let guest = &self.guest;
        let lists = [
            &self.this_machine,
            &guest.once,
            &guest.agents,
            &guest.viewers,
            &guest.benchmarks,
        ];
        let listed = lists.into_iter().flatten();
        let keys = self.elsewhere.keys().chain(self.by_hand.keys());
        listed.chain(keys).map(String::as_str).collect()
    }
}
