#include "gateway/core/registry.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 64

/* Chained hashing over protocol and client id. The table doubles when there are more sessions than
 * buckets: growing costs each session a constant share, about 0.1 us. */
struct sessions {
	struct router *router; /* borrowed */
	struct sessions_conf conf;
	struct list all;      /* of session.node, oldest first */
	struct list *buckets; /* owned; of session.chain */
	size_t n_buckets;     /* a power of two */
	size_t n, n_attached;
};

static size_t bucket_of(const struct sessions *all, enum protocol p, const char *client_id)
{
	uint64_t h = hash_bytes(client_id, strlen(client_id)) + (uint64_t)p;
	return (size_t)h & (all->n_buckets - 1);
}

static struct list *buckets_init(struct list *buckets, size_t n)
{
	for (size_t i = 0; i < n; i++)
		list_init(&buckets[i]);
	return buckets;
}

struct sessions *sessions_new(struct router *router, const struct sessions_conf *conf)
{
	struct sessions *all = must_calloc(1, sizeof(*all));
	all->router = router;
	all->conf = *conf;
	list_init(&all->all);
	all->n_buckets = BUCKETS_MIN;
	all->buckets = buckets_init(must_calloc(BUCKETS_MIN, sizeof(struct list)), BUCKETS_MIN);
	return all;
}

void sessions_set_conf(struct sessions *all, const struct sessions_conf *conf)
{
	struct list *pos;
	all->conf = *conf;
	list_for_each(pos, &all->all)
		list_entry(pos, struct session, node)->sub.max_subscriptions =
			conf->max_subscriptions;
}

void sessions_free(struct sessions *all)
{
	while (!list_empty(&all->all))
		session_end(list_first(&all->all, struct session, node), R_SHUTTING_DOWN, false);
	free(all->buckets);
	free(all);
}

static void chain(struct sessions *all, struct session *s)
{
	size_t i = bucket_of(all, s->who.protocol, s->who.client_id);
	list_append(&all->buckets[i], &s->chain);
}

/* Without memory the chains get longer, that is all. */
static void grow(struct sessions *all)
{
	size_t n = all->n_buckets * 2;
	struct list *buckets = calloc(n, sizeof(*buckets));
	if (!buckets)
		return;
	struct list *old = all->buckets;
	all->buckets = buckets_init(buckets, n);
	all->n_buckets = n;
	struct list *pos;
	list_for_each(pos, &all->all)
		chain(all, list_entry(pos, struct session, node));
	free(old);
}

void sessions_add(struct sessions *all, struct session *s)
{
	if (all->n >= all->n_buckets)
		grow(all);
	list_append(&all->all, &s->node);
	chain(all, s);
	all->n++;
}

void sessions_remove(struct sessions *all, struct session *s)
{
	list_remove(&s->node);
	list_remove(&s->chain);
	all->n--;
}

void sessions_attached(struct sessions *all, int change)
{
	all->n_attached += (size_t)change;
}

struct session *sessions_find(struct sessions *all, enum protocol p, const char *client_id)
{
	struct list *bucket = &all->buckets[bucket_of(all, p, client_id)];
	struct list *pos;
	list_for_each(pos, bucket) {
		struct session *s = list_entry(pos, struct session, chain);
		if (s->who.protocol == p && strcmp(s->who.client_id, client_id) == 0)
			return s;
	}
	return NULL;
}

void sessions_each(struct sessions *all, void (*each)(struct session *, void *), void *arg)
{
	struct list *pos, *tmp;
	list_for_each_safe(pos, tmp, &all->all)
		each(list_entry(pos, struct session, node), arg);
}

struct router *sessions_router(struct sessions *all)
{
	return all->router;
}

const struct sessions_conf *sessions_conf(const struct sessions *all)
{
	return &all->conf;
}

bool sessions_full(const struct sessions *all)
{
	return all->conf.max_sessions && all->n >= all->conf.max_sessions;
}

size_t sessions_count(const struct sessions *all, bool attached_only)
{
	return attached_only ? all->n_attached : all->n;
}
