#include "gateway/ctl/sys_store.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/core/router.h"
#include "tests/unit/core/fake_journal.h"

void journal_status(const struct journal *j, struct journal_status *s)
{
	*s = (struct journal_status){
		.error = j->append_error, .disk_bytes = 1000, .max_bytes = 1001
	};
}

static struct router *router;

static void assert_state(const char *expected)
{
	struct message *m = router_retained(router, span_str("$SYS/broker/store/state"));

	assert_non_null(m);
	assert_true(span_is(message_payload(m), expected));
}

static void the_state_is_told_when_it_changes(void **state)
{
	(void)state;
	journal_setup();
	struct sys_store s = { .state = -1 };
	sys_store_look(&s, NULL, router);
	assert_null(router_retained(router, span_str("$SYS/broker/store/state")));
	sys_store_look(&s, journal, router);
	assert_state("ok");
	journal->max_body = 1;
	sys_store_look(&s, journal, router);
	assert_state("full: 1000 bytes of at most 1001; what must be stored is refused");
	journal->append_error = -EIO;
	sys_store_look(&s, journal, router);
	assert_state("failing: Input/output error");
	assert_string_equal(store_state_name(store_state(journal)), "failing");
	struct message *before = router_retained(router, span_str("$SYS/broker/store/state"));
	sys_store_look(&s, journal, router);
	assert_ptr_equal(router_retained(router, span_str("$SYS/broker/store/state")), before);
	journal->max_body = 0;
	journal->append_error = 0;
	sys_store_look(&s, journal, router);
	assert_state("ok");
	journal_teardown();
}

static int set_up(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	clock_freeze(1000, 1700000000000);
	router = router_new(&policy_allow_all, &(struct router_limits){ 0 });
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	router_free(router);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(
		the_state_is_told_when_it_changes, set_up, tear_down) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
