/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stands for scx's header of the same name, so that src/bpf compiles for the host unchanged. The
 * types are the kernel's (vmlinux.h); a kfunc or helper is a plain C function that asks the
 * simulated kernel (sim.h).
 *
 * `const` is nothing from here on: what the agent sets before the load (`const volatile`) is then
 * ordinary data, which is set for each world. All data stands in two sections, takt_data and
 * takt_bss, so that a world begins with that of a fresh load: sim_reset().
 */
#ifndef TAKT_SIM_COMMON_BPF_H
#define TAKT_SIM_COMMON_BPF_H

#define BPF_NO_PRESERVE_ACCESS_INDEX
#define BPF_NO_KFUNC_PROTOTYPES
#define __ksym
#include "vmlinux.h"

#pragma clang section bss = "takt_bss" data = "takt_data"
#define const
#include "sim.h"

#define NULL ((void *)0)

#define SEC(name)
#define __uint(name, value)  int(*name)[value]
#define __type(name, value)  __typeof__(value) *name
#define __array(name, value) __typeof__(value) *name[]

#define ENOENT		2
#define ENOMEM		12
#define EINVAL		22
#define PF_EXITING	0x00000004
#define PF_KTHREAD	0x00200000
#define CLOCK_MONOTONIC 1

#define BPF_PROG(name, ...)		    name(__VA_ARGS__)
#define BPF_STRUCT_OPS(name, ...)	    name(__VA_ARGS__)
#define BPF_STRUCT_OPS_SLEEPABLE(name, ...) name(__VA_ARGS__)
#define SCX_OPS_DEFINE(name, ...)	    struct sched_ext_ops name = {__VA_ARGS__}

#define UEI_DEFINE(name)	     int name
#define UEI_RECORD(name, info)	     ((void)(info))
#define scx_bpf_dump(...)	     ((void)0)
#define scx_bpf_error(...)	     sim_fail(0, __VA_ARGS__)
#define scx_bpf_exit(code, ...)	     sim_fail(1, __VA_ARGS__)
#define scx_bpf_cpuperf_set(cpu, to) ((void)0)

void sim_fail(int is_exit, char *format, ...) __attribute__((format(printf, 2, 3)));

#define barrier_var(v)	       __asm__ volatile("" : "+r"(v))
#define can_loop	       1
#define bpf_for(i, start, end) for (u32 __end = ((i) = (start), (end)); (u32)(i) < __end; (i)++)

/* All kernels that the simulator stands for have these. */
#define bpf_ksym_exists(symbol)		 1
#define bpf_core_field_exists(field)	 1
#define bpf_core_field_size(field)	 sizeof(field)
#define bpf_core_type_size(type)	 sizeof(type)
#define bpf_core_enum_value(type, value) (value)
#define bpf_core_read(to, size, from)	 bpf_probe_read_kernel(to, size, from)

/* A pointer of 0 reads as 0, as in BPF. */
#define CORE_READ_1(s, a) ((s)->a)
#define CORE_READ_2(s, a, b)                                                                       \
	({                                                                                         \
		__typeof__((s)->a) __2 = (s)->a;                                                   \
		__2 ? __2->b : (__typeof__(__2->b))0;                                              \
	})
#define CORE_READ_3(s, a, b, c)                                                                    \
	({                                                                                         \
		__typeof__((s)->a->b) __3 = CORE_READ_2(s, a, b);                                  \
		__3 ? __3->c : (__typeof__(__3->c))0;                                              \
	})
#define CORE_READ_4(s, a, b, c, d)                                                                 \
	({                                                                                         \
		__typeof__((s)->a->b->c) __4 = CORE_READ_3(s, a, b, c);                            \
		__4 ? __4->d : (__typeof__(__4->d))0;                                              \
	})
#define CORE_READ_NTH(_1, _2, _3, _4, name, ...) name
#define BPF_CORE_READ(s, ...)                                                                      \
	CORE_READ_NTH(__VA_ARGS__, CORE_READ_4, CORE_READ_3, CORE_READ_2, CORE_READ_1)             \
	(s, __VA_ARGS__)
#define BPF_CORE_READ_INTO(to, s, field) ((void)(*(to) = (s)->field))

static inline long bpf_probe_read_kernel(void *to, u32 size, const void *from)
{
	__builtin_memcpy(to, from, size);
	return 0;
}

static inline long bpf_probe_read_kernel_str(void *to, u32 size, const void *from)
{
	char *copy = to, *text = (char *)from;
	u32 i;

	for (i = 0; i + 1 < size && text[i]; i++)
		copy[i] = text[i];
	copy[i] = 0;
	return i + 1;
}

