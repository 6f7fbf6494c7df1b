#ifndef TIDEGATE_TESTS_FAKE_LINK_H
#define TIDEGATE_TESTS_FAKE_LINK_H

#include "gateway/core/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#define FAKE_LOG 256

/* A link that writes down what it is told. `result` is what deliver and release return; after
 * `budget` more of them (when not negative) they return -EAGAIN. */
struct fake_link {
	struct link link;
	int result, budget;
	struct fake_sent {
		uint16_t id;
		uint8_t qos;
		bool dup, retain, release;
		char text[16];
	} sent[FAKE_LOG];
	unsigned n_sent;
	struct fake_answer {
		uint16_t id;
		uint32_t cookie;
		uint8_t qos;
		enum reason reason;
	} answers[FAKE_LOG];
	unsigned n_answers;
	unsigned n_closed;
	enum reason closed;
	void (*inside)(struct fake_link *); /* called from inside deliver, published and closed */
};

static inline struct fake_link *fake_of(struct link *l)
{
	return container_of(l, struct fake_link, link);
}

static inline void fake_inside(struct fake_link *f)
{
	if (f->inside)
		f->inside(f);
}

static inline int fake_send(struct fake_link *f, const struct delivery *d, bool release)
{
	if (f->result || f->budget == 0)
		return f->result ? f->result : -EAGAIN;
	if (f->budget > 0)
		f->budget--;
	assert_true(f->n_sent < FAKE_LOG);
	struct fake_sent *e = &f->sent[f->n_sent++];
	*e = (struct fake_sent){ d->packet_id, d->qos, d->dup, d->retain, release, "" };
	struct span payload = release ? span_str("") : message_payload(d->msg);
	memcpy(e->text, payload.p, MIN(payload.len, sizeof(e->text) - 1));
	return 0;
}

static inline int fake_deliver(struct link *l, struct delivery *d)
{
	int err = fake_send(fake_of(l), d, false);
	fake_inside(fake_of(l));
	return err;
}

static inline int fake_release(struct link *l, struct delivery *d)
{
	return fake_send(fake_of(l), d, true);
}

static inline void fake_published(
	struct link *l, uint16_t packet_id, uint32_t cookie, uint8_t qos, enum reason reason)
{
	struct fake_link *f = fake_of(l);
	assert_true(f->n_answers < FAKE_LOG);
	f->answers[f->n_answers++] = (struct fake_answer){ packet_id, cookie, qos, reason };
	fake_inside(f);
}

static inline void fake_closed(struct link *l, enum reason reason)
{
	assert_null(l->session);
	fake_of(l)->n_closed++;
	fake_of(l)->closed = reason;
	fake_inside(fake_of(l));
}

static const struct link_ops fake_link_ops = {
	.deliver = fake_deliver,
	.release = fake_release,
	.published = fake_published,
	.closed = fake_closed,
};

static inline void fake_init(struct fake_link *f)
{
	memset(f, 0, sizeof(*f));
	f->link.ops = &fake_link_ops;
	f->budget = -1;
}

static inline struct message *text_message(
	const char *topic, const char *text, uint8_t qos, uint64_t origin)
{
	struct message *m = message_new(&(struct message_init){ .topic = span_str(topic),
		.payload = span_str(text),
		.qos = qos,
		.origin = origin });
	assert_non_null(m);
	return m;
}

#endif
