/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Task rules: which class, weight factor and CPUs a task has been given by the user.
 *
 * What a class means:
 *
 * latency: preempts unless its lag is below -preempt_margin, or with a quarter of the margin; only
 * tasks of its own class are protected from it; keeps twice the lag on wakeup; its deadline is
 * lag_max earlier.
 *
 * background: never preempts; is preempted by any other class; its deadline is latency_ns later,
 * but no later than lead_max after it became runnable, unless that of a normal task would be.
 *
 * The agent compiles the rules into one hash map, keyed by what a task is known by. Rules are
 * looked up when that changes: at exec, when a task is renamed, when it moves between cgroups, and
 * for all tasks when the rules change (an iterator program). A fork inherits from its parent
 * without any look-up. So the number of rules costs nothing at fork and a fixed number of hash
 * look-ups at exec: one per kind in use, plus one or two per level of its cgroup.
 *
 * Limits: a path deeper than TAKT_MAX_CGROUP_DEPTH is not found by its path (its units are); names
 * count with their first 127 bytes; a change of user without exec is seen at the next exec or
 * rename; a program is known by inode number and size, whatever file system it is on.
 */
#ifndef TAKT_RULES_BPF_H
#define TAKT_RULES_BPF_H

#include "task.bpf.h"
#include "buckets.h"

#define CGROUP_NAME_LEN 128

/*
 * Are there rules at all? Set by the agent before load: without them, what they could do is taken
 * out, and the agent loads the scheduler again when the first one comes.
 */
const volatile bool can_rule = true;
/* Bit k: there are rules of kind k. Set by the agent. */
u32 rule_kinds;
/* Threads of a process have moved to another cgroup: the agent applies the rules to all tasks. */
bool rules_stale;

struct takt_cpu_set cpu_sets[TAKT_MAX_CPU_SETS];

/* A map of its own only for clang before 20, which describes an inner one in no other way. */
struct rule_set {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct takt_rule_key);
	__type(value, struct takt_rule);
} no_rules SEC(".maps");

/* The rules in force. The agent replaces the inner map as a whole: a look-up sees old or new. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct rule_set);
} rule_sets SEC(".maps");

/* Called by the agent itself, so that its pid is the kernel's own: it may live in a PID namespace.
 */
SEC("syscall")
int takt_know_agent(void *ctx)
{
	agent_tgid = bpf_get_current_pid_tgid() >> 32;
	return 0;
}

/* Our agent delays no other task, whatever the rules. */
static __always_inline bool is_agent(const struct task_struct *p)
{
	return p->tgid == agent_tgid;
}

/* Class, policy or cgroup may have changed: a rule's class counts first, then SCHED_IDLE or
 * cpu.idle. */
static __always_inline void note_latency_class(struct task_ctx *t)
{
	bool idles = t->policy == SCHED_IDLE || t->in_idle_cgroup;

	t->latency_class =
		idles && t->rule_class == TAKT_LAT_NORMAL ? TAKT_LAT_BACKGROUND : t->rule_class;
}

static __always_inline bool is_background(const struct task_ctx *t)
{
	return t->latency_class == TAKT_LAT_BACKGROUND;
}

static __always_inline bool is_urgent(const struct task_ctx *t)
{
	return can_rule && t->rule_class == TAKT_LAT_LATENCY;
}

/* Is a task of @class protected from @t while it runs? */
static __always_inline bool class_is_protected_from(u8 class, const struct task_ctx *t)
{
	return !is_urgent(t) || class == TAKT_LAT_LATENCY;
}

/* The weight of a task by the rules, given the one that the kernel gave it. */
static __always_inline u32 ruled_weight(const struct task_ctx *t, u32 weight)
{
	u64 permille = can_rule ? READ_ONCE(t->weight_permille) : 0;

	return permille ? max_u64(1, weight * permille / 1000) : weight;
}

/* @wait_ns: ns from now to the deadline, clamped already. Returns the same for the class of @t. */
static __always_inline s64 ruled_wait(const struct task_ctx *t, s64 wait_ns,
				      const struct takt_tunables *k)
{
	if (is_urgent(t))
		return wait_ns - (s64)k->lag_max_ns;
	if (is_background(t))
		return max_s64(wait_ns, min_s64(wait_ns + (s64)k->latency_ns, (s64)k->lead_max_ns));
	return wait_ns;
}

/* Claims an idle CPU of those that a rule prefers for @p; negative: none. */
static s32 claim_preferred_cpu(struct task_struct *p, const struct task_ctx *t)
{
	return claim_idle_in_set(p, &cpu_sets[t->cpu_set & (TAKT_MAX_CPU_SETS - 1)]);
}

/* The agent computes the same: src/agent/rules/compile.rs. */
static __noinline u64 hash_of_name(u64 name_addr)
{
	u64 words[CGROUP_NAME_LEN / 8] = {}, hash = HASH_START;
	u32 i;

	bpf_probe_read_kernel_str(words, sizeof(words), (const void *)name_addr);
	for (i = 0; i < CGROUP_NAME_LEN / 8; i++) {
		if (!words[i])
			break;
		hash = hash_step(hash, words[i]);
	}
	return hash;
}

/* If a rule stands under this key and comes before @best in the file, it is the better one. */
static __always_inline void consider_rule(void *rules, u64 kind, u64 a, u64 b,
					  struct takt_rule *best)
{
	struct takt_rule_key key = {.kind = kind, .a = a, .b = b};
	struct takt_rule *rule;

