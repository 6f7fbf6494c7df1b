#ifndef TIDEGATE_TESTS_CTL_HUB_H
#define TIDEGATE_TESTS_CTL_HUB_H

/* A router with one subscriber to $SYS that remembers what it was given last. Included after
 * cmocka.h. */
#include "gateway/base/clock.h"
#include "gateway/base/reap.h"
#include "gateway/base/timer.h"
#include "gateway/base/util.h"
#include "gateway/core/message.h"
#include "gateway/core/router.h"
#include "gateway/core/session.h"

#include <stdio.h>
#include <string.h>

static struct hub {
	struct router *router;
	struct sessions *sessions;
	struct identity who;
	struct subscriber watcher;
	unsigned n;
	char topic[128], payload[512]; /* the last one */
	bool retain;
} hub;

static enum reason hub_offer(
	struct subscriber *s, struct message *m, struct offer *o, struct receipt *receipt)
{
	(void)s;
	(void)o;
	(void)receipt;
	hub.n++;
	snprintf(hub.topic, sizeof(hub.topic), "%.*s", SPAN_ARGS(message_topic(m)));
	snprintf(hub.payload, sizeof(hub.payload), "%.*s", SPAN_ARGS(message_payload(m)));
	hub.retain = m->retain;
	return R_SUCCESS;
}

static inline int hub_up(void **state)
{
	static const struct subscriber_ops ops = { .offer = hub_offer };
	struct sub_opts opts = { .retain_handling = 2 };

	(void)state;
	clock_freeze(1000000, 1700000000000);
	memset(&hub, 0, sizeof(hub));
	hub.router = router_new(&policy_allow_all, &(struct router_limits){ 0 });
	hub.sessions = sessions_new(hub.router, &(struct sessions_conf){ .queue_messages = 10 });
	hub.who = (struct identity){ .client_id = "watcher", .origin = identity_new_origin() };
	subscriber_init(&hub.watcher, &ops, &hub.who);
	router_subscribe(hub.router, &hub.watcher, span_str("$SYS/#"), &opts);
	return 0;
}

static inline int hub_down(void **state)
{
	(void)state;
	sessions_free(hub.sessions);
	reap();
	router_leave(hub.router, &hub.watcher);
	router_free(hub.router);
	return messages_bytes() == 0 ? 0 : -1;
}

/* What is retained below $SYS/broker/; NULL: nothing. */
static inline const char *hub_value(const char *name)
{
	static char topic[160], value[160];

	snprintf(topic, sizeof(topic), "$SYS/broker/%s", name);
	const struct message *m = router_retained(hub.router, span_str(topic));
	if (!m)
		return NULL;
	snprintf(value, sizeof(value), "%.*s", SPAN_ARGS(message_payload(m)));
	return value;
}

#define HUB_TEST(name) cmocka_unit_test_setup_teardown(name, hub_up, hub_down)

#endif
