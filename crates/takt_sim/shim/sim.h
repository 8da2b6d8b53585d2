/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the simulated kernel (Rust) and the policy compiled for the host (policy.c) know of each
 * other. Plain C: bindgen reads it for the Rust side.
 */
#ifndef TAKT_SIM_H
#define TAKT_SIM_H

#define SIM_CPUS  1024
#define SIM_WORDS (SIM_CPUS / 64)

/* The fields of a struct task_struct that the kernel reads or writes, by address. */
struct sim_task_view {
	void *task; /* struct task_struct */
	int *cpu;
	unsigned int *state;
	unsigned int *pf_flags;
	unsigned int *scx_flags;
	unsigned int *weight;
	unsigned int *policy;
	int *nr_cpus_allowed;
	unsigned long long *cpus_mask; /* SIM_WORDS of them are in use */
	unsigned long long *slice_ns;
	unsigned long long *dsq_vtime;
};

/* What the policy's own record of a task says. */
struct sim_task_record {
	unsigned int own_queue;
	unsigned int cpu_bound_in;
	unsigned int domain;
	unsigned int exists;
};

/* What the policy's own record of a queue says. */
struct sim_queue_record {
	unsigned int nr_queued;
	unsigned int nr_cpu_bound;
};

/* What the agent sets before it loads the scheduler. */
struct sim_machine {
	unsigned int nr_cpus;
	unsigned int nr_llcs;
	unsigned short llc_of[SIM_CPUS];
	unsigned char node_of_llc[128];
};

/* Numbers of queues: intf.h. */
struct sim_numbers {
	unsigned int cpus;
	unsigned int throttled;
	unsigned int nr_domains;
	unsigned long long slice_max_ns;
	unsigned int scx_queued;
	unsigned int pf_exiting;
};

/* An iterator over a dispatch queue. */
struct sim_iter {
	unsigned long long dsq;
	unsigned long long key;	 /* of the task that it returned last: dsq_vtime */
	unsigned long long turn; /* the same: number of its insertion */
	unsigned long long last; /* number of the last insertion when it began */
	unsigned long long vtime;
	unsigned int begun;
	unsigned int has_vtime;
};

/* The policy, as the kernel calls it: policy.c. */
void sim_reset(struct sim_machine *machine);
struct sim_numbers sim_numbers(void);
struct sim_task_view sim_task_new(int pid, const char *comm);
void sim_task_free(void *task);
int sim_task_pid(void *task);
struct sim_task_record sim_task_record(void *task);
struct sim_queue_record sim_queue_record(unsigned int queue);
int sim_domain_tasks(unsigned int number);
void sim_set_prio(void *task, int prio);

int sim_init(void);
int sim_init_task(void *task, int fork);
void sim_exit_task(void *task);
void sim_enable(void *task);
void sim_disable(void *task);
int sim_select_cpu(void *task, int prev_cpu, unsigned long long wake_flags);
void sim_enqueue(void *task, unsigned long long enq_flags);
void sim_dispatch(int cpu, void *prev);
void sim_running(void *task);
void sim_stopping(void *task, int runnable);
void sim_tick(void *task);
void sim_yield(void *task);
void sim_set_weight(void *task, unsigned int weight);
void sim_set_cpumask(void *task);
void sim_sched_switch(void *prev, void *next);
void sim_expire_timer(unsigned int index);

/* The kernel, as the policy calls it: src/machine/kfuncs.rs. */
unsigned long long kernel_now(void);
int kernel_this_cpu(void);
unsigned int kernel_nr_cpus(void);
void *kernel_current_task(void);
void kernel_insert(void *task, unsigned long long dsq, unsigned long long slice_ns,
		   unsigned long long vtime, int ordered, unsigned long long enq_flags);
int kernel_move_to_local(unsigned long long dsq, unsigned long long enq_flags);
int kernel_nr_queued(unsigned long long dsq);
void *kernel_peek(unsigned long long dsq);
void kernel_iter_begin(struct sim_iter *iter, unsigned long long dsq);
void *kernel_iter_next(struct sim_iter *iter);
int kernel_iter_move(struct sim_iter *iter, void *task, unsigned long long dsq,
		     unsigned long long enq_flags, int ordered);
void kernel_kick_cpu(int cpu, unsigned long long flags);
int kernel_select_cpu_dfl(void *task, int prev_cpu, int *is_idle);
int kernel_pick_idle_cpu(const unsigned long long *mask);
int kernel_test_and_clear_idle(int cpu);
int kernel_any_distribute(const unsigned long long *mask);
const unsigned long long *kernel_online_mask(void);
void kernel_reenqueue_local(void);
void kernel_create_dsq(unsigned long long dsq);
void kernel_error(const char *message, int is_exit);
void kernel_start_timer(unsigned int index, unsigned long long ns);

#endif /* TAKT_SIM_H */
