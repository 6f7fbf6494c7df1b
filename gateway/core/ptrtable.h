#ifndef TIDEGATE_CORE_PTRTABLE_H
#define TIDEGATE_CORE_PTRTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Open-addressing table of pointers to objects that know their own hash: eight octets a slot and
 * nothing in the object. Linear probing, removal without tombstones. Hashes must be seeded when
 * peers choose the keys. */
struct ptrtable {
	void **slots; /* the entries are borrowed */
	size_t cap, n;
	uint32_t (*hash)(const void *entry);
};

static inline void ptrtable_init(struct ptrtable *t, uint32_t (*hash)(const void *))
{
	*t = (struct ptrtable){ .hash = hash };
}

/* Frees the slots, not the entries. */
void ptrtable_clear(struct ptrtable *t);
/* 0 or -ENOMEM. The entry is not in the table yet. */
int ptrtable_add(struct ptrtable *t, void *entry);
/* The entry is in the table. */
void ptrtable_remove(struct ptrtable *t, const void *entry);

/* A hash's place: the high bits scaled to the capacity, which need not be a power of two. */
static inline size_t ptrtable_home(const struct ptrtable *t, uint32_t hash)
{
	return (size_t)((uint64_t)hash * t->cap >> 32);
}

static inline size_t ptrtable_next(const struct ptrtable *t, size_t i)
{
	return i + 1 == t->cap ? 0 : i + 1;
}

/* The entry for which `is(entry, key)` holds, or NULL. Inline, so that `is` is as well. */
static inline void *ptrtable_find(const struct ptrtable *t, uint32_t hash,
	bool (*is)(const void *entry, const void *key), const void *key)
{
	if (t->cap == 0)
		return NULL;
	for (size_t i = ptrtable_home(t, hash); t->slots[i]; i = ptrtable_next(t, i)) {
		if (is(t->slots[i], key))
			return t->slots[i];
	}
	return NULL;
}

#endif
