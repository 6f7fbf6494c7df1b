#include "gateway/base/util.h"
#include "gateway/core/router_parts.h"

#include <errno.h>
#include <stdlib.h>

/* A subscription's retained messages, on their way to the subscriber. They are listed when the
 * subscription is made, but offered a few per turn: '#' on 100 000 of them must stall nobody. What
 * was replaced meanwhile is left out, for the subscriber got its successor live. */
struct replay {
	struct list node;         /* router.replays, in turn */
	struct subscription *sub; /* borrowed */
	struct message **msgs;    /* counted: those from `next` on */
	size_t n, cap, next;
	bool listed; /* msgs is complete */
};

/* Per call of replay_turn(), and of that at most for one subscriber in one go. */
enum { TURN_MESSAGES = 64, STEP_MESSAGES = 8 };

/* Once all lists together hold this many references, further ones are drawn up when their time
 * comes: a thousand clients that subscribe to '#' at once must not need memory for all at once. */
enum { REFS_MAX = 1 << 18 };

/* Few subscriptions have one at any time, so they are not asked to know it. */
static uint32_t sub_hash(const struct subscription *sub)
{
	return (uint32_t)((uintptr_t)sub * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

static uint32_t entry_hash(const void *entry)
{
	return sub_hash(((const struct replay *)entry)->sub);
}

static bool is_of(const void *entry, const void *sub)
{
	return ((const struct replay *)entry)->sub == sub;
}

static struct replay *replay_find(const struct router *r, const struct subscription *sub)
{
	return ptrtable_find(&r->replays_by_sub, sub_hash(sub), is_of, sub);
}

void replays_init(struct router *r)
{
	list_init(&r->replays);
	ptrtable_init(&r->replays_by_sub, entry_hash);
}

static void unlist(struct router *r, struct replay *rp)
{
	for (size_t i = rp->next; i < rp->n; i++)
		message_unref(rp->msgs[i]);
	r->replay_refs -= rp->n - rp->next;
	free(rp->msgs);
	rp->msgs = NULL;
	rp->n = rp->cap = rp->next = 0;
	rp->listed = false;
}

static void replay_free(struct router *r, struct replay *rp)
{
	unlist(r, rp);
	ptrtable_remove(&r->replays_by_sub, rp);
	list_remove(&rp->node);
	free(rp);
}

void replay_cancel(struct router *r, struct subscription *sub)
{
	struct replay *rp = replay_find(r, sub);

	if (rp)
		replay_free(r, rp);
}

void replays_close(struct router *r)
{
	while (!list_empty(&r->replays))
		replay_free(r, list_first(&r->replays, struct replay, node));
	ptrtable_clear(&r->replays_by_sub);
}

struct listing {
	struct replay *rp;
	bool no_memory;
};

static void list_one(struct message *m, void *arg)
{
	struct listing *l = arg;
	struct replay *rp = l->rp;

	if (l->no_memory)
		return;
	if (rp->n == rp->cap) {
		size_t cap = rp->cap ? rp->cap * 2 : 4;
		struct message **msgs = reallocarray(rp->msgs, cap, sizeof(struct message *));

		l->no_memory = !msgs;
		if (!msgs)
			return;
		rp->msgs = msgs;
		rp->cap = cap;
	}
	rp->msgs[rp->n++] = message_ref(m);
}

/* Draws up the list; false: not now. */
static bool draw_up(struct router *r, struct replay *rp)
{
	uint8_t text[TOPICTREE_TEXT_MAX];
	struct listing l = { .rp = rp };

	if (rp->listed)
		return true;
	if (r->replay_refs >= REFS_MAX)
		return false;
	topictree_retained_match(r->tree, topictree_text(rp->sub->leaf.at, text), list_one, &l);
	r->replay_refs += rp->n;
	if (l.no_memory) {
		unlist(r, rp);
		return false;
	}
	rp->listed = true;
	return true;
}

int replay_start(struct router *r, struct subscription *sub)
{
	replay_cancel(r, sub);
	struct replay *rp = calloc(1, sizeof(*rp));
	if (!rp)
		return -ENOMEM;
	rp->sub = sub;
	if (ptrtable_add(&r->replays_by_sub, rp) < 0) {
		free(rp);
		return -ENOMEM;
	}
	list_append(&r->replays, &rp->node);
	if (draw_up(r, rp) && rp->n == 0)
		replay_free(r, rp);
	return 0;
}

static bool has_room(const struct replay *rp)
{
	struct subscriber *s = rp->sub->who;

	return !s->ops->room || s->ops->room(s);
}

/* Still the value of its topic, fresh, and for this subscriber's eyes. */
static bool is_due(struct router *r, const struct subscription *sub, const struct message *m)
{
	struct span topic = message_topic(m);

	if (message_expired(m) || topictree_retained(r->tree, topic) != m)
		return false;
	if (sub->opts.no_local && m->origin == sub->who->who->origin)
		return false;
	return router_allows(r, sub->who->who, ACCESS_RECEIVE, topic);
}

static void offer_next(struct router *r, struct replay *rp)
{
	struct message *m = rp->msgs[rp->next++]; /* its reference is ours now */
	const struct subscription *sub = rp->sub;

	r->replay_refs--;
	if (is_due(r, sub, m)) {
		/* Of the publisher only the number is known any more. */
		struct identity from = { .client_id = "", .origin = m->origin };
		struct offer offer = {
			.from = &from,
			.qos = MIN(m->qos, sub->opts.qos),
			.retain = true,
			.replay = true,
			.sub_ids = sub->opts.sub_id,
		};
		if (!reason_failed(router_offer(r, sub->who, m, &offer, NULL)))
			r->delivered++;
	}
	message_unref(m);
}

/* At most `max`; returns how many were looked at. */
static unsigned replay_step(struct router *r, struct replay *rp, unsigned max)
{
	unsigned n = 0;

	for (; n < max && rp->next < rp->n && has_room(rp); n++)
		offer_next(r, rp);
	return n;
}

bool replay_turn(struct router *r)
{
	struct list waiting = LIST_INIT(waiting);
	unsigned left = TURN_MESSAGES;

	while (left > 0 && !list_empty(&r->replays)) {
		struct replay *rp = list_first(&r->replays, struct replay, node);

		list_remove(&rp->node);
		if (has_room(rp) && draw_up(r, rp))
			left -= replay_step(r, rp, MIN(left, STEP_MESSAGES));
		if (rp->listed && rp->next == rp->n)
			replay_free(r, rp);
		else
			list_append(has_room(rp) && rp->listed ? &r->replays : &waiting, &rp->node);
	}
	bool more = !list_empty(&r->replays);
	list_splice(&r->replays, &waiting);
	return more;
}
