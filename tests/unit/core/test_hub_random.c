/* Sessions on stable storage and all their mail: clients that come, go, start afresh and take over
 * from themselves, while the gateway is killed and stopped at any moment. Nobody misses what was
 * acknowledged while the storage had its session, nobody gets QoS 2 twice, all in the order of each
 * publisher; a session that was promised is there; and in the end the journal is empty. */
#include "tests/unit/core/fake_link.h"

#include "tests/unit/core/storage_rig.h"

#include "gateway/core/registry.h"
#include "gateway/core/session_claims.h"
#include "gateway/core/session_store.h"

#define SEEDS    4
#define STEPS    2500
#define MESSAGES 600 /* of each publisher */
#define WINDOW   6
#define IDS      16 /* a publisher's packet ids go round in */

enum { SUBS = 3, PUBS = 2, CLIENTS = SUBS + PUBS };
enum { NEW, SENT, RELEASING, DONE };

static struct message_of {
	uint8_t state, qos;
	bool taken, given_up; /* by the gateway; by its publisher */
	bool expected[SUBS];  /* the session was there, and is */
	unsigned got[SUBS];   /* times it came as a new one to the present session */
} msgs[PUBS][MESSAGES];

static struct client {
	char id[4];
	unsigned sub, pub; /* which one; the other is meaningless */
	bool subscribes;
	struct fake_link links[2], *link; /* the present one */
	uint32_t expiry_s;
	uint64_t mark;
	bool online, promised;
	/* A subscriber: */
	unsigned last[PUBS];
	bool known[65536];
	struct answer {
		uint16_t id;
		enum { PUBACK, PUBREC, PUBCOMP } type;
	} answers[8 * FAKE_LOG];
	unsigned n_answers;
	/* A publisher: */
	unsigned first_open, next_new;
} clients[CLIENTS];

static struct sessions *hub;
static struct session_store *hub_store;
static struct sessions_conf hub_conf = { .max_sessions = 100,
	.queue_messages = 100000,
	.queue_bytes = 100000000,
	.max_inbound = 100,
	.window = 20 };
static unsigned seed;

static unsigned dice(unsigned sides)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % sides;
}

/* ---- The gateway ---- */

static void before_commit(void)
{
	session_store_turn(hub_store);
}

static void hub_open(void)
{
	struct journal_handler handlers[JOURNAL_TYPES] = { { NULL, NULL } };

	store_begin();
	hub = sessions_new(store.router, &hub_conf);
	hub_store = session_store_new(hub);
	session_store_handlers(hub_store, handlers);
	store_replay(handlers);
	session_store_attach(hub_store, store.journal, 5000);
	session_claims_restore(hub, store.keeper);
	store_ready();
	session_store_restored(hub_store);
	store.before_commit = before_commit;
}

static void hub_close(void)
{
	session_store_close(hub_store);
	sessions_free(hub);
	session_store_free(hub_store);
	reap();
	store_close();
}

static struct session *session_of(const struct client *c)
{
	return sessions_find(hub, PROTO_MQTT, c->id);
}

/* ---- Publishers ---- */

static struct message_of *message_at(const struct client *c, unsigned n)
{
	return &msgs[c->pub][n];
}

static uint16_t id_of(unsigned n)
{
	return (uint16_t)(n % IDS + 1);
}

static void publish(struct client *c, unsigned n)
{
	struct message_of *m = message_at(c, n);
	char text[16], topic[8];

	snprintf(text, sizeof(text), "%u", c->pub * 1000 + n);
	snprintf(topic, sizeof(topic), "t/%u", c->pub);
	for (unsigned i = 0; m->state == NEW && i < SUBS; i++)
		m->expected[i] = clients[i].promised;
	struct message *msg = text_message(topic, text, m->qos, c->link->link.session->who.origin);
	msg->dup = m->state != NEW;
	m->state = SENT;
	assert_false(reason_failed(session_publish(c->link->link.session, msg, id_of(n), n)));
	message_unref(msg);
}

static void close_window(struct client *c)
{
	while (c->first_open < c->next_new && message_at(c, c->first_open)->state == DONE)
		c->first_open++;
}

static void release(struct client *c, unsigned n)
{
	session_released(c->link->link.session, id_of(n));
	if (dice(4)) /* else PUBCOMP is lost */
		message_at(c, n)->state = DONE;
	close_window(c);
}

static void take_answer(struct client *c, const struct fake_answer *a)
{
	struct message_of *m = message_at(c, a->cookie);

	assert_false(reason_failed(a->reason));
	m->taken = true;
	if (m->state == SENT)
		m->state = a->qos == 2 ? RELEASING : DONE;
	if (m->state == RELEASING && c->online)
		release(c, a->cookie);
	close_window(c);
}

