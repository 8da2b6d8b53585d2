//! The search: random worlds one after another, and the smallest one that fails.

use crate::machine::{self, Outcome};
use crate::strategy::{Wishes, worlds};
use crate::violation::Violation;
use crate::world::World;
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::fmt;
use std::time::{Duration, Instant};

/// Worlds that are run to make one smaller, at most.
const SHRINK_RUNS: usize = 600;
/// Events of these, at most.
const SHRINK_EVENTS: u64 = 30_000_000;
/// Lines of the timeline that are shown.
const LINES_SHOWN: usize = 60;

/// What was found.
#[derive(Debug)]
pub struct Failure {
    /// `--seed` of the world.
    pub seed: u64,
    /// What is wrong in the world as it was generated.
    pub first: Violation,
    /// The smallest world that still breaks the same invariant.
    pub world: World,
    /// How that one goes.
    pub outcome: Outcome,
    /// What the search was told, to repeat it.
    pub wishes: Wishes,
}

/// What a search has done.
#[derive(Debug, Default)]
pub struct Summary {
    /// Worlds that were run, without those of shrinking.
    pub nr_worlds: u64,
    /// What they lasted in all, ns.
    pub simulated_ns: u64,
    /// Switches in them.
    pub nr_switches: u64,
    /// Events in them.
    pub nr_events: u64,
    /// Tasks that were forked in them.
    pub nr_forked: usize,
    /// A number made of all traces: the same for the same search.
    pub trace: u64,
    /// The first one that failed.
    pub failure: Option<Box<Failure>>,
}

/// When a search ends.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// After so many worlds.
    Worlds(u64),
    /// After so long on the wall clock.
    Time(Duration),
}

/// Runs the worlds of the seeds from `seed` on, as they are, and returns all broken invariants.
pub fn survey(seed: u64, wishes: Wishes, nr_worlds: u64) -> Vec<(u64, Violation)> {
    let strategy = worlds(wishes);
    let outcome_of = |seed| Some(machine::run(&tree_of(seed, &strategy)?.current()));
    (0..nr_worlds)
        .map(|index| seed.wrapping_add(index))
        .filter_map(|seed| Some((seed, outcome_of(seed)?.violation?)))
        .collect()
}

/// Runs the worlds of the seeds from `seed` on, up to the first that fails.
pub fn search(seed: u64, wishes: Wishes, limit: Limit) -> Summary {
    let mut summary = Summary::default();
    let strategy = worlds(wishes);
    let begin = Instant::now();
    for index in 0.. {
        let is_over = match limit {
            Limit::Worlds(nr) => index >= nr,
            Limit::Time(time) => begin.elapsed() >= time,
        };
        if is_over {
            break;
        }
        let seed = seed.wrapping_add(index);
        if let Some(failure) = run_seed(seed, wishes, &strategy, &mut summary) {
            summary.failure = Some(Box::new(failure));
            break;
        }
    }
    summary
}

/// The world of a seed.
pub fn world_of(seed: u64, wishes: Wishes) -> Option<World> {
    Some(tree_of(seed, &worlds(wishes))?.current())
}

fn tree_of(
    seed: u64,
    strategy: &BoxedStrategy<World>,
) -> Option<Box<dyn ValueTree<Value = World>>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    strategy.new_tree(&mut runner).ok()
}

fn run_seed(
    seed: u64,
    wishes: Wishes,
    strategy: &BoxedStrategy<World>,
    summary: &mut Summary,
) -> Option<Failure> {
    let mut tree = tree_of(seed, strategy)?;
    let world = tree.current();
    let outcome = machine::run(&world);
    summary.nr_worlds += 1;
    summary.simulated_ns += world.duration_ns;
    summary.nr_switches += outcome.nr_switches;
    summary.nr_events += outcome.nr_events;
    summary.nr_forked += outcome.nr_forked;
    summary.trace = (summary.trace ^ outcome.trace).rotate_left(7);
    let first = outcome.violation?;
    let world = shrink(&mut *tree, world, &first);
    Some(Failure {
        seed,
        outcome: machine::run_recorded(&world),
        world,
        first,
        wishes,
    })
}

/// The smallest world found that breaks the same invariant.
fn shrink(
    tree: &mut dyn ValueTree<Value = World>,
    mut smallest: World,
    first: &Violation,
) -> World {
    let mut goes_on = tree.simplify();
    let mut nr_events = 0;
    for _ in 0..SHRINK_RUNS {
        if !goes_on || nr_events > SHRINK_EVENTS {
            break;
        }
        let world = tree.current();
        let outcome = machine::run(&world);
        nr_events += outcome.nr_events;
        goes_on = if outcome
            .violation
            .is_some_and(|v| v.invariant == first.invariant)
        {
            smallest = world;
            tree.simplify()
        } else {
            tree.complicate()
        };
    }
    smallest
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.first)?;
        write!(f, "repeat: cargo xtask sim --seed {} --worlds 1", self.seed)?;
        if let Some(topology) = self.wishes.topology {
            write!(f, " --topology {topology}")?;
        }
        if self.wishes.is_strict {
            write!(f, " --strict")?;
        }
        writeln!(
            f,
            "\n\nthe smallest world that still fails:\n{}",
            self.world
        )?;
        let skip = self.outcome.timeline.len().saturating_sub(LINES_SHOWN);
        for line in &self.outcome.timeline[skip..] {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} worlds, {:.1} simulated seconds, {} switches, {} events, {} forks, trace {:016x}",
            self.nr_worlds,
            self.simulated_ns as f64 / 1e9,
            self.nr_switches,
            self.nr_events,
            self.nr_forked,
            self.trace
        )
    }
}
