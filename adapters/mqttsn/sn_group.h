#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_GROUP_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_GROUP_H

#include "adapters/mqttsn/sn_conf.h"
#include "gateway/base/addr.h"
#include "gateway/base/list.h"

#include <stdbool.h>
#include <stddef.h>

struct sn_gateway;

/* A section [mqttsn] or [mqttsn.NAME] at work: some listeners, and by what rules they serve. */
struct sn_group {
	struct list node;      /* sn_gateway.groups */
	struct sn_gateway *gw; /* borrowed */
	char *name;            /* owned; NULL: [mqttsn] */
	struct sn_conf *conf;  /* owned; of [mqttsn]: borrowed from the gateway */
	char *mountpoint;      /* owned; of the start; NULL: none */
	bool any_forwarder;
	struct addr *forwarders; /* owned; the ports are 0 */
	size_t n_forwarders;
};

/* Ends the program where there is no memory: groups are made at the start only. */
struct sn_group *sn_group_new(struct sn_gateway *gw, const char *name, const struct sn_conf *conf);
/* At the start; ends the program where there is no memory. */
void sn_group_mount(struct sn_group *group, const struct sn_conf *conf);
/* Takes the values over that a reload may change; none of the lists and strings of the file's
 * struct conf. */
void sn_group_configure(struct sn_group *group, const struct sn_conf *conf);
/* The group of that name, NULL: none. */
struct sn_group *sn_group_find(struct list *groups, const char *name);
/* What the others made, but not the group. */
void sn_group_clear(struct sn_group *group);
void sn_groups_free(struct list *groups);

/* Whether encapsulated messages are taken from there. */
bool sn_group_forwards(const struct sn_group *group, const struct addr *from);

#endif
