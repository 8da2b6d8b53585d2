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
    /// Write the picture to a file.
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
        KeyCode::Esc => turn(view, Page::Overview),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => turn(view, Page::Help),
        KeyCode::Char('e') => turn(view, Page::Events),
        KeyCode::Enter | KeyCode::Char('t') => turn(view, Page::Task),
        KeyCode::PageUp => view.scroll = view.scroll.saturating_sub(LEAP),
        KeyCode::PageDown => scroll_down(view, LEAP),
        KeyCode::Up | KeyCode::Char('k') if view.page == Page::Overview => {
            view.selected = view.selected.saturating_sub(1);
        }
        KeyCode::Down | KeyCode::Char('j') if view.page == Page::Overview => {
            let last = view.listed().len().saturating_sub(1);
            view.selected = (view.selected + 1).min(last);
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
fn turn(view: &mut View, page: Page) {
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
    use crate::stats::testing;
    use crate::top::view::Look;

    fn view() -> View {
        let mut view = View::new(Look {
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
        presses(&mut view, &[KeyCode::Char('?')]);
        assert_eq!((view.page, view.scroll), (Page::Help, 0));
        presses(&mut view, &[KeyCode::Char('?')]);
        assert_eq!(view.page, Page::Overview);
    }

    #[test]
    fn the_selection_stays_in_the_list() {
        let mut view = view();
        presses(&mut view, &[KeyCode::Down; 40]);
        assert_eq!(view.selected + 1, view.listed().len());
        presses(&mut view, &[KeyCode::Up; 40]);
        assert_eq!(view.selected, 0);
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
