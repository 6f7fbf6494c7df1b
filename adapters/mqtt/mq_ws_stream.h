#ifndef TIDEGATE_MQTT_MQ_WS_STREAM_H
#define TIDEGATE_MQTT_MQ_WS_STREAM_H

#include "adapters/mqtt/mq_stream.h"
#include "adapters/mqtt/mq_ws.h"

/* WebSocket (mq_ws.h) above a socket or TLS, for requests that `rules` let in, which outlive
 * it and may change. Owns `below`, also when it returns NULL for want of memory. Pings are
 * answered, and what is written goes out as one binary frame for each write. */
struct mq_stream *mq_ws_stream_new(struct mq_stream *below, const struct mq_ws_rules *rules);

#endif
