//! A panic, in a process of its own and on a terminal of its own.

use std::env;
use std::process::Command;

use super::*;
use crate::top::view::Theme;

#[path = "../../tests/common/terminal.rs"]
#[allow(dead_code, reason = "tests/top.rs needs more of it")]
mod terminal;

use terminal::Terminal;

/// A screen with a view on it.
fn screen() -> Screen {
    let mut screen = Screen::open().unwrap();
    let view = View::new(Theme {
        color: true,
        unicode: true,
    });
    assert!(screen.draw(&view).unwrap().is_continue());
    screen
}

#[test]
#[ignore = "panics: a part of a_panic_gives_the_terminal_back"]
fn panics_between_two_drawings() {
    let _screen = screen();
    panic!("on purpose");
}

#[test]
#[ignore = "panics: a part of a_panic_gives_the_terminal_back"]
fn panics_while_it_draws() {
    let mut screen = screen();
    let _guard = drawing();
    let _ = screen.terminal.draw(|_| panic!("on purpose"));
}

/// And what the panic has to say is not lost with the screen.
#[test]
fn a_panic_gives_the_terminal_back() {
    for part in ["panics_between_two_drawings", "panics_while_it_draws"] {
        let mut program = Command::new(env::current_exe().unwrap());
        program.args(["--exact", &format!("top::screen::tests::{part}")]);
        program.args(["--ignored", "--nocapture"]);
        let mut terminal = Terminal::open(80, 24, &mut program);
        terminal.await_text("q quit");
        let (_, status) = terminal.end();
        assert!(!status.success(), "{part} did not panic");
        let after = terminal.assert_restored();
        assert!(after.contains("on purpose"), "{after:?}");
    }
}
