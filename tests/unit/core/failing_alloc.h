#ifndef TIDEGATE_TESTS_CORE_FAILING_ALLOC_H
#define TIDEGATE_TESTS_CORE_FAILING_ALLOC_H

/* For tests that compile the sources under test into their own program: from here on the allocator
 * fails when told to. */
#include <stdlib.h>

#define POOL_OF_BLOCKS /* every object of a pool is an allocation */

static long fail_after = -1; /* allocations that still succeed; -1: all */

static inline int alloc_fails(void)
{
	if (fail_after == 0)
		return 1;
	if (fail_after > 0)
		fail_after--;
	return 0;
}

static inline void *try_malloc(size_t size)
{
	return alloc_fails() ? NULL : malloc(size);
}

static inline void *try_calloc(size_t n, size_t size)
{
	return alloc_fails() ? NULL : calloc(n, size);
}

static inline void *try_reallocarray(void *p, size_t n, size_t size)
{
	return alloc_fails() ? NULL : reallocarray(p, n, size);
}

#define malloc       try_malloc
#define calloc       try_calloc
#define reallocarray try_reallocarray

#endif
