#ifndef TIDEGATE_CTL_SYS_H
#define TIDEGATE_CTL_SYS_H

#include <stdint.h>

struct journal;
struct router;
struct session_store;
struct sessions;
struct upstream;

/* The $SYS topics: the names of mosquitto, every counter of the gateway below $SYS/broker/counters,
 * the states of upstream and storage, and who comes and goes. Totals and loads are those of the
 * clients of all protocols: a packet is a datagram of MQTT-SN and CoAP as well, what these publish
 * and are notified of counts as PUBLISH; only TCP has sockets; the upstream is not in them. All but
 * the events are retained and published when their value has changed. Never sent upstream. */
struct sys;

struct sys_sources { /* borrowed; journal and upstream may be NULL */
	const char *gateway_id;
	struct router *router;
	struct sessions *sessions;
	struct session_store *session_store;
	struct journal *journal;
	struct upstream *upstream;
};

/* `interval_ms` between two looks at the values; 0: only events and the states of
 * upstream and storage. */
struct sys *sys_new(const struct sys_sources *sources, int64_t interval_ms);
void sys_set_interval(struct sys *s, int64_t interval_ms);
/* Each turn: what must not wait for the interval. */
void sys_turn(struct sys *s);
/* Before the sessions go. */
void sys_free(struct sys *s);

#endif
