#ifndef TIDEGATE_STORE_FORGET_LATER_H
#define TIDEGATE_STORE_FORGET_LATER_H

#include "gateway/store/journal.h"

/* Records that may go only after something else is on stable storage: what says the same in their
 * place, or the end of what they belong to. A power cut could tear a forget away from the record
 * that came before it. Zeroed memory is valid and empty. Loop thread only. */
struct forget_later {
	struct forget_batch {
		uint64_t *v; /* owned */
		size_t n, cap;
	} added, waiting; /* since the last mark; for it */
	uint64_t mark;
};

/* Room for `n` more, so that as many forget_later_add() can't fail. 0 or -ENOMEM. */
int forget_later_reserve(struct forget_later *f, size_t n);
/* To be forgotten once all that is appended and forgotten up to the next turn is on stable storage.
 * 0 or -ENOMEM. */
int forget_later_add(struct forget_later *f, uint64_t seq);
/* Forgets those whose time has come and takes a mark for the others. True when it took one. */
bool forget_later_turn(struct forget_later *f, struct journal *j);
static inline bool forget_later_waits(const struct forget_later *f)
{
	return f->waiting.n > 0;
}
/* What is still there stays in the journal. */
void forget_later_free(struct forget_later *f);

#endif
