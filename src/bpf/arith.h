/* SPDX-License-Identifier: GPL-2.0-only */
/* Small arithmetic. Plain C: compiles on the host as well. In BPF, vmlinux.h comes before it. */
#ifndef TAKT_ARITH_H
#define TAKT_ARITH_H

#include "intf.h"

#ifndef __VMLINUX_H__
#include <stdbool.h>
typedef short s16;
#endif
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif

/* One load, one store of what other CPUs use meanwhile; <scx/common.bpf.h> has its own. */
#ifndef READ_ONCE
#define READ_ONCE(x)	 (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#endif

/* Time since @from: clocks of two CPUs may differ by a little. */
static __always_inline u64 elapsed_ns(u64 from, u64 now)
{
	return now > from ? now - from : 0;
}

static __always_inline u64 max_u64(u64 a, u64 b)
{
	return a > b ? a : b;
}

static __always_inline s64 max_s64(s64 a, s64 b)
{
	return a > b ? a : b;
}

static __always_inline s64 min_s64(s64 a, s64 b)
{
	return a < b ? a : b;
}

static __always_inline u64 min_u64(u64 a, u64 b)
{
	return a < b ? a : b;
}

/*
 * The number of the highest bit of @v; 0 for 0. Without branches: of a chain of them whose result
 * is an index the verifier follows each way by itself.
 */
static __noinline u32 log2_of(u64 v)
{
	return 63 - __builtin_clzll(v | 1);
}

#endif /* TAKT_ARITH_H */
