#include "gateway/base/count.h"
#include "gateway/base/util.h"
#include "gateway/core/router_parts.h"

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

bool retain_admits(const struct router *r, const struct message *m)
{
	const struct router_limits *limits = &r->limits;
	const struct message *old = topictree_retained(r->tree, message_topic(m));
	size_t size = message_size(m), freed = old ? message_size(old) : 0;
	struct topictree_stats now;

	/* What makes nothing larger is let in even above the limits: clearing one, or replacing. */
	if (m->payload_len == 0 || is_own(m) || (old && size <= freed))
		return true;
	topictree_stats(r->tree, &now);
	now.retained -= r->own_retained;
	now.retained_bytes -= r->own_retained_bytes;
	if (limits->max_retained && !old && now.retained >= limits->max_retained)
		return false;
	return limits->max_retained_bytes == 0 ||
	       now.retained_bytes - freed + size <= (size_t)limits->max_retained_bytes;
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
	struct message *old = topic.p[0] == '$' ? topictree_retained(r->tree, topic) : NULL;

	if (old)
		message_ref(old);
	int e = topictree_retain(r->tree, topic, m);
	if (!e) {
		count_own(r, old, false);
		count_own(r, m, true);
	}
	message_unref(old);
	return e;
}

void retain_store(struct router *r, struct message *m)
{
	struct span topic = message_topic(m);

	if (m->payload_len == 0) { /* MQTT 5.0, 3.3.1.3: an empty one clears */
		(void)put(r, topic, NULL);
		return;
	}
	if (!retain_admits(r, m)) {
		count_one(&not_kept);
		return;
	}
	if (put(r, topic, m)) {
		count_one(&no_memory);
		return;
	}
	if (m->expires_ms) {
		r->sweep_again = true;
		if (!timer_armed(&r->sweep))
			timer_arm(&r->sweep, SWEEP_MS);
	}
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
}

void retain_close(struct router *r)
{
	timer_disarm(&r->sweep);
}
