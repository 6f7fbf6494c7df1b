#include "gateway/base/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

/* Tests whose allocator fails when told to ask for it as well. */
#if defined(__SANITIZE_ADDRESS__) && !defined(POOL_OF_BLOCKS)
#define POOL_OF_BLOCKS
#endif

#ifdef POOL_OF_BLOCKS

void pool_init(struct pool *p, size_t size)
{
	p->size = size;
	list_init(&p->open);
}

void *pool_get(struct pool *p)
{
	return calloc(1, p->size);
}

void pool_put(struct pool *p, void *object)
{
	(void)p;
	free(object);
}

#else

/* The slab of an object is where its address is rounded down to. */
struct slab {
	struct list node;    /* pool.open; on no list while it is full */
	struct object *free; /* those that came back */
	uint32_t n, n_fresh; /* in use; ever given out, the rest was never touched */
	_Alignas(16) uint8_t objects[];
};

struct object {
	struct object *next;
};

/* A slab ends a little before the next boundary: there malloc() has its own note of the next slab,
 * which can then begin at that boundary. */
enum { SLAB_BYTES = POOL_SLAB_BYTES - 16 };

static size_t slab_room(const struct pool *p)
{
	return (SLAB_BYTES - sizeof(struct slab)) / p->size;
}

static struct slab *slab_of(void *object)
{
	return (struct slab *)((uintptr_t)object & ~(uintptr_t)(POOL_SLAB_BYTES - 1));
}

void pool_init(struct pool *p, size_t size)
{
	assert(size >= sizeof(struct object) && size % sizeof(struct object) == 0);
	p->size = size;
	list_init(&p->open);
}

static struct slab *slab_new(struct pool *p)
{
	void *memory;
	/* aligned_alloc() wants whole multiples, and the allocator needs its own octets beside. */
	if (posix_memalign(&memory, POOL_SLAB_BYTES, SLAB_BYTES) != 0)
		return NULL;
	struct slab *s = memory;
	*s = (struct slab){ .free = NULL };
	list_append(&p->open, &s->node);
	return s;
}

static void *take(const struct pool *p, struct slab *s)
{
	struct object *o = s->free;
	if (o)
		s->free = o->next;
	else
		o = (struct object *)(void *)(s->objects + s->n_fresh++ * p->size);
	s->n++;
	return memset(o, 0, p->size);
}

void *pool_get(struct pool *p)
{
	struct slab *s =
		list_empty(&p->open) ? slab_new(p) : list_first(&p->open, struct slab, node);
	if (!s)
		return NULL;
	void *object = take(p, s);
	if (s->n == slab_room(p))
		list_remove(&s->node);
	return object;
}

void pool_put(struct pool *p, void *object)
{
	struct slab *s = slab_of(object);
	struct object *o = object;
	o->next = s->free;
	s->free = o;
	if (s->n-- == slab_room(p))
		list_append(&p->open, &s->node);
	if (s->n > 0)
		return;
	list_remove(&s->node);
	free(s);
}

#endif
