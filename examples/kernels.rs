//! Prints `docs/design/kernels.md`, made of the tables of `scx_ops::compat`:
//!
//! ```text
//! cargo run --example kernels >docs/design/kernels.md
//! ```

use std::io::{self, Write};

use scx_ops::compat::{DIFFERENCES, FEATURES, Kind};

const HEAD: &str = "\
# Kernels from 6.12 on

What differs between kernels that scx_takt runs on, and what it does. This page is made of the
tables in `scx_ops/src/compat/table.rs` by `cargo run --example kernels`; a test holds it against
them, and a test on each kernel of the VM harness holds the first table against that kernel's BTF.

## Looked up while loading

Callbacks of scx_takt that the kernel's `sched_ext_ops` lacks are masked out of the ops table; the
agent names them with `-v`.

| feature | kind | since | without it |
|---|---|---|---|
";

const MIDDLE: &str = "
## Known by version or build option

| kernel | what differs | effect |
|---|---|---|
";

const FOOT: &str = "
Tested: 6.12, 6.18, 7.2 and 7.3 on x86_64; 7.2 and 7.3 with pages of 16 KiB on aarch64. All in
virtual machines.
";

fn main() -> io::Result<()> {
    io::stdout().write_all(page().as_bytes())
}

fn page() -> String {
    let features = FEATURES.iter().map(|feature| {
        let (major, minor) = feature.since;
        let kind = match feature.kind {
            Kind::Callback => "callback".to_owned(),
            Kind::Kfunc => "kfunc".to_owned(),
            Kind::Flag(of) => format!("value of `enum {of}`"),
        };
        let (name, fallback) = (feature.name, feature.fallback.text());
        format!("| `{name}` | {kind} | {major}.{minor} | {fallback} |\n")
    });
    let differences = DIFFERENCES
        .iter()
        .map(|row| format!("| {} | {} | {} |\n", row.kernels, row.what, row.effect));
    let (features, differences): (String, String) = (features.collect(), differences.collect());
    format!("{HEAD}{features}{MIDDLE}{differences}{FOOT}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn page_is_up_to_date() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design/kernels.md");
        assert_eq!(
            fs::read_to_string(file).unwrap(),
            page(),
            "cargo run --example kernels >docs/design/kernels.md"
        );
    }
}
