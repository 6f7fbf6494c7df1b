#include "gateway/core/delay.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/router_parts.h"
#include "gateway/core/topic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX        "$delayed/"
#define DELAY_MAX_S   4294967 /* 49 days; 32 bits of milliseconds */
#define SECONDS_CHARS 7
#define RETRY_MS      5000 /* when the gate does not take what is due */

static struct count accepted = COUNT("delay.accepted");
static struct count published = COUNT("delay.published");
static struct count refused = COUNT("delay.refused");
static struct count dropped = COUNT("delay.dropped_at_end");

struct delayed {
	struct timer timer;
	struct list node;       /* router.delayed */
	struct router *router;  /* borrowed */
	struct message *msg;    /* counted; with the topic it will have */
	struct kept *kept;      /* its claim; NULL: in memory only */
	struct receipt receipt; /* of its publication */
	size_t size;            /* as counted in router.delayed_bytes */
	struct identity who;    /* with its names in here: the publisher may be gone by then */
	char names[];
};

bool delay_is_asked(struct span topic)
{
	const struct span prefix = span_str(PREFIX);

	return topic.len >= prefix.len && memcmp(topic.p, prefix.p, prefix.len) == 0;
}

size_t delay_prefix(struct span topic)
{
	struct span rest = topic, level;
	bool done = false;

	if (!delay_is_asked(topic))
		return 0;
	topic_next_level(&rest, &done, &level);
	topic_next_level(&rest, &done, &level);
	return done ? topic.len : topic.len - rest.len;
}

static bool parse_seconds(struct span digits, int64_t *seconds)
{
	*seconds = 0;
	if (digits.len == 0 || digits.len > SECONDS_CHARS)
		return false;
	for (size_t i = 0; i < digits.len; i++) {
		if (digits.p[i] < '0' || digits.p[i] > '9')
			return false;
		*seconds = *seconds * 10 + (digits.p[i] - '0');
	}
	return *seconds <= DELAY_MAX_S;
}

static bool parse(struct span text, struct span *topic, int64_t *seconds)
{
	struct span level;
	bool done = false;

	*topic = text;
	topic_next_level(topic, &done, &level);
	return !done && topic_next_level(topic, &done, &level) && !done &&
	       parse_seconds(level, seconds);
}

static struct message *copy_of(const struct message *m, struct span topic, int64_t expires_ms)
{
	return message_new(&(struct message_init){
		.topic = topic,
		.payload = message_payload(m),
		.props = message_props(m),
		.qos = m->qos,
		.retain = m->retain,
		.origin = m->origin,
		.expires_ms = expires_ms,
	});
}

/* No two claims of one message are delayed ones. */
static const struct claim delayed_key = { .kind = CLAIM_DELAYED };

static void delayed_free(struct delayed *d)
{
	timer_disarm(&d->timer);
	receipt_cancel(&d->receipt);
	list_remove(&d->node);
	d->router->n_delayed--;
	d->router->delayed_bytes -= d->size;
	message_unref(d->msg);
	free(d);
}

/* Published, and safe wherever it went. One that was promised is tried again if it was not. */
static void on_safe(struct receipt *receipt, enum reason reason)
{
	struct delayed *d = container_of(receipt, struct delayed, receipt);

	if (reason_failed(reason)) {
		static struct log_limit limit = LOG_LIMIT(10, 10000);
		log_limited(&limit, LOG_LEVEL_INFO, "%s %s: delayed message refused, %s",
			d->who.client_id, protocol_name(d->who.protocol), reason_name(reason));
	}
	if (reason_failed(reason) && d->kept && d->msg->qos > 0) {
		timer_arm(&d->timer, RETRY_MS);
		return;
	}
	count_one(reason_failed(reason) ? &refused : &published);
	if (d->kept)
		kept_end(d->kept, &delayed_key, R_SUCCESS);
	delayed_free(d);
}

/* A copy, for its place in the order and its time are those of the publication. */
static void on_due(struct timer *t)
{
	struct delayed *d = container_of(t, struct delayed, timer);
	struct message *m = copy_of(d->msg, message_topic(d->msg), d->msg->expires_ms);
	struct receipt_hold guard;

	if (!m) /* no memory for a copy is no reason to lose the message */
		m = message_ref(d->msg);
	receipt_init(&d->receipt, on_safe);
	receipt_hold(&d->receipt, &guard);
	enum reason reason = router_route(d->router, &d->who, m, &d->receipt, NULL);
	message_unref(m);
	receipt_release(&guard, reason);
}

static bool has_room(const struct router *r, size_t size)
{
	const struct router_limits *l = &r->limits;

	return r->n_delayed < l->max_delayed &&
	       (!l->max_delayed_bytes || r->delayed_bytes + size <= (size_t)l->max_delayed_bytes);
}

static void copy_names(struct delayed *d, const struct identity *from)
{
	size_t len = strlen(from->client_id) + 1;

	d->who = *from;
	d->who.client_id = memcpy(d->names, from->client_id, len);
	if (from->username)
		d->who.username = strcpy(d->names + len, from->username);
}