	if (!(rule_kinds & (1 << kind)))
		return;
	rule = bpf_map_lookup_elem(rules, &key);
	if (!rule)
		return;
	rule->hits++;
	if (rule->order < best->order)
		*best = *rule;
}

/* Every cgroup that @p is in, from the root down: by path and by its own name. */
static __noinline void consider_cgroups(void *rules, struct task_struct *p, struct takt_rule *best)
{
	u64 names[TAKT_MAX_CGROUP_DEPTH] = {}, path = HASH_START;
	struct cgroup *cgrp = BPF_CORE_READ(p, cgroups, dfl_cgrp);
	bool is_whole = false; /* up to the root: then the path is known, and not only its end */
	u32 depth = 0, i;

	bpf_for (i, 0, TAKT_MAX_CGROUP_DEPTH + 1) {
		struct cgroup_subsys_state *parent = BPF_CORE_READ(cgrp, self.parent);

		is_whole = !parent; /* the root, which has no name */
		if (is_whole || i == TAKT_MAX_CGROUP_DEPTH)
			break;
		names[i & (TAKT_MAX_CGROUP_DEPTH - 1)] =
			hash_of_name((u64)BPF_CORE_READ(cgrp, kn, name));
		cgrp = BPF_CORE_READ(parent, cgroup);
		depth = i + 1;
	}
	/* The rules for "/" itself. */
	consider_rule(rules, TAKT_RULE_CGROUP, path, 0, best);
	bpf_for (i, 0, depth) {
		u64 name = names[(depth - 1 - i) & (TAKT_MAX_CGROUP_DEPTH - 1)];

		path = hash_step(path, name);
		if (is_whole)
			consider_rule(rules, TAKT_RULE_CGROUP, path, 0, best);
		consider_rule(rules, TAKT_RULE_UNIT, name, 0, best);
	}
}

/* By the file that it runs. Kernel threads run none. */
static __always_inline void consider_exe(void *rules, struct task_struct *p, struct takt_rule *best)
{
	struct inode *inode = BPF_CORE_READ(p, mm, exe_file, f_inode);

	if (inode)
		consider_rule(rules, TAKT_RULE_EXE, BPF_CORE_READ(inode, i_ino),
			      BPF_CORE_READ(inode, i_size), best);
}

/* Looks up what the rules give to @p, whose name is @comm. */
static __noinline void apply_rules(struct task_struct *p, u64 comm_addr)
{
	struct takt_rule best = {.order = ~0U, .weight_permille = 1000};
	u64 comm[TAKT_COMM_LEN / 8] = {};
	struct task_ctx *t = task_ctx_of(p);
	u32 zero = 0;
	void *rules;

	if (!t || is_agent(p))
		return;
	rules = bpf_map_lookup_elem(&rule_sets, &zero);
	if (rules) {
		bpf_probe_read_kernel_str(comm, sizeof(comm), (const void *)comm_addr);
		consider_rule(rules, TAKT_RULE_COMM, comm[0], comm[1], &best);
		consider_rule(rules, TAKT_RULE_UID, BPF_CORE_READ(p, cred, uid.val), 0, &best);
		if (rule_kinds & (1 << TAKT_RULE_EXE))
			consider_exe(rules, p, &best);
		if (rule_kinds & (1 << TAKT_RULE_CGROUP | 1 << TAKT_RULE_UNIT))
			consider_cgroups(rules, p, &best);
	}
	/* Its rq lock is not held: a decision under way may see old and new mixed, once. */
	t->rule_class = best.class_;
	note_latency_class(t);
	t->cpu_set = best.cpu_set;
	t->weight_permille = best.weight_permille == 1000 ? 0 : best.weight_permille;
}

/* A child has the class, weight and CPUs of its parent, until it executes another program. */
static __always_inline void inherit_rules(struct task_ctx *t)
{
	const struct task_ctx *parent;

	if (!can_rule || !rule_kinds)
		return;
	parent = task_ctx_of(bpf_get_current_task_btf());
	if (!parent)
		return;
	t->rule_class = parent->rule_class;
	t->cpu_set = parent->cpu_set;
	t->weight_permille = parent->weight_permille;
}

/* The four below are attached only while there are rules. */

SEC("tp_btf/sched_process_exec")
int BPF_PROG(takt_rules_exec, struct task_struct *p)
{
	apply_rules(p, (u64)p->comm);
	return 0;
}

/* @comm is the new name; p->comm still has the old one. */
SEC("tp_btf/task_rename")
int BPF_PROG(takt_rules_rename, struct task_struct *p, const char *comm)
{
	apply_rules(p, (u64)comm);
	return 0;
}

/* Called once for a whole process, with its leader. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(takt_rules_moved, struct cgroup *to, const char *path, struct task_struct *p,
	     bool threadgroup)
{
	if (!(rule_kinds & (1 << TAKT_RULE_CGROUP | 1 << TAKT_RULE_UNIT)))
		return 0;
	apply_rules(p, (u64)p->comm);
	if (threadgroup && BPF_CORE_READ(p, signal, nr_threads) > 1)
		rules_stale = true;
	return 0;
}

SEC("iter/task")
int takt_rules_all(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;

	if (p)
		apply_rules(p, (u64)p->comm);
	return 0;
}

#endif /* TAKT_RULES_BPF_H */
