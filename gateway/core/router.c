#include "gateway/core/router.h"

#include "gateway/base/count.h"
#include "gateway/base/util.h"
#include "gateway/core/delay.h"
#include "gateway/core/router_parts.h"
#include "gateway/core/share.h"
#include "gateway/core/sub_ids.h"
#include "gateway/core/topic.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static struct count expired = COUNT("router.expired");
static struct count not_allowed = COUNT("router.receive_denied");

struct router *router_new(struct policy *policy, const struct router_limits *limits)
{
	struct router *r = must_calloc(1, sizeof(*r));

	r->tree = topictree_new();
	if (!r->tree) {
		free(r);
		return NULL;
	}
	r->policy = policy;
	r->limits = *limits;
	list_init(&r->watchers);
	replays_init(r);
	pool_init(&r->subscriptions, sizeof(struct subscription));
	shares_init(r);
	delays_init(r);
	retain_init(r);
	return r;
}

void router_set_limits(struct router *r, const struct router_limits *limits)
{
	r->limits = *limits;
}

void router_free(struct router *r)
{
	if (!r)
		return;
	assert(r->n_subscriptions == 0 && r->offering == 0);
	replays_close(r);
	delays_close(r);
	retain_close(r);
	shares_close(r);
	topictree_free(r->tree);
	free(r);
}

struct policy *router_policy(struct router *r)
{
	return r->policy;
}

void router_set_keeper(struct router *r, struct keeper *k)
{
	r->keeper = k;
	if (!k)
		return;
	retain_restore(r);
	delays_restore(r);
}

struct keeper *router_keeper(const struct router *r)
{
	return r->keeper;
}

void router_secure(struct router *r)
{
	if (!r->keeper)
		return;
	keeper_secure(r->keeper, CLAIM_RETAINED);
	keeper_secure(r->keeper, CLAIM_DELAYED);
}

void router_stats(const struct router *r, struct router_stats *s)
{
	topictree_stats(r->tree, &s->tree);
	s->shared = r->n_members;
	s->subscriptions = r->n_subscriptions - r->n_members - r->shares.n;
	s->published = r->published;
	s->delivered = r->delivered;
	s->no_subscriber = r->no_subscriber;
	s->refused = r->refused;
}

static bool is_ours(const struct identity *who)
{
	return who->protocol == PROTO_GATEWAY || who->protocol == PROTO_UPSTREAM;
}

bool router_allows(
	struct router *r, const struct identity *who, enum access access, struct span topic)
{
	if (is_ours(who) || r->policy->allows == policy_allow_all.allows)
		return true;
	return r->policy->allows(r->policy, who, access, topic);
}

enum reason router_offer(struct router *r, struct subscriber *s, struct message *m,
	struct offer *offer, struct receipt *receipt)
{
	r->offering++;
	enum reason reason = s->ops->offer(s, m, offer, receipt);
	r->offering--;
	return reason;
}

/* One message on its way: who is to get it, once each. */
struct publication {
	const struct identity *from;
	struct message *msg;
	struct touched {
		struct subscriber *first, **tail; /* by subscriber.touched; the last: &nobody */
	} gates, locals;
	bool past_gates; /* they have had it already */
};

static struct subscriber nobody;

static void touched_init(struct touched *t)
{
	t->first = &nobody;
	t->tail = &t->first;
}

static bool touched_empty(const struct touched *t)
{
	return t->first == &nobody;
}

static void touched_append(struct touched *t, struct subscriber *s)
{
	s->touched = &nobody;
	*t->tail = s;
	t->tail = &s->touched;
}

static struct subscriber *take_first(struct touched *t)
{
	struct subscriber *s = t->first;

	t->first = s->touched;
	s->touched = NULL;
	if (touched_empty(t))
		t->tail = &t->first;
	return s;
}

/* MQTT 5.0, 3.3.4: of overlapping filters the highest QoS counts, and the retain flag shown is that
 * of this subscription; the identifiers are those of all. Nothing is offered yet: an offer must not
 * run while the tree is walked. */
static void collect(struct topicleaf *leaf, void *arg)
{
	struct publication *p = arg;
	struct subscription *sub = container_of(leaf, struct subscription, leaf);
	struct subscriber *s = sub->who;
	uint8_t qos = MIN(p->msg->qos, sub->opts.qos);

	if (s->gate && p->past_gates)
		return;
	if (sub->opts.no_local && s->who->origin == p->from->origin)
		return;
	if (!s->touched) {
		touched_append(s->gate ? &p->gates : &p->locals, s);
		s->sub_ids = sub->opts.sub_id;
	} else {
		s->sub_ids = sub_ids_add(s->sub_ids, sub->opts.sub_id);
		if (qos <= s->qos)
			return;
	}
	s->qos = qos;
	s->retain = p->msg->retain && (s->gate || sub->opts.retain_as_published);
}

