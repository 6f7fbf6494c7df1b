#include "gateway/base/count.h"
#include "gateway/base/util.h"
#include "gateway/core/keeper.h"
#include "gateway/core/router_parts.h"
#include "gateway/store/journal.h"

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

/* `m` NULL clears. */
static int put(struct router *r, struct span topic, struct message *m)
{
	struct message *old = topictree_retained(r->tree, topic);

	if (old)
		message_ref(old);
	int e = topictree_retain(r->tree, topic, m);
	if (!e) {
		count_own(r, old, false);
		count_own(r, m, true);
		retain_unclaim(r, old, m);
	}
	message_unref(old);
	return e;
}

/* MQTT 5.0, 3.3.1.3: an empty one clears. */
static enum reason clear(struct router *r, const struct message *m, struct receipt *receipt)
{
	struct span topic = message_topic(m);
	bool waits =
		m->qos > 0 && receipt && retain_is_stored(r, topictree_retained(r->tree, topic));

	if (waits && retain_wait(r, receipt) < 0)
		return R_QUOTA;
	(void)put(r, topic, NULL);
	return R_SUCCESS;
}

bool retain_possible(const struct router *r, const struct message *m)
{
	return m->payload_len > 0 || !r->keeper ||
	       !retain_is_stored(r, topictree_retained(r->tree, message_topic(m))) ||
	       !journal_failing(keeper_journal(r->keeper));
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
	enum reason reason = retain_claim(r, m, elsewhere);
	if (reason_failed(reason))
		return reason;
	if (put(r, topic, m)) {
		count_one(&no_memory);
		retain_unclaim(r, m, NULL);
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

static bool is_stale(struct message *m, void *arg)
{
	struct router *r = arg;

	/* Also after a removal: the table moves then, and the round may have missed others. */
	if (m->expires_ms)
		r->sweep_again = true;
	if (!message_expired(m))
		return false;
	count_one(&expired);
	count_own(r, m, false);
	retain_unclaim(r, m, NULL);
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
	retain_claims_init(r);
}

static bool leave(struct message *m, void *arg)
{
	retain_leave(arg, m);
	return false;
}

void retain_close(struct router *r)
{
	size_t cursor = 0;

	timer_disarm(&r->sweep);
	while (r->keeper && !topictree_sweep(r->tree, &cursor, SWEEP_SLOTS, leave, r))
		;
	retain_claims_close(r);
}
