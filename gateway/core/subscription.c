#include "gateway/core/router_parts.h"

#include "gateway/base/util.h"
#include "gateway/core/share.h"
#include "gateway/core/subfilter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Who subscribed to what, and who is told of it.
 *
 * The leaves of a filter are kept in this order: clients first, gates last, and the first one is a
 * client with the highest QoS since the last first one left. So whether a filter is wanted, and at
 * which QoS, is seen at the head, however many thousands have subscribed to it. */

void subscriber_init(
	struct subscriber *s, const struct subscriber_ops *ops, const struct identity *who)
{
	*s = (struct subscriber){ .ops = ops, .who = who };
}

static struct subscription *at_leaf(struct list *node)
{
	return container_of(list_entry(node, struct topicleaf, node), struct subscription, leaf);
}

/* The QoS at which clients want this filter, -1 when none does. */
static int wanted_qos(const struct list *leaves)
{
	if (list_empty(leaves))
		return -1;
	const struct subscription *first = at_leaf(leaves->next);
	return first->who->gate ? -1 : first->opts.qos;
}

static bool is_last_client(const struct subscription *sub)
{
	const struct list *leaves = topictree_siblings(&sub->leaf);
	const struct list *next = sub->leaf.node.next;

	if (sub->who->gate || sub->leaf.node.prev != leaves)
		return false;
	return next == leaves || at_leaf((struct list *)next)->who->gate;
}

static void tell_wanted(struct router *r, struct span filter, uint8_t qos)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, &r->watchers) {
		struct router_watcher *w = list_entry(pos, struct router_watcher, node);
		w->wanted(w, filter, qos);
	}
}

static void tell_unwanted(struct router *r, struct span filter)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, &r->watchers) {
		struct router_watcher *w = list_entry(pos, struct router_watcher, node);
		w->unwanted(w, filter);
	}
}

static void tell_one(struct list *leaves, void *arg)
{
	struct router_watcher *w = arg;
	int qos = wanted_qos(leaves);
	uint8_t text[TOPICTREE_TEXT_MAX];

	if (qos >= 0)
		w->wanted(w, topictree_text(at_leaf(leaves->next)->leaf.at, text), (uint8_t)qos);
}

void router_watch(struct router *r, struct router_watcher *w)
{
	list_append(&r->watchers, &w->node);
	topictree_each_filter(r->tree, tell_one, w);
}

void router_unwatch(struct router *r, struct router_watcher *w)
{
	(void)r;
	list_remove(&w->node);
}

/* A subscriber has few subscriptions where a filter may have many subscribers. */
static struct subscription *subscription_find(
	struct subscriber *s, const struct list *leaves, bool exclusive)
{
	if (!leaves)
		return NULL;
	const struct topicnode *at = at_leaf(leaves->next)->leaf.at;
	for (struct subscription *sub = s->subscriptions; sub; sub = sub->next) {
		if (sub->leaf.at == at && sub->opts.exclusive == exclusive)
			return sub;
	}
	return NULL;
}

bool subscription_quota_left(const struct router *r, const struct subscriber *s)
{
	if (s->max_subscriptions && s->n_subscriptions >= s->max_subscriptions)
		return false;
	return s->gate || !r->limits.max_subscriptions ||
	       r->n_subscriptions < r->limits.max_subscriptions;
}

void subscription_link(struct router *r, struct subscriber *s, struct subscription *sub)
{
	sub->who = s;
	sub->next = s->subscriptions;
	s->subscriptions = sub;
	s->n_subscriptions++;
	r->n_subscriptions++;
}

void subscription_unlink(struct router *r, struct subscription *sub)
{
	struct subscription **link = &sub->who->subscriptions;

	while (*link != sub)
		link = &(*link)->next;
	*link = sub->next;
	sub->who->n_subscriptions--;
	r->n_subscriptions--;
}

static struct subscription *subscription_new(
	struct router *r, struct subscriber *s, struct span filter)
{
	struct subscription *sub = subscription_quota_left(r, s) ? calloc(1, sizeof(*sub)) : NULL;

	if (!sub)
		return NULL;
	if (topictree_insert(r->tree, filter, &sub->leaf)) {
		free(sub);
		return NULL;
	}
	subscription_link(r, s, sub);
	return sub;
}

static void leaf_end(struct router *r, struct subscription *sub)
{
	bool unwanted = is_last_client(sub) && !list_empty(&r->watchers);
	uint8_t buf[TOPICTREE_TEXT_MAX];
	struct span filter = { NULL, 0 };

	if (unwanted)
		filter = topictree_text(sub->leaf.at, buf);
	replay_cancel(r, sub);
	topictree_remove(r->tree, &sub->leaf);
	subscription_unlink(r, sub);
	free(sub);
	if (unwanted)
		tell_unwanted(r, filter);
}

static void subscription_end(struct router *r, struct subscription *sub)
{
	if (share_is_member(sub))
		share_leave(r, sub);
	else
		leaf_end(r, sub);
}