static struct offer offer_for(const struct publication *p, const struct subscriber *s)
{
	return (struct offer){
		.from = p->from, .qos = s->qos, .retain = s->retain, .sub_ids = s->sub_ids
	};
}

static void publication_start(struct router *r, struct publication *p, const struct identity *from,
	struct message *m, bool past_gates)
{
	*p = (struct publication){ .from = from, .msg = m, .past_gates = past_gates };
	touched_init(&p->gates);
	touched_init(&p->locals);
	topictree_match(r->tree, message_topic(m), collect, p);
}

static void publication_drop(struct publication *p)
{
	while (!touched_empty(&p->gates))
		sub_ids_unref(take_first(&p->gates)->sub_ids);
	while (!touched_empty(&p->locals))
		sub_ids_unref(take_first(&p->locals)->sub_ids);
}

/* A gate that refuses QoS 0 has counted its loss, and the others still get the message. */
static enum reason offer_gates(
	struct router *r, struct publication *p, struct receipt *receipt, bool *withheld)
{
	while (!touched_empty(&p->gates)) {
		struct subscriber *s = take_first(&p->gates);
		struct offer offer = offer_for(p, s);
		enum reason reason = router_offer(r, s, p->msg, &offer, offer.qos ? receipt : NULL);

		sub_ids_unref(offer.sub_ids);
		if (reason_failed(reason) && p->msg->qos > 0)
			return reason;
		*withheld |= offer.withhold;
	}
	return R_SUCCESS;
}

/* Others have it, and keep it; but one who was to find it after a restart will not. */
static void tell_unkept(struct receipt *receipt)
{
	struct receipt_hold hold;

	receipt_hold(receipt, &hold);
	receipt_release(&hold, R_QUOTA);
}

/* False: it has no right to it. */
static bool offer_local(
	struct router *r, struct publication *p, struct subscriber *s, struct receipt *receipt)
{
	if (!router_allows(r, s->who, ACCESS_RECEIVE, message_topic(p->msg))) {
		count_one(&not_allowed);
		return false;
	}
	struct offer offer = offer_for(p, s);
	if (!reason_failed(router_offer(r, s, p->msg, &offer, offer.qos ? receipt : NULL)))
		r->delivered++;
	else if (offer.unkept)
		tell_unkept(receipt);
	return true;
}

static bool offer_locals(struct router *r, struct publication *p, struct receipt *receipt)
{
	bool any = false;

	while (!touched_empty(&p->locals)) {
		struct subscriber *s = take_first(&p->locals);

		any |= offer_local(r, p, s, receipt);
		sub_ids_unref(s->sub_ids);
	}
	return any;
}

static enum reason retain(
	struct router *r, struct publication *p, struct receipt *receipt, bool gated)
{
	if (!p->msg->retain)
		return R_SUCCESS;
	return retain_store(r, p->msg, receipt, gated || p->from->origin == ORIGIN_UPSTREAM);
}

static enum reason distribute(
	struct router *r, const struct identity *from, struct message *m, struct receipt *receipt)
{
	struct publication p;
	bool withheld = false;

	publication_start(r, &p, from, m, false);
	bool gated = !touched_empty(&p.gates);
	enum reason reason = offer_gates(r, &p, receipt, &withheld);
	if (!reason_failed(reason) && !withheld)
		reason = retain(r, &p, receipt, gated);
	if (reason_failed(reason) || withheld) {
		publication_drop(&p);
		return reason;
	}
	return offer_locals(r, &p, receipt) || gated ? R_SUCCESS : R_NO_MATCHING_SUBSCRIBERS;
}

/* What is lost with the process anyway costs nothing. */
static bool needs_claims(const struct router *r, const struct message *m)
{
	return r->keeper && (m->qos > 0 || m->retain);
}

void router_claims_open(struct router *r, struct message *m, struct receipt *receipt)
{
	if (needs_claims(r, m))
		keeper_open(r->keeper, m, receipt);
}

void router_claims_close(struct router *r, const struct message *m)
{
	if (needs_claims(r, m))
		keeper_close(r->keeper);
}

enum reason router_claim_own(struct router *r, struct message *m, struct own_claim *own)
{
	int err;

	if (!own || !r->keeper)
		return R_SUCCESS;
	own->kept = keeper_claim(r->keeper, m, &own->claim, NULL, CLAIM_NOW, &err);
	return own->kept || err == -ENOTSUP ? R_SUCCESS : R_QUOTA;
}

