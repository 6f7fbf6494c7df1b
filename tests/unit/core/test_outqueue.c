#include "gateway/core/outqueue.h"

#include "tests/unit/core/fake_link.h"

#include <stdio.h>
#include <stdlib.h>

/* A queue with a session around it and a link that writes down what it gets. */
static struct sessions_conf conf;
static struct session session;
static struct fake_link fake;
static struct outqueue *q;

static int set_up(void **state)
{
	(void)state;
	clock_freeze(1000000, 1700000000000);
	conf = (struct sessions_conf){ .queue_messages = 100, .queue_bytes = 100000, .window = 20 };
	session = (struct session){ .who = { .client_id = "dev" } };
	fake_init(&fake);
	q = session.out = outqueue_new(&session, &conf);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	outqueue_free(q);
	free(session.rare);
	assert_int_equal(messages_bytes(), 0);
	return 0;
}

static void attach(uint16_t window)
{
	session.link = &fake.link;
	session.window = window ? window : conf.window;
	outqueue_attached(q);
	outqueue_pump(q);
}

static void detach(void)
{
	session.link = NULL;
	outqueue_detached(q);
}

static enum reason offer_message(struct message *m)
{
	struct offer o = { .qos = m->qos };
	enum reason r = outqueue_offer(q, m, &o, NULL);
	message_unref(m);
	return r;
}

static enum reason offer(const char *text, uint8_t qos)
{
	return offer_message(text_message("t", text, qos, 0));
}

static enum reason offer_expiring(const char *text, uint8_t qos, int64_t life_ms)
{
	return offer_message(message_new(&(struct message_init){ .topic = span_str("t"),
		.payload = span_str(text),
		.qos = qos,
		.expires_ms = clock_ms() + life_ms }));
}

/* The texts sent since the last call, in order; PUBRELs as "r<id>", repetitions with '+'. */
static const char *sent(void)
{
	static char text[2048];
	text[0] = '\0';
	for (unsigned i = 0; i < fake.n_sent; i++) {
		const struct fake_sent *e = &fake.sent[i];
		size_t len = strlen(text);
		if (e->release)
			snprintf(text + len, sizeof(text) - len, "%sr%u", i ? " " : "", e->id);
		else
			snprintf(text + len, sizeof(text) - len, "%s%s%s", i ? " " : "", e->text,
				e->dup ? "+" : "");
	}
	fake.n_sent = 0;
	return text;
}

static void is_small(void **state)
{
	(void)state;
	print_message("struct delivery %zu, outqueue %zu, session %zu octets\n",
		sizeof(struct delivery), sizeof(struct outqueue), sizeof(struct session));
	assert_true(sizeof(struct delivery) + 8 <= 32);
	assert_true(sizeof(struct outqueue) <= 128);
	assert_true(sizeof(struct session) <= 300);
}

static void qos0_to_a_ready_link_is_not_kept(void **state)
{
	(void)state;
	attach(0);
	assert_int_equal(offer("a", 0), R_SUCCESS);
	assert_string_equal(sent(), "a");
	assert_int_equal(outqueue_length(q), 0);
	assert_int_equal(session.sent, 1);
}

static void qos0_for_an_absent_client_is_dropped_and_counted(void **state)
{
	(void)state;
	assert_int_equal(offer("a", 0), R_UNSPECIFIED);
	assert_int_equal(session_dropped(&session, DROP_OFFLINE), 1);
	attach(0);
	assert_string_equal(sent(), "");
}

static void qos0_waiting_for_a_link_goes_with_it(void **state)
{
	(void)state;
	attach(0);
	fake.budget = 0;
	offer("a", 1);
	offer("b", 0);
	offer("c", 2);
	detach();
	assert_int_equal(session_dropped(&session, DROP_OFFLINE), 1);
	fake.budget = -1;
	attach(0);
	assert_string_equal(sent(), "a c");
}

static void nothing_passes_a_queue(void **state)
{
	(void)state;
	attach(1);
	offer("a", 1);
	offer("b", 1);
	offer("c", 0);
	offer("d", 2);
	assert_string_equal(sent(), "a");
	assert_true(outqueue_acked(q, 1));
	assert_string_equal(sent(), "b c");
	assert_true(outqueue_acked(q, 2));
	assert_string_equal(sent(), "d");
	assert_int_equal(outqueue_length(q), 1);
}

