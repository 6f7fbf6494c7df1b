#ifndef TIDEGATE_MQTT_MQ_GROUP_H
#define TIDEGATE_MQTT_MQ_GROUP_H

#include "adapters/mqtt/mq_conf.h"
#include "adapters/mqtt/mq_ws.h"
#include "gateway/base/list.h"

struct mqtt;
struct ssl_ctx_st;

/* A section [mqtt] or [mqtt.NAME] at work: some listeners, and by what rules they serve. */
struct mq_group {
	struct list node;  /* mqtt->groups, [mqtt] first */
	struct mqtt *mqtt; /* borrowed */
	char *section;     /* owned: "mqtt", "mqtt.NAME" */
	char *mountpoint;  /* owned; of the start; NULL: none */
	int64_t connect_timeout_ms;
	uint16_t max_keepalive_s; /* 0: none */
	struct ssl_ctx_st *tls;   /* owned; for new connections; NULL without a TLS listener */
	struct mq_ws_rules ws;    /* its strings are owned */
};

/* Ends the program where there is no memory: groups are made at the start only. */
struct mq_group *mq_group_new(struct mqtt *m, const char *section, const struct mqtt_conf *conf);
/* Takes the values over, also those of a reload; certificates and keys are read again, and
 * connections that stand keep what they began with. 0; -EINVAL after one line in the log, with the
 * old ones kept. */
int mq_group_configure(struct mq_group *g, const struct mqtt_conf *conf);
/* NULL: none. */
struct mq_group *mq_group_find(struct mqtt *m, const char *section);
void mq_groups_free(struct mqtt *m);

#endif
