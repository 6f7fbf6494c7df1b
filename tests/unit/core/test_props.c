#include "gateway/core/props.h"

#include "gateway/base/util.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* All five kinds, one of them twice. */
static const uint8_t all[] = {
	0x01, 1,                         /* payload format: UTF-8 */
	0x03, 0, 4, 't', 'e', 'x', 't',  /* content type */
	0x08, 0, 3, 'r', '/', '1',       /* response topic */
	0x09, 0, 2, 0x00, 0xff,          /* correlation data: any octets */
	0x26, 0, 1, 'k', 0, 2, 'v', '1', /* user */
	0x26, 0, 1, 'k', 0, 0,           /* user, the same name again */
};

static bool valid(const void *p, size_t len)
{
	return props_valid(span_of(p, len));
}

static void steps_through_all(void **state)
{
	static const enum prop_id ids[] = { PROP_PAYLOAD_FORMAT, PROP_CONTENT_TYPE,
		PROP_RESPONSE_TOPIC, PROP_CORRELATION_DATA, PROP_USER, PROP_USER };
	struct reader r = reader_of(span_of(all, sizeof(all)));
	struct prop p;
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		assert_true(props_next(&r, &p));
		assert_int_equal(p.id, ids[i]);
	}
	assert_true(span_is(p.name, "k"));
	assert_int_equal(p.value.len, 0);
	assert_false(props_next(&r, &p));
	assert_false(r.bad);
}

static void finds_the_first(void **state)
{
	struct span props = span_of(all, sizeof(all));
	struct prop p;
	(void)state;

	assert_true(props_find(props, PROP_PAYLOAD_FORMAT, &p));
	assert_int_equal(p.byte, 1);
	assert_true(props_find(props, PROP_USER, &p));
	assert_true(span_is(p.value, "v1"));
	assert_true(props_find(props, PROP_CORRELATION_DATA, &p));
	assert_true(span_equal(p.value, span_of("\0\xff", 2)));
	assert_false(props_find(span_of(all, 2), PROP_USER, &p));
	assert_false(props_find(span_of(NULL, 0), PROP_USER, &p));
}

static void writes_what_it_read(void **state)
{
	uint8_t buf[sizeof(all)];
	struct reader r = reader_of(span_of(all, sizeof(all)));
	struct writer w = writer_of(buf, sizeof(buf));
	struct prop p;
	(void)state;

	while (props_next(&r, &p))
		props_write(&w, &p);
	assert_false(w.bad);
	assert_int_equal(w.len, sizeof(all));
	assert_memory_equal(buf, all, sizeof(all));
}

static void good_ones_are_valid(void **state)
{
	(void)state;
	assert_true(valid(all, sizeof(all)));
	assert_true(valid(NULL, 0));
	assert_true(valid("\x26\0\0\0\0", 5)); /* an empty name is allowed */
}

static void bad_ones_are_not(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
		{ "\x01\x02", 2 },            /* payload format 2 */
		{ "\x01\x01\x01\x01", 4 },    /* twice */
		{ "\x03\0\1a\x03\0\1a", 8 },  /* twice */
		{ "\x02\0\0\0\1", 5 },        /* message expiry: kept elsewhere */
		{ "\x23\0\1", 3 },            /* topic alias: belongs to a connection */
		{ "\x0b\1", 2 },              /* subscription identifier: the same */
		{ "\x00", 1 }, { "\xff", 1 }, /* no property */
		{ "\x03\0\2\xc3(", 5 },       /* no UTF-8 */
		{ "\x08\0\0", 3 },            /* empty response topic */
		{ "\x08\0\3a/+", 6 },         /* response topic with a wildcard */
		{ "\x26\0\1\x80\0\0", 6 },    /* name is no UTF-8 */
		{ "\x26\0\0\0\1\x80", 6 },    /* value is no UTF-8 */
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(valid(bad[i].bytes, bad[i].len));
}

static void truncations_are_noticed(void **state)
{
	(void)state;
	for (size_t cut = 1; cut < sizeof(all); cut++) {
		uint8_t *exact = malloc(cut);
		bool between = cut == 2 || cut == 9 || cut == 15 || cut == 20 || cut == 28;

		memcpy(exact, all, cut);
		assert_int_equal(valid(exact, cut), between);
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steps_through_all),
		cmocka_unit_test(finds_the_first),
		cmocka_unit_test(writes_what_it_read),
		cmocka_unit_test(good_ones_are_valid),
		cmocka_unit_test(bad_ones_are_not),
		cmocka_unit_test(truncations_are_noticed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
