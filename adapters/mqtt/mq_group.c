#include "adapters/mqtt/mq_group.h"

#include "adapters/mqtt/mqtt.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int apply_tls(struct mq_group *g, const struct mqtt_conf *mc)
{
	struct mq_tls_error err;
	struct ssl_ctx_st *ctx;

	if (!mq_conf_wants_tls(mc))
		return 0;
	if (mq_tls_context_new(&mc->tls, &ctx, &err) < 0) {
		log_error("mqtt: [%s] %s: %s", g->section, err.key, err.text);
		return -EINVAL;
	}
	mq_tls_context_free(g->tls);
	g->tls = ctx;
	return 0;
}

static void ws_rules_free(struct mq_ws_rules *ws)
{
	for (size_t i = 0; i < ws->n_origins; i++)
		free((void *)(uintptr_t)ws->origins[i]);
	free((void *)(uintptr_t)ws->origins);
	free((void *)(uintptr_t)ws->path);
	*ws = (struct mq_ws_rules){ 0 };
}

static void apply_ws(struct mq_group *g, const struct mqtt_conf *mc)
{
	const char **origins = must_calloc(mc->ws_origins.n + 1, sizeof(*origins));

	for (size_t i = 0; i < mc->ws_origins.n; i++)
		origins[i] = must_strdup(mc->ws_origins.items[i]);
	ws_rules_free(&g->ws);
	g->ws = (struct mq_ws_rules){
		.path = must_strdup(mc->ws_path),
		.origins = origins,
		.n_origins = mc->ws_origins.n,
	};
}

int mq_group_configure(struct mq_group *g, const struct mqtt_conf *conf)
{
	int e = apply_tls(g, conf);

	if (e)
		return e;
	apply_ws(g, conf);
	g->connect_timeout_ms = conf->connect_timeout_ms;
	g->max_keepalive_s = (uint16_t)(conf->max_keepalive_ms / 1000);
	return 0;
}

struct mq_group *mq_group_new(struct mqtt *m, const char *section, const struct mqtt_conf *conf)
{
	struct mq_group *g = must_calloc(1, sizeof(*g));

	g->mqtt = m;
	g->section = must_strdup(section);
	g->mountpoint = conf->mountpoint ? must_strdup(conf->mountpoint) : NULL;
	list_append(&m->groups, &g->node);
	return g;
}

struct mq_group *mq_group_find(struct mqtt *m, const char *section)
{
	struct list *pos;

	list_for_each(pos, &m->groups) {
		struct mq_group *g = list_entry(pos, struct mq_group, node);

		if (strcmp(g->section, section) == 0)
			return g;
	}
	return NULL;
}

void mq_groups_free(struct mqtt *m)
{
	while (!list_empty(&m->groups)) {
		struct mq_group *g = list_first(&m->groups, struct mq_group, node);

		list_remove(&g->node);
		mq_tls_context_free(g->tls);
		ws_rules_free(&g->ws);
		free(g->mountpoint);
		free(g->section);
		free(g);
	}
}
