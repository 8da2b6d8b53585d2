//! The law against a queueing model, for any profile, goal and load that proptest thinks of. A failure
//! prints the seed and the input that it was boiled down to.

use proptest::prelude::*;

use super::model::Machine;
use super::*;
use crate::config::tunables;
use crate::wakeups;

const PERIOD: Duration = Duration::from_millis(250);

fn goal(us: u64) -> Goal {
    Goal {
        wakeup_p99_us: Some(us),
        ..Goal::default()
    }
}

fn tuner(profile: Profile, goal: Goal) -> Tuner {
    Tuner::new(Task {
        base: profile.tunables(false),
        goal,
        profile,
    })
}

/// Runs for `periods`; the periods in which tunables changed.
fn run(tuner: &mut Tuner, machine: &mut Machine, periods: usize) -> Vec<usize> {
    let mut changes = Vec::new();
    for period in 0..periods {
        let figures = machine.run(tuner.tunables(), PERIOD);
        if tuner.step(&figures).is_some() {
            changes.push(period);
        }
        assert!(tuner.level() <= levels::MAX);
        assert!(tunables::out_of_range(tuner.tunables()).is_none());
    }
    changes
}

fn p99_ns(machine: &mut Machine, tunables: &takt_tunables) -> u64 {
    machine.run(tunables, Duration::from_secs(5)).wakeups[wakeups::NORMAL]
        .quantile_ns(990)
        .unwrap()
}

#[test]
fn a_step_of_load_is_answered_within_five_seconds_and_given_back() {
    let mut machine = Machine::new(1);
    let mut tuner = tuner(Profile::Server, goal(500));
    assert!(
        run(&mut tuner, &mut machine, 40).is_empty(),
        "a quiet machine needs no turning"
    );
    machine.hogs = 8;
    assert!(
        p99_ns(&mut machine, tuner.tunables()) > 1_000_000,
        "the model must make it hard"
    );
    let changes = run(&mut tuner, &mut machine, 20);
    assert!(!changes.is_empty() && tuner.level() > 0);
    assert!(
        p99_ns(&mut machine, tuner.tunables()) <= 625_000,
        "within a bucket of the goal"
    );
    assert!(machine.overhead(tuner.tunables()) < 0.05);
    let reason = tuner.last_change().unwrap();
    assert!(
        reason.contains("over goal 500 us") && reason.contains("slice_max"),
        "{reason}"
    );
    machine.hogs = 0;
    run(&mut tuner, &mut machine, 400);
    assert_eq!(tuner.level(), 0, "throughput is given back");
}

#[test]
fn a_goal_that_cannot_be_met_is_said_once() {
    let mut machine = Machine::new(2);
    (machine.hogs, machine.floor_ns) = (4, 2_000_000);
    let mut tuner = tuner(Profile::Auto, goal(100));
    run(&mut tuner, &mut machine, 400);
    let said = tuner
        .history
        .iter()
        .filter(|reason| reason.contains("cannot be met"))
        .count();
    assert_eq!(said, 1, "{:?}", tuner.history);
    assert!(
        run(&mut tuner, &mut machine, 400).is_empty(),
        "no oscillation"
    );
    assert!(
        tuner.level() < levels::MAX,
        "nothing is given up for nothing"
    );
}

/// A load that comes and goes makes it try again, but not say it again.
#[test]
fn a_goal_that_cannot_be_met_under_a_changing_load_is_said_once() {
    let mut machine = Machine::new(2);
    machine.floor_ns = 2_000_000;
    let mut tuner = tuner(Profile::Auto, goal(100));
    let mut said = 0;
    for round in 0..10 {
        machine.hogs = if round % 2 == 0 { 16 } else { 2 };
        for _ in 0..100 {
            let figures = machine.run(tuner.tunables(), PERIOD);
            let change = tuner.step(&figures);
            said += usize::from(change.is_some_and(|change| change.is_important));
        }
    }
    assert_eq!(said, 1, "{:?}", tuner.history);
    let other = Task {
        goal: goal(90),
        ..tuner.task
    };
    tuner.retarget(other, "another goal");
    let figures = machine.run(tuner.tunables(), PERIOD);
    let again = (0..100).any(|_| {
        tuner
            .step(&figures)
            .is_some_and(|change| change.is_important)
    });
    assert!(again, "another goal is another matter");
}

/// Switched off by a reload, it leaves no tunable changed.
#[test]
fn parked_the_tunables_are_as_they_were_set() {
    let mut machine = Machine::new(7);
    machine.hogs = 8;
    let mut tuner = tuner(Profile::Server, goal(300));
    run(&mut tuner, &mut machine, 40);
    assert!(tuner.level() > 0);
    let task = tuner.task;
    let change = tuner.reset(task, "new configuration").unwrap();
    assert!(levels::differences(&change.tunables, &task.base).is_empty());
    assert_eq!(tuner.level(), 0);
    assert!(tuner.reset(task, "new configuration").is_none());
}

