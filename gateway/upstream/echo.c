#include "gateway/upstream/echo.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/timer.h"
#include "gateway/core/identity.h"
#include "gateway/core/message.h"
#include "gateway/core/router.h"
#include "gateway/upstream/uplink.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024 /* a power of two */

/* A message whose echo is awaited. */
struct waiting {
	struct list chain; /* bucket, oldest first */
	struct list age;   /* withheld or expected, oldest first */
	uint64_t digest;
	int64_t since_ms;
	struct message *msg; /* counted while withheld; NULL: delivered already */
	bool sent;
	struct identity from; /* a copy; strings owned */
};

struct echo {
	struct router *router;        /* borrowed */
	struct list buckets[BUCKETS]; /* struct waiting.chain */
	struct list withheld, expected;
	size_t n_withheld, n_expected;
	int64_t timeout_ms;
	struct timer timer;
};

static struct count suppressed = COUNT("upstream.echo.suppressed");
static struct count delivered_late = COUNT("upstream.echo.timeout");

static uint64_t digest_of(struct span topic, struct span payload)
{
	uint64_t t = hash_bytes(topic.p, topic.len);

	return (t << 1 | t >> 63) ^ hash_bytes(payload.p, payload.len);
}

static struct list *bucket(struct echo *e, uint64_t digest)
{
	return &e->buckets[digest & (BUCKETS - 1)];
}

static void arm(struct echo *e)
{
	int64_t due = INT64_MAX;

	if (!list_empty(&e->withheld))
		due = list_first(&e->withheld, struct waiting, age)->since_ms + e->timeout_ms;
	if (!list_empty(&e->expected))
		due = MIN(due,
			list_first(&e->expected, struct waiting, age)->since_ms + ECHO_LATE_MS);
	if (due == INT64_MAX)
		timer_disarm(&e->timer);
	else if (!timer_armed(&e->timer) || e->timer.due_ms > due)
		timer_arm(&e->timer, due - clock_ms());
}

static struct waiting *waiting_new(struct echo *e, uint64_t digest)
{
	struct waiting *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	list_init(&w->age);
	w->digest = digest;
	w->since_ms = clock_ms();
	list_append(bucket(e, digest), &w->chain);
	return w;
}

static void drop_identity(struct waiting *w)
{
	free((char *)w->from.client_id);
	free((char *)w->from.username);
	w->from.client_id = w->from.username = NULL;
}

static void waiting_free(struct echo *e, struct waiting *w)
{
	if (w->msg)
		e->n_withheld--;
	else
		e->n_expected--;
	message_unref(w->msg);
	drop_identity(w);
	list_remove(&w->chain);
	list_remove(&w->age);
	free(w);
}

static void expect(struct echo *e, struct waiting *w)
{
	w->since_ms = clock_ms();
	list_remove(&w->age);
	list_append(&e->expected, &w->age);
	e->n_expected++;
	if (e->n_expected > ECHO_EXPECTED_MAX)
		waiting_free(e, list_first(&e->expected, struct waiting, age));
}

/* Local delivery of a withheld message; when it has been sent its echo may still come. */
static void deliver(struct echo *e, struct waiting *w, bool may_come)
{
	struct message *m = w->msg;
	struct identity from = w->from;

	list_remove(&w->age);
	w->msg = NULL;
	e->n_withheld--;
	w->from.client_id = w->from.username = NULL;
	if (may_come) {
		expect(e, w);
	} else {
		e->n_expected++;
		waiting_free(e, w);
	}
	router_deliver(e->router, &from, m);
	message_unref(m);
	free((char *)from.client_id);
	free((char *)from.username);
}

static void on_timer(struct timer *t)
{
	struct echo *e = container_of(t, struct echo, timer);

	while (!list_empty(&e->withheld)) {
		struct waiting *w = list_first(&e->withheld, struct waiting, age);
		if (w->since_ms + e->timeout_ms > clock_ms())
			break;
		count_one(&delivered_late);
		deliver(e, w, w->sent);
	}
	while (!list_empty(&e->expected)) {
		struct waiting *w = list_first(&e->expected, struct waiting, age);
		if (w->since_ms + ECHO_LATE_MS > clock_ms())
			break;
		waiting_free(e, w);
	}
	arm(e);
}

struct echo *echo_new(struct router *router)
{
	struct echo *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->router = router;
	for (size_t i = 0; i < BUCKETS; i++)
		list_init(&e->buckets[i]);
	list_init(&e->withheld);
	list_init(&e->expected);
	timer_init(&e->timer, on_timer);
	return e;
}

void echo_set_timeout(struct echo *e, int64_t timeout_ms)
{
	e->timeout_ms = timeout_ms;
}

bool echo_withhold(struct echo *e, const struct identity *from, struct message *m)
{
	if (e->n_withheld >= ECHO_WITHHELD_MAX)
		return false;
	struct waiting *w = waiting_new(e, digest_of(message_topic(m), message_payload(m)));
	if (!w)
		return false;
	w->msg = message_ref(m);
	e->n_withheld++;
	w->from = *from;
	w->from.client_id = strdup(from->client_id);
	w->from.username = from->username ? strdup(from->username) : NULL;
	if (!w->from.client_id || (from->username && !w->from.username)) {
		waiting_free(e, w);
		return false;
	}
	list_append(&e->withheld, &w->age);
	arm(e);
	return true;
}

static struct waiting *find_withheld(struct echo *e, const struct message *m)
{
	uint64_t digest = digest_of(message_topic(m), message_payload(m));
	struct list *pos, *head = bucket(e, digest);

	list_for_each(pos, head) {
		struct waiting *w = list_entry(pos, struct waiting, chain);
		if (w->msg == m)
			return w;
	}
	return NULL;
}

void echo_sent(struct echo *e, struct message *m)
{
	struct waiting *w = find_withheld(e, m);

	if (w) {
		w->sent = true;
		return;
	}
	if ((w = waiting_new(e, digest_of(message_topic(m), message_payload(m)))))
		expect(e, w);
	arm(e);
}

void echo_give_up(struct echo *e, struct message *m)
{
	struct waiting *w = find_withheld(e, m);

	if (w)
		deliver(e, w, false);
}

void echo_flush(struct echo *e)
{
	while (!list_empty(&e->withheld)) {
		struct waiting *w = list_first(&e->withheld, struct waiting, age);
		deliver(e, w, w->sent);
	}
	arm(e);
}

/* One that is withheld and sent first: a stale expectation must not swallow a delivery. */
static struct waiting *match(struct echo *e, uint64_t digest)
{
	struct waiting *expected = NULL;
	struct list *pos, *head = bucket(e, digest);

	list_for_each(pos, head) {
		struct waiting *w = list_entry(pos, struct waiting, chain);
		if (w->digest != digest)
			continue;
		if (w->msg && w->sent)
			return w;
		if (!w->msg && !expected)
			expected = w;
	}
	return expected;
}

bool echo_received(struct echo *e, const struct uplink_message *m)
{
	struct waiting *w = match(e, digest_of(m->topic, m->payload));

	if (!w)
		return false;
	if (w->msg) {
		deliver(e, w, false);
		return true;
	}
	waiting_free(e, w);
	count_one(&suppressed);
	return true;
}

size_t echo_withheld(const struct echo *e)
{
	return e->n_withheld;
}

void echo_free(struct echo *e)
{
	if (!e)
		return;
	echo_flush(e);
	timer_disarm(&e->timer);
	while (!list_empty(&e->expected))
		waiting_free(e, list_first(&e->expected, struct waiting, age));
	free(e);
}
