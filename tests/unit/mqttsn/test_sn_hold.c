#include "adapters/mqttsn/sn_hold.h"
#include "gateway/base/log.h"
#include "gateway/core/session_store.h"
#include "gateway/store/journal.h"
#include "world.h"

#include <event2/event.h>
#include <stdio.h>

/* With a real journal: commits are awaited, everything else is in the test's hand. */

static struct event_base *base;
static struct session_store *store;
static struct journal *journal;
static char dir[32];

static int setup(void **state)
{
	struct journal_handler handlers[JOURNAL_TYPES] = { { NULL, NULL } };
	struct store_conf conf = { .dir = dir, .max_bytes = 8 << 20 };
	struct journal_report report;
	log_set_level(LOG_LEVEL_ERROR);
	world_setup(state);
	struct world *w = *state;
	strcpy(dir, "/tmp/tg-hold-XXXXXX");
	assert_non_null(mkdtemp(dir));
	base = event_base_new();
	store = session_store_new(w->sessions);
	session_store_handlers(store, handlers);
	assert_int_equal(journal_open(base, &conf, handlers, &journal, &report), 0);
	session_store_attach(store, journal, 600000);
	session_store_restored(store);
	w->gw->env.stored = true;
	return 0;
}

static int teardown(void **state)
{
	char command[64];
	session_store_close(store);
	world_teardown(state);
	session_store_free(store);
	journal_close(journal, 5000);
	event_base_free(base);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

/* The end of a turn, before anything of it can be on stable storage. */
static void flush(struct world *w)
{
	session_store_turn(store);
	sn_holds_flush(w->gw);
	journal_turn(journal);
}

/* What was written until now is on stable storage. */
static void sync_all(struct world *w)
{
	uint64_t mark = journal_mark(journal);
	while (!journal_reached(journal, mark)) {
		journal_turn(journal);
		event_base_loop(base, EVLOOP_ONCE);
	}
	sn_holds_flush(w->gw);
}

static void say_connect(struct world *w, uint16_t port, const char *id)
{
	SAY(w, port, .type = SN_CONNECT, .clean = true, .protocol_id = 1, .duration_s = 60,
		.data = span_str(id));
}

static void connect_stored(struct world *w, uint16_t port, const char *id)
{
	say_connect(w, port, id);
	flush(w);
	sync_all(w);
	assert_code(w, port, SN_CONNACK, SN_ACCEPTED);
}

static void answers_wait_for_stable_storage(void **state)
{
	struct world *w = *state;
	say_connect(w, 1, "dev");
	assert_silence(w);
	assert_true(sn_holds_pending(w->gw));
	flush(w);
	assert_silence(w);
	sync_all(w);
	assert_code(w, 1, SN_CONNACK, SN_ACCEPTED);
	assert_false(sn_holds_pending(w->gw));
	SAY(w, 1, .type = SN_REGISTER, .msg_id = 7, .data = TEXT("up"));
	SAY(w, 1, .type = SN_SUBSCRIBE, .msg_id = 8, .data = TEXT("down"));
	flush(w);
	assert_silence(w);
	sync_all(w);
	assert_hears(w, 1, SN_REGACK);
	assert_hears(w, 1, SN_SUBACK);
}

static void what_is_safe_already_leaves_with_the_turn(void **state)
{
	struct world *w = *state;
	connect_stored(w, 1, "dev");
	SAY(w, 1, .type = SN_REGISTER, .msg_id = 7, .data = TEXT("up"));
	flush(w);
	sync_all(w);
	assert_hears(w, 1, SN_REGACK);
	SAY(w, 1, .type = SN_REGISTER, .msg_id = 8, .data = TEXT("up"));
	sn_holds_flush(w->gw);
	assert_hears(w, 1, SN_REGACK);
}

static void later_datagrams_stay_behind(void **state)
{
	struct world *w = *state;
	connect_stored(w, 1, "dev");
	SAY(w, 1, .type = SN_REGISTER, .msg_id = 7, .data = TEXT("up"));
	SAY(w, 1, .type = SN_PINGREQ);
	flush(w);
	/* Another promise, after the mark of the first was asked for. */
	SAY(w, 1, .type = SN_REGISTER, .msg_id = 8, .data = TEXT("second"));
	SAY(w, 1, .type = SN_PINGREQ);
	sync_all(w);
	assert_hears(w, 1, SN_REGACK);
	assert_hears(w, 1, SN_PINGRESP);
	assert_silence(w);
	flush(w);
	sync_all(w);
	assert_int_equal(hear(w, 1)->msg_id, 8);
	assert_hears(w, 1, SN_PINGRESP);
	assert_silence(w);
}

static void nobody_else_waits(void **state)
{
	struct world *w = *state;
	connect_stored(w, 1, "one");
	connect_stored(w, 2, "two");
	SAY(w, 1, .type = SN_REGISTER, .msg_id = 7, .data = TEXT("up"));
	SAY(w, 2, .type = SN_PINGREQ);
	assert_hears(w, 2, SN_PINGRESP);
	assert_silence(w);
	flush(w);
	sync_all(w);
	assert_hears(w, 1, SN_REGACK);
}

static void messages_stay_in_the_queue(void **state)
{
	struct world *w = *state;
	connect_stored(w, 1, "dev");
	SAY(w, 1, .type = SN_SUBSCRIBE, .topic_type = SN_TOPIC_SHORT,
		.topic_id = sn_short_id(TEXT("ab")), .qos = 1, .msg_id = 8);
	publish(w, "ab", "x", 0);
	flush(w);
	assert_silence(w);
	assert_int_equal(session_queued(peer_at(w, 1)->link.session), 1);
	sync_all(w);
	assert_hears(w, 1, SN_SUBACK);
	assert_hears(w, 1, SN_PUBLISH);
}

static void register_for_a_wildcard_waits_now_and_then(void **state)
{
	struct world *w = *state;
	connect_stored(w, 1, "dev");
	SAY(w, 1, .type = SN_SUBSCRIBE, .data = TEXT("many/#"), .msg_id = 8);
	flush(w);
	sync_all(w);
	assert_hears(w, 1, SN_SUBACK);
	publish(w, "many/1", "x", 0);
	flush(w);
	assert_silence(w);
	sync_all(w);
	accept_register(w, 1, "many/1");
	assert_hears(w, 1, SN_PUBLISH);
	publish(w, "many/2", "x", 0);
	accept_register(w, 1, "many/2");
	assert_hears(w, 1, SN_PUBLISH);
}

static void last_words_do_not_wait(void **state)
{
	struct world *w = *state;
	connect_stored(w, 1, "dev");
	SAY(w, 1, .type = SN_REGISTER, .msg_id = 7, .data = TEXT("up"));
	SAY(w, 1, .type = SN_DISCONNECT);
	assert_hears(w, 1, SN_DISCONNECT);
	assert_false(sn_holds_pending(w->gw));
	connect_stored(w, 1, "dev");
	SAY(w, 1, .type = SN_REGISTER, .msg_id = 7, .data = TEXT("up"));
	pass_ms(w, 90001);
	assert_hears(w, 1, SN_DISCONNECT); /* silent for too long */
	assert_false(sn_holds_pending(w->gw));
	assert_silence(w);
}

static void more_than_a_device_reads_is_lost(void **state)
{
	struct world *w = *state;
	connect_stored(w, 1, "dev");
	SAY(w, 1, .type = SN_REGISTER, .msg_id = 7, .data = TEXT("up"));
	for (unsigned i = 0; i < 10000; i++)
		SAY(w, 1, .type = SN_PINGREQ);
	flush(w);
	sync_all(w);
	assert_hears(w, 1, SN_REGACK);
	unsigned n = 0;
	while (hear(w, 1)->type == SN_PINGRESP)
		n++;
	assert_in_range(n, 1000, 5000);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(answers_wait_for_stable_storage),
		T(what_is_safe_already_leaves_with_the_turn),
		T(later_datagrams_stay_behind),
		T(nobody_else_waits),
		T(messages_stay_in_the_queue),
		T(register_for_a_wildcard_waits_now_and_then),
		T(last_words_do_not_wait),
		T(more_than_a_device_reads_is_lost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
