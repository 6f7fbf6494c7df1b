#include "gateway/core/delay.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/topic.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX        "$delayed/"
#define DELAY_MAX_S   4294967 /* 49 days; 32 bits of milliseconds */
#define SECONDS_CHARS 7

static struct count accepted = COUNT("delay.accepted");
static struct count published = COUNT("delay.published");
static struct count refused = COUNT("delay.refused");
static struct count dropped = COUNT("delay.dropped_at_end");

struct delayed {
	struct timer timer;
	struct list node;      /* router.delayed */
	struct router *router; /* borrowed */
	struct message *msg;   /* counted; with the topic it will have */
	int64_t life_ms;       /* its expiry, counted from publication; 0: none */
	size_t size;           /* as counted in router.delayed_bytes */
	struct identity who;   /* with its names in here: the publisher may be gone by then */
	char names[];
};

bool delay_is_asked(struct span topic)
{
	const struct span prefix = span_str(PREFIX);

	return topic.len >= prefix.len && memcmp(topic.p, prefix.p, prefix.len) == 0;
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

static void delayed_free(struct delayed *d)
{
	timer_disarm(&d->timer);
	list_remove(&d->node);
	d->router->n_delayed--;
	d->router->delayed_bytes -= d->size;
	message_unref(d->msg);
	free(d);
}

/* A copy, for its place in the order, its time and its expiry are those of the publication. */
static void on_due(struct timer *t)
{
	struct delayed *d = container_of(t, struct delayed, timer);
	int64_t expires_ms = d->life_ms ? clock_ms() + d->life_ms : 0;
	struct message *m = copy_of(d->msg, message_topic(d->msg), expires_ms);

	if (!m) /* no memory for a copy is no reason to lose the message */
		m = message_ref(d->msg);
	enum reason reason = router_route(d->router, &d->who, m);
	message_unref(m);
	if (reason_failed(reason)) {
		static struct log_limit limit = LOG_LIMIT(10, 10000);
		log_limited(&limit, LOG_LEVEL_INFO, "%s %s: delayed message refused, %s",
			d->who.client_id, protocol_name(d->who.protocol), reason_name(reason));
	}
	count_one(reason_failed(reason) ? &refused : &published);
	delayed_free(d);
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

/* Takes the caller's reference when it succeeds. */
static enum reason keep(struct router *r, const struct identity *from, struct message *m,
	int64_t seconds, int64_t life_ms)
{
	size_t size = sizeof(struct delayed) + strlen(from->client_id) + 1 +
		      (from->username ? strlen(from->username) + 1 : 0);
	struct delayed *d = has_room(r, size + message_size(m)) ? calloc(1, size) : NULL;

	if (!d)
		return R_QUOTA;
	d->router = r;
	d->msg = m;
	d->life_ms = life_ms;
	d->size = size + message_size(m);
	copy_names(d, from);
	list_append(&r->delayed, &d->node);
	r->n_delayed++;
	r->delayed_bytes += d->size;
	timer_init(&d->timer, on_due);
	timer_arm(&d->timer, seconds * 1000);
	count_one(&accepted);
	return R_SUCCESS;
}

static enum reason may_delay(
	struct router *r, const struct identity *from, const struct message *inner)
{
	enum reason reason = router_admit(r, from, inner);

	if (!reason_failed(reason) && inner->qos > 0 && router_has_gate(r, message_topic(inner)))
		return R_IMPLEMENTATION;
	return reason;
}

enum reason delay_accept(struct router *r, const struct identity *from, const struct message *m)
{
	struct span topic;
	int64_t seconds;

	if (!r->limits.max_delayed || !topic_valid_name(message_topic(m)) ||
		!parse(message_topic(m), &topic, &seconds) || !topic_valid_name(topic))
		return R_TOPIC_INVALID;
	struct message *inner = copy_of(m, topic, 0);
	if (!inner)
		return R_QUOTA;
	int64_t life_ms = m->expires_ms ? MAX(m->expires_ms - clock_ms(), 1) : 0;
	enum reason reason = may_delay(r, from, inner);
	if (!reason_failed(reason))
		reason = keep(r, from, inner, seconds, life_ms);
	if (reason_failed(reason))
		message_unref(inner);
	return reason;
}

void delays_init(struct router *r)
{
	list_init(&r->delayed);
}

void delays_close(struct router *r)
{
	count_add(&dropped, r->n_delayed);
	while (!list_empty(&r->delayed))
		delayed_free(list_first(&r->delayed, struct delayed, node));
}
