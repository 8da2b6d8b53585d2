//! What people see, compared with files: `src/top/snapshots/`. After an intended change run the tests with
//! INSTA_UPDATE=always and look at the difference.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::snapshot::{Adjustment, Callback, Change, Ejection, Event, Snapshot, Task, Waits};
use crate::stats::testing;
use crate::top::view::Theme;

const RICH: Theme = Theme {
    color: true,
    unicode: true,
};

/// A view after two samples of a busy machine.
fn view(theme: Theme, change: impl Fn(&mut Snapshot)) -> View {
    let mut view = View::new(theme);
    for second in [1, 2] {
        let mut snapshot = testing::snapshot(second);
        change(&mut snapshot);
        view.take(snapshot);
    }
    view
}

fn screen(view: &View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(width).max(1));
    let rows = rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
    rows.map(|row| row.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

fn with_baseline(mut view: View) -> View {
    view.baseline = Some(Waits {
        kind: "test".into(),
        bounds_ns: vec![4_000, 500_000, 2_000_000],
        counts: vec![40, 59, 1],
        ..Default::default()
    });
    view
}

fn with_cpus(nr: u64) -> View {
    view(RICH, |snapshot| {
        let second = snapshot.at_ns / 1_000_000_000;
        snapshot.cpus = (0..nr).map(|id| testing::cpu(id, second)).collect();
        for cpu in &mut snapshot.cpus {
            cpu.busy_ns = cpu.id % 11 * 100_000_000 * second;
            cpu.idle_ns = (10 - cpu.id % 11) * 100_000_000 * second;
        }
    })
}

#[test]
fn healthy() {
    insta::assert_snapshot!(screen(&with_baseline(view(RICH, |_| ())), 80, 24));
}

#[test]
fn healthy_and_wide() {
    insta::assert_snapshot!(screen(&with_baseline(view(RICH, |_| ())), 200, 40));
}

#[test]
fn healthy_in_ascii() {
    let theme = Theme {
        color: false,
        unicode: false,
    };
    let mut view = view(theme, |_| ());
    view.now.tasks.runners[0].comm = "jörg\u{1F600}".into();
    let text = screen(&view, 80, 24);
    assert!(text.is_ascii(), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn degraded() {
    let view = view(RICH, |snapshot| {
        snapshot.tasks.longest.as_mut().unwrap().waits_ns = 9_000_000_000;
        snapshot.cost.events_lost = snapshot.at_ns / 100_000_000;
        snapshot.last_change = Some(Change {
            unix_s: snapshot.unix_s - 61,
            adjusted: vec![Adjustment {
                tunable: "slice_max_ns".into(),
                from_ns: 20_000_000,
                to_ns: 10_000_000,
            }],
            reason: "p99 over the goal for 3 periods".into(),
        });
    });
    insta::assert_snapshot!(screen(&view, 100, 24));
}

#[test]
fn ejected_while_watched() {
    let mut view = view(RICH, |_| ());
    let mut after = testing::snapshot(3);
    after.scheduler = Default::default();
    after.scheduler.name = Snapshot::KERNELS_OWN.into();
    after.scheduler.last_ejection = Some(Ejection {
        unix_s: after.unix_s,
        reason: "runnable task stall (gcc[41] failed to run for 30.0s)".into(),
    });
    (after.activity, after.wakeups) = (None, Waits::default());
    after.tunables.clear();
    view.take(after);
    insta::assert_snapshot!(screen(&view, 80, 24));
}

#[test]
fn ended_while_watched() {
    let mut view = view(RICH, |_| ());
    let mut after = testing::snapshot(3);
    after.scheduler = Default::default();
    after.scheduler.name = format!("{}disabling)", Snapshot::CHANGING);
    view.take(after.clone());
    after.at_ns += 1;
    after.scheduler.name = Snapshot::KERNELS_OWN.into();
    view.take(after);
    let text = screen(&view, 80, 24);
    assert!(text.contains("takt_0.1.0_x86_64 HAS ENDED"), "{text}");
}

#[test]
fn no_scheduler() {
    let mut view = view(RICH, |snapshot| {
        snapshot.scheduler = Default::default();
        snapshot.scheduler.name = Snapshot::KERNELS_OWN.into();
        snapshot.activity = None;
        snapshot.wakeups = Waits::default();
        snapshot.tasks = Default::default();
        snapshot.tunables.clear();
    });
    view.unavailable = "tasks are not seen: that takes root: use sudo".into();
    insta::assert_snapshot!(screen(&view, 80, 24));
}

#[test]
fn one_cpu() {
    insta::assert_snapshot!(screen(&with_cpus(1), 80, 24));
}

#[test]
fn eight_cpus() {
    insta::assert_snapshot!(screen(&with_cpus(8), 80, 24));
}

#[test]
fn many_cpus() {
    insta::assert_snapshot!(screen(&with_cpus(512), 120, 40));
}

#[test]
fn many_cpus_scroll() {
    let mut view = with_cpus(512);
    let first = screen(&view, 80, 24);
    assert!(
        first.contains("L0 ") && first.contains("more lines of CPUs"),
        "{first}"
    );
    assert!(!first.contains("L127 "), "{first}");
    view.scroll = 1_000;
    let last = screen(&view, 80, 24);
    assert!(last.contains("L127 "), "{last}");
}

#[test]
fn pages() {
    let mut view = view(RICH, |snapshot| {
        snapshot.cgroups = testing::cgroups(snapshot.at_ns / 1_000_000_000);
        snapshot.events = vec![Event {
            at_ns: snapshot.at_ns - 500_000_000,
            text: "long wait: gcc (pid 41) waited 60 ms for CPU 1 behind pid 42".into(),
        }];
    });
    for (page, name) in [
        (Page::Task, "task"),
        (Page::Events, "events"),
        (Page::Cgroups, "cgroups"),
        (Page::Help, "help"),
    ] {
        view.page = page;
        insta::assert_snapshot!(name, screen(&view, 100, 30));
    }
}

/// The usual terminal, when there is more to say than it has lines for.
#[test]
fn a_terminal_of_80x24_shows_verdict_latency_and_five_tasks() {
    let mut view = view(RICH, |snapshot| {
        let second = snapshot.at_ns / 1_000_000_000;
        snapshot.cpus = (0..64).map(|id| testing::cpu(id, second)).collect();
        snapshot.tasks.longest.as_mut().unwrap().waits_ns = 9_000_000_000;
        snapshot.cost.events_lost = second * 10;
        snapshot.scheduler.rejected = 3;
        snapshot.last_change = Some(Change {
            unix_s: snapshot.unix_s - 61,
            reason: "p99 over the goal for 3 periods".into(),
            ..Default::default()
        });
        let first = snapshot.tasks.runners[0].clone();
        snapshot.tasks.runners = (0..9)
            .map(|n| Task {
                pid: 500 + n,
                comm: format!("runner-{n}"),
                ..first.clone()
            })
            .collect();
    });
    view.unavailable = "the scheduler does not answer, and this is what can be said of it".into();
    let text = screen(&view, 80, 24);
    for expected in ["DEGRADED", "p50", "p99.9", "runner-0", "runner-4"] {
        assert!(text.contains(expected), "{expected} is missing:\n{text}");
    }
}

/// A figure that is cut in two is another figure: `4924` would read as `492`.
#[test]
fn no_figure_is_cut() {
    let view = with_baseline(view(RICH, |snapshot| {
        let calls = Callback {
            calls: 1_000,
            run_ns: 24_924_000,
        };
        for name in ["select_cpu", "enqueue", "dispatch", "running", "stopping"] {
            snapshot.cost.callbacks.insert(name.into(), calls.clone());
        }
        snapshot.tasks.longest.as_mut().unwrap().comm = "a-name-of-15-ch".into();
    }));
    let wide = screen(&view, 300, 40);
    let figures = |line: &str| -> Vec<String> {
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || ".-_".contains(c)));
        let numbers = words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        numbers.map(ToOwned::to_owned).collect()
    };
    let known = figures(&wide);
    for width in 40..300 {
        for line in screen(&view, width, 40).lines() {
            for figure in figures(line) {
                assert!(
                    known.contains(&figure),
                    "{figure} at {width} columns: {line}"
                );
            }
        }
    }
}

/// No size is too small, no state too empty.
#[test]
fn any_size_can_be_drawn() {
    for page in [
        Page::Overview,
        Page::Task,
        Page::Events,
        Page::Cgroups,
        Page::Help,
    ] {
        for empty in [false, true] {
            let mut view = with_cpus(512);
            if empty {
                view = View::new(RICH);
            }
            view.page = page;
            for (width, height) in [(1, 1), (20, 5), (5, 40), (300, 2), (80, 24), (500, 200)] {
                screen(&view, width, height);
            }
        }
    }
}

#[test]
fn a_small_terminal_shows_the_verdict() {
    let text = screen(&view(RICH, |_| ()), 20, 5);
    assert!(text.starts_with("takt_0.1.0_x86_64"), "{text}");
    assert!(text.contains("healthy"), "{text}");
}
