#ifndef TIDEGATE_MQTT_MQ_LISTEN_H
#define TIDEGATE_MQTT_MQ_LISTEN_H

#include "gateway/base/addr.h"

struct mqtt;

/* "mqtt://127.0.0.1:1883", "mqtt://[::]" (IPv4 too, unless 0.0.0.0 is listened on as well). 0, or
 * -EINVAL. */
int mq_listen_parse(const char *uri, struct addr *a);
/* Opens one and adds it to m->listeners. 0, or a negative errno after one line in the log.
 * `v6_only`: an IPv6 wildcard leaves IPv4 alone. */
int mq_listen_open(struct mqtt *m, const struct addr *a, bool v6_only);
/* Closes them all. */
void mq_listen_close(struct mqtt *m);

#endif
