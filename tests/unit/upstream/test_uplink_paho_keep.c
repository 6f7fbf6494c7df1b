#include "gateway/upstream/uplink_paho.h"

#include "gateway/base/util.h"
#include "gateway/core/message.h"
#include "tests/unit/upstream/paho_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* What Paho calls its persistence, with Paho played by the test: its calls come from a thread of
 * their own, and may not return before the journal has committed what they rely on. */

static char publish2[] = { 0x34 }, publish1[] = { 0x32 }, pubrel[] = { 0x62 };

struct call {
	pthread_t thread;
	const char *key;
	char *header;
	volatile bool done;
};

static void *run_call(void *arg)
{
	struct call *c = arg;

	put(c->key, c->header, 1);
	c->done = true;
	return NULL;
}

static void begin_call(struct call *c, const char *key, char *header)
{
	*c = (struct call){ .key = key, .header = header };
	assert_int_equal(pthread_create(&c->thread, NULL, run_call, c), 0);
	usleep(20000);
}

static void end_call(struct call *c)
{
	pthread_join(c->thread, NULL);
	assert_true(c->done);
}

static void test_publish_waits_for_the_disk(void **state)
{
	struct publish_slot *s = hand_over(2, 9);
	struct call c;

	(void)state;
	assert_true(s->storing);
	choose(s, 1);
	begin_call(&c, "s5-1", publish2);
	assert_false(c.done);
	commit(0);
	assert_false(s->storing);
	end_call(&c);
	assert_int_equal(put("s5-1", publish2, 1), 0); /* again, after a reconnect */
	assert_int_equal(exchange_find(x, EXCHANGE_OUT, 77, 1)->what, 9);
}

static void test_lower_qos_waits_for_nothing(void **state)
{
	struct publish_slot *s = hand_over(1, 9);

	(void)state;
	choose(s, 1);
	assert_int_equal(put("s5-1", publish1, 1), 0);
	assert_int_equal(keep->premove(handle, "s5-1"), 0);
	assert_int_equal(journal->n, 0);
}

static void test_not_on_disk_waits_for_nothing(void **state)
{
	struct publish_slot *s = hand_over(2, 0);

	(void)state;
	choose(s, 1);
	assert_int_equal(put("s5-1", publish2, 1), 0);
	assert_int_equal(put("sc5-1", pubrel, 1), 0);
	assert_int_equal(journal->n, 0);
}

static void test_another_id_than_foreseen(void **state)
{
	struct publish_slot *s = hand_over(2, 9);
	struct call c;

	(void)state;
	commit(0);
	choose(s, 7);
	begin_call(&c, "s5-7", publish2);
	assert_false(c.done);
	turn();
	commit(0);
	end_call(&c);
	assert_non_null(exchange_find(x, EXCHANGE_OUT, 77, 7));
	assert_int_equal(live_records(), 1);
	/* From now on it is foreseen again. */
	s = hand_over(2, 10);
	assert_int_equal(s->foreseen, 8);
}

static void test_pubrel_waits_for_the_disk(void **state)
{
	struct publish_slot *s = hand_over(2, 9);
	struct call c;

	(void)state;
	choose(s, 1);
	commit(0);
	begin_call(&c, "sc5-1", pubrel);
	turn();
	assert_false(c.done);
	assert_true(exchange_find(x, EXCHANGE_OUT, 77, 1)->released);
	commit(0);
	end_call(&c);
	assert_int_equal(live_records(), 1);
}

/* PUBRECs that have arrived meanwhile go to the disk with the first, others do not. */
static void test_pubrecs_in_one_commit(void **state)
{
	struct publish_slot *s[5];
	struct call c;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	p->fd = pair[0];
	for (int i = 0; i < 5; i++)
		choose(s[i] = hand_over(2, (uint64_t)(9 + i)), i + 1);
	commit(0);
	/* 2: success; PUBACK of 3; 4: refused; 99: unknown; 5: only a part of it */
	assert_int_equal(
		write(pair[1], "\x50\2\0\2\x40\2\0\3\x50\4\0\4\x87\0\x50\2\0\x63\x50\2\0", 21), 21);
	begin_call(&c, "sc5-1", pubrel);
	turn();
	commit(0);
	end_call(&c);
	assert_true(s[1]->release_safe);
	for (int i = 2; i < 5; i++)
		assert_false(s[i]->released);
	assert_int_equal(put("sc5-2", pubrel, 1), 0); /* without another commit */
	p->fd = -1;
	close(pair[0]);
	close(pair[1]);
}

