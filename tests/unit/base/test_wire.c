#include "gateway/base/wire.h"

#include "gateway/base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* One of each: u8 01, u16 0203, u32 04050607, u64 08..0f, "hi" with its length, varint 321, rest.
 */
static const uint8_t vector[] = { 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b,
	0x0c, 0x0d, 0x0e, 0x0f, 0x00, 0x02, 'h', 'i', 0xc1, 0x02, 0xaa, 0xbb };

static void reads_every_kind(void **state)
{
	struct reader r = reader_of(span_of(vector, sizeof(vector)));
	(void)state;
	assert_int_equal(rd_u8(&r), 0x01);
	assert_int_equal(rd_u16(&r), 0x0203);
	assert_int_equal(rd_u32(&r), 0x04050607);
	assert_true(rd_u64(&r) == UINT64_C(0x08090a0b0c0d0e0f));
	assert_true(span_is(rd_span16(&r), "hi"));
	assert_int_equal(rd_varint(&r), 321);
	assert_true(span_equal(rd_rest(&r), span_of("\xaa\xbb", 2)));
	assert_int_equal(r.left, 0);
	assert_false(r.bad);
}

static void writes_what_it_reads(void **state)
{
	uint8_t buf[sizeof(vector)];
	struct writer w = writer_of(buf, sizeof(buf));
	(void)state;
	wr_u8(&w, 0x01);
	wr_u16(&w, 0x0203);
	wr_u32(&w, 0x04050607);
	wr_u64(&w, UINT64_C(0x08090a0b0c0d0e0f));
	wr_span16(&w, span_str("hi"));
	wr_varint(&w, 321);
	wr_span(&w, span_of("\xaa\xbb", 2));
	assert_false(w.bad);
	assert_int_equal(w.len, sizeof(vector));
	assert_memory_equal(buf, vector, sizeof(vector));
}

static void every_truncation_is_bad(void **state)
{
	(void)state;
	for (size_t len = 0; len < 21; len++) { /* all but the free rest */
		struct reader r = reader_of(span_of(vector, len));
		rd_u8(&r);
		rd_u16(&r);
		rd_u32(&r);
		rd_u64(&r);
		rd_span16(&r);
		rd_varint(&r);
		assert_true(r.bad);
	}
}

static void an_error_sticks(void **state)
{
	struct reader r = reader_of(span_of(vector, 3));
	(void)state;
	assert_int_equal(
		rd_u32(&r), 0x01020000); /* the half that was there; the reader knows better */
	assert_true(r.bad);
	assert_int_equal(rd_u8(&r), 0);
	assert_int_equal(rd_rest(&r).len, 0);
	assert_true(r.bad);
}

static void a_length_beyond_the_end_reads_nothing(void **state)
{
	static const uint8_t lies[] = { 0xff, 0xff, 'x' };
	struct reader r = reader_of(span_of(lies, sizeof(lies)));
	(void)state;
	struct span s = rd_span16(&r);
	assert_null(s.p);
	assert_int_equal(s.len, 0);
	assert_true(r.bad);
	r = reader_of(span_of(lies, sizeof(lies)));
	rd_span(&r, SIZE_MAX);
	assert_true(r.bad);
}

/* MQTT 5.0, table 1-1. */
static void varint_borders(void **state)
{
	static const struct {
		uint32_t value;
		uint8_t len, bytes[4];
	} rows[] = {
		{ 0, 1, { 0x00 } },
		{ 127, 1, { 0x7f } },
		{ 128, 2, { 0x80, 0x01 } },
		{ 16383, 2, { 0xff, 0x7f } },
		{ 16384, 3, { 0x80, 0x80, 0x01 } },
		{ 2097151, 3, { 0xff, 0xff, 0x7f } },
		{ 2097152, 4, { 0x80, 0x80, 0x80, 0x01 } },
		{ 268435455, 4, { 0xff, 0xff, 0xff, 0x7f } },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t buf[4];
		struct writer w = writer_of(buf, sizeof(buf));
		wr_varint(&w, rows[i].value);
		assert_int_equal(w.len, rows[i].len);
		assert_memory_equal(buf, rows[i].bytes, rows[i].len);
		struct reader r = reader_of(span_of(rows[i].bytes, rows[i].len));
		assert_int_equal(rd_varint(&r), rows[i].value);
		assert_int_equal(r.left, 0);
		assert_false(r.bad);
	}
}

static void bad_varints(void **state)
{
	static const uint8_t five[] = { 0x80, 0x80, 0x80, 0x80, 0x01 };
	static const uint8_t padded[] = { 0x81, 0x00 };
	(void)state;
	struct reader r = reader_of(span_of(five, sizeof(five)));
	rd_varint(&r);
	assert_true(r.bad);
	r = reader_of(span_of(padded, sizeof(padded)));
	rd_varint(&r);
	assert_true(r.bad);
	struct writer w = writer_of((uint8_t[8]){ 0 }, 8);
	wr_varint(&w, 268435456);
	assert_true(w.bad);
}

static void a_full_writer_stays_within_its_buffer(void **state)
{
	uint8_t buf[4] = { 0, 0, 0, 0xee };
	struct writer w = writer_of(buf, 3);
	(void)state;
	wr_u16(&w, 0x0102);
	wr_u16(&w, 0x0304);
	assert_true(w.bad);
	wr_u8(&w, 0x05); /* would fit: the error sticks */
	assert_int_equal(w.len, 2);
	assert_int_equal(buf[3], 0xee);
}

static void strings_over_64_kb_do_not_fit_their_length(void **state)
{
	static uint8_t big[UINT16_MAX + 1], buf[UINT16_MAX + 10];
	struct writer w = writer_of(buf, sizeof(buf));
	(void)state;
	wr_span16(&w, span_of(big, sizeof(big)));
	assert_true(w.bad);
	w = writer_of(buf, sizeof(buf));
	wr_span16(&w, span_of(big, UINT16_MAX));
	assert_false(w.bad);
	assert_int_equal(w.len, UINT16_MAX + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_kind),
		cmocka_unit_test(writes_what_it_reads),
		cmocka_unit_test(every_truncation_is_bad),
		cmocka_unit_test(an_error_sticks),
		cmocka_unit_test(a_length_beyond_the_end_reads_nothing),
		cmocka_unit_test(varint_borders),
		cmocka_unit_test(bad_varints),
		cmocka_unit_test(a_full_writer_stays_within_its_buffer),
		cmocka_unit_test(strings_over_64_kb_do_not_fit_their_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
