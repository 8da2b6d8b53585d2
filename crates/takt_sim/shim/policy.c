// SPDX-License-Identifier: GPL-2.0-only
/*
 * The policy, compiled for the host: src/bpf as it is, and what the simulated kernel needs of it.
 */
#include "main.bpf.c"

int vsnprintf(char *to, unsigned long size, char *format, __builtin_va_list args);
void *calloc(unsigned long nr, unsigned long size);
void free(void *memory);

extern char __start_takt_bss[], __stop_takt_bss[], __start_takt_data[], __stop_takt_data[];

#pragma clang section bss = "" data = ""

#define DATA_MAX (1 << 20)

static char fresh_data[DATA_MAX];
static unsigned long fresh_size;

static struct takt_cpu_stats stats_of_cpu[SIM_CPUS];
static struct event_limiters limiters_of_cpu[SIM_CPUS];
/* Two of each CPU: for throttled tasks, and for the end of slices. */
static struct bpf_timer timers[2 * SIM_CPUS];

/* A task, and what the policy keeps of it in its task storage. */
struct sim_task {
	struct task_struct task;
	struct task_ctx record;
	bool has_record;
};

static struct css_set root_set;
static struct cgroup root_cgroup;

/* Every interrupt comes while user code runs. */
static struct pt_regs user_regs;
struct pt_regs *__irq_regs = &user_regs;

void sim_fail(int is_exit, char *format, ...)
{
	char message[256];
	__builtin_va_list args;

	__builtin_va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	__builtin_va_end(args);
	kernel_error(message, is_exit);
}

void *bpf_map_lookup_elem(void *map, void *key)
{
	u32 index = *(u32 *)key;

	if (map == &cpu_stats)
		return &stats_of_cpu[kernel_this_cpu()];
	if (map == &event_limiters)
		return &limiters_of_cpu[kernel_this_cpu()];
	if (map == &release_timers)
		return index < SIM_CPUS ? &timers[2 * index] : 0;
	if (map == &slice_timers)
		return index < SIM_CPUS ? &timers[2 * index + 1] : 0;
	return 0;
}

struct task_ctx *bpf_task_storage_get(void *map, struct task_struct *p, void *value, u64 flags)
{
	struct sim_task *task = (struct sim_task *)p;

	if (!task->has_record && (flags & BPF_LOCAL_STORAGE_GET_F_CREATE)) {
		__builtin_memset(&task->record, 0, sizeof(task->record));
		task->has_record = true;
	}
	return task->has_record ? &task->record : 0;
}

long bpf_task_storage_delete(void *map, struct task_struct *p)
{
	((struct sim_task *)p)->has_record = false;
	return 0;
}

long bpf_timer_start(struct bpf_timer *timer, u64 ns, u64 flags)
{
	kernel_start_timer(timer - timers, ns);
	return 0;
}

void sim_expire_timer(unsigned int index)
{
	u32 cpu = index / 2;
	void *timer = &timers[index];

	if (index % 2)
		expire_slice_timer(&slice_timers, &cpu, timer);
	else
		expire_release_timer(&release_timers, &cpu, timer);
}

/* As the agent does: src/agent/lifecycle.rs. */
static void describe_machine(struct sim_machine *machine)
{
	u32 is_far, cpu, llc, other, i;

	nr_cpus_at_start = machine->nr_cpus;
	nr_cpu_ids = machine->nr_cpus;
	nr_possible_cpus = machine->nr_cpus;
	nr_llcs = machine->nr_llcs;
	for (cpu = machine->nr_cpus; cpu-- > 0;) {
		llc = machine->llc_of[cpu];
		cpu_to_llc[cpu] = llc;
		cpu_known[cpu] = true;
		known_mask[cpu / 64] |= 1UL << (cpu % 64);
		llc_first_cpu[llc] = cpu;
		llc_nr_cpus[llc]++;
	}
	for (llc = 0; llc < machine->nr_llcs; llc++) {
		i = 0;
		for (is_far = 0; is_far < 2; is_far++) {
			for (other = 1; other < machine->nr_llcs; other++) {
				u32 candidate = (llc + other) % machine->nr_llcs;
				bool is_near = machine->node_of_llc[candidate] ==
					       machine->node_of_llc[llc];

				if (is_near == !is_far)
					steal_order[llc * TAKT_MAX_LLCS + i++] = candidate;
			}
		}
	}
}

void sim_reset(struct sim_machine *machine)
{
	struct takt_tunables k = {
		.slice_max_ns = 20000000,
		.slice_min_ns = 3000000,
		.latency_ns = 6000000,
		.lag_max_ns = 3000000,
		.lead_max_ns = 250000000,
		.preempt_margin_ns = 200000,
		.preempt_after_ns = 1000000,
		.burst_max_ns = 10000000,
		.handoff_gap_ns = 50000,
		.long_wait_ns = 50000000,
	};

	if (!fresh_size) {
		fresh_size = __stop_takt_data - __start_takt_data;
		if (fresh_size > DATA_MAX)
			__builtin_trap();
		__builtin_memcpy(fresh_data, __start_takt_data, fresh_size);
	}
	__builtin_memcpy(__start_takt_data, fresh_data, fresh_size);
	__builtin_memset(__start_takt_bss, 0, __stop_takt_bss - __start_takt_bss);
	__builtin_memset(timers, 0, sizeof(timers));
	user_regs.cs = 3;
	root_set.dfl_cgrp = &root_cgroup;
	tunables.slot[0] = k;
	tunables.slot[1] = k;
	can_rule = false; /* no rules: what the agent loads by default */
	describe_machine(machine);
}

