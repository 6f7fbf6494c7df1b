#include "adapters/coap/cap_client.h"

#include "tests/unit/coap/rig.h"

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	rig_start(&rig, "");
	clock_freeze(1000000, 1700000000000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	return 0;
}

static struct cap_client *client(void)
{
	struct cap *cap = rig.self;
	struct answer a;

	rig_get(&rig, 1, "/ps/none", &a);
	return list_first(&cap->by_age, struct cap_client, age);
}

static void answers_are_remembered_for_their_lifetime(void **state)
{
	struct cap_client *c = client();
	int64_t block1;

	(void)state;
	assert_int_equal(cap_client_answered(c, 5, &block1), 0);
	cap_client_remember(c, 5, 68, -1);
	clock_advance(CAP_EXCHANGE_MS - 1);
	assert_int_equal(cap_client_answered(c, 5, &block1), 68);
	assert_int_equal(block1, -1);
	clock_advance(1);
	assert_int_equal(cap_client_answered(c, 5, &block1), 0);
	/* The id may be used again, and tells the new answer. */
	cap_client_remember(c, 5, 95, 14);
	assert_int_equal(cap_client_answered(c, 5, &block1), 95);
	assert_int_equal(block1, 14);
}

static void memory_of_answers_is_bounded(void **state)
{
	struct cap_client *c = client();
	int64_t block1;

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		cap_client_remember(c, (uint16_t)i, 68, -1);
	assert_int_equal(c->answered_cap, CAP_ANSWERED_MAX);
	assert_int_equal(cap_client_answered(c, 999, &block1), 68);
	assert_int_equal(cap_client_answered(c, 1000 - CAP_ANSWERED_MAX, &block1), 68);
	assert_int_equal(cap_client_answered(c, 999 - CAP_ANSWERED_MAX, &block1), 0);
}

static void memory_does_not_grow_for_a_slow_device(void **state)
{
	struct cap_client *c = client();

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		cap_client_remember(c, (uint16_t)i, 68, -1);
		clock_advance(100000);
	}
	assert_int_equal(c->answered_cap, 4);
}

static struct message *body(const char *text)
{
	return message_new(
		&(struct message_init){ .topic = span_str("t"), .payload = span_str(text) });
}

static void bodies_are_kept_by_path(void **state)
{
	struct cap_client *c = client();
	struct message *m[CAP_BODIES + 1];
	char path[2] = "a";

	(void)state;
	for (unsigned i = 0; i < CAP_BODIES + 1; i++) {
		m[i] = body("x");
		path[0] = (char)('a' + i);
		cap_client_keep_body(c, span_str(path), m[i]);
		clock_advance(10);
	}
	/* The oldest had to go. */
	assert_null(cap_client_body(c, span_str("a")));
	assert_ptr_equal(cap_client_body(c, span_str("b")), m[1]);
	cap_client_keep_body(c, span_str("b"), m[0]);
	assert_ptr_equal(cap_client_body(c, span_str("b")), m[0]);
	assert_ptr_equal(cap_client_body(c, span_str("c")), m[2]);
	clock_advance(CAP_BODY_MS);
	assert_null(cap_client_body(c, span_str("b")));
	for (unsigned i = 0; i < CAP_BODIES + 1; i++)
		message_unref(m[i]);
}

static void open_exchanges_are_bounded(void **state)
{
	static struct listener gate;
	struct packet p;
	struct answer a;

	(void)state;
	listener_start(&gate, &rig, "#", true);
	for (unsigned i = 0; i < CAP_EXCHANGES; i++) {
		packet_init(&p, CON, POST, (uint16_t)i, "");
		packet_path(&p, "/ps/x");
		packet_payload(&p, "x", 1);
		rig_send(&rig, &p);
	}
	assert_int_equal(gate.n, CAP_EXCHANGES);
	assert_int_equal(rig_publish(&rig, POST, 1000, "/ps/x", NULL, "x"), CODE(503));
	assert_int_equal(gate.n, CAP_EXCHANGES);
	assert_false(rig_receive(&rig, &a));
	assert_false(adapter_coap.drain(rig.self));
	for (unsigned i = 0; i < CAP_EXCHANGES; i++)
		receipt_release(&gate.holds[i], R_SUCCESS);
	assert_true(rig_receive(&rig, &a));
	assert_int_equal(a.code, CODE(204));
	assert_true(adapter_coap.drain(rig.self));
	router_leave(rig.router, &gate.sub);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(answers_are_remembered_for_their_lifetime),
		T(memory_of_answers_is_bounded),
		T(memory_does_not_grow_for_a_slow_device),
		T(bodies_are_kept_by_path),
		T(open_exchanges_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
