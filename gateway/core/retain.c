#include "gateway/base/count.h"
#include "gateway/base/util.h"
#include "gateway/core/keeper.h"
#include "gateway/core/router_parts.h"
#include "gateway/store/journal.h"

#include <errno.h>
#include <stdlib.h>

/* With storage a retained message is claimed there (keeper.h), which costs it nothing here: the
 * claim is found through the message. */

static struct count not_kept = COUNT("router.retained_refused");
static struct count no_memory = COUNT("router.retained_no_memory");
static struct count expired = COUNT("router.retained_expired");

/* Expired messages are not shown to anybody; this only gives their memory back. A round over 100
 * 000 of them takes a minute, in steps too short to be noticed. */
enum { SWEEP_MS = 1000, SWEEP_SLOTS = 4096 };

/* The gateway's own ($SYS): no client can publish there, and there are as many as there are. */
static bool is_own(const struct message *m)
{
	return m->origin == ORIGIN_GATEWAY && message_topic(m).p[0] == '$';
}

enum reason retain_admits(const struct router *r, const struct message *m)
{
	const struct router_limits *limits = &r->limits;
	const struct message *old = topictree_retained(r->tree, message_topic(m));
	size_t size = message_size(m), freed = old ? message_size(old) : 0;
	struct topictree_stats now;

	/* What makes nothing larger is let in even above the limits: clearing one, or replacing. */
	if (m->payload_len == 0 || is_own(m) || (old && size <= freed))
		return R_SUCCESS;
	if (limits->max_retained_message && m->payload_len > limits->max_retained_message)
		return R_TOO_LARGE;
	topictree_stats(r->tree, &now);
	now.retained -= r->own_retained;
	now.retained_bytes -= r->own_retained_bytes;
	if (limits->max_retained && !old && now.retained >= limits->max_retained)
		return R_QUOTA;
	if (limits->max_retained_bytes &&
		now.retained_bytes - freed + size > (size_t)limits->max_retained_bytes)
		return R_QUOTA;
	return R_SUCCESS;
}

static void count_own(struct router *r, const struct message *m, bool kept)
{
	if (!m || !is_own(m))
		return;
	r->own_retained += kept ? 1 : (size_t)-1;
	r->own_retained_bytes += kept ? message_size(m) : -message_size(m);
}

static const struct claim retained_claim = { .kind = CLAIM_RETAINED };

static struct kept *claim_of(const struct message *m)
{
	return m && m->retained_claim ? kept_of(m) : NULL;
}

/* `m` NULL clears. What was there is not claimed any more. */
static int put(struct router *r, struct span topic, struct message *m)
{
	struct message *old = topictree_retained(r->tree, topic);
	struct kept *kept = claim_of(old);

	if (old)
		message_ref(old);
	int e = topictree_retain(r->tree, topic, m);
	if (!e) {
		count_own(r, old, false);
		count_own(r, m, true);
		if (kept)
			kept_end(kept, &retained_claim, R_SUCCESS);
	}
	message_unref(old);
	return e;
}

/* At QoS 0 nobody was promised anything, and what the upstream has retained as well it gives back
 * to us when we lose it: such values are written when something else is. */
static enum reason claim(struct router *r, struct message *m, bool elsewhere)
{
	enum claim_when when = m->qos == 0 || elsewhere ? CLAIM_LAZY : CLAIM_NOW;
	int err;

	if (!r->keeper || message_topic(m).p[0] == '$')
		return R_SUCCESS; /* what runs here or elsewhere says so itself when it starts */
	m->retained_claim = keeper_claim(r->keeper, m, &retained_claim, NULL, when, &err) != NULL;
	if (m->retained_claim || when == CLAIM_LAZY || err == -ENOTSUP)
		return R_SUCCESS;
	return R_QUOTA;
}

static void unclaim(struct message *m)
{
	struct kept *kept = claim_of(m);

	m->retained_claim = false;
	if (kept)
		kept_end(kept, &retained_claim, R_SUCCESS);
}

/* Is the value on disk, so that it has to be cleared there? */
static bool is_stored(const struct message *m)
{
	const struct kept *kept = claim_of(m);

	return kept && kept_record(kept) != 0;
}

bool retain_possible(const struct router *r, const struct message *m)
{
	return m->payload_len > 0 || !is_stored(topictree_retained(r->tree, message_topic(m))) ||
	       !journal_failing(keeper_journal(r->keeper));
}

