/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Numbers that the BPF side and its readers compute alike: which bucket of a histogram a value
 * belongs to, and the hash of a name. Plain C: tests compile it on the host and compare.
 */
#ifndef TAKT_BUCKETS_H
#define TAKT_BUCKETS_H

#include "arith.h"

/* Bucket 0: less than 1,024 ns; then 4 to each power of two. The agent: src/wakeups.rs. */
static __always_inline u32 wake_bucket(u64 ns)
{
	u32 exponent, bucket;

	if (ns < 1024)
		return 0;
	exponent = log2_of(ns);
	bucket = 1 + (exponent - 10) * 4 + ((ns >> (exponent - 2)) & 3);
	return bucket < TAKT_WAKE_BUCKETS ? bucket : TAKT_WAKE_BUCKETS - 1;
}

/* Keeps the compiler from computing all conditions first and joining the results later. */
#define one_by_one(a, b) asm volatile("" : "+r"(a), "+r"(b))

#define SHIFT_IF_LONG(top, shift, by)                                                              \
	do {                                                                                       \
		if ((top) >> (OBS_SUB_BITS + (by))) {                                              \
			(top) >>= (by);                                                            \
			(shift) += (by);                                                           \
		}                                                                                  \
		one_by_one(top, shift);                                                            \
	} while (0)

/*
 * The bucket of a value: its highest OBS_SUB_BITS + 1 bits, and how far they had to be shifted for
 * it. src/observe/histogram.rs has the way back.
 */
static __always_inline u32 bucket_of(u64 v)
{
	u64 top = v, shift = 0, bucket;

	if (v >> 36) { /* more than a minute: five steps are not enough */
		if (v >> 39)
			return OBS_BUCKETS - 1;
		top >>= 8;
		shift = 8;
	}
	SHIFT_IF_LONG(top, shift, 16);
	SHIFT_IF_LONG(top, shift, 8);
	SHIFT_IF_LONG(top, shift, 4);
	SHIFT_IF_LONG(top, shift, 2);
	SHIFT_IF_LONG(top, shift, 1);
	bucket = shift * OBS_SUBS + top;
	return bucket < OBS_BUCKETS ? bucket : OBS_BUCKETS - 1;
}

#define HASH_START 0x9e3779b97f4a7c15ULL

static __always_inline u64 hash_step(u64 hash, u64 word)
{
	hash = (hash ^ word) * HASH_START;
	return hash ^ (hash >> 32);
}

#endif /* TAKT_BUCKETS_H */
