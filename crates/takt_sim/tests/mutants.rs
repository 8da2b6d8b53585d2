//! Mutants: a copy of `src/bpf` with one fault each, and what the search says of it.
//!
//! `cargo test -p takt_sim --test mutants -- --ignored --nocapture` prints the table of
//! `docs/results/2026-11-30-simulator.md`. It takes some minutes: each mutant is a build.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Worlds that a mutant is given to survive in.
const WORLDS: &str = "5000";

/// A fault: what it is, in which file, which text (it stands there once) becomes which, and whether the search is
/// expected to find it.
struct Mutant {
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    dies: bool,
}

const fn mutant(
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
) -> Mutant {
    Mutant {
        name,
        file,
        from,
        to,
        dies: true,
    }
}

const fn survivor(mutant: Mutant) -> Mutant {
    Mutant {
        dies: false,
        ..mutant
    }
}

const MUTANTS: &[Mutant] = &[
    mutant(
        "usable_cpu() believes the last CPU of a sleeper",
        "task.bpf.h",
        "((unrestricted || may_use(p, cpu)) && !cpu_offline",
        "(true && !cpu_offline",
    ),
    mutant(
        "a new affinity is forgotten",
        "main.bpf.c",
        "	left = t->domain;\n	update_domain(p, t);\n",
        "	left = t->domain;\n	return;\n",
    ),
    mutant(
        "a set of some CPUs counts as all",
        "domain.bpf.h",
        "		if (known_mask[i & (MASK_WORDS - 1)] & ~m->word[i & (MASK_WORDS - 1)])\n			return false;\n",
        "",
    ),
    mutant(
        "a victim's CPU need not be allowed",
        "preempt.bpf.h",
        "(cpu == prev_cpu || may_use(p, cpu))",
        "true",
    ),
    mutant(
        "a waker's CPU need not be allowed",
        "placement.bpf.h",
        " && may_use(p, here) &&\n",
        " &&\n",
    ),
    survivor(mutant(
        "take_before() takes a task that may not run here",
        "queue.bpf.h",
        "		if (scx_bpf_task_cpu(p) != cpu &&\n		    (p->migration_disabled || !bpf_cpumask_test_cpu(cpu, p->cpus_ptr)))\n			continue;\n",
        "",
    )),
    mutant(
        "enqueue kicks no idle CPU",
        "main.bpf.c",
        "	if (!is_for_one_cpu(t))\n		kick_idle_cpu(p, cpu);\n",
        "",
    ),
    survivor(mutant(
        "the tick kicks no idle CPU for waiting tasks",
        "main.bpf.c",
        "		kick_for_waiting(cpu);\n",
        "		;\n",
    )),
    survivor(mutant(
        "a wakeup does not kick the CPU that went idle last",
        "main.bpf.c",
        "	kick_recent_idle_cpu(p, prev_cpu, now);\n",
        "",
    )),
    mutant(
        "the tick frees no task in the local queue",
        "main.bpf.c",
        "		stat_inc(nr_kicked);\n		scx_bpf_task_set_slice(p, 0);\n",
        "",
    ),
    mutant(
        "a real-time task keeps the local queue",
        "main.bpf.c",
        "	scx_bpf_reenqueue_local_from_anywhere();\n",
        "",
    ),
    mutant(
        "no CPU steals from another LLC",
        "balance.bpf.h",
        "		if (scx_bpf_dsq_nr_queued(queue) && take_from(queue))\n			return true;\n",
        "",
    ),
    mutant(
        "no balance between LLCs that work",
        "balance.bpf.h",
        "	if (!should_pull(cpu, llc, other) || !take_from(queue_of_llc(other)))\n		return false;\n",
        "	return false;\n",
    ),
    mutant(
        "an LLC pulls whatever the balance",
        "balance.bpf.h",
        "(nr_there - 1) * cpus_here >= (nr_here + 1) * cpus_there",
        "nr_there * cpus_here >= cpus_there",
    ),
    mutant(
        "the queue of one CPU is not served",
        "queue.bpf.h",
        "	if (nr_cpus_at_start > 1 && nr_own(cpu)) {\n		deadline = head_deadline(own);",
        "	if (nr_cpus_at_start > 1 && false) {\n		deadline = head_deadline(own);",
    ),
    mutant(
        "a domain is not marked as used",
        "domain.bpf.h",
        "	__sync_fetch_and_or(&domains_used, 1ULL << i);\n	return free;",
        "	return free;",
    ),
    mutant(
        "a task that runs still counts as waiting",
        "main.bpf.c",
        "		uncount(t, true);\n",
        "",
    ),
    mutant(
        "a task that exits still counts as waiting in its domain",
        "main.bpf.c",
        "	if (t->domain)\n		leave_domain(t->domain - 1);\n	t->domain = 0;\n}",
        "	t->domain = 0;\n}",
    ),
    mutant(
        "a task that was taken is not counted",
        "queue.bpf.h",
        "	if (nr)\n		WRITE_ONCE(queue_ctx_of(queue)->nr_queued, nr - 1);\n",
        "",
    ),
    mutant(
        "a task counted anew keeps its old count",
        "queue.bpf.h",
        "	uncount_untaken(t);\n	t->queued_weight =",
        "	t->queued_weight =",
    ),
    mutant(
        "the later deadline continues",
        "segment.bpf.h",
        "(s64)(deadline - head.deadline) > 0",
        "(s64)(deadline - head.deadline) < 0",
    ),
    mutant(
        "vruntime does not know weights",
        "vtime.h",
        "ran_ns : ran_ns * (100 * 1024) / (weight_1024 ?: 1);",
        "ran_ns : ran_ns;",
    ),
    mutant(
        "V does not follow its tasks",
        "vtime.h",
        "	WRITE_ONCE(q->avg_vruntime, moved + (error * (s64)ran_ns >> CLOCK_MEMORY_SHIFT));",
        "	WRITE_ONCE(q->avg_vruntime, moved);",
    ),
    mutant(
        "a wait has no limit",
        "vtime.h",
        "	return min_u64(wait_ns, limit);",
        "	return wait_ns;",
    ),
    mutant(
        "a slice ends beyond the maximum",
        "placement.bpf.h",
        "sane_slice(slice_ns), enq_flags);",
        "2 * sane_slice(slice_ns), enq_flags);",
    ),
    survivor(mutant(
        "a change of an attribute counts as sleep",
        "main.bpf.c",
        "	bool changes = !runnable && !p->__state;",
        "	bool changes = false;",
    )),
    survivor(mutant(
        "the runtime of a task that yields is not accounted for",
        "segment.bpf.h",
        "	t->vruntime = c->vruntime + delta_vruntime(ran_ns, c->weight_1024);",
        "	t->vruntime = c->vruntime + (c->slice_ns ? delta_vruntime(ran_ns, c->weight_1024) : 0);",
    )),
    mutant(
        "the tick shrinks no slice",
        "main.bpf.c",
        "		shrink_slice(p, c, nr);\n",
        "		;\n",
    ),
];

