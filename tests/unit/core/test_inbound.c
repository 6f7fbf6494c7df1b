#include "gateway/core/inbound.h"

#include "tests/unit/core/rig.h"

static struct fake_link dev;
static struct session *s;
static struct gate *gate;

static int set_up(void **state)
{
	rig_up(state);
	s = connect_client("dev", &dev);
	gate = gate_open();
	return 0;
}

static int set_up_datagram(void **state)
{
	set_up(state);
	s->datagram = true;
	return 0;
}

static int tear_down(void **state)
{
	gate_close(gate);
	return rig_down(state);
}

static void resume(void)
{
	struct session_connect c = connecting("dev", &dev);
	c.datagram = s->datagram;
	assert_ptr_equal(connect_as(&c), s);
}

static enum reason publish(const char *text, uint8_t qos, uint16_t id, uint32_t cookie)
{
	return publish_text(s, "t", text, qos, id, cookie);
}

static void assert_answer(unsigned i, uint16_t id, uint32_t cookie, enum reason reason)
{
	assert_true(i < dev.n_answers);
	assert_int_equal(dev.answers[i].id, id);
	assert_int_equal(dev.answers[i].cookie, cookie);
	assert_int_equal(dev.answers[i].reason, reason);
}

/* A whole QoS 2 exchange. */
static void exchange(const char *text, uint16_t id)
{
	assert_int_equal(publish(text, 2, id, 0), R_SUCCESS);
	gate_release(gate, R_SUCCESS);
	assert_true(session_released(s, id));
	rig_turn();
}

static void an_answer_waits_until_the_message_is_safe(void **state)
{
	(void)state;
	assert_int_equal(publish("a", 1, 7, 99), R_SUCCESS);
	rig_turn();
	assert_int_equal(dev.n_answers, 0);
	gate_release(gate, R_SUCCESS);
	assert_int_equal(dev.n_answers, 1);
	assert_answer(0, 7, 99, R_SUCCESS);
	assert_int_equal(dev.answers[0].qos, 1);
}

static void nobody_to_wait_for_still_answers_after_the_call(void **state)
{
	(void)state;
	router_leave(rig.router, &gate->sub);
	assert_int_equal(publish("a", 2, 7, 1), R_SUCCESS);
	assert_int_equal(dev.n_answers, 0);
	rig_turn();
	assert_answer(0, 7, 1, R_NO_MATCHING_SUBSCRIBERS);
	assert_true(session_released(s, 7));
}

static void a_repetition_on_its_way_is_one_message_and_one_answer(void **state)
{
	(void)state;
	publish("a", 1, 7, 1);
	assert_int_equal(publish("a", 1, 7, 2), R_SUCCESS);
	assert_int_equal(gate->n_offered, 1);
	gate_release(gate, R_SUCCESS);
	assert_int_equal(dev.n_answers, 1);
	assert_answer(0, 7, 2, R_SUCCESS);
}

static void an_answered_qos1_is_forgotten(void **state)
{
	(void)state;
	publish("a", 1, 7, 1);
	gate_release(gate, R_SUCCESS);
	publish("a", 1, 7, 2);
	assert_int_equal(gate->n_offered, 2);
	assert_false(session_released(s, 7));
}

static void qos2_is_answered_again_but_published_once(void **state)
{
	(void)state;
	publish("a", 2, 7, 1);
	gate_release(gate, R_SUCCESS);
	for (uint32_t cookie = 2; cookie <= 5; cookie++) {
		assert_int_equal(publish("a", 2, 7, cookie), R_SUCCESS);
		assert_int_equal(publish("a", 2, 7, cookie), R_SUCCESS);
		assert_int_equal(dev.n_answers, cookie - 1);
		rig_turn();
		assert_answer(cookie - 1, 7, cookie, R_SUCCESS);
	}
	assert_int_equal(gate->n_offered, 1);
	assert_true(session_released(s, 7));
	assert_false(session_released(s, 7));
}

static void a_release_before_the_answer_ends_nothing(void **state)
{
	(void)state;
	publish("a", 2, 7, 1);
	assert_false(session_released(s, 7));
	gate_release(gate, R_SUCCESS);
	assert_answer(0, 7, 1, R_SUCCESS);
	assert_true(session_released(s, 7));
}

static void a_released_answer_is_not_given_any_more(void **state)
{
	(void)state;
	publish("a", 2, 7, 1);
	gate_release(gate, R_SUCCESS);
	publish("a", 2, 7, 2);
	assert_true(session_released(s, 7));
	rig_turn();
	assert_int_equal(dev.n_answers, 1);
}

