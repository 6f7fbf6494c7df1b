#include "gateway/core/receipt.h"

#include "gateway/base/util.h"

#include <assert.h>

/* Receipts without a hold left, in the order in which they became ready. */
static struct list ready_receipts = LIST_INIT(ready_receipts);

void receipt_init(struct receipt *r, void (*done)(struct receipt *, enum reason))
{
	r->done = done;
	r->reason = R_SUCCESS;
	list_init(&r->holds);
	list_init(&r->ready);
}

void receipt_cancel(struct receipt *r)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, &r->holds) {
		list_entry(pos, struct receipt_hold, node)->receipt = NULL;
		list_remove(pos);
	}
	list_remove(&r->ready);
}

bool receipt_open(const struct receipt *r)
{
	return !list_empty(&r->holds) || !list_empty(&r->ready);
}

void receipt_hold(struct receipt *r, struct receipt_hold *h)
{
	list_init(&h->node);
	h->receipt = r;
	if (!r)
		return;
	assert(list_empty(&r->ready)); /* nobody new may come once all have answered */
	list_append(&r->holds, &h->node);
}

void receipt_release(struct receipt_hold *h, enum reason reason)
{
	struct receipt *r = h->receipt;

	if (!r)
		return;
	h->receipt = NULL;
	list_remove(&h->node);
	r->reason = MAX(r->reason, reason);
	if (list_empty(&r->holds))
		list_append(&ready_receipts, &r->ready);
}

void receipts_run(void)
{
	struct list batch = LIST_INIT(batch);

	/* What becomes ready meanwhile waits for the next turn. An owner told here may cancel, and
	 * so unlink, any other receipt of the batch. */
	list_splice(&batch, &ready_receipts);
	while (!list_empty(&batch)) {
		struct receipt *r = list_first(&batch, struct receipt, ready);

		list_remove(&r->ready);
		r->done(r, r->reason);
	}
}

bool receipts_pending(void)
{
	return !list_empty(&ready_receipts);
}