/* Nobody waits for a disk to be repaired. */
static void test_storage_fails(void **state)
{
	struct publish_slot *s = hand_over(2, 9);
	struct call c;

	(void)state;
	choose(s, 1);
	commit(-EIO);
	assert_int_equal(put("s5-1", publish2, 1), 0);
	journal->append_error = -ENOSPC;
	begin_call(&c, "sc5-1", pubrel);
	turn();
	end_call(&c);
	s = hand_over(2, 10);
	assert_false(s->storing);
	assert_true(s->safe);
}

static void test_stop_wakes_who_waits(void **state)
{
	struct publish_slot *s = hand_over(2, 9);
	struct call c;

	(void)state;
	choose(s, 1);
	p->port = 1; /* nobody's */
	begin_call(&c, "s5-1", publish2);
	pthread_mutex_lock(&paho_door);
	p->stopping = true;
	pthread_cond_broadcast(&paho_news);
	pthread_mutex_unlock(&paho_door);
	end_call(&c);
	assert_false(s->safe);
}

/* A connection to a port of ours: what Paho's would be. */
static void open_pair(int pair[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(pair[0], (struct sockaddr *)&a, len), 0);
	pair[1] = accept(listener, NULL, NULL);
	close(listener);
	p->port = ntohs(a.sin_port);
	assert_int_equal(paho_socket(p->port), pair[0]);
}

static bool ended(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_DONTWAIT) == 0;
}

static void close_pair(int pair[2])
{
	close(pair[0]);
	close(pair[1]);
}

static void *run_message(void *arg)
{
	struct call *c = arg;
	MQTTAsync_message *m = MQTTAsync_malloc(sizeof(*m));
	char *topic = MQTTAsync_malloc(4);

	*m = (MQTTAsync_message)MQTTAsync_message_initializer;
	m->payload = MQTTAsync_malloc(1);
	m->qos = 1;
	memcpy(topic, "a/b", 4);
	assert_int_equal(paho_on_message(handle, topic, 0, m), 1);
	c->done = true;
	return NULL;
}

static void begin_message(struct call *c)
{
	*c = (struct call){ 0 };
	p->ask = true;
	seen.ticket = 0;
	assert_int_equal(pthread_create(&c->thread, NULL, run_message, c), 0);
	while (!seen.ticket)
		event_base_loop(base, EVLOOP_ONCE);
	assert_false(c->done);
}

/* What is acknowledged when the callback returns waits in it for the answer; without one the
 * connection is gone before that. */
static void test_message_waits_for_its_answer(void **state)
{
	struct call c;
	int pair[2];

	(void)state;
	open_pair(pair);
	begin_message(&c);
	p->uplink.ops->acknowledge(&p->uplink, seen.ticket - 1, true); /* of another time */
	usleep(10000);
	assert_false(c.done);
	p->uplink.ops->acknowledge(&p->uplink, seen.ticket, true);
	end_call(&c);
	assert_false(ended(pair[1]));
	begin_message(&c);
	p->uplink.ops->acknowledge(&p->uplink, seen.ticket, false);
	end_call(&c);
	assert_true(ended(pair[1]));
	close_pair(pair);
}

static void test_stop_acknowledges_nothing(void **state)
{
	struct call c;
	int pair[2];

	(void)state;
	open_pair(pair);
	begin_message(&c);
	pthread_mutex_lock(&paho_door);
	p->stopping = true;
	pthread_cond_broadcast(&paho_news);
	pthread_mutex_unlock(&paho_door);
	end_call(&c);
	assert_true(ended(pair[1]));
	close_pair(pair);
}

/* As was what waits in a client that is given up. */
static void test_parked_while_it_waits(void **state)
{
	struct publish_slot *s = hand_over(2, 9);
	struct call c;
	int pair[2];

	(void)state;
	open_pair(pair);
	choose(s, 1);
	begin_call(&c, "s5-1", publish2);
	pthread_mutex_lock(&paho_door);
	paho_park(p, 0);
	pthread_mutex_unlock(&paho_door);
	end_call(&c);
	assert_true(ended(pair[1]));
	close_pair(pair);
}

static void test_unknown_ids_and_keys(void **state)
{
	(void)state;
	assert_int_equal(put("s5-99", publish2, 1), 0);
	assert_int_equal(put("sc5-99", pubrel, 1), 0);
	assert_true(put("q5-1", publish2, 1) != 0);
	assert_true(put("nonsense", publish2, 1) != 0);
	assert_true(keep->pcontainskey(handle, "s5-1") != 0);
}

static void assert_keys(const char *const *want, int n)
{
	char **keys;
	int got;

	assert_int_equal(keep->pkeys(handle, &keys, &got), 0);
	assert_int_equal(got, n);
	for (int i = 0; i < got; i++) {
		assert_string_equal(keys[i], want[i]);
		MQTTAsync_free(keys[i]);
	}
	if (keys)
		MQTTAsync_free(keys);
}

