#ifndef TIDEGATE_MQTT_MQ_CONF_H
#define TIDEGATE_MQTT_MQ_CONF_H

#include "adapters/mqtt/mq_tls.h"
#include "gateway/base/conf.h"

/* Section [mqtt], or [mqtt.NAME]: a further group of listeners; the rows are in mq_conf.c, the
 * section is mqtt_conf_section (adapter.h). */
struct mqtt_conf {
	struct conf_list listen;
	bool allow_plain;
	int64_t max_connections;
	int64_t connect_timeout_ms;
	int64_t max_keepalive_ms; /* 0: none */
	int64_t max_handshakes;
	const char *ws_path;
	struct conf_list ws_origins;
	struct mq_tls_conf tls;
	const char *mountpoint; /* NULL: none */
};

/* Is one of the listeners mqtts:// or wss://? */
bool mq_conf_wants_tls(const struct mqtt_conf *mc);

#endif
