//! The program `scx_takt`.

use std::process::ExitCode;

fn main() -> ExitCode {
    scx_takt::main()
}
