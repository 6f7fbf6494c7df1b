#ifndef TIDEGATE_MQTT_MQ_LISTEN_H
#define TIDEGATE_MQTT_MQ_LISTEN_H

#include "gateway/base/addr.h"

struct mqtt;
struct mq_group;

struct mq_place {
	struct addr addr;
	const char *scheme; /* static */
	bool tls, ws;
};

/* "mqtt://127.0.0.1:1883", "wss://[::]" (IPv4 too, unless 0.0.0.0 is listened on as well). 0, or
 * -EINVAL. */
int mq_listen_parse(const char *uri, struct mq_place *p);
/* Opens one and adds it to mqtt->listeners. 0, or a negative errno after one line in the log.
 * `v6_only`: an IPv6 wildcard leaves IPv4 alone. */
int mq_listen_open(struct mq_group *g, const struct mq_place *p, bool v6_only);
/* Closes them all. */
void mq_listen_close(struct mqtt *m);

#endif
