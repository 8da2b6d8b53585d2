//! Random worlds, for proptest: whatever they are made of can shrink.

use crate::mask::CpuMask;
use crate::topology::Topology;
use crate::world::{Change, ChangeKind, Costs, MS, Op, S, TaskSpec, US, World};
use proptest::collection::vec;
use proptest::prelude::*;
use std::ops::Range;

/// What a search may be told of its worlds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// All worlds have this machine.
    pub topology: Option<Topology>,
    /// Known faults of the policy count, too.
    pub is_strict: bool,
}

/// A set of CPUs, before it is known how many there are.
#[derive(Clone, Copy, Debug)]
enum RawMask {
    All,
    One(usize),
    Some(u64),
}

impl RawMask {
    fn on(self, nr_cpus: usize) -> CpuMask {
        match self {
            Self::All => CpuMask::first(nr_cpus),
            Self::One(cpu) => CpuMask::of([cpu % nr_cpus]),
            Self::Some(bits) => {
                let mask = CpuMask::of((0..nr_cpus).filter(|&cpu| bits >> (cpu % 64) & 1 != 0));
                if mask.is_empty() {
                    CpuMask::first(nr_cpus)
                } else {
                    mask
                }
            }
        }
    }
}

/// A task, before it is known what machine it is on.
#[derive(Clone, Debug)]
struct RawTask {
    start_ns: u64,
    nice: i32,
    policy: u32,
    mask: RawMask,
    program: Vec<Op>,
}

/// A change, before it is known what machine it is on.
#[derive(Clone, Copy, Debug)]
enum RawChange {
    Affinity(usize, RawMask),
    Nice(usize, i32),
    Policy(usize, u32),
    Realtime(usize, u64),
}

/// What a world is about.
#[derive(Clone, Debug)]
struct Theme {
    tasks: Range<usize>,
    /// Task sleep, wake each other, yield, fork, exit; otherwise they compute.
    mixed: bool,
    /// Some tasks may use some CPUs only.
    bound: bool,
    /// Nice values differ.
    nice: bool,
    /// Many tasks that run for moments beside a few that compute, whatever the above say.
    crowd: bool,
    changes: Range<usize>,
    duration_ns: u64,
}

fn duration(range: Range<u64>) -> impl Strategy<Value = u64> {
    // Few figures: a shrunk world is easier to read.
    range.prop_map(|ns| {
        let figure = 10_u64.pow(ns.max(1).ilog10().saturating_sub(1));
        (ns / figure * figure).max(US)
    })
}

fn topologies() -> impl Strategy<Value = Topology> {
    let of = |nodes, llcs, cores, threads| Topology {
        nodes,
        llcs,
        cores,
        threads,
    };
    prop_oneof![
        3 => Just(Topology::flat(1)),
        4 => (2..9_usize).prop_map(Topology::flat),
        4 => (1..3_usize, 2..4_usize, 1..4_usize).prop_map(move |(n, l, c)| of(n, l, c, 1)),
        1 => (1..3_usize, 1..3_usize, 1..4_usize).prop_map(move |(n, l, c)| of(n, l, c, 2)),
    ]
}

fn costs() -> impl Strategy<Value = Costs> {
    prop_oneof![
        Just(Costs::default()),
        (500..5000_u64, 500..5000_u64, 300..10_000_u64, 0..60_000_u64).prop_map(
            |(switch_ns, wake_ns, ipi_ns, idle_exit_ns)| Costs {
                switch_ns,
                wake_ns,
                tick_ns: switch_ns,
                ipi_ns,
                idle_exit_ns,
            }
        ),
    ]
}

fn masks(bound: bool) -> BoxedStrategy<RawMask> {
    if bound {
        prop_oneof![
            3 => Just(RawMask::All),
            2 => (0..64_usize).prop_map(RawMask::One),
            3 => any::<u64>().prop_map(RawMask::Some),
        ]
        .boxed()
    } else {
        Just(RawMask::All).boxed()
    }
}

fn nices(vary: bool) -> BoxedStrategy<i32> {
    if vary {
        prop_oneof![3 => Just(0), 2 => -5..6, 1 => -20..20].boxed()
    } else {
        Just(0).boxed()
    }
}

