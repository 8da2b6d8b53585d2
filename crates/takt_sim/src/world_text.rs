//! Reads a world from the text that it is printed as, so that a failure can be kept, edited and run again.

use crate::mask::CpuMask;
use crate::topology::Topology;
use crate::world::{Change, ChangeKind, Costs, MS, Op, S, TaskSpec, US, World};
use anyhow::{Context, Result, bail, ensure};

/// Lines of a world at most.
const LINES_MAX: usize = 10_000;
/// The longest time, ns: an hour.
const TIME_MAX_NS: u64 = 3_600 * S;

/// Reads a world.
///
/// # Errors
/// The first line that is not as [`World`] prints it, with its number.
pub fn parse(text: &str) -> Result<World> {
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let (_, first) = lines.next().context("the file is empty")?;
    let mut world = machine(first).context("line 1")?;
    for (index, line) in lines {
        ensure!(index < LINES_MAX, "more than {LINES_MAX} lines");
        read_line(&mut world, line).with_context(|| format!("line {}: {line:?}", index + 1))?;
    }
    check(&world)?;
    Ok(world)
}

/// What a line names exists.
fn check(world: &World) -> Result<()> {
    let nr = world.tasks.len();
    ensure!(nr > 0, "there is no task");
    for task in &world.tasks {
        let is_idle = |op: &Op| !matches!(op, Op::Wake { task, .. } if *task >= nr);
        ensure!(
            task.program.iter().all(is_idle),
            "a wakeup of a task that is not there"
        );
        ensure!(!task.program.is_empty(), "a task without a program");
    }
    for change in &world.changes {
        let is_there = match change.kind {
            ChangeKind::Affinity { task, .. }
            | ChangeKind::Nice { task, .. }
            | ChangeKind::Policy { task, .. } => task < nr,
            ChangeKind::Realtime { cpu, .. } => cpu < world.topology.nr_cpus(),
        };
        ensure!(is_there, "a change of what is not there: {}", change.kind);
    }
    Ok(())
}

/// `machine 1:2:1:2 (4 CPUs), ticks at once, 4s, seed 5`
fn machine(line: &str) -> Result<World> {
    let parts: Vec<&str> = line.split(", ").collect();
    let [machine, ticks, duration, seed] = parts[..] else {
        bail!("expected: machine TOPOLOGY, ticks at once or spread, DURATION, seed N");
    };
    let topology = after(machine, "machine ")?;
    let topology = topology.split(' ').next().unwrap_or_default();
    Ok(World {
        seed: after(seed, "seed ")?.trim().parse()?,
        topology: topology.parse::<Topology>()?,
        ticks_at_once: match after(ticks, "ticks ")? {
            "at once" => true,
            "spread" => false,
            other => bail!("ticks {other:?}: expected `at once` or `spread`"),
        },
        costs: Costs::default(),
        duration_ns: time(duration)?,
        tasks: Vec::new(),
        changes: Vec::new(),
        is_strict: false,
    })
}

fn read_line(world: &mut World, line: &str) -> Result<()> {
    if let Some(text) = line.strip_prefix("costs: ") {
        world.costs = costs(text)?;
        return Ok(());
    }
    if let Some(change) = line.strip_prefix("at ") {
        let (at, what) = change
            .split_once(": ")
            .context("expected: at TIME: CHANGE")?;
        let at_ns = time(at)?;
        let kind = change_kind(what)?;
        world.changes.push(Change { at_ns, kind });
        return Ok(());
    }
    let (head, program) = line
        .split_once(": ")
        .context("expected: T0: from TIME, ...")?;
    ensure!(
        number(head)? == world.tasks.len(),
        "tasks are numbered from T0 on"
    );
    let (attributes, program) = program
        .split_once(": ")
        .context("expected: from TIME, nice N, policy N, CPUs LIST: PROGRAM")?;
    let (attributes, cpus) = attributes
        .split_once(", CPUs ")
        .context("expected: CPUs LIST")?;
    let attributes: Vec<&str> = attributes.split(", ").collect();
    let [start, nice, policy] = attributes[..] else {
        bail!("expected: from TIME, nice N, policy N");
    };
    world.tasks.push(TaskSpec {
        start_ns: time(after(start, "from ")?)?,
        nice: nice_of(after(nice, "nice ")?)?,
        policy: policy_of(after(policy, "policy ")?)?,
        mask: mask(cpus)?,
        program: program.split(", ").map(op).collect::<Result<_>>()?,
    });
    Ok(())
}

/// `switch 1.5us, wake 1.2us, tick 1us, interrupt 1.5us, idle exit 3us`
fn costs(text: &str) -> Result<Costs> {
    let parts: Vec<&str> = text.split(", ").collect();
    let [switch, wake, tick, interrupt, idle] = parts[..] else {
        bail!("expected: switch TIME, wake TIME, tick TIME, interrupt TIME, idle exit TIME");
    };
    Ok(Costs {
        switch_ns: time(after(switch, "switch ")?)?,
        wake_ns: time(after(wake, "wake ")?)?,
        tick_ns: time(after(tick, "tick ")?)?,
        ipi_ns: time(after(interrupt, "interrupt ")?)?,
        idle_exit_ns: time(after(idle, "idle exit ")?)?,
    })
}