/* NULL: the limits, or no memory. */
static struct delayed *keep(
	struct router *r, const struct identity *from, struct message *m, int64_t delay_ms)
{
	size_t size = sizeof(struct delayed) + strlen(from->client_id) + 1 +
		      (from->username ? strlen(from->username) + 1 : 0);
	struct delayed *d = has_room(r, size + message_size(m)) ? calloc(1, size) : NULL;

	if (!d)
		return NULL;
	d->router = r;
	d->msg = message_ref(m);
	d->size = size + message_size(m);
	copy_names(d, from);
	list_append(&r->delayed, &d->node);
	r->n_delayed++;
	r->delayed_bytes += d->size;
	receipt_init(&d->receipt, on_safe);
	timer_init(&d->timer, on_due);
	timer_arm(&d->timer, delay_ms);
	return d;
}

static enum reason claim(struct delayed *d, int64_t delay_ms)
{
	struct claim c = delayed_key;
	int err;

	if (!d->router->keeper)
		return R_SUCCESS;
	c.left_ms = delay_ms;
	c.at_wall_ms = clock_stamp_ms() + delay_ms;
	d->kept = keeper_claim(d->router->keeper, d->msg, &c, NULL,
		d->msg->qos > 0 ? CLAIM_NOW : CLAIM_LAZY, &err);
	return d->kept || d->msg->qos == 0 || err == -ENOTSUP ? R_SUCCESS : R_QUOTA;
}

static bool has_storage(const struct router *r)
{
	return r->keeper && keeper_has_storage(r->keeper);
}

static enum reason may_delay(
	struct router *r, const struct identity *from, const struct message *inner)
{
	enum reason reason = router_admit(r, from, inner);

	if (!reason_failed(reason) && inner->qos > 0 && !has_storage(r) &&
		router_has_gate(r, message_topic(inner)))
		return R_IMPLEMENTATION;
	return reason;
}

static enum reason accept_claimed(struct router *r, const struct identity *from,
	struct message *inner, int64_t delay_ms, struct own_claim *own)
{
	enum reason reason = router_claim_own(r, inner, own);
	struct delayed *d = NULL;

	if (!reason_failed(reason))
		reason = (d = keep(r, from, inner, delay_ms)) ? claim(d, delay_ms) : R_QUOTA;
	if (!reason_failed(reason)) {
		count_one(&accepted);
		return R_SUCCESS;
	}
	router_unclaim_own(own, reason);
	if (d)
		delayed_free(d);
	return reason;
}

enum reason delay_accept(struct router *r, const struct identity *from, const struct message *m,
	struct receipt *receipt, struct own_claim *own)
{
	struct span topic;
	int64_t seconds;

	if (!r->limits.max_delayed || !topic_valid_name(message_topic(m)) ||
		!parse(message_topic(m), &topic, &seconds) || !topic_valid_name(topic))
		return R_TOPIC_INVALID;
	int64_t delay_ms = seconds * 1000;
	struct message *inner = copy_of(
		m, topic, m->expires_ms ? MAX(m->expires_ms, clock_ms() + 1) + delay_ms : 0);
	if (!inner)
		return R_QUOTA;
	enum reason reason = may_delay(r, from, inner);
	if (!reason_failed(reason)) {
		router_claims_open(r, inner, receipt);
		reason = accept_claimed(r, from, inner, delay_ms, own);
		router_claims_close(r, inner);
	}
	message_unref(inner);
	return reason;
}

/* How much of the delay is left after a restart, as far as the wall clock can tell. */
static int64_t rest_of(const struct claim *c)
{
	int64_t left_ms = MIN(MAX(c->left_ms, 0), DELAY_MAX_S * INT64_C(1000)), written_ms;

	if (__builtin_sub_overflow(c->at_wall_ms, left_ms, &written_ms))
		return left_ms;
	return left_ms - MIN(clock_stamp_passed(written_ms), left_ms);
}

/* Of the last run; its publisher's name is not known any more. */
static bool on_restore(void *arg, struct kept *kept, const struct claim *c, struct message *m)
{
	const struct identity from = {
		.client_id = "", .protocol = PROTO_GATEWAY, .origin = ORIGIN_GATEWAY
	};
	struct router *r = arg;
	struct delayed *d = message_expired(m) ? NULL : keep(r, &from, m, rest_of(c));

	if (!d) {
		count_one(&dropped);
		return false;
	}
	d->kept = kept;
	return true;
}

void delays_restore(struct router *r)
{
	keeper_on_restore(r->keeper, CLAIM_DELAYED, on_restore, r);
}

void delays_init(struct router *r)
{
	list_init(&r->delayed);
}

void delays_close(struct router *r)
{
	while (!list_empty(&r->delayed)) {
		struct delayed *d = list_first(&r->delayed, struct delayed, node);

		if (d->kept)
			kept_leave(d->kept, &delayed_key);
		else
			count_one(&dropped);
		delayed_free(d);
	}
}
