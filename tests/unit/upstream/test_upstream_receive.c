#include "tests/unit/upstream/fake_uplink.h"
#include "tests/unit/upstream/hub.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* What comes from the server and when it may be acknowledged there, with the test as the client
 * library, the server, and somebody here who must not lose what he gets. */
static struct hub h;
static int server_fd;
static uint16_t server_port;

static struct saver {
	struct subscriber sub;
	struct identity who;
	struct receipt_hold holds[64];
	unsigned n;
	bool holding;
} saver;

static enum reason saver_offer(
	struct subscriber *s, struct message *m, struct offer *o, struct receipt *r)
{
	(void)s;
	(void)m;
	(void)o;
	assert_true(saver.n < ARRAY_SIZE(saver.holds));
	if (saver.holding)
		receipt_hold(r, &saver.holds[saver.n]);
	saver.n++;
	return R_SUCCESS;
}

static void start(bool session_present)
{
	static const struct subscriber_ops ops = { .offer = saver_offer };
	struct sub_opts opts = { .qos = 2 };
	char text[128];

	snprintf(text, sizeof(text), "[upstream]\nuri = mqtt://127.0.0.1:%u\n", server_port);
	hub_open(&h, text, fake_new);
	memset(&saver, 0, sizeof(saver));
	saver.holding = true;
	saver.who = (struct identity){
		.client_id = "saver", .protocol = PROTO_MQTT, .origin = identity_new_origin()
	};
	subscriber_init(&saver.sub, &ops, &saver.who);
	assert_false(reason_failed(router_subscribe(h.router, &saver.sub, span_str("#"), &opts)));
	for (int i = 0; i < 500 && !fake.connected_to; i++)
		hub_turn(&h, 10);
	assert_true(fake.connected_to);
	fake_up(5, session_present, 100);
}

static int setup(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);

	(void)state;
	clock_freeze(1000000, 1700000000000);
	memset(&h, 0, sizeof(h));
	server_fd = socket(AF_INET, SOCK_STREAM, 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(server_fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(server_fd, 64), 0);
	assert_int_equal(getsockname(server_fd, (struct sockaddr *)&a, &len), 0);
	server_port = ntohs(a.sin_port);
	start(false);
	return 0;
}

static void stop(void)
{
	router_leave(h.router, &saver.sub);
	for (unsigned i = 0; i < ARRAY_SIZE(saver.holds); i++)
		receipt_release(&saver.holds[i], R_SUCCESS);
	hub_close(&h);
}

static int teardown(void **state)
{
	(void)state;
	stop();
	hub_remove(&h);
	close(server_fd);
	assert_int_equal(messages_bytes(), 0);
	return 0;
}

static void turns(int n)
{
	while (n-- > 0)
		hub_turn(&h, 0);
}

/* The answer to the last ticket is true or false, or -1 when there is none. */
static int answer_to(uint32_t ticket)
{
	return fake.ticket == ticket ? fake.kept : -1;
}

static void receive(uint32_t ticket, uint8_t qos, uint16_t id, bool dup, const char *payload)
{
	struct uplink_message m = { .topic = span_str("in/a"),
		.payload = span_str(payload),
		.qos = qos,
		.packet_id = id,
		.dup = dup,
		.ticket = ticket };

	fake.events->message(fake.arg, &m);
	turns(2);
}

static void release(unsigned i, enum reason reason)
{
	receipt_release(&saver.holds[i], reason);
	turns(2);
}

static unsigned received2(void)
{
	unsigned n = 0;
	struct list *pos;

	list_for_each(pos, exchanges_list(h.exchanges))
		n += list_entry(pos, struct exchange, node)->way == EXCHANGE_IN;
	return n;
}

static uint64_t records(void)
{
	struct journal_status s;

	journal_status(h.journal, &s);
	return s.appended_records;
}

static void wait_for_answer(uint32_t ticket)
{
	for (int i = 0; i < 500 && answer_to(ticket) < 0; i++)
		hub_turn(&h, 10);
	assert_int_equal(answer_to(ticket), 1);
}

static void test_nobody_keeps_it(void **state)
{
	(void)state;
	saver.holding = false;
	receive(1, 1, 0, false, "x");
	assert_int_equal(answer_to(1), 1);
	receive(2, 2, 5, false, "x");
	assert_int_equal(answer_to(2), 1);
	assert_int_equal(saver.n, 2);
	assert_int_equal(records(), 0);
}