/* Its session is another one: what was under way is not repeated. */
static void give_up(struct client *c)
{
	for (unsigned n = c->first_open; n < c->next_new; n++) {
		message_at(c, n)->given_up = true;
		message_at(c, n)->state = DONE;
	}
	close_window(c);
}

static void publish_again(struct client *c)
{
	for (unsigned n = c->first_open; n < c->next_new; n++) {
		if (message_at(c, n)->state == SENT)
			publish(c, n);
		else if (message_at(c, n)->state == RELEASING)
			release(c, n);
	}
}

/* ---- Subscribers ---- */

static void take_message(struct client *c, const struct fake_sent *sent)
{
	unsigned number = (unsigned)atoi(sent->text), pub = number / 1000, n = number % 1000;

	if (sent->release) {
		c->known[sent->id] = false;
		c->answers[c->n_answers++] = (struct answer){ sent->id, PUBCOMP };
		return;
	}
	c->answers[c->n_answers++] = (struct answer){ sent->id, sent->qos == 2 ? PUBREC : PUBACK };
	if (sent->qos == 2 && c->known[sent->id])
		return;
	c->known[sent->id] = sent->qos == 2;
	bool first = msgs[pub][n].got[c->sub]++ == 0;
	if (first && msgs[pub][n].expected[c->sub]) { /* else it is there since a later one */
		assert_true(n + 1 > c->last[pub]);
		c->last[pub] = n + 1;
	} else if (!first && msgs[pub][n].qos == 2) {
		fail_msg("QoS 2 message %u of %u came again to %s", n, pub, c->id);
	}
}

/* Its session is another one. */
static void start_afresh(struct client *c)
{
	c->promised = false;
	c->n_answers = 0;
	memset(c->known, 0, sizeof(c->known));
	memset(c->last, 0, sizeof(c->last));
	for (unsigned p = 0; p < PUBS; p++) {
		for (unsigned n = 0; n < MESSAGES; n++) {
			msgs[p][n].expected[c->sub] = false;
			msgs[p][n].got[c->sub] = 0;
		}
	}
}

static void lost_session(struct client *c)
{
	if (c->subscribes)
		start_afresh(c);
	else
		give_up(c);
	c->promised = false;
}

/* ---- Clients ---- */

static void look_for_promise(struct client *c)
{
	if (c->online && c->expiry_s && !c->promised)
		c->promised = session_reached(hub, c->mark);
}

static void network_of(struct client *c)
{
	for (unsigned i = 0; i < 2; i++) {
		struct fake_link *l = &c->links[i];
		for (unsigned k = 0; l == c->link && k < l->n_sent; k++)
			take_message(c, &l->sent[k]);
		unsigned n = l->n_answers;
		for (unsigned k = 0; l == c->link && k < n; k++)
			take_answer(c, &l->answers[k]);
		l->n_sent = l->n_answers = 0;
	}
}

static void network(void)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		network_of(&clients[i]);
}

/* Also while it is there on its other connection. */
static void join(struct client *c, bool clean)
{
	struct fake_link *l = c->link == &c->links[0] ? &c->links[1] : &c->links[0];
	uint32_t expiry_s = dice(12) || c->promised ? 3600 : 0;
	struct session_connect con = { .client_id = c->id,
		.protocol = PROTO_MQTT,
		.link = &l->link,
		.clean_start = clean,
		.expiry_s = expiry_s };
	struct session *s;
	bool present;

	fake_init(l);
	assert_int_equal(session_connect(hub, &con, &s, &present), R_SUCCESS);
	if (c->promised && !clean)
		assert_true(present);
	if (!present)
		lost_session(c);
	else if (c->expiry_s == 0 && expiry_s) /* nothing was promised of what it had */
		assert_false(c->promised);
	c->link = l;
	c->online = true;
	c->expiry_s = expiry_s;
	c->n_answers = 0;
	if (c->subscribes)
		assert_false(reason_failed(session_subscribe(
			s, span_str("t/+"), &(struct sub_opts){ .qos = 2, .retain_handling = 2 })));
	c->mark = session_mark(s);
	session_pump(s);
	look_for_promise(c);
	if (!c->subscribes)
		publish_again(c);
}

static void leave(struct client *c)
{
	bool ends = dice(20) == 0;

	if (ends) /* DISCONNECT with another interval */
		session_set_expiry(c->link->link.session, 0);
	if (ends)
		c->expiry_s = 0;
	session_detach(&c->link->link, dice(2) ? DETACH_CLEAN : DETACH_LOST);
	c->online = false;
	if (!c->expiry_s)
		lost_session(c);
}

