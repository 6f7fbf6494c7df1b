/* Answers that say what a session is wait until it is on stable storage. */
#include "tests/unit/mqtt/hub.h"

#include "gateway/core/session_store.h"
#include "tests/unit/core/fake_journal.h"

static struct hub hub;
static struct session_store *st;

static int start(void **state)
{
	(void)state;
	hub_start(&hub, &policy_allow_all, "", "");
	journal_setup();
	st = session_store_new(hub.sessions);
	session_store_attach(st, journal, 600000);
	session_store_restored(st);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	session_store_close(st);
	hub_stop(&hub);
	session_store_free(st);
	journal_teardown();
	return 0;
}

static void turns(unsigned n)
{
	while (n--) {
		hub_turn(&hub);
		session_store_turn(st);
	}
}

static struct client *connecting(const char *id, bool clean)
{
	struct client *c = client_open(&hub);
	struct mq_connect con = { .level = MQ_V311, .clean_start = clean };

	con.client_id = span_str(id);
	client_send(c, &(struct mq_packet){ .type = MQ_CONNECT, .connect = con });
	return c;
}

static void subscribe(struct client *c, uint16_t packet_id)
{
	static const uint8_t filter[] = { 0, 1, 't', 1 };

	client_send(c, &(struct mq_packet){ .type = MQ_SUBSCRIBE,
			       .packet_id = packet_id,
			       .filters = span_of(filter, sizeof(filter)) });
}

static void nothing_comes(struct client *c)
{
	turns(20);
	client_expect_nothing(c);
}

static void answers_wait_for_the_storage(void **state)
{
	(void)state;
	struct client *c = connecting("dev", false);
	nothing_comes(c);
	commit(0);
	client_expect(c, MQ_CONNACK);
	subscribe(c, 1);
	client_send(c, &(struct mq_packet){ .type = MQ_PINGREQ });
	nothing_comes(c); /* nothing passes what waits */
	commit(0);
	assert_int_equal(client_expect(c, MQ_SUBACK).packet_id, 1);
	client_expect(c, MQ_PINGRESP);
	client_send(c, &(struct mq_packet){ .type = MQ_PINGREQ });
	client_expect(c, MQ_PINGRESP);
	client_free(c);
}

static void clean_sessions_do_not_wait_unless_they_end_one(void **state)
{
	(void)state;
	struct client *c = connecting("dev", true);
	client_expect(c, MQ_CONNACK);
	subscribe(c, 1);
	client_expect(c, MQ_SUBACK);
	client_free(c);
	c = connecting("old", false);
	turns(20);
	commit(0);
	client_expect(c, MQ_CONNACK);
	client_free(c);
	c = connecting("old", true);
	nothing_comes(c);
	commit(0);
	client_expect(c, MQ_CONNACK);
	client_free(c);
}

static void nobody_waits_for_a_storage_that_fails(void **state)
{
	(void)state;
	struct client *c = connecting("dev", false);
	nothing_comes(c);
	journal->append_error = -EIO;
	client_expect(c, MQ_CONNACK);
	subscribe(c, 1);
	client_expect(c, MQ_SUBACK);
	client_free(c);
}

static void a_connection_that_ends_says_nothing_too_early(void **state)
{
	(void)state;
	struct client *c = connecting("dev", false);
	turns(20);
	commit(0);
	client_expect(c, MQ_CONNACK);
	subscribe(c, 1);
	client_send(c, &(struct mq_packet){ .type = MQ_DISCONNECT });
	nothing_comes(c);
	commit(0);
	client_expect(c, MQ_SUBACK);
	client_expect_closed(c);
	client_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(answers_wait_for_the_storage),
		TEST(clean_sessions_do_not_wait_unless_they_end_one),
		TEST(nobody_waits_for_a_storage_that_fails),
		TEST(a_connection_that_ends_says_nothing_too_early),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
