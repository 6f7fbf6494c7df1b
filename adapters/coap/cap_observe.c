#include "adapters/coap/cap_observe.h"

#include "gateway/base/clock.h"
#include "gateway/core/message.h"
#include "gateway/core/topic.h"

#include <stdlib.h>

/* libcoap can only observe resources that were declared, and looks through all of them and all
 * observers at every acknowledgement. So observations are ours: the Observe option is ordinary to
 * it, and a notification is an ordinary message. */

/* Clients take a notification for an old one when its value is lower than the last (RFC 7641, 3.4),
 * which was said up to once in this time since then. */
#define CAP_OBSERVE_TICK_MS 16

static enum reason on_offer(
	struct subscriber *s, struct message *m, struct offer *offer, struct receipt *receipt)
{
	struct cap_observe *o = container_of(s, struct cap_observe, sub);

	/* Like a clean session an observation ends with its peer: nothing is kept safe for it. */
	(void)receipt;
	return cap_outbox_notify(o->client, o, m, offer->qos) ? R_SUCCESS : R_QUOTA;
}

static bool on_room(struct subscriber *s)
{
	const struct cap_client *c = container_of(s, struct cap_observe, sub)->client;

	return c->n_queue < (c->cap->conf.notify_queue + 1) / 2;
}

static const struct subscriber_ops subscriber_ops = { .offer = on_offer, .room = on_room };

/* ---- finding ---- */

static struct cap_observe *by_filter(struct cap_client *c, struct span filter)
{
	struct list *e;

	list_for_each(e, &c->observes) {
		struct cap_observe *o = list_entry(e, struct cap_observe, node);

		if (span_equal(cap_observe_filter(o), filter))
			return o;
	}
	return NULL;
}

static struct cap_observe *by_token(struct cap_client *c, struct span token)
{
	struct list *e;

	list_for_each(e, &c->observes) {
		struct cap_observe *o = list_entry(e, struct cap_observe, node);

		if (span_equal(span_of(o->token, o->token_len), token))
			return o;
	}
	return NULL;
}

struct cap_observe *cap_observe_by_mid(struct cap_client *c, uint16_t mid)
{
	struct list *e;

	list_for_each(e, &c->observes) {
		struct cap_observe *o = list_entry(e, struct cap_observe, node);

		if (o->non_mid == mid)
			return o;
	}
	return NULL;
}

/* ---- life ---- */

static struct cap_observe *observe_new(struct cap_client *c, struct span filter)
{
	struct cap *cap = c->cap;
	struct cap_observe *o;

	if (c->n_observes >= cap->conf.observers_per_client ||
		cap->n_observers >= cap->conf.observers)
		return NULL;
	o = calloc(1, sizeof(*o) + filter.len);
	if (!o)
		return NULL;
	o->client = c;
	o->wildcard = topic_has_wildcard(filter);
	/* Above what was shown before, also by an earlier observation or before a restart. */
	o->value = MAX((uint32_t)(clock_wall_ms() / CAP_OBSERVE_TICK_MS), cap->observe_value);
	o->non_mid = -1;
	o->confirmed_ms = clock_ms();
	o->filter_len = (uint16_t)filter.len;
	memcpy(o->filter, filter.p, filter.len);
	subscriber_init(&o->sub, &subscriber_ops, &c->who);
	list_append(&c->observes, &o->node);
	c->n_observes++;
	cap->n_observers++;
	return o;
}

static void observe_free(struct reap *r)
{
	free(container_of(r, struct cap_observe, reap));
}

void cap_observe_end(struct cap_observe *o)
{
	struct cap_client *c = o->client;

	router_leave(c->cap->env.router, &o->sub);
	cap_outbox_forget(c, o);
	c->cap->observe_value = MAX(c->cap->observe_value, o->value);
	list_remove(&o->node);
	c->n_observes--;
	c->cap->n_observers--;
	reap_later(&o->reap, observe_free);
}

/* ---- requests ---- */

static uint8_t wanted_qos(const struct cap_request *rq)
{
	if (rq->query.qos != -1)
		return (uint8_t)MIN(rq->query.qos, 1);
	return rq->type == COAP_MESSAGE_CON;
}

/* The current value of a plain topic is in the answer itself; those that match a filter follow as
 * notifications, and do not come again when a registration is only refreshed. */
static uint8_t retain_handling(const struct cap_observe *o, bool refreshed)
{
	return !o->wildcard ? 2 : refreshed ? 1 : 0;
}

enum reason cap_observe_register(struct cap_request *rq, struct cap_observe **out)
{
	struct cap_client *c = rq->client;
	struct cap_observe *same = by_token(c, rq->token);
	struct cap_observe *o = by_filter(c, cap_request_topic(rq));
	struct sub_opts opts = { .qos = wanted_qos(rq), .no_local = rq->query.no_local == 1 };
	enum reason r;

	/* RFC 7641, 4.1: a token names one observation. */
	if (same && same != o)
		cap_observe_end(same);
	if (!o)
		o = observe_new(c, cap_request_topic(rq));
	if (!o || rq->token.len > CAP_TOKEN_MAX)
		return R_QUOTA;
	opts.retain_handling = retain_handling(o, same == o);
	r = router_subscribe(c->cap->env.router, &o->sub, cap_observe_filter(o), &opts);
	if (reason_failed(r)) {
		cap_observe_end(o);
		return r;
	}
	o->token_len = (uint8_t)rq->token.len;
	if (rq->token.len)
		memcpy(o->token, rq->token.p, rq->token.len);
	*out = o;
	return R_SUCCESS;
}

void cap_observe_cancel(struct cap_request *rq)
{
	struct cap_observe *o = by_token(rq->client, rq->token);

	if (!o)
		o = by_filter(rq->client, cap_request_topic(rq));
	if (o)
		cap_observe_end(o);
}

/* ---- notifications ---- */

uint32_t cap_observe_next(struct cap_observe *o)
{
	return ++o->value & 0xffffff;
}

coap_pdu_t *cap_observe_pdu(
	struct cap_observe *o, struct message *m, coap_pdu_type_t type, uint16_t mid)
{
	const struct scope scope = cap_client_scope(o->client);
	coap_session_t *session = o->client->session;
	struct span payload = message_payload(m);
	struct cap_answer a;
	struct span shown;

	if (!scope_leave(&scope, message_topic(m), &shown))
		return NULL;

	cap_answer_init(&a, COAP_RESPONSE_CODE(205));
	a.observe = cap_observe_next(o);
	if (payload.len)
		cap_answer_describe(&a, m);
	if (o->wildcard)
		a.location = shown;
	cap_answer_slice(&a, payload, 0, CAP_SZX_MAX, false, o->token_len,
		coap_session_max_pdu_size(session));
	if (a.block2 != -1)
		cap_client_keep_body(o->client, cap_observe_filter(o), m);
	return cap_answer_pdu(&a, session, type, mid, span_of(o->token, o->token_len));
}
