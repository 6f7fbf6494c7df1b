#include "gateway/core/keeper_record.h"

#include "gateway/core/sub_ids.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_same(const struct claim *a, const struct claim *b)
{
	assert_int_equal(claim_compare(a, b), 0);
	assert_true(a->qos == b->qos && a->retain == b->retain && a->released == b->released);
	assert_true(a->sub_ids == b->sub_ids && a->digest == b->digest);
	assert_true(a->at_wall_ms == b->at_wall_ms && a->left_ms == b->left_ms);
}

static void test_claim_vectors(void **state)
{
	static const struct {
		struct claim c;
		const char *bytes;
		size_t len;
	} vectors[] = {
		{ { .kind = CLAIM_UPSTREAM }, "\x01\x00", 2 },
		{ { .kind = CLAIM_RETAINED }, "\x04\x00", 2 },
		{ { .kind = CLAIM_MAIL,
			  .owner = 0x0102,
			  .packet_id = 0x0304,
			  .qos = 2,
			  .retain = true,
			  .released = true,
			  .sub_ids = 300 },
			"\x02\x0e"                         /* MAIL, 14 octets */
			"\x00\x00\x00\x00\x00\x00\x01\x02" /* owner */
			"\x03\x04"                         /* packet id */
			"\x0e"                             /* QoS 2, retain, released */
			"\x01\xac\x02",                    /* one identifier, 300 */
			16 },
		{ { .kind = CLAIM_EXCHANGE, .owner = 7, .packet_id = 9, .digest = 0xfedc },
			"\x03\x12"
			"\x00\x00\x00\x00\x00\x00\x00\x07"
			"\x00\x09"
			"\x00\x00\x00\x00\x00\x00\xfe\xdc",
			20 },
		{ { .kind = CLAIM_DELAYED, .at_wall_ms = 1, .left_ms = -1 },
			"\x05\x10"
			"\x00\x00\x00\x00\x00\x00\x00\x01"
			"\xff\xff\xff\xff\xff\xff\xff\xff",
			18 },
	};
	uint8_t buf[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		struct writer w = writer_of(buf, sizeof(buf));
		struct claim c;
		claim_encode(&w, &vectors[i].c);
		assert_int_equal(w.len, vectors[i].len);
		assert_memory_equal(buf, vectors[i].bytes, w.len);
		assert_true(w.len <= claim_encoded_max(&vectors[i].c));
		struct reader r = reader_of(span_of(buf, w.len));
		assert_int_equal(claim_decode(&r, &c), 0);
		assert_int_equal(r.left, 0);
		assert_same(&c, &vectors[i].c);
		for (size_t cut = 0; cut < w.len; cut++) {
			r = reader_of(span_of(buf, cut));
			assert_int_equal(claim_decode(&r, &c), -EBADMSG);
		}
	}
}

static void test_later_fields_and_kinds(void **state)
{
	static const uint8_t longer[] = "\x03\x13\0\0\0\0\0\0\0\x07\0\x09\0\0\0\0\0\0\xfe\xdc\x55";
	static const uint8_t unknown[] = "\x09\x02\xaa\xbb\x01\x00";
	struct reader r = reader_of(span_of(longer, sizeof(longer) - 1));
	struct claim c;

	(void)state;
	assert_int_equal(claim_decode(&r, &c), 0);
	assert_int_equal(c.digest, 0xfedc);
	assert_int_equal(r.left, 0);
	r = reader_of(span_of(unknown, sizeof(unknown) - 1));
	assert_int_equal(claim_decode(&r, &c), 0);
	assert_int_equal(c.kind, 9);
	assert_int_equal(claim_decode(&r, &c), 0);
	assert_int_equal(c.kind, CLAIM_UPSTREAM);
}

