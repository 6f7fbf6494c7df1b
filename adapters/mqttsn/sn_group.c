#include "adapters/mqttsn/sn_group.h"

#include "adapters/mqttsn/sn_gateway.h"

#include <stdlib.h>
#include <string.h>

static void clear_forwarders(struct sn_group *g)
{
	free(g->forwarders);
	g->forwarders = NULL;
	g->n_forwarders = 0;
	g->any_forwarder = false;
}

/* The configuration has been checked: what is not a word is an address. */
static void configure_forwarders(struct sn_group *g, const struct conf_list *list)
{
	struct addr *addrs = calloc(list->n + 1, sizeof(*addrs));
	if (!addrs) /* a reload without memory: the old ones stay */
		return;
	clear_forwarders(g);
	g->forwarders = addrs;
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->items[i], SN_FORWARDERS_ANY) == 0)
			g->any_forwarder = true;
		else if (addr_from_text(&addrs[g->n_forwarders], list->items[i], 0) == 0)
			g->n_forwarders++;
	}
}

void sn_group_configure(struct sn_group *g, const struct sn_conf *conf)
{
	configure_forwarders(g, &conf->forwarders);
	*g->conf = *conf;
	g->conf->listen = g->conf->forwarders = (struct conf_list){ 0 };
	g->conf->multicast = g->conf->advertise = (struct conf_list){ 0 };
	g->conf->multicast_interface = NULL;
	g->conf->predefined_file = g->conf->mountpoint = NULL;
}

void sn_group_mount(struct sn_group *g, const struct sn_conf *conf)
{
	g->mountpoint = conf->mountpoint ? must_strdup(conf->mountpoint) : NULL;
}

struct sn_group *sn_group_new(struct sn_gateway *gw, const char *name, const struct sn_conf *conf)
{
	struct sn_group *g = must_calloc(1, sizeof(*g));
	g->gw = gw;
	g->name = must_strdup(name);
	g->conf = must_calloc(1, sizeof(*g->conf));
	sn_group_configure(g, conf);
	sn_group_mount(g, conf);
	list_append(&gw->groups, &g->node);
	return g;
}

struct sn_group *sn_group_find(struct list *groups, const char *name)
{
	struct list *pos;
	list_for_each(pos, groups) {
		struct sn_group *g = list_entry(pos, struct sn_group, node);
		if (strcmp(g->name, name) == 0)
			return g;
	}
	return NULL;
}

void sn_group_clear(struct sn_group *g)
{
	clear_forwarders(g);
	free(g->mountpoint);
	g->mountpoint = NULL;
}

void sn_groups_free(struct list *groups)
{
	while (!list_empty(groups)) {
		struct sn_group *g = list_first(groups, struct sn_group, node);
		list_remove(&g->node);
		sn_group_clear(g);
		free(g->name);
		free(g->conf);
		free(g);
	}
}

bool sn_group_forwards(const struct sn_group *g, const struct addr *from)
{
	for (size_t i = 0; i < g->n_forwarders; i++) {
		if (addr_same_ip(&g->forwarders[i], from))
			return true;
	}
	return g->any_forwarder;
}
