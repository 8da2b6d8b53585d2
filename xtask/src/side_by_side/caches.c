/*
 * Caches: what a memory access costs beyond its instruction, as a TCG plugin of the side-by-side emulator.
 *
 * Per core an L1 for data and an L2, per last-level cache (LLC) its lines, per line of memory a directory entry. A
 * line that a core writes is taken from all other cores; the core that reads it next pays for the way from that core.
 * The vCPU is charged on its own clock, at once (qemu_plugin_charge_ns() of side-by-side.c.inc), so that two boots
 * still print the same bytes.
 *
 * The model, and where it is simpler than a machine:
 *
 * - Sets with LRU. An L2 has all lines of its L1; an LLC has what its cores fetched or gave up, and does not
 *   take lines from them when it evicts.
 * - Each access waits until it is done: no access is in flight beside another, and no store buffer, prefetcher or
 *   limit of bandwidth exists. Scans and stores are therefore dearer than on a machine, chains of loads right.
 * - Only data: no instruction fetch, no TLB. Accesses of devices take no line from any core.
 * - An access that crosses a line counts as one of its first line.
 *
 * Arguments, all of them required: see `read_arguments()`. Latencies are whole times from the core in ns, of which
 * an instruction has one.
 *
 * SPDX-License-Identifier: GPL-2.0-only
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "qemu-plugin.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define LINE_SHIFT 6
/* Cores: a bit each in `holders`. LLCs: a bit each in `llcs`. */
#define MAX_CORES 64
#define MAX_LLCS 32
/* Below it there may be a hole for devices (q35) or no memory at all (virt). */
#define HIGH_MEMORY (4ULL << 30)

struct cache {
	uint32_t *lines; /* sets x ways, the most recently used first; a line's number + 1, 0 if empty */
	unsigned sets, ways;
};

struct core {
	struct cache l1, l2;
};

/* Where the copies of a line are. */
struct entry {
	uint64_t holders; /* cores that have it in their L1 or L2 */
	uint32_t llcs;	  /* LLCs that have it */
	uint8_t owner;	  /* the core that has modified it + 1, 0 if memory and LLCs have the same */
};

/* All of this is used by the one thread that runs vCPUs. */
static struct core cores[MAX_CORES];
static struct cache llcs[MAX_LLCS];
static struct entry *directory;
static uint64_t nr_lines;

/* The arguments. */
static struct {
	unsigned threads, paired, cores_per_llc, llcs_per_node;
	unsigned low_mib, node_mib, high_mib;
	unsigned l1_kib, l1_ways, l2_kib, l2_ways, llc_kib, llc_ways;
	unsigned l2_ns, llc_ns, same_llc_ns, other_llc_ns, other_node_ns, memory_ns, remote_memory_ns;
} model;

static unsigned core_of(unsigned vcpu)
{
	if (vcpu < model.paired)
		return vcpu / model.threads;
	return model.paired / model.threads + vcpu - model.paired;
}

static unsigned llc_of(unsigned core)
{
	return core / model.cores_per_llc;
}

static unsigned node_of(unsigned core)
{
	return llc_of(core) / model.llcs_per_node;
}

static uint32_t *set_of(struct cache *cache, uint32_t line)
{
	return cache->lines + (size_t)(line % cache->sets) * cache->ways;
}

/* Makes the line the most recently used one of its set. Returns false if it is not there. */
static bool touch(struct cache *cache, uint32_t line)
{
	uint32_t *set = set_of(cache, line);
	unsigned way;

	for (way = 0; way < cache->ways; way++) {
		if (set[way] == line + 1) {
			memmove(set + 1, set, way * sizeof(*set));
			set[0] = line + 1;
			return true;
		}
	}
	return false;
}

/* Inserts a line that is not there. Returns the number of the evicted line + 1, 0 if none was. */
static uint32_t insert(struct cache *cache, uint32_t line)
{
	uint32_t *set = set_of(cache, line), evicted = set[cache->ways - 1];

	memmove(set + 1, set, (cache->ways - 1) * sizeof(*set));
	set[0] = line + 1;
	return evicted;
}

