#include "gateway/core/idmap.h"

#include "gateway/base/util.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

static void an_empty_map_costs_nothing(void **state)
{
	(void)state;
	struct idmap map = { 0 };
	assert_null(idmap_get(&map, 1));
	assert_null(idmap_take(&map, 1));
	assert_null(map.slots);
	idmap_destroy(&map);
}

static void put_replaces_under_the_same_id(void **state)
{
	(void)state;
	struct idmap map = { 0 };
	int a, b;
	assert_int_equal(idmap_reserve(&map), 0);
	idmap_put(&map, 7, &a);
	idmap_put(&map, 7, &b);
	assert_int_equal(map.n, 1);
	assert_ptr_equal(idmap_take(&map, 7), &b);
	assert_null(idmap_get(&map, 7));
	idmap_destroy(&map);
}

static void ids_of_one_slot_survive_each_others_removal(void **state)
{
	(void)state;
	struct idmap map = { 0 };
	int v[4];
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(idmap_reserve(&map), 0);
		idmap_put(&map, (uint16_t)(1 + i * 256), &v[i]);
	}
	assert_ptr_equal(idmap_take(&map, 1), &v[0]);
	assert_ptr_equal(idmap_take(&map, 513), &v[2]);
	assert_ptr_equal(idmap_get(&map, 257), &v[1]);
	assert_ptr_equal(idmap_get(&map, 769), &v[3]);
	idmap_destroy(&map);
}

static void every_id_fits_and_the_memory_is_given_back(void **state)
{
	(void)state;
	struct idmap map = { 0 };
	static char v[65536];
	for (unsigned id = 0; id < 65536; id++) {
		assert_int_equal(idmap_reserve(&map), 0);
		idmap_put(&map, (uint16_t)id, &v[id]);
	}
	for (unsigned id = 0; id < 65536; id++)
		assert_ptr_equal(idmap_take(&map, (uint16_t)id), &v[id]);
	assert_int_equal(map.n, 0);
	assert_null(map.slots);
}

/* Against a plain array, with ids chosen to collide. */
static void random_changes_agree_with_an_array(void **state)
{
	(void)state;
	struct idmap map = { 0 };
	static void *model[4096];
	uint32_t n = 0;
	srand(1);
	for (unsigned step = 0; step < 20000; step++) {
		uint16_t id = (uint16_t)(rand() % 64 * (rand() % 2 ? 1 : 64));
		assert_ptr_equal(idmap_get(&map, id), model[id]);
		if (rand() % 2) {
			assert_int_equal(idmap_reserve(&map), 0);
			n += !model[id];
			idmap_put(&map, id, model[id] = &model[id]);
		} else {
			n -= model[id] != NULL;
			assert_ptr_equal(idmap_take(&map, id), model[id]);
			model[id] = NULL;
		}
		assert_int_equal(map.n, n);
		assert_true(map.size == 0 || map.n * 2 <= map.size);
	}
	idmap_destroy(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_map_costs_nothing),
		cmocka_unit_test(put_replaces_under_the_same_id),
		cmocka_unit_test(ids_of_one_slot_survive_each_others_removal),
		cmocka_unit_test(every_id_fits_and_the_memory_is_given_back),
		cmocka_unit_test(random_changes_agree_with_an_array),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