static void test_bad_claims(void **state)
{
	static const char *const bad[] = {
		"\x00\x00",                                         /* no kind */
		"\x02\x0c\0\0\0\0\0\0\0\x07\0\x09\x03\x00",         /* QoS 3 */
		"\x02\x0d\0\0\0\0\0\0\0\x07\0\x09\x01\x02\x05",     /* two identifiers, one there */
		"\x02\x0e\0\0\0\0\0\0\0\x07\0\x09\x01\x81\x08\x05", /* 1025 identifiers */
		"\x03\x80\x80\x80\x80\x01",                         /* length of five octets */
	};
	static const size_t len[] = { 2, 14, 15, 16, 6 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct reader r = reader_of(span_of(bad[i], len[i]));
		struct claim c;
		assert_int_equal(claim_decode(&r, &c), -EBADMSG);
		assert_int_equal(c.sub_ids, 0);
	}
}

static void test_many_identifiers(void **state)
{
	struct claim c = { .kind = CLAIM_MAIL, .owner = 1, .packet_id = 1, .qos = 1 }, back;
	uint8_t *buf = malloc(8192);
	struct writer w = writer_of(buf, 8192);

	(void)state;
	for (uint32_t i = 0; i < 1100; i++)
		c.sub_ids = sub_ids_add(c.sub_ids, 268435455 - i);
	claim_encode(&w, &c);
	assert_false(w.bad);
	assert_true(w.len <= claim_encoded_max(&c));
	struct reader r = reader_of(span_of(buf, w.len));
	assert_int_equal(claim_decode(&r, &back), 0);
	assert_int_equal(sub_ids_count(back.sub_ids), KEPT_IDS_MAX);
	assert_int_equal(sub_ids_at(back.sub_ids, 1023), 268435455 - 1023);
	sub_ids_unref(c.sub_ids);
	sub_ids_unref(back.sub_ids);
	assert_int_equal(sub_ids_blocks(), 0);
	free(buf);
}

static void test_heads(void **state)
{
	uint8_t buf[KEPT_HEAD_MAX];
	struct kept_head h = { .flags = KEPT_GOES_ON, .record = 77, .n = 300 }, back;
	struct writer w = writer_of(buf, sizeof(buf));
	struct reader r;

	(void)state;
	kept_head_encode(&w, &h);
	assert_int_equal(w.len, 12);
	assert_int_equal(kept_head_decode(span_of(buf, w.len), false, &back, &r), 0);
	assert_true(back.flags == h.flags && back.record == h.record && back.n == h.n);
	for (size_t cut = 0; cut < w.len; cut++)
		assert_int_equal(kept_head_decode(span_of(buf, cut), false, &back, &r), -EBADMSG);
	buf[0] = 2;
	assert_int_equal(kept_head_decode(span_of(buf, w.len), false, &back, &r), -EPROTONOSUPPORT);
	buf[0] = 0;
	assert_int_equal(kept_head_decode(span_of(buf, w.len), false, &back, &r), -EBADMSG);
	static const uint8_t nobody[] = { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 };
	assert_int_equal(
		kept_head_decode(span_of(nobody, sizeof(nobody)), false, &back, &r), -EBADMSG);
}

static void test_ends_and_order(void **state)
{
	struct claim a = { .kind = CLAIM_MAIL, .owner = 1, .packet_id = 2 }, b = a, c;
	uint8_t buf[KEPT_END_SIZE];
	struct writer w = writer_of(buf, sizeof(buf));

	(void)state;
	claim_end_encode(&w, &a);
	assert_false(w.bad);
	assert_int_equal(w.len, KEPT_END_SIZE);
	struct reader r = reader_of(span_of(buf, w.len));
	assert_int_equal(claim_end_decode(&r, &c), 0);
	assert_int_equal(claim_compare(&a, &c), 0);
	r = reader_of(span_of(buf, w.len - 1));
	assert_int_equal(claim_end_decode(&r, &c), -EBADMSG);
	b.packet_id = 3;
	assert_true(claim_compare(&a, &b) < 0 && claim_compare(&b, &a) > 0);
	b.owner = 0;
	assert_true(claim_compare(&a, &b) > 0);
	b.kind = CLAIM_EXCHANGE;
	assert_true(claim_compare(&a, &b) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_claim_vectors),
		cmocka_unit_test(test_later_fields_and_kinds),
		cmocka_unit_test(test_bad_claims),
		cmocka_unit_test(test_many_identifiers),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_ends_and_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