#[test]
fn missing_and_absurd_figures_put_the_tunables_back_and_are_said_once() {
    let mut machine = Machine::new(3);
    machine.hogs = 8;
    let mut tuner = tuner(Profile::Server, goal(300));
    run(&mut tuner, &mut machine, 40);
    assert!(tuner.level() > 0);
    let change = tuner.missing("the map is gone").unwrap();
    assert!(
        change.reason.contains("the map is gone"),
        "{}",
        change.reason
    );
    assert_eq!(
        change.tunables.slice_max_ns,
        Profile::Server.tunables(false).slice_max_ns
    );
    assert!(tuner.missing("the map is gone").is_none(), "said once");
    let mut figures = machine.run(tuner.tunables(), PERIOD);
    figures.load = f64::NAN;
    assert!(tuner.step(&figures).is_none(), "still missing");
    figures.load = 8.0;
    for _ in 0..8 {
        tuner.step(&figures);
    }
    assert!(tuner.level() > 0, "figures that return are used");
    figures.period = Duration::ZERO;
    assert!(tuner.step(&figures).is_some());
    assert_eq!(tuner.level(), 0);
}

#[test]
fn without_a_goal_only_the_throughput_profile_follows_the_load() {
    let profiles = [Profile::Auto, Profile::Powersave, Profile::Server];
    for (profile, adjusts) in profiles.map(|p| (p, p == Profile::Server)) {
        let mut machine = Machine::new(4);
        let mut tuner = tuner(profile, Goal::default());
        machine.hogs = 12;
        let changes = run(&mut tuner, &mut machine, 100);
        assert_eq!(changes.len(), usize::from(adjusts), "{profile:?}");
        machine.hogs = 0;
        run(&mut tuner, &mut machine, 100);
        assert_eq!(
            tuner.tunables().slice_min_ns,
            profile.tunables(false).slice_min_ns
        );
    }
}

#[test]
fn another_goal_starts_afresh() {
    let mut machine = Machine::new(5);
    machine.hogs = 8;
    let mut tuner = tuner(Profile::Server, goal(300));
    run(&mut tuner, &mut machine, 40);
    let task = Task {
        goal: Goal::default(),
        ..tuner.task
    };
    let change = tuner.retarget(task, "goal dropped").unwrap();
    assert_eq!(
        change.tunables.slice_max_ns,
        Profile::Server.tunables(false).slice_max_ns
    );
    assert!(change.reason.starts_with("goal dropped"));
}

#[test]
fn the_latency_class_has_a_goal_of_its_own() {
    let mut figures = Machine::new(6).run(&Profile::Auto.tunables(false), PERIOD);
    let mut late = Wakeups::default();
    (0..200).for_each(|_| late.add(900_000));
    figures.wakeups[wakeups::LATENCY] = late;
    let only = Goal {
        latency_wakeup_p99_us: Some(200),
        ..Goal::default()
    };
    let mut tuner = tuner(Profile::Auto, only);
    assert!((0..4).any(|_| tuner.step(&figures).is_some()));
    assert!(tuner.last_change().unwrap().contains("goal 200 us"));
}

/// What a period of 250 ms shows when so many wakeups of each class take so long, in microseconds.
fn seen(of: [(u64, u64); 3]) -> Figures {
    let wakeups = of.map(|(count, us)| {
        let mut wakeups = Wakeups::default();
        (0..count).for_each(|_| wakeups.add(us * 1000));
        wakeups
    });
    Figures {
        period: PERIOD,
        wakeups,
        load: 8.0,
    }
}

/// A goal is judged by the wakeups that it is about, however many others there are.
#[test]
fn a_few_late_ones_are_seen_beside_many_others() {
    let only = Goal {
        latency_wakeup_p99_us: Some(200),
        ..Goal::default()
    };
    let both = Goal {
        wakeup_p99_us: Some(500),
        ..only
    };
    let urgent_are_late = [(650, 5), (12, 900), (0, 0)];
    let many_in_background = [(12, 900), (0, 0), (650, 5)];
    for (goal, of) in [
        (only, urgent_are_late),
        (both, urgent_are_late),
        (goal(500), many_in_background),
    ] {
        let mut tuner = tuner(Profile::Auto, goal);
        let changed = (0..16).any(|_| tuner.step(&seen(of)).is_some());
        assert!(changed, "{goal:?}: nothing changed in four seconds");
    }
}