fn wake() -> impl Strategy<Value = Op> {
    (0..64_usize, any::<bool>()).prop_map(|(task, sync)| Op::Wake { task, sync })
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => duration(5 * US..10 * MS).prop_map(Op::Compute),
        2 => duration(50 * US..50 * MS).prop_map(Op::Sleep),
        2 => Just(Op::Wait),
        3 => wake(),
        1 => Just(Op::Yield),
        1 => duration(10 * US..20 * MS).prop_map(Op::Fork),
    ]
}

fn cpu_bound() -> impl Strategy<Value = Vec<Op>> {
    Just(vec![Op::Compute(10 * MS)])
}

fn sleeper() -> impl Strategy<Value = Vec<Op>> {
    let short = (duration(5 * US..MS), duration(100 * US..20 * MS));
    let long = (duration(MS..40 * MS), duration(MS..100 * MS));
    prop_oneof![3 => short, 1 => long]
        .prop_map(|(run_ns, sleep_ns)| vec![Op::Compute(run_ns), Op::Sleep(sleep_ns)])
}

fn programs(mixed: bool) -> BoxedStrategy<Vec<Op>> {
    if !mixed {
        return cpu_bound().boxed();
    }
    let compute = || duration(5 * US..MS).prop_map(Op::Compute);
    prop_oneof![
        4 => cpu_bound(),
        3 => sleeper(),
        2 => (compute(), wake()).prop_map(|(run, wake)| vec![Op::Wait, run, wake]),
        2 => (compute(), wake(), duration(100 * US..10 * MS))
            .prop_map(|(run, wake, ns)| vec![run, wake, Op::Sleep(ns)]),
        1 => compute().prop_map(|run| vec![run, Op::Yield]),
        1 => (compute(), duration(10 * US..20 * MS), duration(MS..50 * MS))
            .prop_map(|(run, child_ns, ns)| vec![run, Op::Fork(child_ns), Op::Sleep(ns)]),
        1 => (duration(US..50 * MS), duration(US..50 * MS))
            .prop_map(|(run_ns, ns)| vec![Op::Compute(run_ns), Op::Sleep(ns), Op::Exit]),
        3 => (compute(), vec(any_op(), 1..5))
            .prop_map(|(run, ops)| std::iter::once(run).chain(ops).collect()),
    ]
    .boxed()
}

fn tasks(theme: &Theme) -> impl Strategy<Value = Vec<RawTask>> + use<> {
    let policies = if theme.nice {
        prop_oneof![6 => Just(0_u32), 1 => Just(3_u32), 1 => Just(5_u32)].boxed()
    } else {
        Just(0).boxed()
    };
    let starts = if theme.mixed {
        prop_oneof![2 => Just(0), 1 => duration(US..100 * MS)].boxed()
    } else {
        duration(0..5 * MS).boxed()
    };
    let task = (
        starts,
        nices(theme.nice),
        policies,
        masks(theme.bound),
        programs(theme.mixed),
    )
        .prop_map(|(start_ns, nice, policy, mask, program)| RawTask {
            start_ns,
            nice,
            policy,
            mask,
            program,
        });
    vec(task, theme.tasks.clone())
}

/// Many tasks that all run for moments, of one nice value, beside a few that compute.
fn tasks_beside_crowd() -> impl Strategy<Value = Vec<RawTask>> {
    let crowd = (
        20..200_usize,
        nices(true),
        duration(20 * US..MS),
        duration(MS..20 * MS),
    )
        .prop_map(|(nr, nice, run_ns, sleep_ns)| {
            vec![(nice, vec![Op::Compute(run_ns), Op::Sleep(sleep_ns)]); nr]
        });
    let computing = vec((-5..6, cpu_bound()), 1..4);
    (computing, crowd).prop_map(|(computing, crowd)| {
        let all = computing.into_iter().chain(crowd).enumerate();
        all.map(|(number, (nice, program))| RawTask {
            start_ns: number as u64 * 40 * US, // not all at once, for ever
            nice,
            policy: 0,
            mask: RawMask::All,
            program,
        })
        .collect()
    })
}

fn changes(theme: &Theme) -> impl Strategy<Value = Vec<(u64, RawChange)>> + use<> {
    let bound = theme.bound;
    let kind = prop_oneof![
        4 => (0..64_usize, masks(bound)).prop_map(|(task, mask)| RawChange::Affinity(task, mask)),
        2 => (0..64_usize, -20..20).prop_map(|(task, nice)| RawChange::Nice(task, nice)),
        1 => (0..64_usize, prop_oneof![Just(0_u32), Just(3), Just(5)])
            .prop_map(|(task, policy)| RawChange::Policy(task, policy)),
        1 => (0..64_usize, duration(10 * US..20 * MS))
            .prop_map(|(cpu, ns)| RawChange::Realtime(cpu, ns)),
    ];
    vec(
        (duration(US..theme.duration_ns), kind),
        theme.changes.clone(),
    )
}

