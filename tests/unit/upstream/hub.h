#ifndef TIDEGATE_TESTS_UPSTREAM_HUB_H
#define TIDEGATE_TESTS_UPSTREAM_HUB_H

/* A hub with an upstream and a journal in a directory of its own, turned by hand; included by one
 * test file at a time. */

#include "gateway/base/clock.h"
#include "gateway/base/conf.h"
#include "gateway/base/log.h"
#include "gateway/base/reap.h"
#include "gateway/base/timer.h"
#include "gateway/core/keeper.h"
#include "gateway/core/message.h"
#include "gateway/core/receipt.h"
#include "gateway/core/record.h"
#include "gateway/core/router.h"
#include "gateway/store/journal.h"
#include "gateway/upstream/backlog.h"
#include "gateway/upstream/exchanges.h"
#include "gateway/upstream/upstream.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct hub {
	char dir[64];
	bool memory_only;
	struct event_base *base;
	struct router *router;
	struct conf *conf;
	struct journal *journal;
	struct keeper *keeper;
	struct backlog *backlog;
	struct exchanges *exchanges;
	struct upstream *up;
};

static inline struct conf *hub_conf(const char *text)
{
	static const struct conf_section *const sections[] = {
		&upstream_conf_section,
		&store_conf_section,
		NULL,
	};
	struct conf_error err;
	struct conf *c = NULL;

	if (conf_parse(sections, "test.conf", text, strlen(text), &c, &err) != 0)
		fail_msg("%s", err.text);
	return c;
}

static inline void hub_open(struct hub *h, const char *conf_text, uplink_new_fn *uplink)
{
	struct store_conf store = { .dir = h->dir, .max_bytes = 16 << 20, .commit_interval_ms = 5 };
	struct journal_handler handlers[JOURNAL_TYPES] = { { NULL, NULL } };
	struct journal_report report;
	static const struct router_limits limits;
	struct keeper_conf kept = { .lazy_ms = 600000 };

	if (!h->dir[0]) {
		snprintf(h->dir, sizeof(h->dir), "/tmp/tg-up-XXXXXX");
		assert_non_null(mkdtemp(h->dir));
	}
	h->base = event_base_new();
	h->router = router_new(&policy_allow_all, &limits);
	h->conf = hub_conf(conf_text);
	h->backlog = backlog_new(h->conf);
	h->keeper = keeper_new();
	upstream_keeper_conf(h->conf, &kept);
	keeper_set_conf(h->keeper, &kept);
	keeper_handlers(h->keeper, handlers);
	backlog_handlers(h->backlog, handlers);
	h->exchanges = exchanges_new();
	handlers[JR_UPLINK] = (struct journal_handler){ exchanges_replay, h->exchanges };
	if (!h->memory_only)
		assert_int_equal(journal_open(h->base, &store, handlers, &h->journal, &report), 0);
	keeper_attach(h->keeper, h->journal);
	exchanges_attach(h->exchanges, h->journal);
	backlog_attach(h->backlog, h->keeper);
	router_set_keeper(h->router, h->keeper);
	keeper_restore(h->keeper);
	assert_int_equal(upstream_new_over(uplink, h->base, h->router, h->journal, h->backlog,
				 h->exchanges, h->conf, "test", &h->up),
		0);
}

/* As gateway.c turns. Waits for events up to `ms`. */
static inline void hub_turn(struct hub *h, int ms)
{
	struct timeval wait = { ms / 1000, ms % 1000 * 1000 };

	if (ms > 0)
		event_base_loopexit(h->base, &wait);
	event_base_loop(h->base, EVLOOP_ONCE | (ms > 0 ? 0 : EVLOOP_NONBLOCK));
	clock_tick();
	timers_run();
	receipts_run();
	router_turn(h->router);
	upstream_turn(h->up);
	if (h->journal)
		journal_turn(h->journal);
	reap();
}

static inline void hub_close(struct hub *h)
{
	upstream_stop(h->up);
	backlog_free(h->backlog);
	exchanges_free(h->exchanges);
	reap();
	router_free(h->router);
	keeper_free(h->keeper);
	if (h->journal)
		journal_close(h->journal, 1000);
	conf_free(h->conf);
	event_base_free(h->base);
	h->up = NULL;
	h->journal = NULL;
}

static inline void hub_remove(struct hub *h)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", h->dir);
	if (h->dir[0] && system(command) != 0)
		fail();
}

/* A local client. */
struct client {
	struct subscriber sub;
	struct identity who;
	struct router *router; /* where it has subscribed; NULL: nowhere */
	char got[4096][48];
	bool got_retain[4096];
	size_t n;
};

static inline enum reason client_offer(
	struct subscriber *s, struct message *m, struct offer *o, struct receipt *r)
{
	struct client *c = container_of(s, struct client, sub);
	struct span p = message_payload(m);

	(void)r;
	assert_true(c->n < ARRAY_SIZE(c->got));
	c->got_retain[c->n] = o->retain;
	snprintf(c->got[c->n++], sizeof(c->got[0]), "%.*s", SPAN_ARGS(p));
	return R_SUCCESS;
}

static inline void client_init(struct client *c, const char *id)
{
	static const struct subscriber_ops ops = { .offer = client_offer };

	memset(c, 0, sizeof(*c));
	c->who = (struct identity){
		.client_id = id, .protocol = PROTO_MQTT, .origin = identity_new_origin()
	};
	subscriber_init(&c->sub, &ops, &c->who);
}

static inline void client_subscribe(struct hub *h, struct client *c, const char *filter)
{
	struct sub_opts opts = { .qos = 2 };

	c->router = h->router;
	assert_false(reason_failed(router_subscribe(h->router, &c->sub, span_str(filter), &opts)));
}

static inline void client_leave(struct client *c)
{
	if (c->router)
		router_leave(c->router, &c->sub);
}

/* A publish and what became of its receipt. */
struct publish {
	struct receipt receipt;
	bool done;
	enum reason reason;
};

static inline void publish_done(struct receipt *r, enum reason reason)
{
	struct publish *p = container_of(r, struct publish, receipt);

	assert_false(p->done);
	p->done = true;
	p->reason = reason;
}

static inline enum reason publish(struct hub *h, const struct client *from, struct publish *p,
	const char *topic, const char *payload, uint8_t qos, bool retain)
{
	struct message_init init = { .topic = span_str(topic),
		.payload = span_str(payload),
		.qos = qos,
		.retain = retain,
		.origin = from->who.origin };
	struct message *m = message_new(&init);

	assert_non_null(m);
	if (p) {
		memset(p, 0, sizeof(*p));
		receipt_init(&p->receipt, publish_done);
	}
	enum reason r = router_publish(h->router, &from->who, m, p ? &p->receipt : NULL);
	message_unref(m);
	return r;
}

#endif
