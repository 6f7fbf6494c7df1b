#include "adapters/mqtt/mq_conn.h"

#include "tests/unit/mqtt/hub.h"

static int start(void **state)
{
	static struct hub hub;

	hub_start(&hub, &policy_allow_all,
		"memory = 2MB\nretained_bytes = 1MB\nmessage_bytes = 400KB\n"
		"queue_messages = 5000\nqueue_bytes = 1MB\n",
		"");
	*state = &hub;
	return 0;
}

static int stop(void **state)
{
	hub_stop(*state);
	return 0;
}

static void packets_may_come_octet_by_octet(void **state)
{
	struct client *c = client_new(*state, "dev");
	const char bytes[] = "\x82\x06\x00\x07\x00\x01t\x00"
			     "\x32\x06\x00\x01t\x00\x09x"
			     "\xc0\x00";
	for (size_t i = 0; i < sizeof(bytes) - 1; i++)
		client_write(c, bytes + i, 1);
	client_expect_ack(c, MQ_SUBACK, 7);
	client_expect_message(c, "t", "x", 0);
	client_expect_ack(c, MQ_PUBACK, 9);
	client_expect(c, MQ_PINGRESP);
	client_free(c);
}

/* More than a turn takes, in one write: the rest must not wait for further input. */
static void a_burst_is_taken_whole(void **state)
{
	struct client *c = client_new(*state, "dev");
	uint8_t pings[2 * 5 * MQ_PACKETS_PER_TURN];
	for (size_t i = 0; i < sizeof(pings); i += 2) {
		pings[i] = 0xc0;
		pings[i + 1] = 0;
	}
	client_write(c, pings, sizeof(pings));
	for (size_t i = 0; i < sizeof(pings); i += 2)
		client_expect(c, MQ_PINGRESP);
	client_expect_nothing(c);
	client_free(c);
}

static void a_turn_takes_a_bounded_number_of_packets(void **state)
{
	struct client *c = client_new(*state, "dev");
	uint8_t answers[1024];
	uint8_t pings[2 * 3 * MQ_PACKETS_PER_TURN];
	for (size_t i = 0; i < sizeof(pings); i += 2) {
		pings[i] = 0xc0;
		pings[i + 1] = 0;
	}
	assert_int_equal(send(c->fd, pings, sizeof(pings), 0), sizeof(pings));
	for (unsigned turn = 0; turn < 3; turn++) {
		hub_turn(*state);
		assert_int_equal(recv(c->fd, answers, sizeof(answers), MSG_DONTWAIT),
			2 * MQ_PACKETS_PER_TURN);
	}
	client_expect_nothing(c);
	client_free(c);
}

static char *big_payload(size_t len)
{
	char *p = malloc(len + 1);

	for (size_t i = 0; i < len; i++)
		p[i] = (char)('a' + i % 26);
	p[len] = '\0';
	return p;
}

static void a_large_message_arrives_whole(void **state)
{
	struct client *c = client_new(*state, "dev"), *sub = client_new(*state, "sub");
	char *payload = big_payload(300 * 1024);
	client_subscribe(sub, "t", 1);
	client_publish(c, "t", payload, 1, 1);
	client_expect_ack(c, MQ_PUBACK, 1);
	client_expect_message(sub, "t", payload, 1);
	free(payload);
	client_free(c);
	client_free(sub);
}

static void a_too_long_packet_closes_before_it_has_come(void **state)
{
	struct client *c = client_new(*state, "dev");
	client_write(c, "\x30\xff\xff\xff\x7f\x00\x01t", 8);
	client_expect_closed(c);
	client_free(c);
}

static void a_payload_above_the_limit_closes(void **state)
{
	struct client *c = client_new(*state, "dev");
	char *payload = big_payload(400 * 1024 + 1);
	size_t len = 400 * 1024 + 1 + 3;
	uint8_t head[] = { 0x30, (uint8_t)(len & 0x7f) | 0x80, (uint8_t)(len >> 7 & 0x7f) | 0x80,
		(uint8_t)(len >> 14), 0, 1, 't' };
	client_write(c, head, sizeof(head));
	client_write(c, payload, len - 3);
	client_expect_closed(c);
	free(payload);
	client_free(c);
}