/// What a world is made of, once the machine is known.
type Parts = (u64, bool, Costs, Vec<RawTask>, Vec<(u64, RawChange)>);

fn build(theme: &Theme, topology: Topology, is_strict: bool, parts: Parts) -> World {
    let (seed, ticks_at_once, costs, tasks, changes) = parts;
    let (nr_cpus, nr_tasks) = (topology.nr_cpus(), tasks.len());
    let fix = |op: Op| match op {
        Op::Wake { task, sync } => Op::Wake {
            task: task % nr_tasks,
            sync,
        },
        other => other,
    };
    let tasks = tasks.into_iter().map(|raw| TaskSpec {
        start_ns: raw.start_ns,
        nice: raw.nice,
        policy: raw.policy,
        mask: raw.mask.on(nr_cpus),
        program: raw.program.into_iter().map(fix).collect(),
    });
    let changes = changes.into_iter().map(|(at_ns, raw)| Change {
        at_ns,
        kind: match raw {
            RawChange::Affinity(task, mask) => ChangeKind::Affinity {
                task: task % nr_tasks,
                mask: mask.on(nr_cpus),
            },
            RawChange::Nice(task, nice) => ChangeKind::Nice {
                task: task % nr_tasks,
                nice,
            },
            RawChange::Policy(task, policy) => ChangeKind::Policy {
                task: task % nr_tasks,
                policy,
            },
            RawChange::Realtime(cpu, ns) => ChangeKind::Realtime {
                cpu: cpu % nr_cpus,
                ns,
            },
        },
    });
    World {
        seed,
        topology,
        ticks_at_once,
        costs,
        duration_ns: theme.duration_ns,
        tasks: tasks.collect(),
        changes: changes.collect(),
        is_strict,
    }
}

fn themed(wishes: Wishes, theme: Theme) -> BoxedStrategy<World> {
    let machine = wishes
        .topology
        .map_or_else(|| topologies().boxed(), |topology| Just(topology).boxed());
    // The number of tasks follows the number of CPUs, or a large machine would have nothing to do.
    machine
        .prop_flat_map(move |topology| {
            let per_cpu = topology.nr_cpus().div_ceil(8).max(1);
            let theme = Theme {
                tasks: theme.tasks.start..theme.tasks.end * per_cpu,
                ..theme.clone()
            };
            let tasks = if theme.crowd {
                tasks_beside_crowd().boxed()
            } else {
                tasks(&theme).boxed()
            };
            let parts = (any::<u64>(), any::<bool>(), costs(), tasks, changes(&theme));
            parts.prop_map(move |parts| build(&theme, topology, wishes.is_strict, parts))
        })
        .boxed()
}

/// Random worlds.
pub fn worlds(wishes: Wishes) -> BoxedStrategy<World> {
    let theme = |tasks, mixed, bound, nice, changes, duration_ns| {
        themed(
            wishes,
            Theme {
                tasks,
                mixed,
                bound,
                nice,
                crowd: false,
                changes,
                duration_ns,
            },
        )
    };
    let crowd = Theme {
        tasks: 0..1,
        mixed: true,
        bound: false,
        nice: true,
        crowd: true,
        changes: 0..1,
        duration_ns: 2 * S,
    };
    prop_oneof![
        // Shares: tasks that compute, of equal and of unequal weights.
        2 => theme(2..14, false, false, false, 0..1, 2 * S),
        2 => theme(2..12, false, false, true, 0..1, 4 * S),
        // Latency and balance: all kinds of tasks.
        4 => theme(1..12, true, false, true, 0..4, 1200 * MS),
        // Affinity, and changes of it.
        5 => theme(1..12, true, true, true, 0..12, 600 * MS),
        2 => theme(2..14, false, true, false, 0..12, 600 * MS),
        // A crowd.
        1 => theme(20..60, true, true, true, 0..8, 800 * MS),
        // Shares beside many tasks that run for moments.
        1 => themed(wishes, crowd),
    ]
    .boxed()
}
