#ifndef TIDEGATE_STORE_SEQ_RANGES_H
#define TIDEGATE_STORE_SEQ_RANGES_H

#include "gateway/base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A set of sequences as ranges, and its form in a forget record. A backlog that drains in order is
 * one range however long it was. Zeroed memory is the empty set. */
struct seq_range {
	uint64_t first, last; /* both inside */
};

struct seq_ranges {
	struct seq_range *v; /* owned */
	size_t n, cap;
};

/* Adds without sorting, but grows the last range where the new one follows it. 0 or -ENOMEM. */
int seq_ranges_add(struct seq_ranges *r, uint64_t first, uint64_t last);
/* Adds all of `from`. 0 or -ENOMEM, then `to` holds a part. */
int seq_ranges_add_all(struct seq_ranges *to, const struct seq_ranges *from);
/* Ascending, disjoint and as few as possible; what has() and encode() need. */
void seq_ranges_sort(struct seq_ranges *r);
bool seq_ranges_has(const struct seq_ranges *r, uint64_t seq);
/* Removes the first `n` ranges. */
void seq_ranges_drop(struct seq_ranges *r, size_t n);
void seq_ranges_free(struct seq_ranges *r); /* empty and usable afterwards */

/* Pairs of LEB128 numbers: distance from the last range's end, length less one. Writes as many
 * ranges from index *next on as fit into `cap` bytes, moves *next, returns the bytes written. */
#define SEQ_RANGE_ENCODED_MAX 20
size_t seq_ranges_encode(const struct seq_ranges *r, size_t *next, uint8_t *buf, size_t cap);
/* Adds the ranges of one body. 0, -EBADMSG (the ranges before the fault were added) or -ENOMEM. */
int seq_ranges_decode(struct seq_ranges *r, struct span body);

#endif
