#include "gateway/core/registry.h"

#include "gateway/base/count.h"
#include "gateway/core/ptrtable.h"

#include <stdlib.h>
#include <string.h>

struct sessions {
	struct router *router; /* borrowed */
	struct sessions_conf conf;
	const struct autosub *autosub; /* borrowed; NULL: none */
	struct session_store *store;   /* the same */
	struct ptrtable by_name;       /* all; by protocol and client id */
	size_t n_attached;
	struct list watchers; /* of sessions_watcher.node */
};

static struct count connects = COUNT("sessions.connects");

struct name {
	enum protocol protocol;
	const char *client_id;
};

static uint32_t name_hash(enum protocol p, const char *client_id)
{
	return (uint32_t)(hash_bytes(client_id, strlen(client_id)) >> 32) + (uint32_t)p;
}

static uint32_t session_hash(const void *entry)
{
	const struct session *s = entry;
	return name_hash(s->who.protocol, s->who.client_id);
}

static bool session_is(const void *entry, const void *key)
{
	const struct session *s = entry;
	const struct name *name = key;
	return s->who.protocol == name->protocol && strcmp(s->who.client_id, name->client_id) == 0;
}

struct sessions *sessions_new(struct router *router, const struct sessions_conf *conf)
{
	struct sessions *all = must_calloc(1, sizeof(*all));
	all->router = router;
	all->conf = *conf;
	list_init(&all->watchers);
	ptrtable_init(&all->by_name, session_hash);
	return all;
}

static void set_limits(struct session *s, void *arg)
{
	const struct sessions *all = arg;
	s->sub.max_subscriptions = all->conf.max_subscriptions;
}

void sessions_set_conf(struct sessions *all, const struct sessions_conf *conf)
{
	all->conf = *conf;
	sessions_each(all, set_limits, all);
}

void sessions_free(struct sessions *all)
{
	struct ptrtable *table = &all->by_name;
	/* The table shrinks on the way, and others move into the slot of one that ends. */
	for (size_t i = 0; table->n; i = i + 1 < table->cap ? i + 1 : 0) {
		while (i < table->cap && table->slots[i])
			session_end(table->slots[i], R_SHUTTING_DOWN, false);
	}
	ptrtable_clear(&all->by_name);
	free(all);
}

int sessions_add(struct sessions *all, struct session *s)
{
	return ptrtable_add(&all->by_name, s);
}

void sessions_remove(struct sessions *all, struct session *s)
{
	ptrtable_remove(&all->by_name, s);
}

void sessions_attached(struct sessions *all, const struct session *s, bool attached)
{
	struct list *pos;

	if (attached) {
		all->n_attached++;
		count_one(&connects);
	} else {
		all->n_attached--;
	}
	list_for_each(pos, &all->watchers) {
		struct sessions_watcher *w = list_entry(pos, struct sessions_watcher, node);
		w->changed(w, s, attached);
	}
}

void sessions_watch(struct sessions *all, struct sessions_watcher *w)
{
	list_append(&all->watchers, &w->node);
}

void sessions_unwatch(struct sessions_watcher *w)
{
	list_remove(&w->node);
}

struct session *sessions_find(struct sessions *all, enum protocol p, const char *client_id)
{
	struct name name = { p, client_id };
	return ptrtable_find(&all->by_name, name_hash(p, client_id), session_is, &name);
}

void sessions_each(struct sessions *all, void (*each)(struct session *, void *), void *arg)
{
	for (size_t i = 0; i < all->by_name.cap; i++) {
		if (all->by_name.slots[i])
			each(all->by_name.slots[i], arg);
	}
}

struct router *sessions_router(struct sessions *all)
{
	return all->router;
}

const struct sessions_conf *sessions_conf(const struct sessions *all)
{
	return &all->conf;
}

void sessions_set_autosub(struct sessions *all, const struct autosub *autosub)
{
	all->autosub = autosub;
}

void sessions_set_store(struct sessions *all, struct session_store *st)
{
	all->store = st;
}

struct session_store *sessions_store(const struct sessions *all)
{
	return all->store;
}

const struct autosub *sessions_autosub(const struct sessions *all)
{
	return all->autosub;
}

bool sessions_full(const struct sessions *all)
{
	return all->conf.max_sessions && all->by_name.n >= all->conf.max_sessions;
}

size_t sessions_count(const struct sessions *all, bool attached_only)
{
	return attached_only ? all->n_attached : all->by_name.n;
}
