#include "gateway/core/ptrtable.h"

#include "gateway/base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
	uint32_t hash, key;
	bool in;
};

static uint32_t item_hash(const void *entry)
{
	return ((const struct item *)entry)->hash;
}

static bool item_is(const void *entry, const void *key)
{
	return ((const struct item *)entry)->key == *(const uint32_t *)key;
}

static struct item *find(const struct ptrtable *t, const struct item *i)
{
	return ptrtable_find(t, i->hash, item_is, &i->key);
}

static void empty(void **state)
{
	struct ptrtable t;
	struct item i = { 0 };
	(void)state;

	ptrtable_init(&t, item_hash);
	assert_null(find(&t, &i));
	ptrtable_clear(&t);
}

/* Few distinct hashes, at both ends of the table: long probes that wrap around. */
static void behaves_as_a_set(void **state)
{
	enum { ITEMS = 400, STEPS = 20000 };
	static const uint32_t hashes[] = { 0, 1, UINT32_MAX, UINT32_MAX - 1, 0x80000000u };
	static struct item items[ITEMS];
	struct ptrtable t;
	size_t n = 0;
	(void)state;

	ptrtable_init(&t, item_hash);
	for (uint32_t i = 0; i < ITEMS; i++) {
		items[i].key = i;
		items[i].hash = i % 2 ? hashes[i % ARRAY_SIZE(hashes)] : i * 2654435761u;
	}
	for (unsigned step = 0; step < STEPS; step++) {
		struct item *i = &items[random_below(ITEMS)];

		if (i->in)
			ptrtable_remove(&t, i);
		else
			assert_int_equal(ptrtable_add(&t, i), 0);
		i->in = !i->in;
		n += i->in ? 1 : (size_t)-1;
		assert_int_equal(t.n, n);
		assert_true(t.n < t.cap);
		i = &items[random_below(ITEMS)];
		assert_ptr_equal(find(&t, i), i->in ? i : NULL);
	}
	for (size_t i = 0; i < ITEMS; i++) {
		assert_ptr_equal(find(&t, &items[i]), items[i].in ? &items[i] : NULL);
		if (items[i].in)
			ptrtable_remove(&t, &items[i]);
	}
	assert_int_equal(t.n, 0);
	assert_in_range(t.cap, 1, 32); /* it gave its memory back */
	ptrtable_clear(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty),
		cmocka_unit_test(behaves_as_a_set),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
