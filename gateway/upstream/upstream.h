#ifndef TIDEGATE_UPSTREAM_UPSTREAM_H
#define TIDEGATE_UPSTREAM_UPSTREAM_H

#include "gateway/base/conf.h"

#include <stdbool.h>
#include <stdint.h>

/* The bridge to a broker: for the hub one more subscriber with a queue. It takes what `export`
 * names as a gate of the router, makes QoS 1 and 2 safe (backlog.h), sends it in order through an
 * uplink (uplink.h), subscribes upstream to what is wanted here (interest.h) and publishes what
 * comes. */
struct upstream;

struct backlog;
struct event_base;
struct exchanges;
struct interest_memory;
struct journal;
struct keeper_conf;
struct ledger;
struct router;
struct uplink;
struct uplink_events;

extern const struct conf_section upstream_conf_section; /* "upstream"; absent: the hub alone */
/* hold_ms and memory_bytes, which are its settings; or what they are for the hub alone. */
void upstream_keeper_conf(const struct conf *conf, struct keeper_conf *k);

/* Starts connecting. `journal` NULL: memory only. `backlog` and `exchanges` have taken their
 * records already; they and `gateway_id` outlive the upstream, `conf` lives until a reload replaces
 * it. Returns 0 or a negative errno. */
int upstream_new(struct event_base *base, struct router *router, struct journal *journal,
	struct backlog *backlog, struct exchanges *exchanges, const struct conf *conf,
	const char *gateway_id, struct upstream **out);
/* Before the loop runs: what is subscribed at the broker is remembered there (borrowed). */
void upstream_remember(struct upstream *u, struct interest_memory *memory);
/* The same over another client library, for tests. NULL: no memory. */
typedef struct uplink *uplink_new_fn(struct event_base *base, struct exchanges *exchanges,
	const struct uplink_events *events, void *arg);
int upstream_new_over(uplink_new_fn *new_uplink, struct event_base *base, struct router *router,
	struct journal *journal, struct backlog *backlog, struct exchanges *exchanges,
	const struct conf *conf, const char *gateway_id, struct upstream **out);

/* End of each turn, before journal_turn(). */
void upstream_turn(struct upstream *u);
/* A new configuration replaces the old one, which may be freed afterwards. Changed servers or
 * credentials mean a new connection. Returns 0 or a negative errno, then nothing has changed. */
int upstream_reload(struct upstream *u, const struct conf *conf);
/* The gateway ends: takes nothing more, makes all that is held safe, sends on what it can. True
 * when nobody waits for anything. */
bool upstream_drain(struct upstream *u);
/* Disconnects (waiting 1 s at most) and frees. */
void upstream_stop(struct upstream *u);

enum upstream_state { UPSTREAM_WAITING, UPSTREAM_CONNECTING, UPSTREAM_UP, UPSTREAM_CLOSING };
struct upstream_status {
	enum upstream_state state;
	char uri[300];    /* the one in use or tried last */
	unsigned version; /* 5 or 4 (3.1.1) while up, else 0 */
	int64_t since_ms; /* clock_ms() of the last change to or from up */
	uint64_t queued, in_flight, journaled;
	int64_t journaled_bytes;
	uint64_t sent, received, refused, dropped_qos0, expired;
	uint64_t connects; /* connections that came up */
	unsigned window, interests;
	int storage_error; /* 0, or why the journal takes nothing (negative errno): an alarm */
	char last_error[160];
};
bool upstream_is_up(const struct upstream *u);
void upstream_status(const struct upstream *u, struct upstream_status *s);
struct ledger *upstream_ledger(struct upstream *u); /* what did not arrive, and whose it was */
const char *upstream_state_name(enum upstream_state s);
void upstream_dump(struct upstream *u); /* to the log */

#endif
