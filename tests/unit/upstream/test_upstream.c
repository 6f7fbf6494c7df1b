#include "tests/unit/upstream/fake_uplink.h"
#include "tests/unit/upstream/hub.h"

#include "gateway/upstream/interest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* The rules of the bridge, with the test as the client library and the server. */
static struct hub h;
static struct client sender, listener;
static int server_fd;
static uint16_t server_port;

static void open_server(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);

	server_fd = socket(AF_INET, SOCK_STREAM, 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(server_fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(server_fd, 64), 0);
	assert_int_equal(getsockname(server_fd, (struct sockaddr *)&a, &len), 0);
	server_port = ntohs(a.sin_port);
}

static void start(const char *rows)
{
	char text[1024];

	snprintf(text, sizeof(text), "[upstream]\nuri = mqtt://127.0.0.1:%u\n%s\n", server_port,
		rows);
	hub_open(&h, text, fake_new);
}

static int setup(void **state)
{
	(void)state;
	clock_freeze(1000000, 1700000000000);
	memset(&h, 0, sizeof(h));
	open_server();
	client_init(&sender, "sender");
	client_init(&listener, "listener");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	client_leave(&listener);
	client_leave(&sender);
	hub_close(&h);
	hub_remove(&h);
	close(server_fd);
	assert_int_equal(messages_bytes(), 0);
	return 0;
}

static void turns(int n)
{
	while (n-- > 0) {
		clock_advance(1);
		hub_turn(&h, 1);
	}
}

static void wait_attempt(void)
{
	for (int i = 0; i < 2000 && (!fake.connected_to || fake.is_up); i++) {
		clock_advance(50);
		turns(1);
	}
	assert_true(fake.connected_to && !fake.is_up);
}

static void come_up(unsigned version)
{
	wait_attempt();
	fake_up(version, false, 65535);
	turns(1);
}

static void wait_done(const struct publish *p)
{
	for (int i = 0; i < 500 && !p->done; i++)
		turns(1);
	assert_true(p->done);
}

static struct upstream_status status(void)
{
	struct upstream_status s;

	upstream_status(h.up, &s);
	return s;
}

static void test_acknowledged_by_upstream(void **state)
{
	struct publish p;

	(void)state;
	start("");
	come_up(5);
	assert_string_equal(fake.target.client_id, "tidegate-test");
	assert_int_equal(fake.target.version, 5);
	publish(&h, &sender, &p, "a/b", "x", 1, true);
	turns(3);
	assert_int_equal(fake.n_sent, 1);
	assert_string_equal(fake.sent[0].topic, "a/b");
	assert_true(fake.sent[0].retain);
	assert_false(p.done);
	fake_answer(0, UPLINK_DONE, R_SUCCESS);
	turns(1);
	assert_true(p.done);
	struct journal_status js;
	journal_status(h.journal, &js);
	assert_int_equal(js.appended_records, 0);
	assert_int_equal(status().sent, 1);
}

static void test_stalled_upstream(void **state)
{
	struct publish p[3];

	(void)state;
	start("");
	come_up(5);
	publish(&h, &sender, &p[0], "t", "1", 1, false);
	turns(2);
	clock_advance(1100);
	wait_done(&p[0]); /* from the journal, though it is still in flight */
	publish(&h, &sender, &p[1], "t", "2", 1, false);
	wait_done(&p[1]); /* at once: nobody waits for a stalled server twice */
	assert_int_equal(status().journaled, 2);
	fake_answer(0, UPLINK_DONE, R_SUCCESS);
	fake_answer(1, UPLINK_DONE, R_SUCCESS);
	turns(2);
	assert_int_equal(status().journaled, 0);
	assert_int_equal(fake.n_sent, 2); /* once each */
	publish(&h, &sender, &p[2], "t", "3", 1, false);
	turns(20);
	assert_false(p[2].done); /* healthy again: held */
	fake_answer(2, UPLINK_DONE, R_SUCCESS);
	wait_done(&p[2]);
}