fn change_kind(text: &str) -> Result<ChangeKind> {
    if let Some(rest) = text.strip_prefix("a real-time task takes CPU ") {
        let (cpu, ns) = rest
            .split_once(" for ")
            .context("expected: CPU N for TIME")?;
        return Ok(ChangeKind::Realtime {
            cpu: cpu.parse()?,
            ns: time(ns)?,
        });
    }
    let (task, what) = text.split_once(' ').context("expected: T0 gets ...")?;
    let task = number(task)?;
    if let Some(cpus) = what.strip_prefix("may use CPUs ") {
        let mask = mask(cpus)?;
        Ok(ChangeKind::Affinity { task, mask })
    } else if let Some(nice) = what.strip_prefix("gets nice ") {
        let nice = nice_of(nice)?;
        Ok(ChangeKind::Nice { task, nice })
    } else if let Some(policy) = what.strip_prefix("gets policy ") {
        let policy = policy_of(policy)?;
        Ok(ChangeKind::Policy { task, policy })
    } else {
        bail!("unknown change")
    }
}

fn op(text: &str) -> Result<Op> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match words[..] {
        ["compute", ns] => Op::Compute(time(ns)?),
        ["sleep", ns] => Op::Sleep(time(ns)?),
        ["fork", ns] => Op::Fork(time(ns)?),
        ["wait"] => Op::Wait,
        ["yield"] => Op::Yield,
        ["exit"] => Op::Exit,
        ["wake", task] => Op::Wake {
            task: number(task)?,
            sync: false,
        },
        ["wake", task, "sync"] => Op::Wake {
            task: number(task)?,
            sync: true,
        },
        _ => bail!("unknown operation {text:?}"),
    })
}

fn after<'a>(text: &'a str, prefix: &str) -> Result<&'a str> {
    text.strip_prefix(prefix)
        .with_context(|| format!("{text:?} does not begin with {prefix:?}"))
}

/// The number of `T5`.
fn number(task: &str) -> Result<usize> {
    Ok(after(task, "T")?.parse()?)
}

fn nice_of(text: &str) -> Result<i32> {
    let nice = text.parse()?;
    ensure!(
        (-20..20).contains(&nice),
        "nice {nice} is not from -20 to 19"
    );
    Ok(nice)
}

fn policy_of(text: &str) -> Result<u32> {
    let policy = text.parse()?;
    ensure!(
        matches!(policy, 0 | 3 | 5),
        "policy {policy} is not 0, 3 or 5"
    );
    Ok(policy)
}

fn time(text: &str) -> Result<u64> {
    let text = text.trim();
    let units = [("ns", 1), ("us", US), ("ms", MS), ("s", S)];
    let found = units
        .iter()
        .find_map(|&(unit, ns)| Some((text.strip_suffix(unit)?.parse::<f64>().ok()?, ns)));
    let (value, unit) = found.with_context(|| format!("{text:?} is no time, such as 5ms"))?;
    let ns = value * unit as f64;
    ensure!(
        (0.0..=TIME_MAX_NS as f64).contains(&ns),
        "{text} is not from 0 to an hour"
    );
    Ok(ns.round() as u64)
}

fn mask(text: &str) -> Result<CpuMask> {
    let mut mask = CpuMask::default();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>()?, last.parse::<usize>()?);
        ensure!(
            first <= last && last < crate::mask::MAX_CPUS,
            "{range:?} is no range of CPUs"
        );
        (first..=last).for_each(|cpu| mask.set(cpu, true));
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::world_of;
    use crate::strategy::Wishes;

    #[test]
    fn reads_what_is_printed() {
        for seed in 1..200 {
            let mut world = world_of(seed, Wishes::default()).unwrap();
            for task in 0..world.tasks.len() {
                world.tasks[task].mask = world.mask_of(task);
            }
            assert_eq!(parse(&world.to_string()).unwrap(), world);
        }
    }

    #[test]
    fn refuses_nonsense() {
        let machine = "machine 1:1:2 (2 CPUs), ticks spread, 1s, seed 1\n";
        let task = "T0: from 0ns, nice 0, policy 0, CPUs 0-1: compute 10ms\n";
        assert!(parse(&format!("{machine}{task}")).is_ok());
        for text in [
            String::new(),
            "machine".to_owned(),
            machine.to_owned(),
            format!("{machine}{}", task.replace("10ms", "10")),
            format!("{machine}{}", task.replace("10ms", "-1ms")),
            format!("{machine}{}", task.replace("nice 0", "nice 99")),
            format!("{machine}{}", task.replace("0-1", "1-0")),
            format!("{machine}{}", task.replace("compute 10ms", "wake T5")),
            format!("{machine}{}", task.replace("T0", "T1")),
            format!("{machine}{task}at 1ms: T3 gets nice 1"),
            format!("{machine}{task}at 1ms: T0 dances"),
        ] {
            assert!(parse(&text).is_err(), "{text:?}");
        }
    }
}
