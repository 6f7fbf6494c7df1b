#ifndef TIDEGATE_TESTS_MAIL_RIG_H
#define TIDEGATE_TESTS_MAIL_RIG_H

/* Stored sessions on a real journal, killed and started again. What session_store.c does is done by
 * hand: each session has its number, and is there again, detached, before its claims come back.
 * Included by one test file at a time. */
#include "tests/unit/core/fake_link.h"

#include "tests/unit/core/storage_rig.h"

#include "gateway/core/inbound.h"
#include "gateway/core/outqueue.h"
#include "gateway/core/registry.h"

enum { MAIL_CLIENTS = 3 };

static struct mail_client {
	const char *id, *filters[3];
	uint8_t qos;
	uint16_t window;
	struct fake_link link;
	struct session *s;
} mail_clients[MAIL_CLIENTS];

static struct sessions *mail_sessions;
static struct sessions_conf mail_conf;
static bool mail_stored; /* the sessions are */

static inline struct session *mail_session(uint64_t number)
{
	return number - 100 < MAIL_CLIENTS ? mail_clients[number - 100].s : NULL;
}

static inline bool mail_restore_mail(
	void *arg, struct kept *kept, const struct claim *c, struct message *m)
{
	struct session *s = mail_session(c->owner);

	(void)arg;
	if (s && !s->out)
		s->out = outqueue_new(s, &mail_conf);
	return s && outqueue_restore(s->out, kept, c, m);
}

static inline bool mail_restore_exchange(
	void *arg, struct kept *kept, const struct claim *c, struct message *m)
{
	struct session *s = mail_session(c->owner);

	(void)arg;
	(void)m;
	if (s && !s->in)
		s->in = inbound_new(s, &mail_conf);
	return s && inbound_restore(s->in, kept, c);
}

static inline bool mail_attach(struct mail_client *c)
{
	struct session_connect con = { .client_id = c->id,
		.protocol = PROTO_MQTT,
		.link = &c->link.link,
		.expiry_s = 3600,
		.window = c->window };
	bool present;

	fake_init(&c->link);
	assert_int_equal(session_connect(mail_sessions, &con, &c->s, &present), R_SUCCESS);
	c->s->number = mail_stored ? 100 + (uint64_t)(c - mail_clients) : 0;
	session_pump(c->s);
	return present;
}

static inline void mail_detach(struct mail_client *c)
{
	session_detach(&c->link.link, DETACH_CLEAN);
}

static inline void mail_subscribe(struct mail_client *c)
{
	for (uint32_t i = 0; i < 3 && c->filters[i]; i++) {
		struct sub_opts opts = { .qos = c->qos, .retain_handling = 2, .sub_id = i + 1 };
		assert_false(
			reason_failed(session_subscribe(c->s, span_str(c->filters[i]), &opts)));
	}
}

/* All sessions are there, and away. */
static inline void mail_open(void)
{
	struct journal_handler handlers[JOURNAL_TYPES] = { { NULL, NULL } };

	store_open(handlers);
	mail_sessions = sessions_new(store.router, &mail_conf);
	keeper_on_restore(store.keeper, CLAIM_MAIL, mail_restore_mail, NULL);
	keeper_on_restore(store.keeper, CLAIM_EXCHANGE, mail_restore_exchange, NULL);
	for (unsigned i = 0; i < MAIL_CLIENTS; i++) {
		mail_attach(&mail_clients[i]);
		mail_subscribe(&mail_clients[i]);
		mail_detach(&mail_clients[i]);
	}
	store_ready();
}

static inline void mail_close(void)
{
	for (unsigned i = 0; i < MAIL_CLIENTS; i++) {
		struct session *s = mail_clients[i].s;
		if (s && s->out)
			outqueue_leave(s->out);
		if (s && s->in)
			inbound_leave(s->in);
	}
	sessions_free(mail_sessions);
	reap();
	store_close();
}

static inline void mail_kill(void)
{
	store_kill(mail_close);
	mail_open();
}

/* Client 0 subscribes to t/#, client 1 publishes. */
static inline int mail_setup(void **state)
{
	(void)state;
	store_init();
	memset(mail_clients, 0, sizeof(mail_clients));
	mail_stored = true;
	mail_conf = (struct sessions_conf){ .max_sessions = 100,
		.queue_messages = 1000,
		.queue_bytes = 1000000,
		.max_inbound = 100,
		.window = 20 };
	mail_clients[0] = (struct mail_client){ .id = "sub", .qos = 2, .filters = { "t/#" } };
	mail_clients[1] = (struct mail_client){ .id = "pub" };
	mail_clients[2] = (struct mail_client){ .id = "other" };
	mail_open();
	return 0;
}

static inline int mail_teardown(void **state)
{
	(void)state;
	mail_close();
	store_remove();
	return 0;
}

static inline enum reason mail_send(struct mail_client *c, const char *topic, const char *text,
	uint8_t qos, uint16_t id, bool dup)
{
	struct message *m = text_message(topic, text, qos, c->s->who.origin);

	m->dup = dup;
	enum reason r = session_publish(c->s, m, id, id);
	message_unref(m);
	return r;
}

static inline enum reason mail_publish_as(
	struct mail_client *c, const char *topic, const char *text, uint8_t qos, uint16_t id)
{
	return mail_send(c, topic, text, qos, id, false);
}

static inline struct keeper_status mail_status(void)
{
	struct keeper_status s;

	keeper_status(store.keeper, &s);
	return s;
}

#endif