static void test_waits_until_it_is_safe(void **state)
{
	(void)state;
	receive(1, 1, 0, false, "x");
	assert_int_equal(answer_to(1), -1);
	release(0, R_SUCCESS);
	assert_int_equal(answer_to(1), 1);
	assert_int_equal(records(), 0); /* QoS 1 needs no record of ours */
}

/* At QoS 2 the packet id is stored with it. */
static void test_qos2_waits_for_both(void **state)
{
	(void)state;
	receive(1, 2, 5, false, "x");
	assert_int_equal(records(), 1);
	release(0, R_SUCCESS);
	wait_for_answer(1);
	assert_int_equal(received2(), 1);
	fake.events->released(fake.arg, 5);
	assert_int_equal(received2(), 0);
}

static void test_refused(void **state)
{
	(void)state;
	receive(1, 2, 5, false, "x");
	release(0, R_QUOTA);
	for (int i = 0; i < 500 && received2() > 0; i++)
		hub_turn(&h, 10);
	assert_int_equal(answer_to(1), -1); /* not over and over again */
	assert_int_equal(received2(), 0);   /* its repetition is welcome */
	clock_advance(2000);
	turns(2);
	assert_int_equal(answer_to(1), 0);
	receive(2, 2, 5, true, "x");
	assert_int_equal(saver.n, 2);
}

static void test_not_for_us(void **state)
{
	struct uplink_message m = { .topic = span_str("$SYS/x"), .qos = 2, .ticket = 1 };

	(void)state;
	fake.events->message(fake.arg, &m);
	assert_int_equal(answer_to(1), 1);
	assert_int_equal(saver.n, 0);
}

static void test_repetition(void **state)
{
	(void)state;
	receive(1, 2, 5, false, "x");
	receive(2, 2, 5, true, "x"); /* while it is under way */
	release(0, R_SUCCESS);
	wait_for_answer(2);
	receive(3, 2, 5, true, "x");
	assert_int_equal(answer_to(3), 1);
	assert_int_equal(saver.n, 1);
	/* Without DUP, or with other contents, it is another message. */
	receive(4, 2, 5, true, "y");
	assert_int_equal(saver.n, 2);
	receive(5, 2, 5, false, "y");
	assert_int_equal(saver.n, 3);
	assert_int_equal(received2(), 1);
}

static void test_repetition_after_a_restart(void **state)
{
	(void)state;
	receive(1, 2, 5, false, "x");
	release(0, R_SUCCESS);
	wait_for_answer(1);
	stop();
	start(true);
	receive(2, 2, 5, true, "x");
	assert_int_equal(answer_to(2), 1);
	assert_int_equal(saver.n, 0);
	fake.events->released(fake.arg, 5);
	assert_int_equal(received2(), 0);
	stop();
	start(true);
	assert_int_equal(received2(), 0);
}

static void test_session_goes_on(void **state)
{
	(void)state;
	receive(1, 2, 5, false, "x");
	release(0, R_SUCCESS);
	wait_for_answer(1);
	fake_up(5, true, 100);
	receive(2, 2, 5, true, "x");
	assert_int_equal(answer_to(2), 1);
	assert_int_equal(saver.n, 1);
	fake_up(5, false, 100);
	assert_int_equal(received2(), 0);
}

/* A server that never releases what it sends fills no memory. */
static void test_bounded(void **state)
{
	(void)state;
	router_leave(h.router, &saver.sub);
	for (uint16_t id = 1; id <= 3000; id++) {
		struct uplink_message m = { .topic = span_str("in/a"), .qos = 2, .packet_id = id };
		fake.events->message(fake.arg, &m);
	}
	assert_int_equal(received2(), 1000);
}

static void test_fast(void **state)
{
	(void)state;
	receive(0, 1, 0, false, "x");
	receive(0, 2, 5, false, "x");
	receive(0, 2, 5, true, "x");
	assert_int_equal(saver.n, 2);
	assert_int_equal(fake.ticket, 0);
}

static void test_stop_with_open_ones(void **state)
{
	(void)state;
	receive(1, 2, 5, false, "x");
	receive(2, 1, 0, false, "x");
	assert_int_equal(answer_to(1), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nobody_keeps_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waits_until_it_is_safe, setup, teardown),
		cmocka_unit_test_setup_teardown(test_qos2_waits_for_both, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_for_us, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repetition, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repetition_after_a_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fast, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop_with_open_ones, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
