#include "gateway/core/share.h"

#include "gateway/base/count.h"
#include "gateway/base/util.h"

#include <stdlib.h>
#include <string.h>

static struct count nobody = COUNT("share.nobody");
static struct count passed_over = COUNT("share.passed_over");

struct member {
	struct subscription sub; /* its leaf is in no tree */
	struct share *group;     /* borrowed */
	uint32_t slot;           /* in group->members */
};

struct share {
	struct router *router;   /* borrowed */
	struct identity who;     /* nobody: rights are those of the member that is chosen */
	struct subscriber sub;   /* with one subscription, to the inner filter */
	struct member **members; /* owned */
	uint32_t n, cap;
	uint32_t next; /* round robin: whose turn it is; sticky: who has it */
	uint32_t hash;
	uint16_t len;
	uint8_t text[]; /* $share/group/filter */
};

const char *const share_strategies[] = {
	[SHARE_ROUND_ROBIN] = "round_robin",
	[SHARE_RANDOM] = "random",
	[SHARE_STICKY] = "sticky",
	[SHARE_HASH_CLIENTID] = "hash_clientid",
	[SHARE_HASH_TOPIC] = "hash_topic",
	NULL,
};

static struct member *member_at(struct subscription *sub)
{
	return container_of(sub, struct member, sub);
}

/* ---- who gets it ---- */

/* Jump consistent hash (Lamping and Veach, 2014): when a member comes or goes only its own share of
 * the keys moves to others. */
static uint32_t jump(uint64_t key, uint32_t n)
{
	int64_t at = 0;

	for (int64_t next = 0; next < (int64_t)n;) {
		at = next;
		key = key * UINT64_C(2862933555777941757) + 1;
		next = (int64_t)((double)(at + 1) * (0x1p31 / (double)((key >> 33) + 1)));
	}
	return (uint32_t)at;
}

/* Who publishes without a client id is told apart by its number. */
static uint64_t publisher_hash(const struct identity *from)
{
	size_t len = strlen(from->client_id);

	return len ? hash_bytes(from->client_id, len)
		   : hash_bytes(&from->origin, sizeof(from->origin));
}

static uint32_t choose(const struct share *g, const struct message *m, const struct identity *from)
{
	struct span topic = message_topic(m);

	switch (g->router->limits.share_strategy) {
	case SHARE_RANDOM:
		return random_below(g->n);
	case SHARE_HASH_CLIENTID:
		return jump(publisher_hash(from), g->n);
	case SHARE_HASH_TOPIC:
		return jump(hash_bytes(topic.p, topic.len), g->n);
	case SHARE_ROUND_ROBIN:
	case SHARE_STICKY:
		break;
	}
	return g->next;
}

static void chosen(struct share *g, uint32_t slot)
{
	g->next = slot;
	if (g->router->limits.share_strategy != SHARE_STICKY)
		g->next = (slot + 1) % g->n;
}

static bool is_ready(const struct member *mb, const struct message *m)
{
	struct subscriber *s = mb->sub.who;

	return !s->ops->ready || s->ops->ready(s, m);
}

static enum reason offer_member(struct share *g, const struct member *mb, struct message *m,
	struct offer *o, struct receipt *receipt)
{
	const struct sub_opts *opts = &mb->sub.opts;
	struct offer own = {
		.from = o->from,
		.qos = MIN(m->qos, opts->qos),
		.retain = m->retain && opts->retain_as_published,
		.sub_ids = opts->sub_id,
	};

	if (!router_allows(g->router, mb->sub.who->who, ACCESS_RECEIVE, message_topic(m)))
		return R_NOT_AUTHORIZED;
	enum reason reason =
		router_offer(g->router, mb->sub.who, m, &own, own.qos ? receipt : NULL);
	o->unkept |= own.unkept;
	return reason;
}

/* From `first` on around the group, those that are ready or those that are not. */
static bool offer_around(struct share *g, uint32_t first, bool ready, struct message *m,
	struct offer *o, struct receipt *receipt)
{
	for (uint32_t i = 0; i < g->n; i++) {
		uint32_t slot = (uint32_t)(((uint64_t)first + i) % g->n);
		const struct member *mb = g->members[slot];

		if (is_ready(mb, m) != ready || reason_failed(offer_member(g, mb, m, o, receipt))) {
			count_one(&passed_over);
			continue;
		}
		chosen(g, slot);
		return true;
	}
	return false;
}

static enum reason on_offer(
	struct subscriber *s, struct message *m, struct offer *o, struct receipt *receipt)
{
	struct share *g = container_of(s, struct share, sub);
	uint32_t first = choose(g, m, o->from);

	if (offer_around(g, first, true, m, o, receipt) ||
		offer_around(g, first, false, m, o, receipt))
		return R_SUCCESS;
	count_one(&nobody);
	return R_QUOTA;
}

