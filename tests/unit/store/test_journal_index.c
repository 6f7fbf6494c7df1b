#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/store/journal_index.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Never looked into. */
static struct segment *const somewhere = (struct segment *)&(char){ 0 };

static void push(struct index *x, uint64_t seq)
{
	assert_int_equal(index_reserve(x), 0);
	index_push(x, &(struct index_entry){ seq, somewhere, (uint32_t)seq * 4, 7 });
}

static void finds_what_was_pushed(void **state)
{
	(void)state;
	struct index x = { 0 };

	assert_null(index_find(&x, 1));
	for (uint64_t s = 10; s < 10000; s += 3)
		push(&x, s);
	for (uint64_t s = 0; s < 10010; s++) {
		const struct index_entry *e = index_find(&x, s);
		assert_int_equal(e != NULL, s >= 10 && s < 10000 && (s - 10) % 3 == 0);
		if (e)
			assert_int_equal(e->offset, s * 4);
	}
	assert_int_equal(index_live(&x), 3330);
	index_free(&x);
}

static void removing_in_any_order_agrees_with_a_model(void **state)
{
	(void)state;
	struct index x = { 0 };
	static bool live[4000];
	unsigned seed = 1, n_live = 0;
	uint64_t next = 0;
	memset(live, 0, sizeof(live));

	for (unsigned step = 0; step < 20000; step++) {
		uint64_t s = (uint64_t)rand_r(&seed) % 4000;
		if (next < 4000 && rand_r(&seed) % 2) {
			push(&x, next);
			live[next++] = true;
			n_live++;
		}
		struct index_entry *e = index_find(&x, s);
		assert_int_equal(e != NULL, live[s]);
		if (e) {
			index_remove(&x, e);
			index_tidy(&x);
			live[s] = false;
			n_live--;
		}
		assert_int_equal(index_live(&x), n_live);
	}
	index_free(&x);
}

static void a_drained_queue_gives_its_memory_back(void **state)
{
	(void)state;
	struct index x = { 0 };

	for (uint64_t s = 1; s <= 100000; s++)
		push(&x, s);
	assert_true(x.cap >= 100000);
	for (uint64_t s = 1; s <= 100000; s++) {
		index_remove(&x, index_find(&x, s));
		index_tidy(&x);
	}
	assert_int_equal(index_live(&x), 0);
	assert_true(x.cap < 1000);
	push(&x, 100001);
	assert_non_null(index_find(&x, 100001));
	index_free(&x);
}

/* Long-lived records between short-lived ones, as sessions between messages. */
static void a_record_costs_54_octets_at_most(void **state)
{
	(void)state;
	struct index x = { 0 };
	uint64_t next = 1;

	for (unsigned round = 0; round < 40; round++) {
		uint64_t first = next;
		for (unsigned i = 0; i < 3000; i++)
			push(&x, next++);
		for (uint64_t s = first; s < next; s++) {
			if (s % 7 == 0)
				continue;
			index_remove(&x, index_find(&x, s));
			index_tidy(&x);
			assert_true(x.cap * sizeof(*x.v) <= 54 * (index_live(&x) + 128));
		}
	}
	index_free(&x);
}

static void an_undone_tail_leaves_no_holes(void **state)
{
	(void)state;
	struct index x = { 0 };

	for (uint64_t s = 1; s <= 100; s++)
		push(&x, s);
	for (uint64_t s = 100; s > 50; s--)
		index_remove(&x, index_find(&x, s));
	assert_int_equal(x.holes, 0);
	assert_int_equal(index_live(&x), 50);
	push(&x, 101);
	assert_non_null(index_find(&x, 50));
	assert_null(index_find(&x, 51));
	assert_non_null(index_find(&x, 101));
	index_free(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_was_pushed),
		cmocka_unit_test(removing_in_any_order_agrees_with_a_model),
		cmocka_unit_test(a_drained_queue_gives_its_memory_back),
		cmocka_unit_test(a_record_costs_54_octets_at_most),
		cmocka_unit_test(an_undone_tail_leaves_no_holes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