void router_unclaim_own(struct own_claim *own, enum reason reason)
{
	if (!own || !own->kept)
		return;
	kept_end(own->kept, &own->claim, reason);
	own->kept = NULL;
}

enum reason router_route(struct router *r, const struct identity *from, struct message *m,
	struct receipt *receipt, struct own_claim *own)
{
	assert(r->offering == 0);
	if (m->retain && m->qos > 0 && !retain_possible(r, m))
		return R_QUOTA;
	router_claims_open(r, m, receipt);
	enum reason reason = router_claim_own(r, m, own);
	if (!reason_failed(reason))
		reason = distribute(r, from, m, receipt);
	if (reason_failed(reason))
		router_unclaim_own(own, reason);
	router_claims_close(r, m);
	return reason;
}

enum reason router_admit(struct router *r, const struct identity *from, const struct message *m)
{
	struct span topic = message_topic(m);

	if (!topic_valid_name(topic))
		return R_TOPIC_INVALID;
	if (topic.p[0] == '$' && !is_ours(from))
		return R_TOPIC_INVALID;
	if (!router_allows(r, from, ACCESS_PUBLISH, topic))
		return R_NOT_AUTHORIZED;
	/* Only who waits for an answer can be refused; the upstream has no use for one. Others are
	 * served without the message being kept, and that is counted. */
	if (m->retain && m->qos > 0 && from->protocol != PROTO_UPSTREAM)
		return retain_admits(r, m);
	return R_SUCCESS;
}

static void look_for_gate(struct topicleaf *leaf, void *arg)
{
	bool *found = arg;

	*found |= container_of(leaf, struct subscription, leaf)->who->gate;
}

bool router_has_gate(struct router *r, struct span topic)
{
	bool found = false;

	topictree_match(r->tree, topic, look_for_gate, &found);
	return found;
}

static enum reason publish(struct router *r, const struct identity *from, struct message *m,
	struct receipt *receipt, struct own_claim *own)
{
	if (delay_is_asked(message_topic(m)) && !is_ours(from))
		return delay_accept(r, from, m, receipt, own);
	enum reason reason = router_admit(r, from, m);
	if (reason_failed(reason))
		return reason;
	if (message_expired(m)) {
		count_one(&expired);
		return R_NO_MATCHING_SUBSCRIBERS;
	}
	return router_route(r, from, m, receipt, own);
}

enum reason router_publish_claimed(struct router *r, const struct identity *from, struct message *m,
	struct receipt *receipt, struct own_claim *own)
{
	struct receipt_hold guard; /* so that it cannot be ready before all were asked */

	assert(r->offering == 0);
	receipt_hold(receipt, &guard);
	enum reason reason = publish(r, from, m, receipt, own);
	if (reason_failed(reason)) {
		r->refused++;
		if (receipt)
			receipt_cancel(receipt); /* lets go of the guard as well */
		return reason;
	}
	r->published++;
	r->no_subscriber += reason == R_NO_MATCHING_SUBSCRIBERS;
	receipt_release(&guard, R_SUCCESS);
	return reason;
}

enum reason router_publish(
	struct router *r, const struct identity *from, struct message *m, struct receipt *receipt)
{
	return router_publish_claimed(r, from, m, receipt, NULL);
}

void router_deliver(struct router *r, const struct identity *from, struct message *m)
{
	struct publication p;

	assert(r->offering == 0);
	if (message_expired(m)) {
		count_one(&expired);
		return;
	}
	publication_start(r, &p, from, m, true);
	router_claims_open(r, m, NULL);
	(void)retain(r, &p, NULL, true); /* a gate has taken it, so it is lost to nobody */
	offer_locals(r, &p, NULL);
	router_claims_close(r, m);
}

struct message *router_retained(struct router *r, struct span topic)
{
	struct message *m = topictree_retained(r->tree, topic);

	return m && !message_expired(m) ? m : NULL;
}

struct fresh_call {
	void (*each)(struct message *, void *);
	void *arg;
};

static void call_fresh(struct message *m, void *arg)
{
	struct fresh_call *call = arg;

	if (!message_expired(m))
		call->each(m, call->arg);
}

void router_retained_match(
	struct router *r, struct span filter, void (*each)(struct message *, void *), void *arg)
{
	struct fresh_call call = { each, arg };

	topictree_retained_match(r->tree, filter, call_fresh, &call);
}

bool router_turn(struct router *r)
{
	retain_turn(r);
	return replay_turn(r);
}