static void a_link_that_is_not_ready_is_asked_again_only_by_pump(void **state)
{
	(void)state;
	attach(0);
	fake.budget = 1;
	offer("a", 0);
	offer("b", 0);
	offer("c", 0);
	assert_string_equal(sent(), "a");
	fake.budget = -1;
	assert_string_equal(sent(), "");
	outqueue_pump(q);
	assert_string_equal(sent(), "b c");
}

static void qos2_goes_through_all_its_states(void **state)
{
	(void)state;
	attach(1);
	offer("a", 2);
	offer("b", 2);
	assert_false(outqueue_acked(q, 1));
	assert_false(outqueue_completed(q, 1));
	assert_true(outqueue_received(q, 1));
	assert_true(outqueue_received(q, 1));
	assert_string_equal(sent(), "a r1 r1");
	assert_false(outqueue_refused(q, 1));
	assert_true(outqueue_completed(q, 1));
	assert_false(outqueue_completed(q, 1));
	assert_string_equal(sent(), "b");
	assert_int_equal(outqueue_in_flight(q, 2)->state, DELIVERY_SENT);
}

static void a_release_that_cannot_leave_comes_with_the_pump(void **state)
{
	(void)state;
	attach(2);
	offer("a", 2);
	offer("b", 1);
	offer("c", 1);
	fake.budget = 0;
	assert_true(outqueue_received(q, 1));
	assert_string_equal(sent(), "a b");
	fake.budget = -1;
	outqueue_pump(q);
	assert_string_equal(sent(), "r1");
	assert_true(outqueue_acked(q, 2));
	assert_string_equal(sent(), "c");
}

static void unknown_acknowledgements_change_nothing(void **state)
{
	(void)state;
	attach(1);
	offer("a", 1);
	offer("b", 1);
	assert_false(outqueue_acked(q, 2));
	assert_false(outqueue_acked(q, 0));
	assert_false(outqueue_received(q, 1));
	assert_false(outqueue_completed(q, 1));
	assert_false(outqueue_requeue(q, 9));
	assert_string_equal(sent(), "a");
	assert_int_equal(outqueue_length(q), 2);
}

static void a_resumed_client_gets_the_open_ones_first(void **state)
{
	(void)state;
	attach(3);
	offer("a", 1);
	offer("b", 2);
	offer("c", 2);
	offer("d", 1);
	outqueue_received(q, 2);
	assert_string_equal(sent(), "a b c r2");
	detach();
	offer("e", 1);
	attach(3);
	assert_string_equal(sent(), "a+ r2 c+");
	assert_true(outqueue_acked(q, 1));
	assert_string_equal(sent(), "d");
	assert_int_equal(outqueue_in_flight(q, 4)->dup, false);
}

static void a_smaller_window_holds_from_the_first_packet(void **state)
{
	(void)state;
	attach(4);
	for (const char *t = "abcdef"; *t; t++)
		offer((char[]){ *t, 0 }, 1);
	assert_string_equal(sent(), "a b c d");
	detach();
	attach(2);
	assert_string_equal(sent(), "a+ b+");
	assert_true(outqueue_acked(q, 2));
	assert_string_equal(sent(), "c+");
	assert_true(outqueue_acked(q, 1));
	assert_string_equal(sent(), "d+");
	assert_true(outqueue_acked(q, 3));
	assert_true(outqueue_acked(q, 4));
	assert_string_equal(sent(), "e f");
}

static void requeued_ones_keep_their_order_and_ids(void **state)
{
	(void)state;
	attach(3);
	offer("a", 1);
	offer("b", 1);
	offer("c", 1);
	offer("d", 1);
	assert_true(outqueue_requeue(q, 2));
	assert_true(outqueue_requeue(q, 1));
	assert_string_equal(sent(), "a b c");
	assert_int_equal(outqueue_in_flight(q, 1)->state, DELIVERY_QUEUED);
	outqueue_pump(q);
	assert_int_equal(fake.sent[0].id, 1);
	assert_int_equal(fake.sent[1].id, 2);
	assert_string_equal(sent(), "a+ b+");
}