static void test_down_then_up_in_order(void **state)
{
	struct publish p[6];
	char payload[2] = "0";

	(void)state;
	start("");
	come_up(5);
	for (int i = 0; i < 6; i++) {
		payload[0] = (char)('0' + i);
		publish(&h, &sender, &p[i], "t", payload, 1, false);
		turns(1);
		if (i == 2)
			fake_down(R_UNSPECIFIED, "gone");
	}
	for (int i = 0; i < 6; i++)
		wait_done(&p[i]);
	assert_int_equal(fake.n_sent, 3);
	wait_attempt();
	/* The session is gone: the library gives back what was in flight, then is up. */
	for (size_t i = 0; i < 3; i++)
		fake_answer(i, UPLINK_RETRY, R_UNSPECIFIED);
	fake_up(5, false, 65535);
	turns(3);
	assert_int_equal(fake.n_sent, 9);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(fake.sent[3 + i].payload[0], '0' + (int)i);
	for (size_t i = 3; i < 9; i++)
		fake_answer(i, UPLINK_DONE, R_SUCCESS);
	assert_int_equal(status().journaled, 0);
}

static void test_window(void **state)
{
	(void)state;
	start("inflight = 64");
	wait_attempt();
	fake_up(5, false, 20);
	assert_int_equal(status().window, 18);
	for (int i = 0; i < 100; i++)
		publish(&h, &sender, NULL, "t", "x", i % 2 ? 0 : 1, false);
	turns(2);
	assert_int_equal(fake.n_sent, 18);
	for (size_t i = 0; i < fake.n_sent; i++) {
		fake_answer(i, UPLINK_DONE, R_SUCCESS);
		turns(1);
		assert_int_equal(fake.n_sent, MIN(i + 1 + 18, (size_t)100));
	}
	assert_int_equal(fake.n_sent, 100);
}

static void test_refusals(void **state)
{
	struct publish p[2];

	(void)state;
	start("");
	come_up(5);
	publish(&h, &sender, &p[0], "secret", "x", 1, false);
	publish(&h, &sender, &p[1], "t", "y", 1, false);
	turns(2);
	fake_answer(0, UPLINK_REFUSED, R_NOT_AUTHORIZED);
	fake_answer(1, UPLINK_REFUSED, R_QUOTA);
	turns(2);
	assert_true(p[0].done);
	assert_int_equal(p[0].reason, R_NOT_AUTHORIZED);
	assert_int_equal(status().refused, 1);
	assert_int_equal(fake.n_sent, 2); /* a pause, as asked */
	clock_advance(1100);
	turns(20);
	assert_int_equal(fake.n_sent, 3);
	assert_string_equal(fake.sent[2].payload, "y");
	fake_answer(2, UPLINK_DONE, R_SUCCESS);
	wait_done(&p[1]);
}

/* "Unspecified error" for ever does not block what is behind it. */
static void test_poison(void **state)
{
	(void)state;
	start("");
	come_up(5);
	publish(&h, &sender, NULL, "t", "poison", 1, false);
	publish(&h, &sender, NULL, "t", "good", 1, false);
	turns(2);
	fake_answer(1, UPLINK_DONE, R_SUCCESS);
	size_t i = 0;
	for (int tries = 0; tries < 10 && fake.sent[i].open; tries++) {
		fake_answer(i, UPLINK_REFUSED, R_UNSPECIFIED);
		clock_advance(1100);
		turns(10);
		if (fake.n_sent > i + 1)
			i = fake.n_sent - 1;
	}
	assert_int_equal(status().refused, 1);
	assert_int_equal(status().queued + status().in_flight, 0);
}

static void test_goes_down_to_311(void **state)
{
	(void)state;
	start("");
	wait_attempt();
	assert_int_equal(fake.target.version, 5);
	fake_down(R_VERSION, "unsupported version");
	wait_attempt();
	assert_int_equal(fake.target.version, 4);
	fake_up(4, false, 65535);
	fake_down(R_UNSPECIFIED, "gone");
	wait_attempt();
	assert_int_equal(fake.target.version, 4); /* remembered */
}

/* An old broker hangs up; a slow one, or one known for MQTT 5, does not count. */
static void test_silent_servers(void **state)
{
	(void)state;
	start("");
	wait_attempt();
	fake_down(R_UNSPECIFIED, "closed");
	wait_attempt();
	assert_int_equal(fake.target.version, 5);
	fake_down(R_UNSPECIFIED, "closed");
	wait_attempt();
	assert_int_equal(fake.target.version, 4);
	fake_down(R_UNSPECIFIED, "closed");
	wait_attempt();
	assert_int_equal(fake.target.version, 5);
	fake_up(5, false, 65535);
	fake_down(R_UNSPECIFIED, "gone");
	for (int i = 0; i < 4; i++) {
		wait_attempt();
		assert_int_equal(fake.target.version, 5);
		fake_down(R_UNSPECIFIED, "closed");
	}
}

