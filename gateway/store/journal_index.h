#ifndef TIDEGATE_STORE_JOURNAL_INDEX_H
#define TIDEGATE_STORE_JOURNAL_INDEX_H

#include <stddef.h>
#include <stdint.h>

struct segment;

/* Where each live record lies: a vector in order of sequence (new ones are always the greatest). A
 * removed record leaves a hole until index_tidy() closes the holes. 24 octets a record, at most 54
 * with the holes and the room to grow: 100 000 records take 2.4 to 5.4 MB. */
struct index_entry {
	uint64_t seq;
	struct segment *seg; /* borrowed; NULL: a hole */
	uint32_t offset;     /* of the record in its segment */
	uint32_t body_len;
};

struct index {
	struct index_entry *v; /* owned */
	size_t head, n, cap;   /* v[head..n) is in use, `holes` of it dead */
	size_t holes;
};

/* Makes room for one more entry, so that the following index_push() cannot fail. 0 or -ENOMEM. May
 * move the entries, as index_tidy() may. */
int index_reserve(struct index *x);
void index_push(struct index *x, const struct index_entry *e);
/* NULL when not live. Valid until the next reserve or tidy. */
struct index_entry *index_find(const struct index *x, uint64_t seq);
void index_remove(struct index *x, struct index_entry *e);
/* Closes the holes when they are more than half the records. */
void index_tidy(struct index *x);
static inline size_t index_live(const struct index *x)
{
	return x->n - x->head - x->holes;
}
void index_free(struct index *x);

#endif
