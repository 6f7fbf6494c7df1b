#include "gateway/upstream/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct ledger *l;

static int setup(void **state)
{
	(void)state;
	l = ledger_new();
	return l == NULL;
}

static int teardown(void **state)
{
	(void)state;
	ledger_free(l);
	return 0;
}

struct seen {
	struct ledger_line line[600];
	char id[600][32];
	unsigned n;
	bool tell;
};

static bool look(const struct ledger_line *line, void *arg)
{
	struct seen *s = arg;

	assert_true(s->n < 600);
	s->line[s->n] = *line;
	snprintf(s->id[s->n++], sizeof(s->id[0]), "%s", line->client_id);
	return s->tell;
}

static struct seen *each(bool tell)
{
	static struct seen s;

	s.n = 0;
	s.tell = tell;
	ledger_each(l, look, &s);
	return &s;
}

static void test_lines(void **state)
{
	uint16_t a = ledger_client(l, "a"), b = ledger_client(l, "b");

	(void)state;
	assert_true(a && b && a != b);
	assert_int_equal(ledger_client(l, "a"), a);
	ledger_enter(l, a, LOSS_AGED, 1, 500, 500);
	ledger_enter(l, a, LOSS_AGED, 2, 100, 900);
	ledger_enter(l, b, LOSS_QOS0, 1, 50, 50);
	struct seen *s = each(false);
	assert_int_equal(s->n, 2);
	assert_string_equal(s->id[0], "a");
	assert_int_equal(s->line[0].why, LOSS_AGED);
	assert_int_equal(s->line[0].total, 3);
	assert_int_equal(s->line[0].gap, 3);
	assert_int_equal(s->line[0].first_wall_ms, 100);
	assert_int_equal(s->line[0].last_wall_ms, 900);
	assert_int_equal(ledger_total(l, LOSS_AGED), 3);
	assert_int_equal(ledger_gaps(l), 2);
}

static void test_gaps_close_and_open_again(void **state)
{
	uint16_t a = ledger_client(l, "a");

	(void)state;
	ledger_enter(l, a, LOSS_AGED, 5, 500, 600);
	uint64_t changes = ledger_changes(l);
	each(true);
	assert_int_equal(ledger_gaps(l), 0);
	assert_true(ledger_changes(l) != changes);
	assert_int_equal(each(false)->line[0].total, 5);
	assert_int_equal(each(false)->line[0].gap, 0);
	ledger_enter(l, a, LOSS_AGED, 1, 700, 700);
	assert_int_equal(each(false)->line[0].gap, 1);
	assert_int_equal(each(false)->line[0].first_wall_ms, 700);
	ledger_reopen(l, a, LOSS_REFUSED, 4, 1, 2); /* of an earlier run */
	assert_int_equal(ledger_total(l, LOSS_REFUSED), 0);
	assert_int_equal(ledger_gaps(l), 2);
}

/* Who has lost something keeps its place; of the others those that have nothing waiting give way;
 * past that, and past so many that have lost something, nobody's name is used. */
static void test_bounds(void **state)
{
	char id[16];
	uint16_t loser = ledger_client(l, "loser"), waits = ledger_client(l, "waits");

	(void)state;
	ledger_enter(l, loser, LOSS_AGED, 1, 1, 1);
	ledger_release(l, loser);
	for (int i = 0; i < 5000; i++) {
		snprintf(id, sizeof(id), "c%d", i);
		uint16_t c = ledger_client(l, id);
		assert_true(c != 0);
		ledger_release(l, c);
	}
	assert_int_equal(ledger_client(l, "loser"), loser);
	assert_int_equal(ledger_client(l, "waits"), waits);
	for (int i = 0; i < 1000; i++) {
		snprintf(id, sizeof(id), "d%d", i);
		ledger_enter(l, ledger_client(l, id), LOSS_QOS0, 1, 1, 1);
	}
	struct seen *s = each(false);
	assert_string_equal(s->id[0], "");
	assert_true(s->line[0].total >= 1000 - 256);
	assert_true(s->n <= 257);
	assert_int_equal(ledger_total(l, LOSS_QOS0), 1000);
	for (int i = 0; i < 2000; i++) {
		snprintf(id, sizeof(id), "e%d", i);
		ledger_client(l, id);
	}
	assert_int_equal(ledger_client(l, "one too many"), 0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_lines),
		CASE(test_gaps_close_and_open_again),
		CASE(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
