#include "gateway/base/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SIZE 56
#define MANY 3000 /* several slabs */

static struct pool pool;
static uint8_t *objects[MANY];

static int set_up(void **state)
{
	(void)state;
	pool_init(&pool, SIZE);
	return 0;
}

static void fill(unsigned i)
{
	static const uint8_t zeroes[SIZE];
	objects[i] = pool_get(&pool);
	assert_non_null(objects[i]);
	assert_int_equal((uintptr_t)objects[i] % 8, 0);
	assert_memory_equal(objects[i], zeroes, SIZE);
	memset(objects[i], (int)(i % 255) + 1, SIZE);
}

static void clear(unsigned i)
{
	for (unsigned at = 0; at < SIZE; at++)
		assert_int_equal(objects[i][at], i % 255 + 1);
	pool_put(&pool, objects[i]);
	objects[i] = NULL;
}

static void objects_are_apart(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		fill(i);
	for (unsigned i = 0; i < MANY; i++)
		clear(i);
	assert_true(list_empty(&pool.open));
}

static void any_order_of_come_and_go(void **state)
{
	(void)state;
	srand(7);
	for (unsigned step = 0; step < 20 * MANY; step++) {
		unsigned i = (unsigned)rand() % MANY;
		if (objects[i])
			clear(i);
		else
			fill(i);
	}
	for (unsigned i = 0; i < MANY; i++) {
		if (objects[i])
			clear(i);
	}
	assert_true(list_empty(&pool.open)); /* every slab was given back */
}

#ifndef __SANITIZE_ADDRESS__
static void they_lie_side_by_side(void **state)
{
	uintptr_t low = UINTPTR_MAX, high = 0;
	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		fill(i);
		low = MIN(low, (uintptr_t)objects[i]);
		high = MAX(high, (uintptr_t)objects[i]);
	}
	assert_int_equal(high - low, 199 * SIZE);
	for (unsigned i = 0; i < 200; i++)
		clear(i);
}
#endif

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, set_up)
	const struct CMUnitTest tests[] = {
		TEST(objects_are_apart),
		TEST(any_order_of_come_and_go),
#ifndef __SANITIZE_ADDRESS__
		TEST(they_lie_side_by_side),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