static void assert_packet(const char *key, const char *want, size_t n)
{
	char *bytes;
	int len;

	assert_int_equal(keep->pget(handle, (char *)key, &bytes, &len), 0);
	assert_int_equal(len, n);
	assert_memory_equal(bytes, want, n);
	MQTTAsync_free(bytes);
}

static struct publish_slot *hold(uint16_t id, bool released, bool whole)
{
	struct exchange init = { .way = EXCHANGE_OUT,
		.session = 77,
		.what = whole ? 9 : 0,
		.packet_id = id,
		.released = released };
	struct uplink_publish what = { .msg = hello(2), .qos = 2, .retain = true, .expiry_s = 258 };
	struct publish_slot *s = list_first(&p->free_slots, struct publish_slot, free);

	assert_int_equal(paho_hold(p, whole ? &what : NULL, exchange_begin(x, &init)), 0);
	message_unref(what.msg);
	s->handle = 0; /* taken over by the new handle */
	return s;
}

static void test_restores(void **state)
{
	static const char *const keys[] = { "s5-5", "s5-6", "sc5-6", "s5-7", "sc5-7", "r5-3" };
	uint16_t received[] = { 3 };
	struct connect_job job = { .received = received, .n_received = 1 };

	(void)state;
	hold(5, false, true);
	hold(6, true, true);
	hold(7, true, false);
	assert_keys(NULL, 0); /* only while a handle is made */
	p->restoring = &job;
	assert_keys(keys, 6);
	/* PUBLISH, QoS 2, retain | length | topic | packet id | expiry 258 s | payload */
	assert_packet("s5-5", "\x35\x12\0\3a/b\0\5\5\2\0\0\1\2hello", 20);
	assert_packet("sc5-6", "\x62\2\0\6", 4);
	assert_packet("s5-7", "\x34\6\0\1x\0\7\0", 8);
	assert_packet("r5-3", "\x34\6\0\1x\0\3\0", 8);
	assert_int_equal(keep->pcontainskey(handle, "sc5-6"), 0);
	assert_true(keep->pcontainskey(handle, "sc5-5") != 0);
	p->restoring = NULL;
}

static void test_restores_311(void **state)
{
	static const char *const keys[] = { "s-5" };
	struct connect_job job = { 0 };

	(void)state;
	open_version(false);
	hold(5, false, true);
	p->restoring = &job;
	assert_keys(keys, 1);
	assert_packet("s-5", "\x35\x0c\0\3a/b\0\5hello", 14);
	p->restoring = NULL;
	teardown(state);
}

/* Nothing new is begun before what was restored is done, and Paho tells of that by its id only. */
static void test_restored_is_done_by_id(void **state)
{
	struct publish_slot *s = hold(5, false, true);
	struct call c;

	(void)state;
	assert_true(paho_restored_first(p));
	s->x->seq = 0;
	begin_call(&c, "sc5-5", pubrel);
	turn();
	commit(0);
	end_call(&c);
	paho_on_delivered(handle, 4);
	paho_on_delivered(handle, 5);
	turn();
	assert_int_equal(seen.published, 1);
	assert_int_equal(seen.outcome, UPLINK_DONE);
	assert_false(paho_restored_first(p));
	assert_null(exchange_find(x, EXCHANGE_OUT, 77, 5));
}

static void test_pubrel_is_told(void **state)
{
	(void)state;
	assert_int_equal(keep->premove(handle, "r5-12"), 0);
	assert_int_equal(keep->premove(handle, "r-12"), 0);
	turn();
	assert_int_equal(seen.released, 1);
	assert_int_equal(seen.packet_id, 12);
}

/* Paho's allocator works only as long as there is a client. */
static MQTTAsync client;

static int setup_paho(void **state)
{
	(void)state;
	return MQTTAsync_create(
		&client, "tcp://127.0.0.1", "id", MQTTCLIENT_PERSISTENCE_NONE, NULL);
}

static int teardown_paho(void **state)
{
	(void)state;
	MQTTAsync_destroy(&client);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_publish_waits_for_the_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lower_qos_waits_for_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_not_on_disk_waits_for_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_id_than_foreseen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pubrel_waits_for_the_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pubrecs_in_one_commit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_storage_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop_wakes_who_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_message_waits_for_its_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop_acknowledges_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parked_while_it_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown_ids_and_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restores, setup, teardown),
		cmocka_unit_test(test_restores_311),
		cmocka_unit_test_setup_teardown(test_restored_is_done_by_id, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pubrel_is_told, setup, teardown),
	};
	return cmocka_run_group_tests(tests, setup_paho, teardown_paho);
}