static enum reason may_subscribe(struct router *r, const struct subscriber *s,
	const struct subfilter *f, const struct sub_opts *opts)
{
	if (s->gate && f->kind != SUBFILTER_OWN)
		return R_FILTER_INVALID;
	if (f->kind == SUBFILTER_SHARED && opts->no_local) /* [MQTT-3.8.3-4] */
		return R_PROTOCOL_ERROR;
	if (!router_allows(r, s->who, ACCESS_SUBSCRIBE, f->filter))
		return R_NOT_AUTHORIZED;
	return R_SUCCESS;
}

/* Somebody else has it. A look at all who have the filter, but only when an exclusive subscription
 * is asked for. */
static bool is_taken(const struct subscriber *s, const struct list *leaves)
{
	const struct list *pos;

	if (!leaves)
		return false;
	list_for_each(pos, leaves) {
		const struct subscription *sub = at_leaf((struct list *)pos);
		if (sub->opts.exclusive && sub->who != s)
			return true;
	}
	return false;
}

/* Takes over the options and moves a client's leaf to where the order wants it. */
static void set_opts(struct router *r, struct subscription *sub, struct span filter,
	const struct sub_opts *opts, int wanted_before)
{
	struct list *leaves = topictree_siblings(&sub->leaf), *node = &sub->leaf.node;

	sub->opts = *opts;
	if (sub->who->gate)
		return;
	if (opts->qos >= wanted_before) {
		list_remove(node);
		list_prepend(leaves, node);
	} else if (leaves->next != node) {
		list_remove(node);
		list_insert_before(leaves->next->next, node);
	}
	if (opts->qos > wanted_before)
		tell_wanted(r, filter, opts->qos);
}

enum reason subscription_set(
	struct router *r, struct subscriber *s, struct span filter, const struct sub_opts *opts)
{
	struct list *leaves = topictree_leaves(r->tree, filter);
	int wanted_before = leaves ? wanted_qos(leaves) : -1;
	struct subscription *sub = subscription_find(s, leaves, opts->exclusive);
	bool fresh = !sub;

	if (opts->exclusive && is_taken(s, leaves))
		return R_QUOTA;
	if (fresh && !(sub = subscription_new(r, s, filter)))
		return R_QUOTA;
	set_opts(r, sub, filter, opts, wanted_before);

	bool replay = opts->retain_handling == 0 || (opts->retain_handling == 1 && fresh);
	if (replay && !s->gate && replay_start(r, sub)) {
		if (fresh)
			subscription_end(r, sub);
		return R_QUOTA;
	}
	return (enum reason)opts->qos;
}

enum reason router_subscribe(
	struct router *r, struct subscriber *s, struct span filter, const struct sub_opts *opts)
{
	struct sub_opts own = *opts;
	struct subfilter f;

	assert(r->offering == 0 && opts->qos <= 2);
	if (!subfilter_parse(filter, &f))
		return R_FILTER_INVALID;
	enum reason reason = may_subscribe(r, s, &f, opts);
	if (reason_failed(reason))
		return reason;
	own.exclusive = f.kind == SUBFILTER_EXCLUSIVE;
	if (f.kind == SUBFILTER_SHARED)
		return share_subscribe(r, s, filter, f.filter, &own);
	return subscription_set(r, s, f.filter, &own);
}

static struct subscription *find(
	struct router *r, struct subscriber *s, struct span text, const struct subfilter *f)
{
	if (f->kind == SUBFILTER_SHARED)
		return share_find(r, s, text);
	return subscription_find(
		s, topictree_leaves(r->tree, f->filter), f->kind == SUBFILTER_EXCLUSIVE);
}

enum reason router_unsubscribe(struct router *r, struct subscriber *s, struct span filter)
{
	struct subfilter f;

	assert(r->offering == 0);
	struct subscription *sub = subfilter_parse(filter, &f) ? find(r, s, filter, &f) : NULL;
	if (!sub)
		return R_NO_SUBSCRIPTION_EXISTED;
	subscription_end(r, sub);
	return R_SUCCESS;
}

void router_leave(struct router *r, struct subscriber *s)
{
	assert(r->offering == 0);
	while (s->subscriptions)
		subscription_end(r, s->subscriptions);
}

/* In `buf` (TOPICTREE_TEXT_MAX bytes) or where it lives. No text is so long that the prefix it was
 * subscribed with would not fit in front again. */
static struct span text_of(const struct subscription *sub, uint8_t *buf)
{
	static const char prefix[] = SUBFILTER_EXCLUSIVE_PREFIX;
	const size_t len = sizeof(prefix) - 1;

	if (share_is_member(sub))
		return share_text(sub);
	struct span text = topictree_text(sub->leaf.at, buf);
	if (!sub->opts.exclusive)
		return text;
	uint8_t *start = buf + (text.p - buf) - len;
	memcpy(start, prefix, len);
	return span_of(start, text.len + len);
}

void router_subscriptions(struct subscriber *s,
	void (*each)(struct span filter, const struct sub_opts *, void *), void *arg)
{
	uint8_t text[TOPICTREE_TEXT_MAX];

	for (const struct subscription *sub = s->subscriptions, *next; sub; sub = next) {
		next = sub->next; /* `each` may unsubscribe it */
		each(text_of(sub, text), &sub->opts, arg);
	}
}
