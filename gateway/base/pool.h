#ifndef TIDEGATE_BASE_POOL_H
#define TIDEGATE_BASE_POOL_H

#include "gateway/base/list.h"

#include <stddef.h>
#include <stdint.h>

/* Memory for very many small objects of one size, without the eight to sixteen octets that malloc()
 * adds to each. Objects lie in slabs; a slab whose last object goes is given back. Built with
 * AddressSanitizer every object is a block of its own, so that nothing is hidden from it. */
struct pool {
	size_t size;      /* of an object */
	struct list open; /* of slab.node: those with room */
};

/* `size` is at most a hundred times smaller than POOL_SLAB_BYTES; objects are aligned for what is
 * in them (a multiple of eight). */
#define POOL_SLAB_BYTES 16384
void pool_init(struct pool *p, size_t size);
/* Zeroed. NULL: no memory. */
void *pool_get(struct pool *p);
void pool_put(struct pool *p, void *object);

#endif