/// A level that was seen to miss the goal on the way up is not tried again at once on the way down.
#[test]
fn what_was_learnt_on_the_way_up_counts_on_the_way_down() {
    let mut tuner = tuner(Profile::Auto, goal(500));
    let mut levels = Vec::new();
    for _ in 0..400 {
        let late_us = if tuner.level() < 5 { 2_000 } else { 12 };
        tuner.step(&seen([(650, late_us), (0, 0), (0, 0)]));
        levels.push(tuner.level());
    }
    let reached = levels.iter().position(|level| *level >= 5).unwrap();
    assert!(reached < 20, "{levels:?}");
    let settled = &levels[reached..];
    assert!(
        settled.iter().take(40).all(|level| *level >= 5),
        "tried too soon: {levels:?}"
    );
    assert!(settled.contains(&4), "never tried again: {levels:?}");
    let met = settled.iter().filter(|level| **level >= 5).count();
    assert!(10 * met >= 9 * settled.len(), "{levels:?}");
}

/// Given up, and then met for long: it is a goal again.
#[test]
fn a_goal_that_can_be_met_after_all_is_taken_up_again() {
    let mut tuner = tuner(Profile::Auto, goal(500));
    let late = seen([(650, 3_000), (0, 0), (0, 0)]);
    for _ in 0..100 {
        tuner.step(&late);
    }
    let said = tuner.last_change().unwrap().to_owned();
    assert!(said.contains("cannot be met"), "{said}");
    for _ in 0..100 {
        tuner.step(&seen([(650, 400), (0, 0), (0, 0)]));
    }
    let again = (0..100).find_map(|_| tuner.step(&late)).unwrap();
    assert!(again.tunables.slice_max_ns < again.from.slice_max_ns);
    assert!(!again.is_important, "said once");
}

prop_compose! {
    fn any_machine()(
        seed: u64, hogs in 0u32..40, wakeups_per_s in 0u32..1_500,
        greedy_permille in 0u32..300, floor_ns in 0u64..3_000_000,
    ) -> Machine {
        let mut machine = Machine::new(seed);
        (machine.hogs, machine.wakeups_per_s) = (hogs, wakeups_per_s);
        (machine.greedy_permille, machine.floor_ns) = (greedy_permille, floor_ns);
        machine
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever the load: in range at every step (asserted in `run`), and at rest in the end. At most a
    /// handful of changes in the second half, which is when tries come 16 and more judgements apart.
    #[test]
    fn stays_in_range_and_comes_to_rest(
        mut machine in any_machine(),
        profile in prop::sample::select(Profile::ALL.map(|(profile, _)| profile).to_vec()),
        goal_us in 20u64..100_000,
    ) {
        let mut tuner = tuner(profile, goal(goal_us));
        let early = run(&mut tuner, &mut machine, 800).len();
        let late = run(&mut tuner, &mut machine, 800).len();
        prop_assert!(late <= 12, "{early} changes, then {late}: {:?}", tuner.history);
        prop_assert!(late <= early.max(4), "{early} changes, then {late}");
    }

    /// If the tightest level meets the goal with a bucket to spare, the tuner meets it.
    #[test]
    fn reaches_what_can_be_reached(
        mut machine in any_machine(),
        profile in prop::sample::select(Profile::ALL.map(|(profile, _)| profile).to_vec()),
        goal_us in 20u64..100_000,
    ) {
        prop_assume!(machine.wakeups_per_s >= 400);
        let base = profile.tunables(false);
        let possible = p99_ns(&mut machine, &levels::at(&base, levels::MAX));
        prop_assume!(possible * 2 < goal_us * 1000);
        let mut tuner = tuner(profile, goal(goal_us));
        run(&mut tuner, &mut machine, 400);
        // A try at less may be under way; it is taken back within a few judgements.
        let met = (0..20).any(|_| {
            run(&mut tuner, &mut machine, 1);
            p99_ns(&mut machine, tuner.tunables()) <= goal_us * 1300
        });
        prop_assert!(met, "level {}: {:?}", tuner.level(), tuner.history);
    }

    /// Any figures at all, absurd ones included.
    #[test]
    fn no_figures_make_it_leave_the_range(
        steps in prop::collection::vec((any::<u64>(), 0u64..3_000, any::<f64>(), 0u64..20_000), 1..60),
        goal_us in 20u64..100_000,
    ) {
        let mut tuner = tuner(Profile::Auto, goal(goal_us));
        for (latency, count, load, period_ms) in steps {
            let mut seen = Wakeups::default();
            (0..count).for_each(|_| seen.add(latency));
            let wakeups = [seen, Wakeups::default(), Wakeups::default()];
            tuner.step(&Figures { period: Duration::from_millis(period_ms), wakeups, load });
            prop_assert!(tuner.level() <= levels::MAX);
            prop_assert!(tunables::out_of_range(tuner.tunables()).is_none());
        }
    }
}
