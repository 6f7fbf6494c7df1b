#include "gateway/core/sub_ids.h"

#include <assert.h>
#include <stdlib.h>

struct block {
	uint32_t refs, n;
	uint32_t id[];
};

/* Slots are found by index; a free one holds the index of the next. Gives its memory back when the
 * last block goes. */
union slot {
	struct block *block; /* owned */
	uintptr_t next;      /* + 1; 0: the last */
};

static union slot *slots;
static size_t n_slots, n_used;
static uintptr_t first_free; /* + 1 */

size_t sub_ids_blocks(void)
{
	return n_used;
}

static struct block *block_of(uint32_t ids)
{
	return slots[ids & ~SUB_IDS_MANY].block;
}

static int slots_grow(void)
{
	size_t n = n_slots ? n_slots * 2 : 16;
	union slot *more = n < SUB_IDS_MANY ? reallocarray(slots, n, sizeof(*slots)) : NULL;

	if (!more)
		return -1;
	slots = more;
	for (size_t i = n; i-- > n_slots;) {
		slots[i].next = first_free;
		first_free = i + 1;
	}
	n_slots = n;
	return 0;
}

/* Takes over the block. */
static uint32_t slot_take(struct block *b)
{
	size_t i = first_free - 1;

	first_free = slots[i].next;
	slots[i].block = b;
	n_used++;
	return SUB_IDS_MANY | (uint32_t)i;
}

static void slot_give(uint32_t ids)
{
	size_t i = ids & ~SUB_IDS_MANY;

	slots[i].next = first_free;
	first_free = i + 1;
	if (--n_used)
		return;
	free(slots);
	slots = NULL;
	n_slots = 0;
	first_free = 0;
}

static uint32_t start_block(uint32_t first, uint32_t second)
{
	struct block *b = malloc(sizeof(*b) + 2 * sizeof(b->id[0]));

	if (!b || (!first_free && slots_grow() < 0)) {
		free(b);
		return first;
	}
	*b = (struct block){ .refs = 1, .n = 2 };
	b->id[0] = first;
	b->id[1] = second;
	return slot_take(b);
}

uint32_t sub_ids_add(uint32_t ids, uint32_t id)
{
	if (id == 0)
		return ids;
	if (ids == 0)
		return id;
	if (!(ids & SUB_IDS_MANY))
		return start_block(ids, id);
	/* Only who gathers it adds: nobody else has seen it yet. */
	struct block *b = block_of(ids);
	assert(b->refs == 1);
	b = realloc(b, sizeof(*b) + (b->n + 1) * sizeof(b->id[0]));
	if (!b)
		return ids;
	b->id[b->n++] = id;
	slots[ids & ~SUB_IDS_MANY].block = b;
	return ids;
}

uint32_t sub_ids_ref(uint32_t ids)
{
	if (ids & SUB_IDS_MANY)
		block_of(ids)->refs++;
	return ids;
}

void sub_ids_unref(uint32_t ids)
{
	if (!(ids & SUB_IDS_MANY) || --block_of(ids)->refs)
		return;
	free(block_of(ids));
	slot_give(ids);
}

size_t sub_ids_count(uint32_t ids)
{
	return ids & SUB_IDS_MANY ? block_of(ids)->n : ids != 0;
}

uint32_t sub_ids_at(uint32_t ids, size_t i)
{
	return ids & SUB_IDS_MANY ? block_of(ids)->id[i] : ids;
}