fn copy_with(mutant: &Mutant, to: &Path) -> Result<()> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/bpf");
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let mut text = fs::read_to_string(entry.path())?;
        if entry.file_name() == mutant.file {
            let count = text.matches(mutant.from).count();
            ensure!(count == 1, "{}: {count} places", mutant.name);
            text = text.replacen(mutant.from, mutant.to, 1);
        }
        fs::write(to.join(entry.file_name()), text)?;
    }
    Ok(())
}

/// Builds the simulator with these sources, and searches. Returns what breaks, and after how many worlds; none: it
/// survives.
fn search(bpf: &Path, target: &Path) -> Result<Option<String>> {
    let cargo = |arguments: &[&str]| {
        Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CARGO_TARGET_DIR", target)
            .env("TAKT_SIM_BPF", bpf)
            .output()
            .context("cannot run cargo")
    };
    let build = cargo(&["build", "--release", "--quiet"])?;
    ensure!(
        build.status.success(),
        "{}",
        String::from_utf8_lossy(&build.stderr)
    );
    let run = cargo(&["run", "--release", "--quiet", "--", "--worlds", WORLDS])?;
    let output = String::from_utf8_lossy(&run.stdout);
    let mut lines = output.lines().filter(|line| !line.is_empty());
    let summary = lines.next().context("the simulator has printed nothing")?;
    let nr_worlds = summary.split(' ').next().unwrap_or_default();
    let Some(violation) = lines.next() else {
        return Ok(None);
    };
    let invariant = violation.split(" at ").next().unwrap_or_default();
    Ok(Some(format!("{invariant} | {nr_worlds}")))
}

#[test]
#[ignore = "some minutes: a build for each mutant"]
fn mutants_die() -> Result<()> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (bpf, target) = (folder.join("mutant-bpf"), folder.join("mutants"));
    let mut unexpected = Vec::new();
    println!("| mutant | file | broken invariant | worlds |\n|---|---|---|---|");
    for mutant in MUTANTS {
        copy_with(mutant, &bpf)?;
        let found = search(&bpf, &target)?;
        let result = found.as_deref().unwrap_or("survives |");
        println!("| {} | `{}` | {result} |", mutant.name, mutant.file);
        if found.is_some() != mutant.dies {
            unexpected.push(mutant.name);
        }
    }
    assert!(unexpected.is_empty(), "not as expected: {unexpected:?}");
    Ok(())
}

/// Each mutant still applies: its text stands in the sources once.
#[test]
fn mutants_apply() -> Result<()> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mutant-check");
    for mutant in MUTANTS {
        copy_with(mutant, &folder)?;
    }
    let dying = MUTANTS.iter().filter(|mutant| mutant.dies).count();
    assert!(dying >= 12, "{dying} mutants");
    Ok(())
}