static void a_stream_may_not_use_an_open_qos2_id_again(void **state)
{
	(void)state;
	publish("a", 2, 7, 1);
	assert_int_equal(publish("b", 2, 7, 2), R_PACKET_ID_IN_USE);
	assert_int_equal(publish("b", 1, 7, 3), R_PACKET_ID_IN_USE);
	gate_release(gate, R_SUCCESS);
	assert_int_equal(publish("b", 2, 7, 4), R_PACKET_ID_IN_USE);
	assert_int_equal(gate->n_offered, 1);
	assert_int_equal(dev.n_answers, 1);
}

static void a_new_connection_may_start_its_ids_afresh(void **state)
{
	(void)state;
	publish("a", 2, 7, 1);
	session_detach(&dev.link, DETACH_LOST);
	resume();
	assert_int_equal(publish("b", 2, 7, 2), R_SUCCESS);
	gate_release(gate, R_SUCCESS);
	assert_int_equal(dev.n_answers, 0);
	gate_release(gate, R_SUCCESS);
	assert_int_equal(dev.n_answers, 1);
	assert_answer(0, 7, 2, R_SUCCESS);
}

static void a_rebooted_device_replaces_its_old_exchange(void **state)
{
	(void)state;
	for (uint8_t qos = 1; qos <= 2; qos++) {
		dev.n_answers = 0;
		publish("a", qos, 7, 1);
		assert_int_equal(publish("b", qos, 7, 2), R_SUCCESS);
		gate_release(gate, R_SUCCESS);
		assert_int_equal(dev.n_answers, 0);
		gate_release(gate, R_SUCCESS);
		assert_int_equal(dev.n_answers, 1);
		assert_answer(0, 7, 2, R_SUCCESS);
	}
	assert_int_equal(gate->n_offered, 4);
}

static void a_stream_gets_an_answer_for_each_qos1(void **state)
{
	(void)state;
	publish("a", 1, 7, 1);
	publish("b", 1, 7, 2);
	gate_release(gate, R_SUCCESS);
	gate_release(gate, R_SUCCESS);
	assert_answer(0, 7, 1, R_SUCCESS);
	assert_answer(1, 7, 2, R_SUCCESS);
}

static void after_a_failure_the_client_may_try_again(void **state)
{
	(void)state;
	publish("a", 2, 7, 1);
	gate_release(gate, R_QUOTA);
	assert_answer(0, 7, 1, R_QUOTA);
	assert_false(session_released(s, 7));
	assert_int_equal(publish("a", 2, 7, 2), R_SUCCESS);
	assert_int_equal(gate->n_offered, 2);
	gate_release(gate, R_SUCCESS);
	assert_answer(1, 7, 2, R_SUCCESS);
}

static void a_refused_message_leaves_nothing_behind(void **state)
{
	(void)state;
	gate->result = R_QUOTA;
	assert_int_equal(publish("a", 2, 7, 1), R_QUOTA);
	rig_turn();
	assert_int_equal(dev.n_answers, 0);
	gate->result = R_SUCCESS;
	assert_int_equal(publish("b", 2, 7, 1), R_SUCCESS);
}

static void open_exchanges_are_limited(void **state)
{
	(void)state;
	rig.conf.max_inbound = 2;
	sessions_set_conf(rig.all, &rig.conf);
	for (uint8_t qos = 1; qos <= 2; qos++) {
		assert_int_equal(publish("a", qos, qos, 0), R_SUCCESS);
		assert_int_equal(publish("a", qos, 10u + qos, 0), R_SUCCESS);
		assert_int_equal(publish("a", qos, 20u + qos, 0), R_QUOTA);
	}
	gate_release(gate, R_SUCCESS);
	assert_int_equal(publish("a", 1, 21, 0), R_SUCCESS);
	assert_int_equal(publish("a", 2, 22, 0), R_QUOTA);
}

static void open_exchanges_of_a_device_are_limited(void **state)
{
	(void)state;
	rig.conf.max_inbound_qos2 = 2;
	sessions_set_conf(rig.all, &rig.conf);
	assert_int_equal(publish("a", 2, 1, 0), R_SUCCESS);
	assert_int_equal(publish("a", 2, 2, 0), R_SUCCESS);
	assert_int_equal(publish("a", 2, 3, 0), R_QUOTA);
	assert_int_equal(publish("a", 2, 2, 0), R_SUCCESS);
	gate_release(gate, R_SUCCESS);
	assert_int_equal(publish("a", 2, 3, 0), R_QUOTA);
	assert_true(session_released(s, 1));
	assert_int_equal(publish("a", 2, 3, 0), R_SUCCESS);
	for (uint16_t id = 100; id < 1100; id++)
		assert_int_equal(publish("a", 1, id, 0), R_SUCCESS);
	assert_int_equal(publish("a", 1, 1100, 0), R_QUOTA);
}