static void drop(struct cache *cache, uint32_t line)
{
	uint32_t *set = set_of(cache, line);
	unsigned way;

	for (way = 0; way < cache->ways; way++) {
		if (set[way] == line + 1) {
			memmove(set + way, set + way + 1, (cache->ways - 1 - way) * sizeof(*set));
			set[cache->ways - 1] = 0;
			return;
		}
	}
}

static void put_into_llc(unsigned llc, uint32_t line)
{
	uint32_t evicted;

	directory[line].llcs |= 1u << llc;
	if (touch(&llcs[llc], line))
		return;
	evicted = insert(&llcs[llc], line);
	if (evicted)
		directory[evicted - 1].llcs &= ~(1u << llc);
}

/* A core gives up a line, which its LLC keeps. */
static void give_up(unsigned core, uint32_t line)
{
	struct entry *entry = &directory[line];

	drop(&cores[core].l1, line);
	entry->holders &= ~(1ULL << core);
	if (entry->owner == core + 1)
		entry->owner = 0;
	put_into_llc(llc_of(core), line);
}

static void put_into_core(unsigned core, uint32_t line)
{
	uint32_t evicted;

	directory[line].holders |= 1ULL << core;
	if (!touch(&cores[core].l2, line)) {
		evicted = insert(&cores[core].l2, line);
		if (evicted)
			give_up(core, evicted - 1);
	}
	/* What the L1 evicts is in the L2. */
	if (!touch(&cores[core].l1, line))
		insert(&cores[core].l1, line);
}

static unsigned way_between_ns(unsigned core, unsigned other)
{
	if (node_of(core) != node_of(other))
		return model.other_node_ns;
	return llc_of(core) == llc_of(other) ? model.same_llc_ns : model.other_llc_ns;
}

static unsigned memory_ns(unsigned core, uint32_t line)
{
	uint64_t mib = (uint64_t)line >> (20 - LINE_SHIFT);

	if (mib >= HIGH_MEMORY >> 20)
		mib = mib - (HIGH_MEMORY >> 20) + model.low_mib;
	return mib / model.node_mib == node_of(core) ? model.memory_ns : model.remote_memory_ns;
}

/* Fetches a line that the core does not have. */
static unsigned fetch_ns(unsigned core, uint32_t line)
{
	struct entry *entry = &directory[line];
	unsigned llc = llc_of(core), ns;

	if (entry->owner) {
		unsigned owner = entry->owner - 1;

		/* The owner's copy is now what its LLC has. */
		entry->owner = 0;
		put_into_llc(llc_of(owner), line);
		ns = way_between_ns(core, owner);
	} else if (entry->llcs & (1u << llc)) {
		ns = model.llc_ns;
	} else {
		ns = memory_ns(core, line);
	}
	put_into_llc(llc, line);
	return ns;
}

/* Takes a line from all other cores and LLCs. */
static unsigned take_ns(unsigned core, uint32_t line)
{
	struct entry *entry = &directory[line];
	uint64_t others = entry->holders & ~(1ULL << core);
	unsigned ns = 0;

	while (others) {
		unsigned other = __builtin_ctzll(others), way_ns = way_between_ns(core, other);

		others &= others - 1;
		drop(&cores[other].l1, line);
		drop(&cores[other].l2, line);
		ns = way_ns > ns ? way_ns : ns;
	}
	entry->holders &= 1ULL << core;
	/* A line that an LLC loses in this way keeps its place there until it is evicted; only the bit counts. */
	entry->llcs &= 1u << llc_of(core);
	entry->owner = core + 1;
	return ns;
}

/* What an access costs beyond its instruction. */
static unsigned access_ns(unsigned core, uint32_t line, bool is_store)
{
	static struct {
		uint32_t line;
		unsigned core, paid_ns;
	} last;
	struct entry *entry = &directory[line];
	unsigned ns = 0, take;

	if (!touch(&cores[core].l1, line)) {
		ns = entry->holders & (1ULL << core) ? model.l2_ns : fetch_ns(core, line);
		put_into_core(core, line);
	}
	if (is_store && entry->owner != core + 1) {
		take = take_ns(core, line);
		/* An instruction that loads and stores asks once, for the line and the right to write it. */
		if (last.line == line && last.core == core)
			take = take > last.paid_ns ? take - last.paid_ns : 0;
		ns = take > ns ? take : ns;
	}
	last.line = line;
	last.core = core;
	last.paid_ns = ns;
	return ns ? ns - 1 : 0;
}

