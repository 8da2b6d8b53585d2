//! Commands of the documentation, as they stand there.

// Helpers are not seen as tests by clippy.
#![allow(clippy::unwrap_used)]

#[path = "../common/doc_commands.rs"]
mod doc_commands;

use super::common::Vm;
use doc_commands::DocCommands;

/// Flags with which a benchmark takes seconds.
const SHORT: &str = "--deterministic --rounds 1 --workloads pipe --no-callbacks";

/// The lines of `script` for each command, with the command in the place of CMD and its arguments in that of ARGS.
fn for_each(commands: &[String], script: &str) -> String {
    let one = |command: &String| {
        let arguments = command.strip_prefix("scx_takt").unwrap();
        let script = script.replace("CMD", command).replace("ARGS", arguments);
        format!("say \"{}\"\n{script}\n", command.replace('"', "'"))
    };
    commands.iter().map(one).collect()
}

#[test]
#[ignore = "boots a VM"]
fn commands_of_the_documentation_run() {
    let guest = DocCommands::read().guest;
    let scripts = [
        for_each(
            &guest.once,
            "CMD >/tmp/out 2>&1 || fail \"status $?: $(cat /tmp/out)\"
            [ -s /tmp/out ] || fail 'it prints nothing'
            is disabled || fail \"it leaves the state $(state)\"",
        ),
        for_each(
            &guest.agents,
            "start_agent ARGS
            expect_takt
            stop_agent INT",
        ),
        "start_agent\n".to_owned(),
        for_each(
            &guest.viewers,
            "CMD >/tmp/view 2>&1 &
            viewer=$!
            await 60 grep -q takt_ /tmp/view || fail \"no line: $(cat /tmp/view)\"
            kill -INT $viewer
            await 30 gone $viewer || fail 'it does not end at SIGINT'
            wait $viewer || fail \"status $? after SIGINT\"",
        ),
        "expect_takt\nstop_agent INT\n".to_owned(),
        for_each(
            &guest.benchmarks,
            &format!(
                "CMD {SHORT} >/tmp/out 2>&1 || fail \"status $?: $(cat /tmp/out)\"
                grep -q pipe /tmp/out || fail \"no result: $(cat /tmp/out)\"
                is disabled || fail \"it leaves the state $(state)\""
            ),
        ),
    ];
    let vm = Vm::new("7.2").cpus(2).deterministic();
    vm.passes(&scripts.concat());
}
