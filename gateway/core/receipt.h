#ifndef TIDEGATE_CORE_RECEIPT_H
#define TIDEGATE_CORE_RECEIPT_H

#include "gateway/base/list.h"
#include "gateway/base/reason.h"

/* Who waits for a publish to be safe: acknowledged by the upstream, or on stable storage, or bound
 * for nobody who needs either. Everyone who must make it safe puts a hold on it; when the last hold
 * is released it is ready, and receipts_run() tells the owner: exactly once, never from inside the
 * call that published. */
struct receipt {
	void (*done)(struct receipt *, enum reason);
	struct list holds; /* of receipt_hold.node */
	struct list ready;
	enum reason reason; /* the worst that was reported so far */
};

struct receipt_hold {
	struct list node;
	struct receipt *receipt; /* borrowed; NULL: nobody waits (any more) */
};

void receipt_init(struct receipt *r, void (*done)(struct receipt *, enum reason));
/* The owner goes away: its `done` will not fire; holds stay valid and become empty. Harmless when
 * over. */
void receipt_cancel(struct receipt *r);
/* Not yet done: held, or ready and waiting for receipts_run(). */
bool receipt_open(const struct receipt *r);

/* `r` may be NULL: the hold is empty. */
void receipt_hold(struct receipt *r, struct receipt_hold *h);
/* Harmless on an empty (or zeroed) hold. */
void receipt_release(struct receipt_hold *h, enum reason reason);
static inline bool receipt_held(const struct receipt_hold *h)
{
	return h->receipt != NULL;
}

/* Once per turn, after the mailboxes and before the adapters flush. */
void receipts_run(void);
/* True when receipts_run() has something to do. */
bool receipts_pending(void);

#endif
