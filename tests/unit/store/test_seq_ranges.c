#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/store/seq_ranges.h"

#include <errno.h>

static void runs_become_one_range(void **state)
{
	(void)state;
	struct seq_ranges r = { 0 };

	for (uint64_t s = 10; s < 1000; s++)
		assert_int_equal(seq_ranges_add(&r, s, s), 0);
	assert_int_equal(r.n, 1);
	assert_false(seq_ranges_has(&r, 9));
	assert_true(seq_ranges_has(&r, 10));
	assert_true(seq_ranges_has(&r, 999));
	assert_false(seq_ranges_has(&r, 1000));
	seq_ranges_free(&r);
}

static void sorting_merges(void **state)
{
	(void)state;
	struct seq_ranges r = { 0 };
	static const uint64_t in[][2] = { { 50, 60 }, { 1, 1 }, { 2, 5 }, { 55, 70 }, { 7, 7 },
		{ 51, 52 }, { 71, 71 }, { 100, UINT64_MAX }, { 200, 300 } };

	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
		seq_ranges_add(&r, in[i][0], in[i][1]);
	seq_ranges_sort(&r);
	assert_int_equal(r.n, 4);
	for (uint64_t s = 0; s < 110; s++) {
		bool inside = (s >= 1 && s <= 5) || s == 7 || (s >= 50 && s <= 71) || s >= 100;
		assert_int_equal(seq_ranges_has(&r, s), inside);
	}
	seq_ranges_drop(&r, 3);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.v[0].first, 100);
	seq_ranges_free(&r);
}

static void encoding_round_trips_in_pieces(void **state)
{
	(void)state;
	struct seq_ranges r = { 0 }, back = { 0 };
	uint8_t buf[64];
	size_t next = 0, pieces = 0;

	for (uint64_t i = 0; i < 500; i++)
		seq_ranges_add(&r, i * i * 1000003 + 1, i * i * 1000003 + 1 + i % 3);
	seq_ranges_add(&r, INT64_MAX - 5, INT64_MAX);
	while (next < r.n) {
		size_t len = seq_ranges_encode(&r, &next, buf, sizeof(buf));
		assert_true(len > 0);
		assert_int_equal(seq_ranges_decode(&back, span_of(buf, len)), 0);
		pieces++;
	}
	assert_true(pieces > 5);
	assert_int_equal(back.n, r.n);
	for (size_t i = 0; i < r.n; i++) {
		assert_int_equal(back.v[i].first, r.v[i].first);
		assert_int_equal(back.v[i].last, r.v[i].last);
	}
	seq_ranges_free(&r);
	seq_ranges_free(&back);
}

static void hostile_bodies_are_refused(void **state)
{
	(void)state;
	static const uint8_t too_long[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0x01, 0 };
	static const uint8_t too_far[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
		1 };
	static const uint8_t half[] = { 5, 1, 0x80 };
	static const uint8_t odd[] = { 5 };
	struct seq_ranges r = { 0 };

	assert_int_equal(seq_ranges_decode(&r, span_of(too_long, sizeof(too_long))), -EBADMSG);
	assert_int_equal(seq_ranges_decode(&r, span_of(too_far, sizeof(too_far))), -EBADMSG);
	assert_int_equal(seq_ranges_decode(&r, span_of(odd, sizeof(odd))), -EBADMSG);
	assert_int_equal(r.n, 0);
	assert_int_equal(seq_ranges_decode(&r, span_of(half, sizeof(half))), -EBADMSG);
	assert_int_equal(r.n, 1); /* what stands before the fault counts */
	assert_int_equal(seq_ranges_decode(&r, span_of(NULL, 0)), 0);
	seq_ranges_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_become_one_range),
		cmocka_unit_test(sorting_merges),
		cmocka_unit_test(encoding_round_trips_in_pieces),
		cmocka_unit_test(hostile_bodies_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
