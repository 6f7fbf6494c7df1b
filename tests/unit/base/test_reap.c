#include "gateway/base/reap.h"

#include "gateway/base/util.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct thing {
	int *freed;
	struct thing *also; /* handed in while this one is freed */
	struct reap reap;
};

static void thing_free(struct reap *r)
{
	struct thing *t = container_of(r, struct thing, reap);
	++*t->freed;
	if (t->also)
		reap_later(&t->also->reap, thing_free);
	free(t);
}

static struct thing *thing_new(int *freed, struct thing *also)
{
	struct thing *t = calloc(1, sizeof(*t));
	assert_non_null(t);
	t->freed = freed;
	t->also = also;
	return t;
}

static void nothing_dies_before_the_end_of_the_turn(void **state)
{
	int freed = 0;
	(void)state;
	reap_later(&thing_new(&freed, NULL)->reap, thing_free);
	reap_later(&thing_new(&freed, NULL)->reap, thing_free);
	assert_int_equal(freed, 0);
	reap();
	assert_int_equal(freed, 2);
	reap();
	assert_int_equal(freed, 2);
}

static void what_is_handed_in_meanwhile_dies_too(void **state)
{
	int freed = 0;
	(void)state;
	reap_later(&thing_new(&freed, thing_new(&freed, NULL))->reap, thing_free);
	reap();
	assert_int_equal(freed, 2);
}

static void keep(struct reap *r)
{
	(void)r;
	function_called();
}

static void kept_memory_may_be_handed_in_again(void **state)
{
	struct reap r = { 0 };
	(void)state;
	expect_function_calls(keep, 2);
	reap_later(&r, keep);
	reap();
	reap_later(&r, keep);
	reap();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_dies_before_the_end_of_the_turn),
		cmocka_unit_test(what_is_handed_in_meanwhile_dies_too),
		cmocka_unit_test(kept_memory_may_be_handed_in_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
