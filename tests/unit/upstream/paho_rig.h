#ifndef TIDEGATE_TESTS_PAHO_RIG_H
#define TIDEGATE_TESTS_PAHO_RIG_H

/* The bridge to Paho, with Paho played by the test, over a journal that commits on command;
 * included by one test file at a time. */

#include "gateway/upstream/uplink_paho.h"

#include "gateway/core/message.h"
#include "tests/unit/core/fake_journal.h"

#include <event2/event.h>

static struct event_base *base;
static struct exchanges *x;
static struct paho *p;
static MQTTClient_persistence *keep;
static void *handle;
static struct {
	unsigned published, released, ups, downs;
	enum uplink_outcome outcome;
	uint16_t packet_id;
	uint32_t ticket;
} seen;

void journal_hurry(struct journal *j)
{
	(void)j;
}

static inline void on_published(
	void *arg, uint64_t token, enum uplink_outcome outcome, enum reason reason)
{
	(void)arg;
	(void)token;
	(void)reason;
	seen.published++;
	seen.outcome = outcome;
}

static inline void on_released(void *arg, uint16_t packet_id)
{
	(void)arg;
	seen.released++;
	seen.packet_id = packet_id;
}

static inline void on_message(void *arg, const struct uplink_message *m)
{
	(void)arg;
	seen.ticket = m->ticket;
}

static inline void on_up(void *arg, const struct uplink_up *up)
{
	(void)arg;
	(void)up;
	seen.ups++;
}

static inline void on_down(void *arg, enum reason reason, const char *text)
{
	(void)arg;
	(void)reason;
	(void)text;
	seen.downs++;
}

static const struct uplink_events events = { .up = on_up,
	.down = on_down,
	.published = on_published,
	.released = on_released,
	.message = on_message };

static inline void open_version(bool v5)
{
	memset(&seen, 0, sizeof(seen));
	journal_setup();
	base = event_base_new();
	x = exchanges_new();
	exchanges_attach(x, journal);
	p = container_of(uplink_paho_new(base, x, &events, NULL), struct paho, uplink);
	p->handles[0].gen = 1;
	p->handles[0].v5 = v5;
	p->session = p->handles[0].session = 77;
	p->active = p->active_handle = 0;
	p->active_gen = 1;
	handle = paho_context(p->index, 1, 0);
	keep = paho_keep(handle);
	assert_int_equal(keep->popen(&handle, "id", "uri", keep->context), 0);
}

static inline int setup(void **state)
{
	(void)state;
	open_version(true);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	p->active = p->active_handle = -1;
	p->uplink.ops->stop(&p->uplink, 1000);
	exchanges_free(x);
	free(keep);
	event_base_free(base);
	journal_teardown();
	return 0;
}

static inline void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static inline struct message *hello(uint8_t qos)
{
	struct message_init init = {
		.topic = span_str("a/b"), .payload = span_str("hello"), .qos = qos, .retain = true
	};

	return message_new(&init);
}

/* As uplink_ops.publish() and the bridge would. */
static inline struct publish_slot *hand_over(uint8_t qos, uint64_t record)
{
	struct publish_slot *s = list_first(&p->free_slots, struct publish_slot, free);

	list_remove(&s->free);
	s->what = (struct uplink_publish){
		.msg = hello(qos), .qos = qos, .record = record, .retain = true
	};
	paho_reserve(p, s);
	s->owned = true;
	s->handle = 0;
	return s;
}

static inline int put(const char *key, char *first, size_t len)
{
	char *bufs[] = { first };
	int lens[] = { (int)len };

	return keep->pput(handle, (char *)key, 1, bufs, lens);
}

/* Paho has chosen a packet id. */
static inline void choose(struct publish_slot *s, int id)
{
	int type = 3, token = id;
	char *bufs[] = { (char *)&type, (char *)&token };
	int lens[] = { sizeof(type), sizeof(token) };

	p->sending = s;
	assert_true(keep->pput(handle, "c5-1", 2, bufs, lens) != 0); /* it keeps the command */
	p->sending = NULL;
}

#endif