static void test_fixed_version(void **state)
{
	(void)state;
	start("version = 5");
	wait_attempt();
	fake_down(R_VERSION, "unsupported version");
	wait_attempt();
	assert_int_equal(fake.target.version, 5);
}

static void test_inbound(void **state)
{
	struct uplink_message bad = { .topic = span_of("a\0b", 3), .payload = span_str("x") };

	(void)state;
	start("import = in/#");
	client_subscribe(&h, &listener, "#");
	come_up(5);
	assert_int_equal(fake.n_asked, 1);
	assert_string_equal(fake.asked[0].filter, "in/#");
	fake_grant_all(2);
	fake_message("in/a", "yes", 1, false);
	fake_message("out/a", "no", 1, false);
	fake_message("$SYS/x", "no", 0, false);
	fake_message("in/+", "no", 0, false);
	fake.events->message(fake.arg, &bad);
	bad.topic = span_str("in/a");
	bad.props = span_str("\x26\xff\xff");
	fake.events->message(fake.arg, &bad);
	turns(2);
	assert_int_equal(listener.n, 1);
	assert_string_equal(listener.got[0], "yes");
	assert_int_equal(fake.n_sent, 0); /* never back to where it came from */
}

/* What the library had under way at QoS 2 when the process ended is its own again; a packet id
 * whose message is not here any more is only released. */
static void test_exchanges_go_on(void **state)
{
	struct exchange init = { .way = EXCHANGE_OUT, .session = 1, .packet_id = 7, .what = 1 };
	struct publish p[2];

	(void)state;
	start("");
	publish(&h, &sender, &p[0], "a", "under way", 2, false);
	publish(&h, &sender, &p[1], "a", "waits", 2, false);
	wait_done(&p[0]);
	wait_done(&p[1]);
	assert_int_equal(exchange_store(exchange_begin(h.exchanges, &init)), 0);
	init.packet_id = 6;
	init.what = 999;
	assert_int_equal(exchange_store(exchange_begin(h.exchanges, &init)), 0);
	hub_close(&h);
	start("");
	assert_int_equal(fake.n_sent, 1);
	assert_string_equal(fake.sent[0].payload, "under way");
	assert_int_equal(fake.n_released, 1);
	come_up(5);
	assert_int_equal(fake.n_sent, 2);
	assert_string_equal(fake.sent[1].payload, "waits");
	/* Its session is lost: it goes on, but may be doubled. */
	fake_answer(0, UPLINK_REPEAT, R_UNSPECIFIED);
	turns(2);
	assert_string_equal(fake.sent[2].payload, "under way");
	fake_answer(1, UPLINK_DONE, R_SUCCESS);
	fake_answer(2, UPLINK_DONE, R_SUCCESS);
}

static void test_export_limits(void **state)
{
	(void)state;
	start("export = up/#");
	come_up(5);
	publish(&h, &sender, NULL, "up/a", "yes", 0, false);
	publish(&h, &sender, NULL, "local/a", "no", 0, false);
	turns(2);
	assert_int_equal(fake.n_sent, 1);
	assert_string_equal(fake.sent[0].topic, "up/a");
	fake_answer(0, UPLINK_DONE, R_SUCCESS);
}

static void test_retained_replays(void **state)
{
	(void)state;
	start("");
	publish(&h, &sender, NULL, "known", "same", 1, true);
	turns(2);
	come_up(5);
	fake_answer(0, UPLINK_DONE, R_SUCCESS);
	publish(&h, &sender, NULL, "newer", "ours", 1, true);
	client_subscribe(&h, &listener, "#");
	turns(3);
	size_t before = listener.n; /* the hub's own replay */
	fake_grant_all(2);
	fake_message("known", "same", 1, true);
	fake_message("newer", "theirs, old", 1, true);
	fake_message("fresh", "theirs", 1, true);
	turns(2);
	assert_int_equal(listener.n, before + 1);
	assert_string_equal(listener.got[before], "theirs");
	const struct message *m = router_retained(h.router, span_str("newer"));
	assert_true(span_is(message_payload(m), "ours"));
	clock_advance(INTEREST_REPLAY_MS);
	fake_message("known", "same", 1, true); /* published again, not replayed */
	turns(2);
	assert_int_equal(listener.n, before + 2);
	fake_answer(1, UPLINK_DONE, R_SUCCESS);
}

