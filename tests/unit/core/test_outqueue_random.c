/* The queue against a model client, with random traffic, acknowledgements, busy links, windows,
 * requeueing and reconnects. Holds at every step: outstanding <= window, packet ids never in use
 * twice, first deliveries in the order of the offers, repetitions in that order too, nothing lost
 * but what is counted. */
#include "gateway/core/outqueue.h"

#include "tests/unit/core/fake_link.h"

#include <stdlib.h>

#define STEPS 20000

enum { ABSENT, PUBLISHED, RECEIVED };

/* What the client has of one packet id. */
struct held {
	uint8_t state;
	bool here; /* sent on the present connection */
	uint32_t number;
	uint8_t qos;
};

static struct client {
	struct link link;
	struct held held[65536];
	uint16_t ids[1024]; /* those not ABSENT */
	unsigned n_ids, outstanding, window;
	uint32_t last_new;     /* number of the newest first delivery */
	uint32_t last_resumed; /* same for repetitions since the connect or the last requeue */
	uint64_t n_new;
	unsigned patience; /* deliveries until the next -EAGAIN */
} client;

static struct sessions_conf conf;
static struct session session;

static uint32_t number_of(const struct delivery *d)
{
	uint32_t n;
	memcpy(&n, message_payload(d->msg).p, sizeof(n));
	return n;
}

static bool busy(void)
{
	if (!client.patience)
		return true;
	client.patience--;
	return false;
}

static void came_here(struct held *h)
{
	if (!h->here)
		client.outstanding++;
	h->here = true;
	assert_true(client.outstanding <= client.window);
}

static void new_delivery(const struct delivery *d)
{
	assert_true(number_of(d) > client.last_new);
	client.last_new = number_of(d);
	client.n_new++;
	if (!d->qos) {
		assert_int_equal(d->packet_id, 0);
		return;
	}
	struct held *h = &client.held[d->packet_id];
	assert_int_not_equal(d->packet_id, 0);
	assert_int_equal(h->state, ABSENT);
	*h = (struct held){ .state = PUBLISHED, .number = number_of(d), .qos = d->qos };
	client.ids[client.n_ids++] = d->packet_id;
	came_here(h);
}

static void resumed(const struct delivery *d)
{
	struct held *h = &client.held[d->packet_id];
	assert_int_equal(h->number, number_of(d));
	assert_true(h->number > client.last_resumed);
	client.last_resumed = h->number;
	came_here(h);
}

static int model_deliver(struct link *l, struct delivery *d)
{
	(void)l;
	if (busy())
		return -EAGAIN;
	if (!d->dup) {
		new_delivery(d);
		return 0;
	}
	assert_int_equal(client.held[d->packet_id].state, PUBLISHED);
	resumed(d);
	return 0;
}

static int model_release(struct link *l, struct delivery *d)
{
	(void)l;
	if (busy())
		return -EAGAIN;
	assert_int_equal(client.held[d->packet_id].state, RECEIVED);
	came_here(&client.held[d->packet_id]);
	return 0;
}

static const struct link_ops model_ops = { .deliver = model_deliver, .release = model_release };

static void let_go(unsigned i)
{
	struct held *h = &client.held[client.ids[i]];
	client.outstanding -= h->here;
	h->state = ABSENT;
	client.ids[i] = client.ids[--client.n_ids];
}

/* The model forgets first: the queue may use the id again before the call returns. */
static void acknowledge(unsigned i)
{
	uint16_t id = client.ids[i];
	struct held *h = &client.held[id];
	if (h->qos == 1) {
		let_go(i);
		assert_true(outqueue_acked(session.out, id));
	} else if (h->state == PUBLISHED) {
		h->state = RECEIVED;
		assert_true(outqueue_received(session.out, id));
	} else {
		let_go(i);
		assert_true(outqueue_completed(session.out, id));
	}
}

static void requeue(unsigned i)
{
	struct held *h = &client.held[client.ids[i]];
	client.outstanding -= h->here;
	h->here = false;
	client.last_resumed = 0;
	assert_true(outqueue_requeue(session.out, client.ids[i]));
}

static void offer_next(void)
{
	static uint32_t number;
	uint8_t qos = (uint8_t)(rand() % 3);
	number++;
	struct message *m = message_new(&(struct message_init){
		.topic = span_str("t"), .payload = span_of(&number, sizeof(number)), .qos = qos });
	struct offer o = { .qos = qos };
	outqueue_offer(session.out, m, &o, NULL);
	message_unref(m);
}

static void reconnect(void)
{
	session.link = NULL;
	outqueue_detached(session.out);
	for (unsigned i = 0; i < client.n_ids; i++)
		client.held[client.ids[i]].here = false;
	client.outstanding = 0;
	for (int away = rand() % 10; away > 0; away--)
		offer_next();
	client.window = 1 + (unsigned)rand() % 16;
	if (client.n_ids) /* as after a whole round: the next id is in use */
		session.last_id = (uint16_t)(client.ids[0] - 1);
	client.last_resumed = 0;
	session.link = &client.link;
	session.window = (uint16_t)client.window;
	outqueue_attached(session.out);
	outqueue_pump(session.out);
}

static void step(void)
{
	int what = rand() % 100;
	if (what < 45)
		offer_next();
	else if (what < 85 && client.n_ids)
		acknowledge((unsigned)rand() % client.n_ids);
	else if (what < 88 && client.n_ids)
		requeue((unsigned)rand() % client.n_ids);
	else if (what < 98)
		client.patience += (unsigned)rand() % 20;
	else
		reconnect();
	if (rand() % 4 == 0)
		outqueue_pump(session.out);
	assert_int_equal(client.n_ids, session.out->n_in_flight);
	assert_int_equal(client.outstanding, client.n_ids - session.out->n_due);
}

static uint64_t n_dropped(void)
{
	uint64_t n = 0;
	for (unsigned d = 0; d < DROP_REASONS; d++)
		n += session_dropped(&session, d);
	return n;
}

static void drain(void)
{
	client.patience = UINT32_MAX;
	outqueue_pump(session.out);
	while (client.n_ids)
		acknowledge(client.n_ids - 1);
}

static void order_and_window_hold_whatever_happens(void **state)
{
	(void)state;
	clock_freeze(1, 1700000000000);
	srand(20);
	conf = (struct sessions_conf){ .queue_messages = 50, .window = 16 };
	session = (struct session){ .who = { .client_id = "model" } };
	session.out = outqueue_new(&session, &conf);
	client.link.ops = &model_ops;
	reconnect();
	for (unsigned i = 0; i < STEPS; i++)
		step();
	drain();
	assert_int_equal(outqueue_length(session.out), 0);
	uint64_t offered = client.n_new + n_dropped();
	assert_true(client.last_new <= offered);
	assert_true(client.n_new > STEPS / 8);
	assert_int_equal(client.n_new, session.sent);
	/* The last one is offered to an empty, ready queue: its number is the number of offers. */
	offer_next();
	assert_int_equal(client.last_new, offered + 1);
	drain();
	outqueue_free(session.out);
	free(session.rare);
	assert_int_equal(messages_bytes(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_and_window_hold_whatever_happens),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
