#include "gateway/base/util.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct outer {
	int before;
	int member;
};

static void container_is_found_from_its_member(void **state)
{
	struct outer o;
	(void)state;
	assert_ptr_equal(container_of(&o.member, struct outer, member), &o);
}

static void hash_depends_on_bytes_length_and_seed(void **state)
{
	(void)state;
	hash_seed(1);
	uint64_t abc = hash_bytes("abc", 3);
	assert_true(abc == hash_bytes("abcd", 3));
	assert_true(abc != hash_bytes("abd", 3));
	assert_true(abc != hash_bytes("abc", 4));
	assert_true(hash_bytes(NULL, 0) == hash_bytes("", 0));
	hash_seed(2);
	assert_true(abc != hash_bytes("abc", 3));
}

static void hash_spreads_short_keys(void **state)
{
	unsigned buckets[64] = { 0 };
	(void)state;
	hash_seed(42);
	for (uint32_t i = 0; i < 6400; i++)
		buckets[hash_bytes(&i, sizeof(i)) % 64]++;
	for (int b = 0; b < 64; b++)
		assert_in_range(buckets[b], 50, 160);
}

static void start_up_memory(void **state)
{
	(void)state;
	int *zeros = must_calloc(4, sizeof(*zeros));
	for (int i = 0; i < 4; i++)
		assert_int_equal(zeros[i], 0);
	char *copy = must_strdup("text");
	assert_string_equal(copy, "text");
	char *printed = must_printf("%s-%d", "a", 7);
	assert_string_equal(printed, "a-7");
	void *nothing = must_calloc(0, 8);
	assert_non_null(nothing);
	free(nothing);
	free(printed);
	free(copy);
	free(zeros);
}

static void random_bytes_fills_all(void **state)
{
	uint8_t a[1000] = { 0 }, b[1000] = { 0 };
	(void)state;
	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_memory_not_equal(a + 984, b + 984, 16); /* to the last octet */
	random_bytes(a, 0);
}

static void random_below_keeps_its_limit(void **state)
{
	unsigned seen[7] = { 0 };
	(void)state;
	for (int i = 0; i < 7000; i++) {
		uint32_t r = random_below(7);
		assert_in_range(r, 0, 6);
		seen[r]++;
	}
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 700, 1300);
	assert_int_equal(random_below(1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(container_is_found_from_its_member),
		cmocka_unit_test(hash_depends_on_bytes_length_and_seed),
		cmocka_unit_test(hash_spreads_short_keys),
		cmocka_unit_test(start_up_memory),
		cmocka_unit_test(random_bytes_fills_all),
		cmocka_unit_test(random_below_keeps_its_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