struct sim_numbers sim_numbers(void)
{
	return (struct sim_numbers){
		.cpus = TAKT_QUEUE_CPUS,
		.throttled = TAKT_THROTTLED,
		.nr_domains = TAKT_MAX_DOMAINS,
		.slice_max_ns = tunables.slot[0].slice_max_ns,
		.scx_queued = SCX_TASK_QUEUED,
		.pf_exiting = PF_EXITING,
	};
}

struct sim_task_view sim_task_new(int pid, char *comm)
{
	struct sim_task *task = calloc(1, sizeof(*task));
	struct task_struct *p = &task->task;

	if (!task)
		__builtin_trap();
	p->pid = pid;
	p->tgid = pid;
	p->prio = 120;
	p->static_prio = 120;
	p->cpus_ptr = &p->cpus_mask;
	p->cgroups = &root_set;
	bpf_probe_read_kernel_str(p->comm, sizeof(p->comm), comm);
	return (struct sim_task_view){
		.task = p,
		.cpu = (int *)&p->thread_info.cpu,
		.state = &p->__state,
		.pf_flags = &p->flags,
		.scx_flags = &p->scx.flags,
		.weight = &p->scx.weight,
		.policy = &p->policy,
		.nr_cpus_allowed = &p->nr_cpus_allowed,
		.cpus_mask = (unsigned long long *)p->cpus_mask.bits,
		.slice_ns = &p->scx.slice,
		.dsq_vtime = &p->scx.dsq_vtime,
	};
}

void sim_task_free(void *task)
{
	free(task);
}

int sim_task_pid(void *task)
{
	return ((struct task_struct *)task)->pid;
}

void sim_set_prio(void *task, int prio)
{
	((struct task_struct *)task)->prio = prio;
}

struct sim_task_record sim_task_record(void *p)
{
	struct sim_task *task = p;
	struct task_ctx *t = &task->record;

	if (!task->has_record)
		return (struct sim_task_record){};
	return (struct sim_task_record){
		.own_queue = t->own_queue,
		.cpu_bound_in = t->cpu_bound_in,
		.domain = t->domain,
		.exists = 1,
	};
}

struct sim_queue_record sim_queue_record(unsigned int queue)
{
	struct queue_ctx *q = queue_ctx_of(queue);

	return (struct sim_queue_record){
		.nr_queued = q->nr_queued,
		.nr_cpu_bound = q->nr_cpu_bound,
	};
}

int sim_domain_tasks(unsigned int number)
{
	return domains[number & (TAKT_MAX_DOMAINS - 1)].nr_tasks;
}

/* What is not in the table is not called, as in the kernel. */
#define CALL(op, ...)                                                                              \
	do {                                                                                       \
		if (takt_ops.op)                                                                   \
			takt_ops.op(__VA_ARGS__);                                                  \
	} while (0)

int sim_init(void)
{
	return takt_ops.init ? takt_ops.init() : 0;
}

int sim_init_task(void *task, int fork)
{
	struct scx_init_task_args args = {.fork = fork, .cgroup = &root_cgroup};

	return takt_ops.init_task ? takt_ops.init_task(task, &args) : 0;
}

void sim_exit_task(void *task)
{
	struct scx_exit_task_args args = {};

	CALL(exit_task, task, &args);
}

void sim_enable(void *task)
{
	CALL(enable, task);
}

void sim_disable(void *task)
{
	CALL(disable, task);
}

int sim_select_cpu(void *task, int prev_cpu, unsigned long long wake_flags)
{
	return takt_ops.select_cpu ? takt_ops.select_cpu(task, prev_cpu, wake_flags) : prev_cpu;
}

void sim_enqueue(void *task, unsigned long long enq_flags)
{
	CALL(enqueue, task, enq_flags);
}

void sim_dispatch(int cpu, void *prev)
{
	CALL(dispatch, cpu, prev);
}

void sim_running(void *task)
{
	CALL(running, task);
}

void sim_stopping(void *task, int runnable)
{
	CALL(stopping, task, runnable);
}

void sim_tick(void *task)
{
	CALL(tick, task);
}

void sim_yield(void *task)
{
	if (takt_ops.yield)
		takt_ops.yield(task, 0);
}

void sim_set_weight(void *task, unsigned int weight)
{
	CALL(set_weight, task, weight);
}

void sim_set_cpumask(void *task)
{
	CALL(set_cpumask, task, ((struct task_struct *)task)->cpus_ptr);
}

void sim_sched_switch(void *prev, void *next)
{
	takt_sched_switch(false, prev, next);
}