/* A publisher that waits until a value it has cleared can't come back. */
struct clearing {
	struct list node; /* router.clears, in the order of their marks */
	struct receipt_hold hold;
	uint64_t mark;
};

static void clearing_end(struct clearing *c)
{
	receipt_release(&c->hold, R_SUCCESS);
	list_remove(&c->node);
	free(c);
}

/* MQTT 5.0, 3.3.1.3: an empty one clears. */
static enum reason clear(struct router *r, const struct message *m, struct receipt *receipt)
{
	struct span topic = message_topic(m);
	bool waits = m->qos > 0 && receipt && is_stored(topictree_retained(r->tree, topic));
	struct clearing *c = waits ? malloc(sizeof(*c)) : NULL;

	if (waits && !c)
		return R_QUOTA;
	(void)put(r, topic, NULL);
	if (!c)
		return R_SUCCESS;
	c->mark = journal_mark(keeper_journal(r->keeper));
	receipt_hold(receipt, &c->hold);
	list_append(&r->clears, &c->node);
	return R_SUCCESS;
}

void retain_turn(struct router *r)
{
	while (!list_empty(&r->clears)) {
		struct clearing *c = list_first(&r->clears, struct clearing, node);
		if (!journal_reached(keeper_journal(r->keeper), c->mark))
			return;
		clearing_end(c);
	}
}

static void watch_expiry(struct router *r, const struct message *m)
{
	if (!m->expires_ms)
		return;
	r->sweep_again = true;
	if (!timer_armed(&r->sweep))
		timer_arm(&r->sweep, SWEEP_MS);
}

enum reason retain_store(
	struct router *r, struct message *m, struct receipt *receipt, bool elsewhere)
{
	struct span topic = message_topic(m);

	if (m->payload_len == 0)
		return clear(r, m, receipt);
	if (reason_failed(retain_admits(r, m))) {
		count_one(&not_kept);
		return R_SUCCESS;
	}
	if (topictree_retained(r->tree, topic) == m)
		return R_SUCCESS;
	enum reason reason = claim(r, m, elsewhere);
	if (reason_failed(reason))
		return reason;
	if (put(r, topic, m)) {
		count_one(&no_memory);
		unclaim(m);
		return R_SUCCESS;
	}
	watch_expiry(r, m);
	return R_SUCCESS;
}

/* Of the last run. Of two values of one topic the older one's end was lost in a crash. */
static bool on_restore(void *arg, struct kept *kept, const struct claim *c, struct message *m)
{
	struct router *r = arg;

	(void)kept;
	(void)c;
	if (message_expired(m) || reason_failed(retain_admits(r, m))) {
		count_one(message_expired(m) ? &expired : &not_kept);
		return false;
	}
	m->retained_claim = true;
	if (put(r, message_topic(m), m)) {
		m->retained_claim = false;
		count_one(&no_memory);
		return false;
	}
	watch_expiry(r, m);
	return true;
}

void retain_restore(struct router *r)
{
	keeper_on_restore(r->keeper, CLAIM_RETAINED, on_restore, r);
}

static bool is_stale(const struct message *m, void *arg)
{
	struct router *r = arg;

	/* Also after a removal: the table moves then, and the round may have missed others. */
	if (m->expires_ms)
		r->sweep_again = true;
	if (!message_expired(m))
		return false;
	count_one(&expired);
	count_own(r, m, false);
	if (claim_of(m))
		kept_end(claim_of(m), &retained_claim, R_SUCCESS);
	return true;
}

static void on_sweep(struct timer *t)
{
	struct router *r = container_of(t, struct router, sweep);

	if (r->sweep_cursor == 0)
		r->sweep_again = false;
	bool end = topictree_sweep(r->tree, &r->sweep_cursor, SWEEP_SLOTS, is_stale, r);
	if (!end || r->sweep_again)
		timer_arm(&r->sweep, SWEEP_MS);
}

void retain_init(struct router *r)
{
	timer_init(&r->sweep, on_sweep);
	list_init(&r->clears);
}

static bool leave(const struct message *m, void *arg)
{
	(void)arg;
	if (claim_of(m))
		kept_leave(claim_of(m), &retained_claim);
	return false;
}

void retain_close(struct router *r)
{
	size_t cursor = 0;

	timer_disarm(&r->sweep);
	while (!list_empty(&r->clears))
		clearing_end(list_first(&r->clears, struct clearing, node));
	while (r->keeper && !topictree_sweep(r->tree, &cursor, SWEEP_SLOTS, leave, r))
		;
}
