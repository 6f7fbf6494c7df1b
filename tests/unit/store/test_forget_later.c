#include "gateway/store/forget_later.h"

#include "tests/unit/store/journal_fixture.h"

static unsigned live(const struct fixture *f)
{
	struct journal_status s;

	journal_status(f->j, &s);
	return (unsigned)s.live_records;
}

static void goes_when_what_came_before_is_stored(void **state)
{
	(void)state;
	struct fixture f;
	struct forget_later later = { 0 };
	fixture_init(&f, 8 << 20);
	fixture_open(&f);

	assert_int_equal(forget_later_add(&later, append_text(&f, 1, "old", NULL)), 0);
	append_text(&f, 1, "new", NULL);
	assert_false(forget_later_waits(&later));
	assert_true(forget_later_turn(&later, f.j));
	assert_true(forget_later_waits(&later));
	assert_int_equal(forget_later_add(&later, append_text(&f, 1, "next", NULL)), 0);
	assert_false(forget_later_turn(&later, f.j)); /* not stored yet */
	assert_int_equal(live(&f), 3);
	while (!journal_reached(f.j, later.mark))
		fixture_turn(&f, 1);
	assert_true(forget_later_turn(&later, f.j)); /* the next one waits now */
	assert_int_equal(live(&f), 2);
	while (!journal_reached(f.j, later.mark))
		fixture_turn(&f, 1);
	assert_false(forget_later_turn(&later, f.j));
	assert_int_equal(live(&f), 1);
	assert_false(forget_later_waits(&later));
	forget_later_free(&later);
	fixture_destroy(&f);
}

static void reserved_room_is_enough(void **state)
{
	(void)state;
	struct forget_later later = { 0 };

	assert_int_equal(forget_later_reserve(&later, 100), 0);
	const uint64_t *room = later.added.v;
	for (uint64_t seq = 1; seq <= 100; seq++)
		assert_int_equal(forget_later_add(&later, seq), 0);
	assert_ptr_equal(later.added.v, room);
	assert_int_equal(later.added.n, 100);
	forget_later_free(&later);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_when_what_came_before_is_stored),
		cmocka_unit_test(reserved_room_is_enough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