static const struct subscriber_ops group_ops = { .offer = on_offer };

/* ---- groups ---- */

static uint32_t text_hash(struct span text)
{
	return (uint32_t)hash_bytes(text.p, text.len);
}

static uint32_t entry_hash(const void *entry)
{
	return ((const struct share *)entry)->hash;
}

static bool has_text(const void *entry, const void *key)
{
	const struct share *g = entry;

	return span_equal(span_of(g->text, g->len), *(const struct span *)key);
}

static struct share *group_find(const struct router *r, struct span text)
{
	return ptrtable_find(&r->shares, text_hash(text), has_text, &text);
}

static struct share *group_new(struct router *r, struct span text)
{
	struct share *g = calloc(1, sizeof(*g) + text.len);

	if (!g)
		return NULL;
	g->router = r;
	g->who = (struct identity){ .client_id = "", .protocol = PROTO_GATEWAY };
	g->hash = text_hash(text);
	g->len = (uint16_t)text.len;
	memcpy(g->text, text.p, text.len);
	subscriber_init(&g->sub, &group_ops, &g->who);
	if (ptrtable_add(&r->shares, g)) {
		free(g);
		return NULL;
	}
	return g;
}

static void group_end_if_empty(struct router *r, struct share *g)
{
	if (g->n)
		return;
	router_leave(r, &g->sub);
	ptrtable_remove(&r->shares, g);
	free(g->members);
	free(g);
}

static bool group_reserve(struct share *g)
{
	if (g->n < g->cap)
		return true;
	uint32_t cap = g->cap ? g->cap * 2 : 4;
	struct member **members = reallocarray(g->members, cap, sizeof(struct member *));

	if (!members)
		return false;
	g->members = members;
	g->cap = cap;
	return true;
}

/* The group asks for the highest QoS that a member ever had, and for no retained messages
 * (MQTT 5.0, 4.8.2). */
static enum reason group_subscribe(
	struct router *r, struct share *g, struct span filter, uint8_t qos)
{
	struct sub_opts opts = { .qos = qos, .retain_handling = 2 };

	if (g->sub.subscriptions && g->sub.subscriptions->opts.qos >= qos)
		return R_SUCCESS;
	return subscription_set(r, &g->sub, filter, &opts);
}

/* ---- members ---- */

static struct subscription *member_of(const struct share *g, struct subscriber *s)
{
	for (struct subscription *sub = s->subscriptions; sub; sub = sub->next) {
		if (share_is_member(sub) && member_at(sub)->group == g)
			return sub;
	}
	return NULL;
}

static struct subscription *join(struct router *r, struct share *g, struct subscriber *s)
{
	struct member *mb =
		subscription_quota_left(r, s) && group_reserve(g) ? calloc(1, sizeof(*mb)) : NULL;

	if (!mb)
		return NULL;
	mb->group = g;
	mb->slot = g->n;
	g->members[g->n++] = mb;
	subscription_link(r, s, &mb->sub);
	r->n_members++;
	return &mb->sub;
}

enum reason share_subscribe(struct router *r, struct subscriber *s, struct span text,
	struct span filter, const struct sub_opts *opts)
{
	struct share *g = group_find(r, text);
	struct subscription *sub = g ? member_of(g, s) : NULL;

	if (!g && !(g = group_new(r, text)))
		return R_QUOTA;
	enum reason reason = group_subscribe(r, g, filter, opts->qos);
	if (!reason_failed(reason) && !sub && !(sub = join(r, g, s)))
		reason = R_QUOTA;
	if (reason_failed(reason)) {
		group_end_if_empty(r, g);
		return reason;
	}
	sub->opts = *opts;
	return (enum reason)opts->qos;
}

struct subscription *share_find(struct router *r, struct subscriber *s, struct span text)
{
	const struct share *g = group_find(r, text);

	return g ? member_of(g, s) : NULL;
}

struct span share_text(const struct subscription *member)
{
	const struct share *g = container_of(member, const struct member, sub)->group;

	return span_of(g->text, g->len);
}

/* The last one takes the free slot, with the turn if it had it. */
static void close_gap(struct share *g, uint32_t slot)
{
	uint32_t last = --g->n;

	g->members[slot] = g->members[last];
	g->members[slot]->slot = slot;
	if (g->next == last)
		g->next = slot;
	if (g->next >= g->n)
		g->next = 0;
}

void share_leave(struct router *r, struct subscription *member)
{
	struct member *mb = member_at(member);
	struct share *g = mb->group;

	close_gap(g, mb->slot);
	subscription_unlink(r, member);
	r->n_members--;
	free(mb);
	group_end_if_empty(r, g);
}

void shares_init(struct router *r)
{
	ptrtable_init(&r->shares, entry_hash);
}

void shares_close(struct router *r)
{
	ptrtable_clear(&r->shares);
}
