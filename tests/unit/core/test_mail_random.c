/* A publisher and a subscriber, both with stored sessions and neither trusting the network, while
 * the gateway is killed again and again at any moment. In the end the subscriber has all that was
 * published, in order, and what is QoS 2 from end to end once. */
#include "tests/unit/core/mail_rig.h"

#define SEEDS    8
#define STEPS    500
#define MESSAGES 400
#define WINDOW   6

static struct mail_client *const sub = &mail_clients[0], *const pub = &mail_clients[1];

/* The publisher's side of its messages, which are their numbers. */
enum { NEW, SENT, RELEASING, DONE };
static struct {
	uint8_t state, qos;
	unsigned got; /* times the subscriber took it for a new one */
} msgs[MESSAGES];
static unsigned first_open, next_new, last_first;

/* What the subscriber has to answer, and the QoS 2 packet ids it knows. */
static struct answer {
	uint16_t id;
	enum { PUBACK, PUBREC, PUBCOMP } type;
} answers[4 * FAKE_LOG];
static unsigned n_answers;
static bool known[65536];

static unsigned seed;

static unsigned dice(unsigned sides)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % sides;
}

static uint16_t id_of(unsigned n)
{
	return (uint16_t)(n + 1);
}

static void publish(unsigned n)
{
	char text[8];

	snprintf(text, sizeof(text), "%u", n);
	bool dup = msgs[n].state != NEW;
	assert_int_equal(mail_send(pub, "t/a", text, msgs[n].qos, id_of(n), dup), R_SUCCESS);
	msgs[n].state = SENT;
}

static void release(unsigned n)
{
	session_released(pub->s, id_of(n));
	if (dice(4)) /* else PUBCOMP is lost */
		msgs[n].state = DONE;
	while (first_open < next_new && msgs[first_open].state == DONE)
		first_open++;
}

/* MQTT 5.0, 4.4: what is not answered is sent again, in order. */
static void publisher_connects(void)
{
	mail_attach(pub);
	for (unsigned n = first_open; n < next_new; n++) {
		if (msgs[n].state == SENT)
			publish(n);
		else if (msgs[n].state == RELEASING)
			release(n);
	}
}

static void take_answer(const struct fake_answer *a)
{
	unsigned n = a->id - 1u;

	assert_false(reason_failed(a->reason));
	if (msgs[n].state == SENT)
		msgs[n].state = a->qos == 2 ? RELEASING : DONE;
	if (msgs[n].state == RELEASING)
		release(n);
	while (first_open < next_new && msgs[first_open].state == DONE)
		first_open++;
}

static void take_message(const struct fake_sent *m)
{
	unsigned n = (unsigned)atoi(m->text);

	if (m->release) {
		known[m->id] = false;
		answers[n_answers++] = (struct answer){ m->id, PUBCOMP };
		return;
	}
	answers[n_answers++] = (struct answer){ m->id, m->qos == 2 ? PUBREC : PUBACK };
	if (m->qos == 2 && known[m->id])
		return;
	known[m->id] = m->qos == 2;
	if (msgs[n].got++ == 0) {
		assert_true(n + 1 > last_first);
		last_first = n + 1;
	}
}

/* What has arrived at the clients. */
static void network(void)
{
	unsigned n = sub->link.n_sent, m = pub->link.n_answers;

	for (unsigned i = 0; i < n; i++)
		take_message(&sub->link.sent[i]);
	sub->link.n_sent = 0;
	for (unsigned i = 0; i < m; i++)
		take_answer(&pub->link.answers[i]);
	pub->link.n_answers = 0;
}

/* The subscriber answers the oldest `n`. */
static void acknowledge(unsigned n)
{
	for (; n > 0 && n_answers > 0 && sub->s->link; n--) {
		struct answer a = answers[0];
		memmove(answers, answers + 1, --n_answers * sizeof(answers[0]));
		if (a.type == PUBACK)
			session_acked(sub->s, a.id);
		else if (a.type == PUBREC)
			session_received(sub->s, a.id);
		else
			session_completed(sub->s, a.id);
		network();
	}
}

static void reconnect(struct mail_client *c)
{
	if (dice(2))
		network(); /* else it is lost on the way */
	if (c->s->link)
		mail_detach(c);
	else if (c == sub)
		mail_attach(c);
	else
		publisher_connects();
	n_answers = c == sub ? 0 : n_answers;
}

static void kill_now(void)
{
	if (dice(2))
		network();
	n_answers = 0;
	mail_kill();
	if (dice(3))
		mail_attach(sub);
	publisher_connects();
}

static void step(void)
{
	unsigned what = dice(100);

	if (what < 40 && next_new < MESSAGES && next_new < first_open + WINDOW && pub->s->link)
		publish(next_new++);
	else if (what < 65)
		acknowledge(1 + dice(4));
	else if (what < 90)
		store_turn(dice(3) ? 1 + dice(20) : 500);
	else if (what < 94)
		store_settle();
	else if (what < 97)
		reconnect(dice(2) ? sub : pub);
	else if (what == 97)
		kill_now();
	if (dice(8))
		network();
}

/* Everything is collected and answered. A kill may bring back exchanges whose PUBCOMP has been
 * seen. */
static void finish(void)
{
	if (!sub->s->link)
		mail_attach(sub);
	if (!pub->s->link)
		publisher_connects();
	for (unsigned i = 0; first_open < next_new || !session_idle(sub->s); i++) {
		store_settle();
		network();
		acknowledge(1000);
		if (i % 20 == 19) {
			mail_detach(pub);
			publisher_connects();
		}
		assert_in_range(i, 0, 2000);
	}
	for (unsigned n = 0; n < next_new; n++)
		session_released(pub->s, id_of(n));
}

static void run(unsigned number)
{
	struct journal_status status;
	void *state = NULL;

	seed = number;
	memset(msgs, 0, sizeof(msgs));
	memset(known, 0, sizeof(known));
	first_open = next_new = last_first = n_answers = 0;
	mail_setup(&state);
	store.conf.memory_bytes = number % 3 ? 1 << 20 : 0;
	keeper_set_conf(store.keeper, &store.conf);
	for (unsigned n = 0; n < MESSAGES; n++)
		msgs[n].qos = (uint8_t)(1 + dice(2));
	mail_attach(sub);
	publisher_connects();
	for (unsigned i = 0; i < STEPS; i++)
		step();
	finish();
	for (unsigned n = 0; n < next_new; n++) {
		if (msgs[n].got == 0 || (msgs[n].qos == 2 && msgs[n].got > 1))
			fail_msg("seed %u: message %u of QoS %u came %u times", number, n,
				msgs[n].qos, msgs[n].got);
	}
	store_settle();
	assert_int_equal(mail_status().messages, 0);
	journal_status(store.journal, &status);
	assert_int_equal(status.live_records, 0);
	mail_teardown(&state);
}

static void nothing_lost_nothing_twice(void **state)
{
	const char *only = getenv("SEED");
	(void)state;

	if (only) {
		run((unsigned)atoi(only));
		return;
	}
	for (unsigned number = 1; number <= SEEDS; number++)
		run(number);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_lost_nothing_twice) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