static void on_access(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *unused)
{
	struct qemu_plugin_hwaddr *place = qemu_plugin_get_hwaddr(info, address);
	uint64_t line;
	unsigned ns;

	if (!place || qemu_plugin_hwaddr_is_io(place))
		return;
	line = qemu_plugin_hwaddr_phys_addr(place) >> LINE_SHIFT;
	if (line >= nr_lines)
		return;
	ns = access_ns(core_of(vcpu), line, qemu_plugin_mem_is_store(info));
	if (ns)
		qemu_plugin_charge_ns(ns);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
	size_t n = qemu_plugin_tb_n_insns(block), i;

	for (i = 0; i < n; i++)
		qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(block, i), on_access, QEMU_PLUGIN_CB_NO_REGS,
						 QEMU_PLUGIN_MEM_RW, NULL);
}

/* Returns false if it cannot be had. */
static bool make_cache(struct cache *cache, unsigned kib, unsigned ways)
{
	cache->ways = ways;
	cache->sets = (kib << (10 - LINE_SHIFT)) / ways;
	cache->lines = calloc((size_t)cache->sets * ways, sizeof(*cache->lines));
	return cache->lines && cache->sets;
}

static bool read_arguments(int argc, char **argv)
{
	const struct {
		const char *name;
		unsigned *value;
	} all[] = {
		{ "threads", &model.threads },		     /* per core */
		{ "paired", &model.paired },		     /* vCPUs in cores of that many; the others have a core each */
		{ "cores_per_llc", &model.cores_per_llc },
		{ "llcs_per_node", &model.llcs_per_node },
		{ "low_mib", &model.low_mib },		     /* memory below 4 GiB */
		{ "high_mib", &model.high_mib },	     /* memory above */
		{ "node_mib", &model.node_mib },
		{ "l1_kib", &model.l1_kib },		     { "l1_ways", &model.l1_ways },
		{ "l2_kib", &model.l2_kib },		     { "l2_ways", &model.l2_ways },
		{ "llc_kib", &model.llc_kib },		     { "llc_ways", &model.llc_ways },
		{ "l2_ns", &model.l2_ns },		     { "llc_ns", &model.llc_ns },
		{ "same_llc_ns", &model.same_llc_ns },	     /* from a core that has modified the line */
		{ "other_llc_ns", &model.other_llc_ns },     { "other_node_ns", &model.other_node_ns },
		{ "memory_ns", &model.memory_ns },	     { "remote_memory_ns", &model.remote_memory_ns },
	};
	const int n = sizeof(all) / sizeof(all[0]);
	int i, found = 0;

	for (; argc > 0; argc--, argv++) {
		for (i = 0; i < n; i++) {
			size_t length = strlen(all[i].name);

			if (!strncmp(*argv, all[i].name, length) && (*argv)[length] == '=' &&
			    sscanf(*argv + length + 1, "%u", all[i].value) == 1)
				found++;
		}
	}
	return found == n;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	unsigned nr_cores, i;

	if (!read_arguments(argc, argv)) {
		fprintf(stderr, "caches: an argument is missing\n");
		return -1;
	}
	nr_cores = core_of(info->system.max_vcpus - 1) + 1;
	if (nr_cores > MAX_CORES || llc_of(nr_cores - 1) >= MAX_LLCS) {
		fprintf(stderr, "caches: more than %d cores or %d last-level caches\n", MAX_CORES, MAX_LLCS);
		return -1;
	}
	nr_lines = (HIGH_MEMORY + ((uint64_t)model.high_mib << 20)) >> LINE_SHIFT;
	/* Only what a guest touches becomes memory. */
	directory = mmap(NULL, nr_lines * sizeof(*directory), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (directory == MAP_FAILED)
		return -1;
	for (i = 0; i < nr_cores; i++)
		if (!make_cache(&cores[i].l1, model.l1_kib, model.l1_ways) ||
		    !make_cache(&cores[i].l2, model.l2_kib, model.l2_ways))
			return -1;
	for (i = 0; i <= llc_of(nr_cores - 1); i++)
		if (!make_cache(&llcs[i], model.llc_kib, model.llc_ways))
			return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	return 0;
}
