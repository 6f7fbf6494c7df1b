#include "gateway/core/ptrtable.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { CAP_MIN = 16 };

/* From here on slots are the system's pages: what a table has grown out of is given back, where it
 * would leave a hole in the heap. */
enum { MAP_BYTES = 8192 };

static void **slots_new(size_t cap)
{
	size_t bytes = cap * sizeof(void *);

	if (bytes < MAP_BYTES)
		return calloc(cap, sizeof(void *));
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static void slots_free(void **slots, size_t cap)
{
	size_t bytes = cap * sizeof(void *);

	if (bytes < MAP_BYTES)
		free(slots);
	else
		munmap(slots, bytes);
}

void ptrtable_clear(struct ptrtable *t)
{
	slots_free(t->slots, t->cap);
	t->slots = NULL;
	t->cap = t->n = 0;
}

static void place(struct ptrtable *t, void *entry)
{
	size_t i = ptrtable_home(t, t->hash(entry));

	while (t->slots[i])
		i = ptrtable_next(t, i);
	t->slots[i] = entry;
}

static int resize(struct ptrtable *t, size_t cap)
{
	struct ptrtable bigger = { slots_new(cap), cap, t->n, t->hash };

	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < t->cap; i++) {
		if (t->slots[i])
			place(&bigger, t->slots[i]);
	}
	slots_free(t->slots, t->cap);
	*t = bigger;
	return 0;
}

int ptrtable_add(struct ptrtable *t, void *entry)
{
	/* At most three quarters full, so there is always an empty slot to end a probe; steps of
	 * one half rather than of two, because memory is what a small gateway lacks. */
	if ((t->n + 1) * 4 > t->cap * 3) {
		int err = resize(t, t->cap ? t->cap + t->cap / 2 : CAP_MIN);
		if (err)
			return err;
	}
	place(t, entry);
	t->n++;
	return 0;
}

/* Slot `at` has become empty: moves back what was pushed past it by probing, so that no probe ends
 * too early and no tombstone is needed. */
static void close_gap(struct ptrtable *t, size_t at)
{
	for (size_t i = ptrtable_next(t, at); t->slots[i]; i = ptrtable_next(t, i)) {
		size_t home = ptrtable_home(t, t->hash(t->slots[i]));
		size_t from_home = (i + t->cap - home) % t->cap;
		size_t from_gap = (i + t->cap - at) % t->cap;

		if (from_home < from_gap)
			continue;
		t->slots[at] = t->slots[i];
		t->slots[i] = NULL;
		at = i;
	}
}

void ptrtable_remove(struct ptrtable *t, const void *entry)
{
	size_t i = ptrtable_home(t, t->hash(entry));

	while (t->slots[i] != entry) {
		assert(t->slots[i]);
		i = ptrtable_next(t, i);
	}
	t->slots[i] = NULL;
	t->n--;
	close_gap(t, i);
	if (t->cap > CAP_MIN && t->n < t->cap / 4)
		(void)resize(t, t->cap / 2); /* no memory: it stays larger than needed */
}
