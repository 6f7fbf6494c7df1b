#include "gateway/upstream/upstream_priv.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/base/reap.h"
#include "gateway/core/message.h"
#include "gateway/core/props.h"
#include "gateway/core/topic.h"

#include <stdlib.h>

/* What cannot be kept here is not acknowledged; this long, before the connection is ended over it:
 * the server sends it again at once after the next one. */
#define REFUSE_MS 2000

/* Exchanges that wait for PUBREL. Past that the oldest is forgotten: a server that never releases
 * what it sends fills no memory. */
#define RECEIVED2_MAX 1000

static struct count bad_topic = COUNT("upstream.inbound.bad_topic");
static struct count bad_props = COUNT("upstream.inbound.bad_properties");
static struct count not_imported = COUNT("upstream.inbound.not_imported");
static struct count stale_retained = COUNT("upstream.inbound.stale_retained");
static struct count known_retained = COUNT("upstream.inbound.known_retained");
static struct count no_memory = COUNT("upstream.inbound.no_memory");
static struct count repeated2 = COUNT("upstream.inbound.repeated_qos2");
static struct count not_kept = COUNT("upstream.inbound.not_kept");
static struct count overrun = COUNT("upstream.inbound.overrun");
static struct log_limit complaints = LOG_LIMIT(5, 60000);

/* The upstream is hostile input like any other. */
static bool valid(const struct uplink_message *m)
{
	if (m->qos > 2 || !topic_valid_name(m->topic) || m->topic.p[0] == '$') {
		count_one(&bad_topic);
		log_limited(&complaints, LOG_LEVEL_INFO,
			"upstream: the broker sent a message without a valid topic, dropped");
		return false;
	}
	if (!props_valid(m->props)) {
		count_one(&bad_props);
		log_limited(&complaints, LOG_LEVEL_INFO,
			"upstream: %.*s: malformed properties, dropped", SPAN_ARGS(m->topic));
		return false;
	}
	return true;
}

/* A retained message that answers a SUBSCRIBE says nothing new when we have the same, and nothing
 * true when a newer one of ours is still on its way up. */
static bool outdated(struct upstream *u, const struct uplink_message *m)
{
	/* MQTT 3.1.1, 3.3.1.3: with the flag set it is always the answer to a SUBSCRIBE. */
	if (!m->retain || (u->up.version == 5 && !interest_replaying(u->interest)))
		return false;
	if (backlog_has_retained(u->backlog, m->topic)) {
		count_one(&stale_retained);
		return true;
	}
	const struct message *have = router_retained(u->router, m->topic);
	if (!have || !span_equal(message_payload(have), m->payload))
		return false;
	count_one(&known_retained);
	return true;
}

/* A message that is not safe here yet: the receipt is open, or the record of its packet id is on
 * its way to the disk. */
struct downlink {
	struct list node;
	struct upstream *u;
	struct receipt receipt;
	struct exchange *x;  /* QoS 2; NULL else */
	bool published;      /* the receipt has fired */
	bool storing;        /* the exchange */
	enum reason reason;  /* of the receipt */
	uint32_t ticket;     /* of the library, for the answer */
	struct timer refuse; /* armed: it could not be kept */
	struct reap reap;
};

static void answer(struct upstream *u, uint32_t ticket, bool kept)
{
	if (ticket)
		u->uplink->ops->acknowledge(u->uplink, ticket, kept);
}

static void downlink_free(struct reap *r)
{
	free(container_of(r, struct downlink, reap));
}

static void downlink_end(struct downlink *d)
{
	receipt_cancel(&d->receipt);
	timer_disarm(&d->refuse);
	if (d->x)
		exchange_leave(d->x);
	list_remove(&d->node);
	reap_later(&d->reap, downlink_free);
}

static void end_received2(struct upstream *u, struct exchange *x)
{
	struct downlink *d = x->owner;

	if (d)
		d->x = NULL;
	exchange_end(x);
	u->n_received2--;
}

static void on_refuse(struct timer *t)
{
	struct downlink *d = container_of(t, struct downlink, refuse);

	answer(d->u, d->ticket, false);
	downlink_end(d);
}

static void when_safe(struct downlink *d)
{
	if (!d->published || d->storing)
		return;
	if (!reason_failed(d->reason)) {
		answer(d->u, d->ticket, true);
		downlink_end(d);
		return;
	}
	count_one(&not_kept);
	log_limited(&complaints, LOG_LEVEL_WARN,
		"upstream: a message of the broker could not be kept (%s), it will come again",
		reason_name(d->reason));
	if (d->x)
		end_received2(d->u, d->x);
	timer_arm(&d->refuse, REFUSE_MS);
}

static void on_receipt(struct receipt *r, enum reason reason)
{
	struct downlink *d = container_of(r, struct downlink, receipt);

	d->published = true;
	d->reason = reason;
	when_safe(d);
}

/* Not stored (err): a crash may deliver it twice, but nobody waits for a disk to be repaired whose
 * delivery is safe. */
static void on_exchange_stored(struct exchange *x, int err)
{
	struct downlink *d = x->owner;

	(void)err;
	if (!d)
		return;
	d->storing = false;
	when_safe(d);
}

static uint64_t digest_of(const struct uplink_message *m)
{
	return exchange_digest((struct span[]){ m->topic, m->payload }, 2);
}

/* True: this one was delivered, or is about to be. A packet id of which PUBREL's trace was lost
 * with a crash may have been given to another message: that is no repetition. */