/* Maps: policy.c. */
void *bpf_map_lookup_elem(void *map, const void *key);
struct task_ctx *bpf_task_storage_get(void *map, struct task_struct *p, void *value, u64 flags);
long bpf_task_storage_delete(void *map, struct task_struct *p);
#define bpf_ringbuf_output(ring, record, size, flags) ((void)(flags), 0)
#define bpf_ringbuf_query(ring, what)		      0
#define bpf_seq_write(seq, record, size)	      ((void)(record), 0)

/* Timers: policy.c. */
#define bpf_timer_init(timer, map, clock)	((void)(timer), 0)
#define bpf_timer_set_callback(timer, callback) ((void)(callback), 0)
long bpf_timer_start(struct bpf_timer *timer, u64 ns, u64 flags);

#define bpf_this_cpu_ptr(address)    (address)
#define bpf_get_smp_processor_id()   kernel_this_cpu()
#define bpf_get_current_task_btf()   ((struct task_struct *)kernel_current_task())
#define bpf_ktime_get_ns()	     kernel_now()
#define bpf_get_current_pid_tgid()   sim_pid_tgid(bpf_get_current_task_btf())
#define scx_bpf_now()		     kernel_now()
#define scx_bpf_nr_cpu_ids()	     kernel_nr_cpus()
#define scx_bpf_task_cpu(p)	     ((s32)(p)->thread_info.cpu)
#define scx_bpf_kick_cpu(cpu, flags) kernel_kick_cpu(cpu, flags)

static inline u64 sim_pid_tgid(struct task_struct *p)
{
	return (u64)p->tgid << 32 | (u32)p->pid;
}

static inline void scx_bpf_task_set_slice(struct task_struct *p, u64 slice_ns)
{
	p->scx.slice = slice_ns;
}

/* cpumasks. */
static inline bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *mask)
{
	return cpu < SIM_CPUS && mask->bits[cpu / 64] >> (cpu % 64) & 1;
}

static inline u32 bpf_cpumask_any_distribute(const struct cpumask *mask)
{
	return kernel_any_distribute((unsigned long long *)mask->bits);
}

static inline u32 bpf_cpumask_any_and_distribute(const struct cpumask *a, const struct cpumask *b)
{
	unsigned long long both[SIM_WORDS];
	u32 i;

	for (i = 0; i < SIM_WORDS; i++)
		both[i] = a->bits[i] & b->bits[i];
	return kernel_any_distribute(both);
}

#define scx_bpf_get_online_cpumask()	     ((struct cpumask *)kernel_online_mask())
#define scx_bpf_put_cpumask(mask)	     ((void)(mask))
#define scx_bpf_test_and_clear_cpu_idle(cpu) kernel_test_and_clear_idle(cpu)
#define scx_bpf_pick_idle_cpu(mask, flags)   kernel_pick_idle_cpu((unsigned long long *)(mask)->bits)

static inline s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
					 bool *is_idle)
{
	int found = 0;
	s32 cpu = kernel_select_cpu_dfl(p, prev_cpu, &found);

	*is_idle = found;
	return cpu;
}

/* Dispatch queues. */
#define scx_bpf_create_dsq(dsq, node)		    (kernel_create_dsq(dsq), 0)
#define scx_bpf_destroy_dsq(dsq)		    ((void)(dsq))
#define scx_bpf_dsq_nr_queued(dsq)		    kernel_nr_queued(dsq)
#define scx_bpf_dsq_peek(dsq)			    ((struct task_struct *)kernel_peek(dsq))
#define scx_bpf_dsq_move_to_local(dsq, flags)	    kernel_move_to_local(dsq, flags)
#define scx_bpf_dsq_insert(p, dsq, slice_ns, flags) kernel_insert(p, dsq, slice_ns, 0, 0, flags)
#define scx_bpf_dsq_insert_vtime(p, dsq, slice_ns, vtime, flags)                                   \
	kernel_insert(p, dsq, slice_ns, vtime, 1, flags)
#define scx_bpf_reenqueue_local()		kernel_reenqueue_local()
#define scx_bpf_reenqueue_local_from_anywhere() kernel_reenqueue_local()

static inline struct sim_iter sim_iter_of(u64 dsq)
{
	struct sim_iter iter;

	kernel_iter_begin(&iter, dsq);
	return iter;
}

#define bpf_for_each(type, p, dsq, flags)                                                          \
	for (struct sim_iter ___it = sim_iter_of(dsq); ((p) = kernel_iter_next(&___it));)
#define BPF_FOR_EACH_ITER			    (&___it)
#define scx_bpf_dsq_move(iter, p, dsq, flags)	    kernel_iter_move(iter, p, dsq, flags, 0)
#define scx_bpf_dsq_move_vtime(iter, p, dsq, flags) kernel_iter_move(iter, p, dsq, flags, 1)
#define scx_bpf_dsq_move_set_vtime(iter, to)	    ((iter)->vtime = (to), (iter)->has_vtime = 1)

#endif /* TAKT_SIM_COMMON_BPF_H */