static void test_echo_withheld(void **state)
{
	struct publish p;

	(void)state;
	start("version = 3.1.1");
	client_subscribe(&h, &listener, "room/#");
	come_up(4);
	fake_grant_all(2);
	publish(&h, &sender, &p, "room/light", "on", 1, false);
	publish(&h, &sender, NULL, "elsewhere", "x", 0, false);
	turns(2);
	assert_int_equal(listener.n, 0);
	fake_message("room/light", "on", 1, false);
	fake_answer(0, UPLINK_DONE, R_SUCCESS);
	turns(2);
	assert_int_equal(listener.n, 1);
	assert_true(p.done);
	fake_message("room/light", "on", 1, false); /* somebody else's */
	assert_int_equal(listener.n, 2);
	/* The link goes before the echo comes. */
	publish(&h, &sender, NULL, "room/light", "off", 1, false);
	turns(1);
	assert_int_equal(listener.n, 2);
	fake_answer(1, UPLINK_LOST, R_UNSPECIFIED);
	fake_down(R_UNSPECIFIED, "gone");
	turns(1);
	assert_int_equal(listener.n, 3);
	assert_string_equal(listener.got[2], "off");
	/* Sent from the journal later: its echo is dropped. */
	wait_attempt();
	fake_answer(2, UPLINK_RETRY, R_UNSPECIFIED);
	fake_up(4, false, 65535);
	turns(3);
	fake_grant_all(2);
	fake_message("room/light", "off", 1, false);
	assert_int_equal(listener.n, 3);
	fake_answer(fake.n_sent - 1, UPLINK_DONE, R_SUCCESS);
}

static void test_no_echo_with_5(void **state)
{
	(void)state;
	start("");
	client_subscribe(&h, &listener, "room/#");
	come_up(5);
	fake_grant_all(2);
	publish(&h, &sender, NULL, "room/light", "on", 1, false);
	assert_int_equal(listener.n, 1); /* at once: No Local keeps it from coming back */
	turns(1);
	fake_answer(0, UPLINK_DONE, R_SUCCESS);
}

static void test_qos2_is_not_overtaken(void **state)
{
	(void)state;
	start("");
	come_up(5);
	publish(&h, &sender, NULL, "t", "first", 2, false);
	publish(&h, &sender, NULL, "t", "second", 1, false);
	turns(3);
	assert_int_equal(fake.n_sent, 1);
	fake_answer(0, UPLINK_DONE, R_SUCCESS);
	turns(2);
	assert_int_equal(fake.n_sent, 2);
	fake_answer(1, UPLINK_DONE, R_SUCCESS);
}

static void test_qos2_does_not_overtake(void **state)
{
	(void)state;
	start("");
	come_up(5);
	publish(&h, &sender, NULL, "t", "first", 1, false);
	publish(&h, &sender, NULL, "t", "second", 2, false);
	turns(3);
	assert_int_equal(fake.n_sent, 1);
	fake_answer(0, UPLINK_DONE, R_SUCCESS);
	turns(2);
	assert_int_equal(fake.n_sent, 2);
	fake_answer(1, UPLINK_DONE, R_SUCCESS);
}

static void test_drain_rate(void **state)
{
	(void)state;
	start("drain_rate = 100\ninflight = 1000");
	for (int i = 0; i < 300; i++)
		publish(&h, &sender, NULL, "t", "x", 1, false);
	turns(5);
	come_up(5);
	size_t before = fake.n_sent;
	for (int i = 0; i < 1000; i++) {
		turns(1);
		for (size_t k = before; k < fake.n_sent; k++)
			if (fake.sent[k].open)
				fake_answer(k, UPLINK_DONE, R_SUCCESS);
	}
	assert_in_range(fake.n_sent, 80, 130);
}

/* Nothing is acknowledged although the connection stands: it is ended, the second time the library
 * is given up. */
