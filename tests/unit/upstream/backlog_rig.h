#ifndef TIDEGATE_TESTS_BACKLOG_RIG_H
#define TIDEGATE_TESTS_BACKLOG_RIG_H

/* A backlog over a keeper over a journal that commits on command; included by one test file at a
 * time. */

#include "gateway/base/clock.h"
#include "gateway/base/conf.h"
#include "gateway/base/timer.h"
#include "gateway/core/identity.h"
#include "gateway/core/keeper.h"
#include "gateway/core/message.h"
#include "gateway/core/receipt.h"
#include "gateway/upstream/backlog.h"
#include "gateway/upstream/upstream.h"
#include "tests/unit/core/fake_journal.h"

#include <stdio.h>

static struct backlog *b;
static struct keeper *k;
static struct conf *conf;
static unsigned more_calls;

static inline void on_more(void *arg)
{
	(void)arg;
	more_calls++;
}

static inline void start_keeper(bool with_journal)
{
	struct keeper_conf kept = { .lazy_ms = 600000 };

	k = keeper_new();
	upstream_keeper_conf(conf, &kept);
	keeper_set_conf(k, &kept);
	if (with_journal)
		replay_into(k);
	backlog_attach(b, k);
	backlog_on_more(b, on_more, NULL);
	keeper_restore(k);
}

static inline int setup_with(const char *rows, bool with_journal)
{
	static const struct conf_section *const sections[] = { &upstream_conf_section, NULL };
	struct conf_error err;
	char text[512];

	clock_freeze(1000000, 1700000000000);
	snprintf(text, sizeof(text), "[upstream]\nuri = mqtt://b\n%s\n", rows);
	assert_int_equal(conf_parse(sections, "t", text, strlen(text), &conf, &err), 0);
	journal_setup();
	b = backlog_new(conf);
	start_keeper(with_journal);
	backlog_set_link(b, true);
	more_calls = 0;
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	backlog_free(b);
	keeper_free(k);
	conf_free(conf);
	journal_teardown();
	receipts_run();
	assert_int_equal(messages_bytes(), 0);
	return 0;
}

struct waiter {
	struct receipt receipt;
	bool done;
	enum reason reason;
};

static inline void on_done(struct receipt *r, enum reason reason)
{
	struct waiter *w = container_of(r, struct waiter, receipt);

	assert_false(w->done);
	w->done = true;
	w->reason = reason;
}

static struct message *make(const char *topic, const char *payload, uint8_t qos, bool retain)
{
	struct message_init init = { .topic = span_str(topic),
		.payload = span_str(payload),
		.qos = qos,
		.retain = retain,
		.origin = 77 };

	return message_new(&init);
}

static const struct identity publisher = { .client_id = "dev-1", .protocol = PROTO_MQTTSN };

/* As the router does. */
static inline enum reason push_message(struct message *m, struct receipt *receipt, bool store)
{
	keeper_open(k, m, receipt);
	enum reason r = backlog_push(b, &publisher, m, receipt, store);
	keeper_close(k);
	return r;
}

static inline enum reason push(struct waiter *w, const char *payload, uint8_t qos, bool store)
{
	struct message *m = make("t", payload, qos, false);

	if (w) {
		memset(w, 0, sizeof(*w));
		receipt_init(&w->receipt, on_done);
	}
	enum reason r = push_message(m, w && qos ? &w->receipt : NULL, store);
	message_unref(m);
	return r;
}

static inline void advance(int64_t ms)
{
	clock_advance(ms);
	timers_run();
	receipts_run();
}

static inline struct backlog_status status(void)
{
	struct backlog_status s;

	backlog_status(b, &s);
	return s;
}

static inline void assert_payload(const struct entry *e, const char *payload)
{
	assert_non_null(e);
	struct span p = message_payload(entry_message(e));
	assert_true(span_is(p, payload));
}

static inline void restart(void)
{
	backlog_free(b);
	keeper_free(k);
	b = backlog_new(conf);
	start_keeper(true);
}

#endif
