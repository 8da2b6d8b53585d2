//! What each key does.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::view::{Page, View};

/// Lines of a page that PgUp and PgDn go.
const LEAP: usize = 10;

/// What is left to do for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// End.
    Quit,
    /// Write the snapshot to a file.
    Save,
}

/// Changes the view.
pub fn press(view: &mut View, key: KeyEvent) -> Action {
    view.note.clear();
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c' | 'd') if control => return Action::Quit,
        KeyCode::Char('q') => return Action::Quit,
        KeyCode::Char('s') => return Action::Save,
        KeyCode::Esc => show(view, Page::Overview),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => show(view, Page::Help),
        KeyCode::Char('e') => show(view, Page::Events),
        KeyCode::Char('c') => show(view, Page::Cgroups),
        KeyCode::Enter | KeyCode::Char('t') => {
            view.choose();
            show(view, Page::Task);
        }
        KeyCode::PageUp => view.scroll = view.scroll.saturating_sub(LEAP),
        KeyCode::PageDown => scroll_down(view, LEAP),
        KeyCode::Up | KeyCode::Char('k') if view.page == Page::Overview => {
            view.select(-1);
        }
        KeyCode::Down | KeyCode::Char('j') if view.page == Page::Overview => {
            view.select(1);
        }
        KeyCode::Up | KeyCode::Char('k') => view.scroll = view.scroll.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => scroll_down(view, 1),
        _ => {}
    }
    Action::None
}

/// Pages know their own end; no list is longer than there are CPUs or events.
fn scroll_down(view: &mut View, lines: usize) {
    let most = view.now.cpus.len().max(view.now.events.len()).max(64);
    view.scroll = (view.scroll + lines).min(most);
}

/// To a page; the same key again goes back.
fn show(view: &mut View, page: Page) {
    view.page = if view.page == page {
        Page::Overview
    } else {
        page
    };
    view.scroll = 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Task;
    use crate::stats::testing;
    use crate::top::view::Theme;

    fn view() -> View {
        let mut view = View::new(Theme {
            color: false,
            unicode: false,
        });
        view.take(testing::snapshot(1));
        view
    }

    fn presses(view: &mut View, keys: &[KeyCode]) -> Action {
        let mut action = Action::None;
        for &code in keys {
            action = press(view, KeyEvent::new(code, KeyModifiers::NONE));
        }
        action
    }

    #[test]
    fn pages_turn_and_turn_back() {
        let mut view = view();
        presses(&mut view, &[KeyCode::Char('e'), KeyCode::Down]);
        assert_eq!((view.page, view.scroll), (Page::Events, 1));
        presses(&mut view, &[KeyCode::Char('c')]);
        assert_eq!((view.page, view.scroll), (Page::Cgroups, 0));
        presses(&mut view, &[KeyCode::Char('?')]);
        assert_eq!((view.page, view.scroll), (Page::Help, 0));
        presses(&mut view, &[KeyCode::Char('?')]);
        assert_eq!(view.page, Page::Overview);
    }

    #[test]
    fn the_selection_stays_in_the_list() {
        let mut view = view();
        presses(&mut view, &[KeyCode::Down; 40]);
        let pid = |task: Option<&Task>| task.map(|task| task.pid);
        assert_eq!(pid(view.selected()), pid(view.listed().last().copied()));
        presses(&mut view, &[KeyCode::Up; 40]);
        assert_eq!(pid(view.selected()), pid(view.listed().first().copied()));
    }

    #[test]
    fn the_selection_stays_with_its_task() {
        let mut view = view();
        presses(&mut view, &[KeyCode::Down, KeyCode::Enter]);
        let pid = view.selected().unwrap().pid;
        let mut now = testing::snapshot(2);
        now.tasks.runners.reverse();
        view.take(now);
        assert_eq!(view.selected().unwrap().pid, pid);
        let mut now = testing::snapshot(3);
        now.tasks = Default::default();
        view.take(now);
        assert_eq!(view.selected().unwrap().pid, pid, "it is shown as it was");
    }

    #[test]
    fn ends_and_saves() {
        let mut view = view();
        assert_eq!(presses(&mut view, &[KeyCode::Char('q')]), Action::Quit);
        assert_eq!(presses(&mut view, &[KeyCode::Char('s')]), Action::Save);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(press(&mut view, control_c), Action::Quit);
    }
}
