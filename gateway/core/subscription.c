#include "gateway/core/router_parts.h"

#include "gateway/base/util.h"
#include "gateway/core/share.h"
#include "gateway/core/subfilter.h"

#include <assert.h>
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

static const struct subscription *at_leaf(const struct topicleaf *leaf)
{
	return container_of(leaf, const struct subscription, leaf);
}

/* The QoS at which clients want this filter, -1 when none does. */
static int wanted_qos(const struct topicleaf *first)
{
	if (!first || at_leaf(first)->who->gate)
		return -1;
	return at_leaf(first)->opts.qos;
}

static bool is_last_client(const struct subscription *sub)
{
	if (sub->who->gate || topictree_first_leaf(&sub->leaf) != &sub->leaf)
		return false;
	return !sub->leaf.next || at_leaf(sub->leaf.next)->who->gate;
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

static void tell_one(struct topicleaf *first, void *arg)
{
	struct router_watcher *w = arg;
	int qos = wanted_qos(first);
	uint8_t text[TOPICTREE_TEXT_MAX];

	if (qos >= 0)
		w->wanted(w, topictree_text(first->at, text), (uint8_t)qos);
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
	struct subscriber *s, const struct topicleaf *first, bool exclusive)
{
	if (!first)
		return NULL;
	for (struct subscription *sub = s->subscriptions; sub; sub = sub->next) {
		if (sub->leaf.at == first->at && sub->opts.exclusive == exclusive)
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
	struct subscription *sub =
		subscription_quota_left(r, s) ? pool_get(&r->subscriptions) : NULL;

	if (!sub)
		return NULL;
	if (topictree_insert(r->tree, filter, &sub->leaf)) {
		pool_put(&r->subscriptions, sub);
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
	pool_put(&r->subscriptions, sub);
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
static bool is_taken(const struct subscriber *s, const struct topicleaf *first)
{
	for (const struct topicleaf *leaf = first; leaf; leaf = leaf->next) {
		if (at_leaf(leaf)->opts.exclusive && at_leaf(leaf)->who != s)
			return true;
	}
	return false;
}

/* Takes over the options and moves the leaf to where the order wants it; a new one is the second.
 */
static void set_opts(struct router *r, struct subscription *sub, struct span filter,
	const struct sub_opts *opts, int wanted_before)
{
	sub->opts = *opts;
	if (sub->who->gate) {
		topictree_to_end(&sub->leaf);
		return;
	}
	if (opts->qos >= wanted_before)
		topictree_to_front(&sub->leaf);
	if (opts->qos > wanted_before)
		tell_wanted(r, filter, opts->qos);
}

enum reason subscription_set(
	struct router *r, struct subscriber *s, struct span filter, const struct sub_opts *opts)
{
	const struct topicleaf *first = topictree_leaves(r->tree, filter);
	int wanted_before = wanted_qos(first);
	struct subscription *sub = subscription_find(s, first, opts->exclusive);
	bool fresh = !sub;

	if (opts->exclusive && is_taken(s, first))
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