static void a_late_acknowledgement_of_a_requeued_one_counts(void **state)
{
	(void)state;
	attach(1);
	offer("a", 1);
	offer("b", 1);
	outqueue_requeue(q, 1);
	assert_true(outqueue_acked(q, 1));
	assert_string_equal(sent(), "a b");
	assert_int_equal(outqueue_length(q), 1);
}

static void after_pubrec_only_the_release_is_repeated(void **state)
{
	(void)state;
	attach(1);
	offer("a", 2);
	outqueue_received(q, 1);
	outqueue_requeue(q, 1);
	outqueue_pump(q);
	assert_string_equal(sent(), "a r1 r1");
}

static void packet_ids_go_round_and_skip_those_in_use(void **state)
{
	(void)state;
	attach(3);
	session.last_id = 65533;
	offer("a", 1);
	offer("b", 1);
	offer("c", 1);
	assert_int_equal(fake.sent[0].id, 65534);
	assert_int_equal(fake.sent[1].id, 65535);
	assert_int_equal(fake.sent[2].id, 1);
	outqueue_acked(q, 65534);
	outqueue_acked(q, 1);
	session.last_id = 65534;
	offer("d", 1);
	assert_int_equal(fake.sent[3].id, 1);
}

static void a_full_queue_refuses_the_new_one(void **state)
{
	(void)state;
	conf.queue_messages = 2;
	assert_int_equal(offer("a", 1), R_SUCCESS);
	assert_int_equal(offer("b", 1), R_SUCCESS);
	assert_int_equal(offer("c", 1), R_QUOTA);
	assert_int_equal(session_dropped(&session, DROP_QUEUE_FULL), 1);
	attach(0);
	assert_string_equal(sent(), "a b");
}

static void octets_are_limited_too_but_one_message_always_fits(void **state)
{
	(void)state;
	conf.queue_bytes = 1;
	assert_int_equal(offer("a", 1), R_SUCCESS);
	assert_int_equal(offer("b", 1), R_QUOTA);
	attach(0);
	outqueue_acked(q, 1);
	assert_int_equal(offer("c", 1), R_SUCCESS);
	assert_string_equal(sent(), "a c");
}

static void stale_mail_makes_room(void **state)
{
	(void)state;
	conf.queue_messages = 2;
	offer_expiring("a", 1, 10);
	offer_expiring("b", 1, 10);
	clock_advance(10);
	assert_int_equal(offer("c", 1), R_SUCCESS);
	assert_int_equal(session_dropped(&session, DROP_EXPIRED), 2);
	attach(0);
	assert_string_equal(sent(), "c");
}

static void an_expired_one_is_skipped_unless_in_flight(void **state)
{
	(void)state;
	attach(1);
	offer_expiring("a", 2, 10);
	offer_expiring("b", 1, 10);
	offer("c", 1);
	clock_advance(10);
	detach();
	attach(1);
	assert_string_equal(sent(), "a a+");
	outqueue_received(q, 1);
	outqueue_completed(q, 1);
	assert_string_equal(sent(), "r1 c");
	assert_int_equal(session_dropped(&session, DROP_EXPIRED), 1);
}

static void what_a_link_can_never_take_is_dropped_and_the_next_goes_on(void **state)
{
	(void)state;
	attach(0);
	fake.result = -EMSGSIZE;
	assert_int_equal(offer("a", 0), R_TOO_LARGE);
	assert_int_equal(offer("b", 1), R_SUCCESS);
	fake.result = -EPERM;
	assert_int_equal(offer("c", 0), R_NOT_AUTHORIZED);
	fake.result = 0;
	offer("d", 1);
	assert_string_equal(sent(), "d");
	assert_int_equal(session_dropped(&session, DROP_TOO_LARGE), 2);
	assert_int_equal(session_dropped(&session, DROP_REFUSED), 1);
	assert_int_equal(outqueue_length(q), 1);
}