static void come_or_go(struct client *c)
{
	if (dice(2))
		network_of(c); /* else it is lost on the way */
	if (c->online && dice(3))
		leave(c);
	else
		join(c, dice(20) == 0);
}

static void acknowledge(struct client *c, unsigned n)
{
	for (; n > 0 && c->n_answers > 0 && c->online; n--) {
		struct session *s = c->link->link.session;
		struct answer a = c->answers[0];
		memmove(c->answers, c->answers + 1, --c->n_answers * sizeof(a));
		if (a.type == PUBACK)
			session_acked(s, a.id);
		else if (a.type == PUBREC)
			session_received(s, a.id);
		else
			session_completed(s, a.id);
		network_of(c);
	}
}

static void restart(bool kill)
{
	if (dice(2))
		network();
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *c = &clients[i];
		look_for_promise(c);
		c->online = false;
		c->n_answers = 0;
	}
	if (kill) {
		store_kill(hub_close);
	} else {
		keeper_secure(store.keeper, CLAIM_KINDS);
		store_settle();
		hub_close();
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		memset(clients[i].links, 0, sizeof(clients[i].links));
	hub_open();
	for (unsigned i = 0; i < CLIENTS; i++)
		if (clients[i].promised && !session_of(&clients[i]))
			fail_msg("the session of %s is gone", clients[i].id);
}

static void step(void)
{
	struct client *sub = &clients[dice(SUBS)], *pub = &clients[SUBS + dice(PUBS)];
	unsigned what = dice(100);

	if (what < 40 && pub->online && pub->next_new < MESSAGES &&
		pub->next_new < pub->first_open + WINDOW)
		publish(pub, pub->next_new++);
	else if (what < 65)
		acknowledge(sub, 1 + dice(4));
	else if (what < 88)
		store_turn(dice(3) ? 1 + dice(20) : 500);
	else if (what < 91)
		store_settle();
	else if (what < 96)
		come_or_go(dice(3) ? sub : pub);
	else if (what < 97)
		restart(dice(4));
	for (unsigned i = 0; i < CLIENTS; i++)
		look_for_promise(&clients[i]);
	if (dice(8))
		network();
}

static bool over(void)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		const struct client *c = &clients[i];
		if (c->subscribes ? session_of(c) && !session_idle(session_of(c))
				  : c->first_open < c->next_new)
			return false;
	}
	return true;
}

static void finish(void)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		join(&clients[i], false);
	for (unsigned i = 0; !over(); i++) {
		store_settle();
		network();
		for (unsigned k = 0; k < SUBS; k++)
			acknowledge(&clients[k], 1000);
		for (unsigned k = SUBS; i % 20 == 19 && k < CLIENTS; k++)
			join(&clients[k], false);
		assert_in_range(i, 0, 2000);
	}
}

static void check(unsigned number)
{
	struct journal_status status;

	for (unsigned p = 0; p < PUBS; p++)
		for (unsigned n = 0; n < MESSAGES; n++)
			for (unsigned s = 0; s < SUBS; s++)
				if (msgs[p][n].taken && msgs[p][n].expected[s] &&
					msgs[p][n].got[s] == 0)
					fail_msg("seed %u: %u of %u, QoS %u, did not come to %s",
						number, n, p, msgs[p][n].qos, clients[s].id);
	for (unsigned i = 0; i < CLIENTS; i++)
		session_end(session_of(&clients[i]), R_SUCCESS, false);
	store_settle();
	journal_status(store.journal, &status);
	assert_int_equal(status.live_records, 0);
}

static void run(unsigned number)
{
	seed = number;
	memset(msgs, 0, sizeof(msgs));
	memset(clients, 0, sizeof(clients));
	store_init();
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *c = &clients[i];
		snprintf(c->id, sizeof(c->id), "c%u", i);
		c->subscribes = i < SUBS;
		c->sub = i;
		c->pub = i - SUBS;
		c->link = &c->links[0];
	}
	for (unsigned p = 0; p < PUBS; p++)
		for (unsigned n = 0; n < MESSAGES; n++)
			msgs[p][n].qos = (uint8_t)(1 + dice(2));
	hub_open();
	store.conf.memory_bytes = number % 3 ? 1 << 20 : 0;
	keeper_set_conf(store.keeper, &store.conf);
	for (unsigned i = 0; i < STEPS; i++)
		step();
	finish();
	check(number);
	hub_close();
	store_remove();
}

static void nothing_lost_nothing_twice(void **state)
{
	const char *only = getenv("SEED");
	(void)state;

	for (unsigned number = 1; !only && number <= SEEDS; number++)
		run(number);
	if (only)
		run((unsigned)atoi(only));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_lost_nothing_twice) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