static void test_stuck(void **state)
{
	(void)state;
	start("keepalive = 2s\nconnect_timeout = 1s");
	come_up(5);
	publish(&h, &sender, NULL, "t", "x", 1, false);
	turns(2);
	for (int i = 0; i < 10 && !fake.disconnects; i++) {
		clock_advance(1000);
		turns(3);
	}
	assert_int_equal(fake.disconnects, 1);
	fake_down(R_SUCCESS, "closed");
	wait_attempt();
	fake_up(5, true, 65535);
	for (int i = 0; i < 10 && !fake.abandons; i++) {
		clock_advance(1000);
		turns(3);
	}
	assert_int_equal(fake.abandons, 1);
	fake_answer(0, UPLINK_RETRY, R_UNSPECIFIED);
	fake_down(R_UNSPECIFIED, "given up");
	wait_attempt();
	fake_up(5, false, 65535);
	turns(2);
	assert_int_equal(fake.n_sent, 2);
	fake_answer(1, UPLINK_DONE, R_SUCCESS);
}

static void test_attempt_without_end(void **state)
{
	(void)state;
	start("connect_timeout = 1s");
	wait_attempt();
	for (int i = 0; i < 20 && !fake.abandons; i++) {
		clock_advance(1000);
		turns(3);
	}
	assert_int_equal(fake.abandons, 1);
	fake_down(R_UNSPECIFIED, "given up");
	wait_attempt();
}

static void test_drain(void **state)
{
	struct publish p;

	(void)state;
	start("");
	come_up(5);
	publish(&h, &sender, &p, "t", "x", 1, false);
	turns(2);
	assert_false(upstream_drain(h.up));
	wait_done(&p);                      /* from the journal */
	assert_false(upstream_drain(h.up)); /* still in flight */
	fake_answer(0, UPLINK_DONE, R_SUCCESS);
	assert_true(upstream_drain(h.up));
}

static void test_reload(void **state)
{
	char text[256];

	(void)state;
	start("");
	client_subscribe(&h, &listener, "a/#");
	come_up(5);
	fake_grant_all(2);
	snprintf(text, sizeof(text),
		"[upstream]\nuri = mqtt://127.0.0.1:%u\nexport = up/#\nusername = me\n",
		server_port);
	struct conf *now = hub_conf(text);
	assert_int_equal(upstream_reload(h.up, now), 0);
	conf_free(h.conf);
	h.conf = now;
	publish(&h, &sender, NULL, "a/b", "no", 0, false);
	turns(1);
	assert_int_equal(fake.n_sent, 0);
	assert_int_equal(fake.disconnects, 1); /* another user */
	fake_down(R_SUCCESS, "closed");
	wait_attempt();
	assert_string_equal(fake.target.username, "me");
}

static void test_shorter_keepalive(void **state)
{
	struct uplink_up up = {
		.version = 5, .receive_maximum = 65535, .maximum_qos = 1, .keepalive_s = 7
	};

	(void)state;
	start("");
	wait_attempt();
	assert_int_equal(fake.target.keepalive_s, 30);
	fake.events->up(fake.arg, &up);
	assert_int_equal(fake.disconnects, 1);
	fake_down(R_SUCCESS, "closed");
	wait_attempt();
	assert_int_equal(fake.target.keepalive_s, 7);
	fake.events->up(fake.arg, &up);
	publish(&h, &sender, NULL, "t", "x", 2, true);
	turns(2);
	assert_int_equal(fake.sent[0].qos, 1); /* as far as the server goes */
	assert_false(fake.sent[0].retain);
	fake_answer(0, UPLINK_DONE, R_SUCCESS);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_acknowledged_by_upstream),
		CASE(test_stalled_upstream),
		CASE(test_down_then_up_in_order),
		CASE(test_window),
		CASE(test_refusals),
		CASE(test_poison),
		CASE(test_goes_down_to_311),
		CASE(test_silent_servers),
		CASE(test_fixed_version),
		CASE(test_inbound),
		CASE(test_exchanges_go_on),
		CASE(test_export_limits),
		CASE(test_retained_replays),
		CASE(test_echo_withheld),
		CASE(test_no_echo_with_5),
		CASE(test_qos2_is_not_overtaken),
		CASE(test_qos2_does_not_overtake),
		CASE(test_drain_rate),
		CASE(test_stuck),
		CASE(test_attempt_without_end),
		CASE(test_drain),
		CASE(test_reload),
		CASE(test_shorter_keepalive),
	};

	log_init(getenv("VERBOSE") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
