#include "gateway/upstream/uplink_paho.h"

#include "tests/unit/upstream/paho_rig.h"

/* What becomes of messages when the connection, the session or the server is another one. */

/* Paho says that a message whose write has failed has failed, but will send it again. */
static void test_failed_write(void **state)
{
	struct publish_slot *two = hand_over(2, 9), *one = hand_over(1, 8);
	MQTTAsync_failureData5 failure = MQTTAsync_failureData5_initializer;

	(void)state;
	choose(two, 1);
	choose(one, 2);
	commit(0);
	failure.code = MQTTASYNC_FAILURE;
	paho_on_unpublished5(paho_context(p->index, two->gen, two->index), &failure);
	paho_on_unpublished5(paho_context(p->index, one->gen, one->index), &failure);
	turn();
	assert_int_equal(seen.published, 1); /* QoS 1 only */
	assert_int_equal(seen.outcome, UPLINK_RETRY);
	assert_true(p->handles[0].poisoned);
	assert_true(two->owned);
	pthread_mutex_lock(&paho_door);
	paho_park(p, 0);
	pthread_mutex_unlock(&paho_door);
	assert_int_equal(two->handle, -1);
	assert_int_equal(two->packet_id, 1);
}

/* What has ended is forgotten when the end of its message is safe. */
static void settle(void)
{
	exchanges_turn(x);
	commit(0);
	exchanges_turn(x);
}

/* What still waited for the disk when the connection ended comes back, and its slot is like new. */
static void test_dropped_while_it_is_stored(void **state)
{
	struct publish_slot *s = hand_over(2, 9);

	(void)state;
	s->owned = false;
	paho_post(p, &s->letter, paho_run_publish);
	assert_false(list_empty(&p->waiting));
	paho_drop_waiting(p);
	assert_int_equal(seen.outcome, UPLINK_RETRY);
	settle();
	assert_int_equal(live_records(), 0);
	assert_ptr_equal(hand_over(1, 9), s);
	assert_false(s->storing);
	assert_true(s->safe);
}

static void connected(bool session_present)
{
	MQTTAsync_successData5 data = MQTTAsync_successData5_initializer;

	pthread_mutex_lock(&paho_door);
	p->state = PAHO_CONNECTING;
	pthread_mutex_unlock(&paho_door);
	data.alt.connect.sessionPresent = session_present;
	paho_on_connected5(paho_context(p->index, p->attempt, 0), &data);
	turn();
}

/* Paho has not begun to send the second one: with the session lost it would send it before we send
 * the first one again. */
static void test_lost_session_in_order(void **state)
{
	struct publish_slot *first = hand_over(1, 8), *second = hand_over(1, 9);

	(void)state;
	choose(first, 1);
	choose(second, 2);
	assert_int_equal(put("s5-1", (char[]){ 0x32 }, 1), 0);
	connected(true);
	assert_int_equal(seen.ups, 1);
	assert_int_equal(seen.downs, 0); /* it sends both in order */
	connected(false);
	assert_int_equal(seen.published, 2);
	assert_int_equal(seen.outcome, UPLINK_RETRY);
	assert_int_equal(seen.downs, 1);
	assert_int_equal(p->state, PAHO_IDLE);
	assert_true(p->handles[0].poisoned);
}

/* It has sent them all, and forgets them. */
static void test_lost_session_without_commands(void **state)
{
	struct publish_slot *s = hand_over(1, 8);

	(void)state;
	choose(s, 1);
	assert_int_equal(put("s5-1", (char[]){ 0x32 }, 1), 0);
	connected(false);
	assert_int_equal(seen.published, 1);
	assert_int_equal(seen.downs, 0);
	assert_int_equal(p->state, PAHO_UP);
	assert_false(p->handles[0].poisoned);
	pthread_mutex_lock(&paho_door);
	p->state = PAHO_IDLE;
	pthread_mutex_unlock(&paho_door);
}

/* The session is lost: whether the message arrived nobody knows. */
static void test_lost_session(void **state)
{
	struct publish_slot *s = hand_over(2, 9);

	(void)state;
	choose(s, 1);
	commit(0);
	pthread_mutex_lock(&paho_door);
	paho_sort_out(p, false);
	pthread_mutex_unlock(&paho_door);
	turn();
	assert_int_equal(seen.published, 1);
	assert_int_equal(seen.outcome, UPLINK_REPEAT);
	settle();
	assert_int_equal(live_records(), 0);
}

/* Up at another server: the message goes there, its id at the first one is only released. */
static void test_another_session(void **state)
{
	struct publish_slot *s = hand_over(2, 9);

	(void)state;
	choose(s, 1);
	commit(0);
	pthread_mutex_lock(&paho_door);
	p->active_handle = 1;
	p->session = 78;
	paho_sort_out(p, true);
	pthread_mutex_unlock(&paho_door);
	turn();
	assert_int_equal(seen.outcome, UPLINK_REPEAT);
	assert_true(p->handles[0].poisoned);
	struct exchange *left = exchange_find(x, EXCHANGE_OUT, 77, 1);
	assert_non_null(left);
	assert_int_equal(left->what, 0);
	assert_true(left->released);
	assert_false(paho_restored_first(p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_failed_write, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dropped_while_it_is_stored, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_session_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_lost_session_without_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_session, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