static bool repetition(struct upstream *u, const struct uplink_message *m)
{
	struct exchange *x =
		m->qos == 2 ? exchange_find(u->exchanges, EXCHANGE_IN, u->up.session, m->packet_id)
			    : NULL;

	if (!x)
		return false;
	if (!m->dup || x->what != digest_of(m)) {
		end_received2(u, x);
		return false;
	}
	count_one(&repeated2);
	if (x->owner)
		((struct downlink *)x->owner)->ticket = m->ticket;
	else
		answer(u, m->ticket, true);
	return true;
}

static struct exchange *oldest_received2(struct upstream *u)
{
	struct list *pos;

	list_for_each(pos, exchanges_list(u->exchanges)) {
		struct exchange *x = list_entry(pos, struct exchange, node);
		if (x->way == EXCHANGE_IN)
			return x;
	}
	return NULL;
}

static struct exchange *begin_received2(struct upstream *u, const struct uplink_message *m)
{
	struct exchange init = {
		.way = EXCHANGE_IN,
		.session = u->up.session,
		.packet_id = m->packet_id,
		.what = digest_of(m),
		.stored = on_exchange_stored,
	};

	if (u->n_received2 >= RECEIVED2_MAX)
		end_received2(u, oldest_received2(u));
	struct exchange *x = exchange_begin(u->exchanges, &init);
	u->n_received2 += x != NULL;
	return x;
}

static struct message *message_of(const struct uplink_message *m)
{
	struct message_init init = {
		.topic = m->topic,
		.payload = m->payload,
		.props = m->props,
		.qos = m->qos,
		.retain = m->retain,
		.origin = ORIGIN_UPSTREAM,
		.expires_ms = m->expiry_s ? clock_ms() + (int64_t)m->expiry_s * 1000 : 0,
	};
	struct message *msg = message_new(&init);

	if (!msg)
		count_one(&no_memory);
	return msg;
}

/* Where somebody here must not lose it, the packet id goes to the disk in the same commit as the
 * message, and behind it: of a commit that was cut short a message may be left that comes again,
 * never a packet id whose message is missing. The line stands still until then. */
static void when_kept(struct downlink *d, const struct uplink_message *m)
{
	bool kept = !list_empty(&d->receipt.holds);

	if (m->qos == 2 && (d->x = begin_received2(d->u, m))) {
		d->x->owner = d;
		d->storing = kept && exchange_store(d->x) == 0;
	}
	if (kept)
		exchanges_hurry(d->u->exchanges);
}

static void publish_safely(struct upstream *u, const struct uplink_message *m, struct downlink *d)
{
	struct message *msg = message_of(m);

	receipt_init(&d->receipt, on_receipt);
	timer_init(&d->refuse, on_refuse);
	d->u = u;
	d->ticket = m->ticket;
	list_init(&d->node);
	list_append(&u->downlinks, &d->node);
	enum reason reason = msg ? router_publish(u->router, &u->who, msg, &d->receipt) : R_QUOTA;
	message_unref(msg);
	if (!msg || reason == R_QUOTA) {
		timer_arm(&d->refuse, REFUSE_MS);
	} else if (reason_failed(reason)) { /* for good: it would fare no better another time */
		answer(u, d->ticket, true);
		downlink_end(d);
	} else {
		when_kept(d, m);
	}
}

static void publish_at_once(struct upstream *u, const struct uplink_message *m)
{
	struct message *msg = message_of(m);

	if (!msg)
		return;
	router_publish(u->router, &u->who, msg, NULL);
	message_unref(msg);
	if (m->qos == 2)
		begin_received2(u, m);
}

/* Not of interest here, and nothing to keep. */
static bool ignored(struct upstream *u, const struct uplink_message *m)
{
	if (!valid(m))
		return true;
	if (!interest_allows(u->interest, m->topic)) {
		count_one(&not_imported);
		return true;
	}
	return outdated(u, m) || (u->up.version == 4 && !m->retain && echo_received(u->echo, m));
}

void upstream_on_message(void *arg, const struct uplink_message *m)
{
	struct upstream *u = arg;

	u->received++;
	if (repetition(u, m))
		return;
	if (ignored(u, m)) {
		answer(u, m->ticket, true);
		return;
	}
	if (!m->ticket) {
		publish_at_once(u, m);
		return;
	}
	struct downlink *d = calloc(1, sizeof(*d));
	if (d)
		publish_safely(u, m, d);
	else
		answer(u, m->ticket, false);
}

void upstream_on_released(void *arg, uint16_t packet_id)
{
	struct upstream *u = arg;
	struct exchange *x = exchange_find(u->exchanges, EXCHANGE_IN, u->up.session, packet_id);

	if (x)
		end_received2(u, x);
}

void upstream_forget_received(struct upstream *u)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, exchanges_list(u->exchanges)) {
		struct exchange *x = list_entry(pos, struct exchange, node);
		if (x->way == EXCHANGE_IN && x->session == u->up.session)
			end_received2(u, x);
	}
}

void upstream_receive_init(struct upstream *u)
{
	struct list *pos;

	list_init(&u->downlinks);
	list_for_each(pos, exchanges_list(u->exchanges))
		u->n_received2 += list_entry(pos, struct exchange, node)->way == EXCHANGE_IN;
}

/* What is still open was not acknowledged, and comes again. */
void upstream_receive_stop(struct upstream *u)
{
	while (!list_empty(&u->downlinks))
		downlink_end(list_first(&u->downlinks, struct downlink, node));
}

void upstream_on_overrun(void *arg, uint64_t n)
{
	(void)arg;
	count_add(&overrun, n);
	log_limited(&complaints, LOG_LEVEL_INFO,
		"upstream: %llu QoS 0 messages from the broker dropped, they came too fast",
		(unsigned long long)n);
}