/* Sends until all is taken or the hub has closed. */
static void push(struct client *c, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(c->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		hub_turn(c->hub);
		if (n < 0 && errno != EAGAIN)
			return;
		bytes += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
}

/* Large packets that are never finished: all of them together have a bound. */
static void unfinished_packets_share_a_bound(void **state)
{
	static const char publish_350_kb[] = "\x30\x80\xf0\x15\x00\x01t";
	struct client *c[16];
	char *payload = big_payload(300 * 1024);
	unsigned closed = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
		char byte;
		c[i] = client_new(*state, "");
		push(c[i], publish_350_kb, sizeof(publish_350_kb) - 1);
		push(c[i], payload, 300 * 1024);
		hub_turns(*state, 5);
		closed += recv(c[i]->fd, &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
	}
	assert_in_range(closed, 1, ARRAY_SIZE(c) - 2);
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
		client_free(c[i]);
	free(payload);
}

/* The hub's socket towards `c` takes little: found by its peer, it is in this process. */
static void shrink_send_buffer(const struct client *c)
{
	struct sockaddr_in own, peer;
	socklen_t len = sizeof(own);

	assert_int_equal(getsockname(c->fd, (struct sockaddr *)&own, &len), 0);
	for (int fd = 0; fd < 256; fd++) {
		len = sizeof(peer);
		if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 &&
			peer.sin_port == own.sin_port)
			setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ 16384 }, sizeof(int));
	}
}

/* The session keeps what the socket does not take, in order. */
static void a_slow_subscriber_gets_all_in_order(void **state)
{
	struct client *c = client_new(*state, "dev"), *sub = client_new(*state, "sub");
	char *filler = big_payload(1000);
	shrink_send_buffer(sub);
	client_subscribe(sub, "t", 0);
	for (unsigned i = 0; i < 900; i++) {
		snprintf(filler, 5, "%04u", i);
		filler[4] = ' ';
		client_publish(c, "t", filler, 0, 0);
	}
	struct session *session = sessions_find(c->hub->sessions, PROTO_MQTT, "sub");
	assert_in_range(session_queued(session), 1, 899); /* the socket did not take them all */
	for (unsigned i = 0; i < 900; i++) {
		snprintf(filler, 5, "%04u", i);
		filler[4] = ' ';
		client_expect_message(sub, "t", filler, 0);
	}
	client_expect_nothing(sub);
	free(filler);
	client_free(c);
	client_free(sub);
}

/* Questions without end from somebody who takes no answer: the socket is not read any more. */
static void a_peer_that_takes_no_answers_is_not_read(void **state)
{
	struct client *c = client_new(*state, "dev");
	uint8_t pings[8192];
	size_t sent = 0;
	unsigned stuck = 0;
	shrink_send_buffer(c);
	for (size_t i = 0; i < sizeof(pings); i += 2) {
		pings[i] = 0xc0;
		pings[i + 1] = 0;
	}
	while (stuck < 300 && sent < 64u << 20) {
		ssize_t n = send(c->fd, pings, sizeof(pings), MSG_DONTWAIT);
		stuck = n < 0 ? stuck + 1 : 0;
		sent += n > 0 ? (size_t)n : 0;
		hub_turn(*state);
	}
	assert_true(sent < 64u << 20);
	client_free(c);
}

static void a_large_payload_is_shared_and_outlives_its_publisher(void **state)
{
	struct client *c = client_new(*state, "dev"), *subs[4];
	char id[8], *payload = big_payload(100 * 1024);
	for (unsigned i = 0; i < ARRAY_SIZE(subs); i++) {
		snprintf(id, sizeof(id), "sub%u", i);
		subs[i] = client_new(*state, id);
		client_subscribe(subs[i], "t", 0);
	}
	client_publish(c, "t", payload, 0, 0);
	client_free(c);
	for (unsigned i = 0; i < ARRAY_SIZE(subs); i++) {
		client_expect_message(subs[i], "t", payload, 0);
		client_free(subs[i]);
	}
	free(payload);
}

static void a_refusal_arrives_before_the_end(void **state)
{
	struct client *c = client_open(*state);
	uint8_t bytes[4096] = "\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00"; /* no id, not clean */
	client_write(c, bytes, sizeof(bytes)); /* unread input behind it */
	assert_int_equal(client_expect(c, MQ_CONNACK).code, MQ_BAD_CLIENT_ID);
	client_expect_closed(c);
	client_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(packets_may_come_octet_by_octet),
		TEST(a_burst_is_taken_whole),
		TEST(a_turn_takes_a_bounded_number_of_packets),
		TEST(a_large_message_arrives_whole),
		TEST(a_too_long_packet_closes_before_it_has_come),
		TEST(a_payload_above_the_limit_closes),
		TEST(unfinished_packets_share_a_bound),
		TEST(a_slow_subscriber_gets_all_in_order),
		TEST(a_peer_that_takes_no_answers_is_not_read),
		TEST(a_large_payload_is_shared_and_outlives_its_publisher),
		TEST(a_refusal_arrives_before_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