static void late_copies_are_answered_and_not_published(void **state)
{
	(void)state;
	exchange("a", 7);
	dev.n_answers = 0;
	assert_int_equal(publish("a", 2, 7, 5), R_SUCCESS);
	assert_int_equal(dev.n_answers, 0);
	rig_turn();
	assert_answer(0, 7, 5, R_SUCCESS);
	assert_int_equal(dev.answers[0].qos, 2);
	assert_int_equal(gate->n_offered, 1);
	assert_false(session_released(s, 7));
}

static void the_memory_is_of_id_content_and_ten_seconds(void **state)
{
	(void)state;
	exchange("a", 7);
	exchange("b", 7);
	exchange("a", 8);
	assert_int_equal(gate->n_offered, 3);
	clock_advance(9999);
	publish("a", 2, 7, 0);
	assert_int_equal(gate->n_offered, 3);
	rig_turn();
	clock_advance(1);
	publish("a", 2, 7, 0);
	assert_int_equal(gate->n_offered, 4);
}

static void the_memory_is_of_the_last_sixteen(void **state)
{
	(void)state;
	for (uint16_t id = 1; id <= 17; id++)
		exchange("a", id);
	publish("a", 2, 2, 0);
	assert_int_equal(gate->n_offered, 17);
	publish("a", 2, 1, 0);
	assert_int_equal(gate->n_offered, 18);
}

static void a_stream_has_no_late_copies(void **state)
{
	(void)state;
	exchange("a", 7);
	exchange("a", 7);
	assert_int_equal(gate->n_offered, 2);
}

static void qos2_state_survives_an_absence(void **state)
{
	(void)state;
	publish("a", 2, 7, 1);
	publish("b", 1, 8, 1);
	session_detach(&dev.link, DETACH_LOST);
	gate_release(gate, R_SUCCESS);
	gate_release(gate, R_SUCCESS);
	assert_int_equal(dev.n_answers, 0);
	resume();
	publish("a", 2, 7, 2);
	assert_int_equal(gate->n_offered, 2);
	rig_turn();
	assert_int_equal(dev.n_answers, 1);
	assert_answer(0, 7, 2, R_SUCCESS);
	publish("b", 1, 8, 2);
	assert_int_equal(gate->n_offered, 3);
}

static void the_end_cancels_what_is_open(void **state)
{
	(void)state;
	publish("a", 1, 7, 1);
	publish("b", 2, 8, 1);
	session_end(s, R_ADMINISTRATIVE, false);
	gate_release(gate, R_SUCCESS);
	gate_release(gate, R_SUCCESS);
	assert_int_equal(dev.n_answers, 0);
}

static void end_session(struct fake_link *f)
{
	if (f->link.session)
		session_end(f->link.session, R_ADMINISTRATIVE, false);
}

static void a_session_may_end_inside_an_answer(void **state)
{
	(void)state;
	dev.inside = end_session;
	publish("a", 2, 7, 1);
	publish("b", 1, 8, 1);
	receipt_release(&gate->holds[0], R_SUCCESS);
	receipt_release(&gate->holds[1], R_SUCCESS);
	rig_turn();
	assert_int_equal(dev.n_answers, 1);
	assert_int_equal(dev.n_closed, 1);
}

int main(void)
{
#define STREAM(f)   cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define DATAGRAM(f) cmocka_unit_test_setup_teardown(f, set_up_datagram, tear_down)
	const struct CMUnitTest tests[] = {
		STREAM(an_answer_waits_until_the_message_is_safe),
		STREAM(nobody_to_wait_for_still_answers_after_the_call),
		STREAM(a_repetition_on_its_way_is_one_message_and_one_answer),
		STREAM(an_answered_qos1_is_forgotten),
		STREAM(qos2_is_answered_again_but_published_once),
		STREAM(a_release_before_the_answer_ends_nothing),
		STREAM(a_released_answer_is_not_given_any_more),
		STREAM(a_stream_may_not_use_an_open_qos2_id_again),
		STREAM(a_new_connection_may_start_its_ids_afresh),
		DATAGRAM(a_rebooted_device_replaces_its_old_exchange),
		STREAM(a_stream_gets_an_answer_for_each_qos1),
		STREAM(after_a_failure_the_client_may_try_again),
		STREAM(a_refused_message_leaves_nothing_behind),
		STREAM(open_exchanges_are_limited),
		DATAGRAM(open_exchanges_of_a_device_are_limited),
		DATAGRAM(late_copies_are_answered_and_not_published),
		DATAGRAM(the_memory_is_of_id_content_and_ten_seconds),
		DATAGRAM(the_memory_is_of_the_last_sixteen),
		STREAM(a_stream_has_no_late_copies),
		STREAM(qos2_state_survives_an_absence),
		STREAM(the_end_cancels_what_is_open),
		STREAM(a_session_may_end_inside_an_answer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
