#include "gateway/base/count.h"
#include "gateway/upstream/backlog_priv.h"

static const struct claim claim = { .kind = CLAIM_UPSTREAM };

static struct count refused_late = COUNT("upstream.refused_late");

/* ---- What the keeper tells ---- */

static void on_safe(struct backlog *b, const struct kept *kept)
{
	b->status.stored++;
	b->status.disk_bytes += (int64_t)kept_size(kept);
}

static void on_now_safe(struct claimant *c, struct kept *kept, const struct claim *which)
{
	(void)which;
	on_safe(container_of(c, struct backlog, now), kept);
}

static void on_later_safe(struct claimant *c, struct kept *kept, const struct claim *which)
{
	struct backlog *b = container_of(c, struct backlog, later);

	(void)which;
	on_safe(b, kept);
	b->claimed_bytes += (int64_t)kept_size(kept);
}

static void note_failing(struct backlog *b)
{
	b->failing = true;
	backlog_soon(b, 0);
}

static void on_now_failing(struct claimant *c, struct kept *kept, const struct claim *which)
{
	(void)kept;
	(void)which;
	note_failing(container_of(c, struct backlog, now));
}

static void on_later_failing(struct claimant *c, struct kept *kept, const struct claim *which)
{
	(void)kept;
	(void)which;
	note_failing(container_of(c, struct backlog, later));
}

static const struct claimant_ops now_ops = { .safe = on_now_safe, .failing = on_now_failing };
static const struct claimant_ops later_ops = { .safe = on_later_safe, .failing = on_later_failing };

void keep_init(struct backlog *b)
{
	b->now.ops = &now_ops;
	b->later.ops = &later_ops;
}

/* ---- Bodies ---- */

struct message *entry_message(const struct entry *e)
{
	return e->claimed ? kept_loaded(e->kept) : e->msg;
}

uint64_t entry_record(const struct entry *e)
{
	return e->claimed ? kept_record(e->kept) : 0;
}

int keep_load(struct entry *e)
{
	int err;

	if (!e->claimed || e->loaded)
		return 0;
	if (!kept_message(e->kept, &err))
		return err;
	e->loaded = true;
	return 0;
}

void keep_unload(struct entry *e)
{
	if (!e->loaded)
		return;
	e->loaded = false;
	message_unref(kept_loaded(e->kept));
}

static void uncount(struct backlog *b, const struct entry *e)
{
	int64_t size = (int64_t)kept_size(e->kept);
	bool safe = kept_safe(e->kept, &claim);

	if (safe) {
		b->status.stored--;
		b->status.disk_bytes -= size;
	}
	if (safe || e->now)
		b->claimed_bytes -= size;
}

static void drop_body(struct backlog *b, struct entry *e)
{
	int64_t size = (int64_t)message_size(e->msg);

	if (e->qos == 0)
		b->status.qos0_bytes -= size;
	else
		b->unstored_bytes -= size;
	message_unref(e->msg);
	e->msg = NULL;
}

static void end_hold(struct backlog *b, struct large_entry *l, enum reason reason)
{
	if (receipt_held(&l->hold)) {
		b->holds--;
		receipt_release(&l->hold, reason);
	}
}

/* ---- Its life ---- */

static void hold_body(
	struct backlog *b, struct entry *e, struct message *m, struct receipt *receipt)
{
	int64_t size = (int64_t)message_size(m);

	if (m->qos == 0) {
		b->status.qos0_bytes += size;
	} else {
		b->unstored_bytes += size;
		/* Memory only: while the link is down it has been taken, no more can be said. */
		if (b->up && receipt) {
			receipt_hold(receipt, &entry_large(e)->hold);
			b->holds++;
		}
	}
	e->msg = message_ref(m);
}

static int claim_it(struct backlog *b, struct entry *e, struct message *m, bool now)
{
	int64_t size = (int64_t)message_size(m);
	int err;

	e->kept = keeper_claim(b->keeper, m, &claim, now ? &b->now : &b->later,
		now ? CLAIM_NOW : CLAIM_LATER, &err);
	if (!e->kept)
		return b->status.error = err;
	b->status.error = 0;
	e->claimed = true;
	e->now = now;
	if (now)
		b->claimed_bytes += size;
	return 0;
}

int keep_take(
	struct backlog *b, struct entry *e, struct message *m, struct receipt *receipt, bool now)
{
	if (m->qos > 0 && b->keeper)
		return claim_it(b, e, m, now);
	hold_body(b, e, m, receipt);
	return 0;
}

void keep_restored(struct backlog *b, struct entry *e, struct kept *kept)
{
	e->kept = kept;
	e->claimed = e->now = true;
	on_safe(b, kept);
	b->claimed_bytes += (int64_t)kept_size(kept);
}

void keep_end(struct backlog *b, struct entry *e, enum reason reason)
{
	if (e->claimed) {
		keep_unload(e);
		uncount(b, e);
		kept_end(e->kept, &claim, reason);
	} else {
		end_hold(b, entry_large(e), reason);
		drop_body(b, e);
	}
}

void keep_leave(struct backlog *b, struct entry *e)
{
	if (!e->claimed) {
		keep_end(b, e, R_SHUTTING_DOWN);
		return;
	}
	keep_unload(e);
	uncount(b, e);
	kept_leave(e->kept, &claim);
}

/* ---- All of them ---- */

/* It failed only after these were taken, and no broker is there to take them instead: the publisher
 * is told, and will send again. Not at QoS 2: local subscribers have had the message, and exactly
 * once is worth more than an answer. */
static void refuse_late(struct backlog *b, struct list *waiting)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, waiting) {
		struct entry *e = list_entry(pos, struct entry, node);
		if (e->qos != 1 || !e->claimed || !kept_failing(e->kept))
			continue;
		count_one(&refused_late);
		backlog_done(b, e, R_QUOTA);
	}
}

void keep_refuse(struct backlog *b)
{
	for (int lane = 0; !b->up && lane < LANES; lane++)
		refuse_late(b, &b->waiting[lane]);
	b->failing = false;
}

static void release_holds(struct backlog *b, struct list *entries)
{
	struct list *pos;

	list_for_each(pos, entries) {
		struct entry *e = list_entry(pos, struct entry, node);
		if (e->large)
			end_hold(b, entry_large(e), R_SUCCESS);
	}
}

void backlog_secure(struct backlog *b)
{
	if (b->keeper) {
		keeper_secure(b->keeper, CLAIM_UPSTREAM);
		gaps_hurry(b->gaps);
		return;
	}
	release_holds(b, &b->in_flight);
	for (int lane = 0; lane < LANES; lane++)
		release_holds(b, &b->waiting[lane]);
}