static void a_new_link_may_refuse_what_is_in_flight(void **state)
{
	(void)state;
	attach(2);
	offer("a", 1);
	offer("b", 2);
	outqueue_received(q, 2);
	detach();
	fake.result = -EMSGSIZE;
	attach(2);
	assert_int_equal(session_dropped(&session, DROP_TOO_LARGE), 1);
	assert_null(outqueue_in_flight(q, 1));
	assert_non_null(outqueue_in_flight(q, 2));
}

static void a_refused_one_makes_way(void **state)
{
	(void)state;
	attach(1);
	offer("a", 2);
	offer("b", 1);
	assert_true(outqueue_refused(q, 1));
	assert_int_equal(session_dropped(&session, DROP_REFUSED), 1);
	assert_string_equal(sent(), "a b");
}

static void pump_again(struct fake_link *f)
{
	(void)f;
	outqueue_pump(q);
}

static void a_link_that_pumps_from_inside_does_no_harm(void **state)
{
	(void)state;
	offer("a", 1);
	offer("b", 2);
	offer("c", 1);
	fake.inside = pump_again;
	attach(0);
	assert_string_equal(sent(), "a b c");
	assert_int_equal(q->n_in_flight, 3);
}

static void leave(struct fake_link *f)
{
	f->inside = NULL;
	detach();
}

static void a_link_that_leaves_from_inside_ends_the_pump(void **state)
{
	(void)state;
	attach(0);
	fake.budget = 0;
	offer("a", 1);
	offer("b", 0);
	offer("c", 1);
	fake.budget = -1;
	fake.inside = leave;
	outqueue_pump(q);
	assert_string_equal(sent(), "a");
	assert_int_equal(session_dropped(&session, DROP_OFFLINE), 1);
	assert_int_equal(outqueue_length(q), 2);
	attach(0);
	assert_string_equal(sent(), "a+ c");
}

static void room_ends_at_half_of_the_limits(void **state)
{
	(void)state;
	conf.queue_messages = 4;
	assert_false(outqueue_room(q));
	attach(1);
	fake.budget = 0;
	assert_true(outqueue_room(q));
	offer("a", 0);
	assert_true(outqueue_room(q));
	offer("b", 0);
	assert_false(outqueue_room(q));
}

static void the_end_counts_what_is_left(void **state)
{
	(void)state;
	attach(2);
	offer("a", 2);
	offer("b", 1);
	outqueue_received(q, 1);
	fake.budget = 0;
	offer("c", 0);
	outqueue_end(q);
	assert_int_equal(session_dropped(&session, DROP_SESSION_END), 2);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(is_small),
		TEST(qos0_to_a_ready_link_is_not_kept),
		TEST(qos0_for_an_absent_client_is_dropped_and_counted),
		TEST(qos0_waiting_for_a_link_goes_with_it),
		TEST(nothing_passes_a_queue),
		TEST(a_link_that_is_not_ready_is_asked_again_only_by_pump),
		TEST(qos2_goes_through_all_its_states),
		TEST(a_release_that_cannot_leave_comes_with_the_pump),
		TEST(unknown_acknowledgements_change_nothing),
		TEST(a_resumed_client_gets_the_open_ones_first),
		TEST(a_smaller_window_holds_from_the_first_packet),
		TEST(requeued_ones_keep_their_order_and_ids),
		TEST(a_late_acknowledgement_of_a_requeued_one_counts),
		TEST(after_pubrec_only_the_release_is_repeated),
		TEST(packet_ids_go_round_and_skip_those_in_use),
		TEST(a_full_queue_refuses_the_new_one),
		TEST(octets_are_limited_too_but_one_message_always_fits),
		TEST(stale_mail_makes_room),
		TEST(an_expired_one_is_skipped_unless_in_flight),
		TEST(what_a_link_can_never_take_is_dropped_and_the_next_goes_on),
		TEST(a_new_link_may_refuse_what_is_in_flight),
		TEST(a_refused_one_makes_way),
		TEST(a_link_that_pumps_from_inside_does_no_harm),
		TEST(a_link_that_leaves_from_inside_ends_the_pump),
		TEST(room_ends_at_half_of_the_limits),
		TEST(the_end_counts_what_is_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
