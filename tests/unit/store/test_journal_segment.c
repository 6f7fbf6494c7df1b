#include "tests/unit/store/journal_fixture.h"

#include "gateway/store/crc32c.h"

/* A segment in memory, and what a scan makes of it. */
#define IMAGE 2048
#define COUNT 12

struct image {
	uint8_t bytes[IMAGE];
	uint32_t len; /* end of the last record */
	uint32_t at[COUNT + 1];
	struct segment_id id;
};

struct damage {
	unsigned places, torn;
	size_t bytes;
};

static void on_damage(void *arg, uint32_t offset, struct span bytes, bool torn)
{
	struct damage *d = arg;
	(void)offset;
	d->places++;
	d->torn += torn;
	d->bytes += bytes.len;
}

static void fill(struct image *im)
{
	memset(im, 0, sizeof(*im));
	im->id = (struct segment_id){ 7, 0x9f3ac2e1 };
	segment_header_encode(im->id, 100, im->bytes);
	im->len = SEGMENT_HEADER;
	for (unsigned i = 0; i < COUNT; i++) {
		char body[64];
		struct span part = { (const uint8_t *)body, i * 5 };
		memset(body, 'a' + (int)i, sizeof(body));
		im->at[i] = im->len;
		record_encode(
			im->id.salt, (uint8_t)(1 + i), 100 + i, &part, 1, im->bytes + im->len);
		im->len += record_size(part.len);
	}
	im->at[COUNT] = im->len;
}

/* Bit i of the result: record i was found, whole. */
static unsigned scan(const struct image *im, size_t len, struct damage *d)
{
	struct segment_scan s;
	struct record r;
	unsigned found = 0;
	uint64_t last = 0;

	memset(d, 0, sizeof(*d));
	uint8_t *exact = malloc(len + 1); /* for the address sanitizer */
	memcpy(exact, im->bytes, len);
	assert_int_equal(segment_scan_init(&s, span_of(exact, len), im->id), 0);
	s.damage = on_damage;
	s.arg = d;
	while (segment_scan_next(&s, &r)) {
		unsigned i = (unsigned)(r.seq - 100);
		assert_true(r.seq > last && i < COUNT);
		last = r.seq;
		assert_int_equal(r.type, 1 + i);
		assert_int_equal(r.offset, im->at[i]);
		assert_int_equal(r.body.len, i * 5);
		for (size_t k = 0; k < r.body.len; k++)
			assert_int_equal(r.body.p[k], 'a' + i);
		found |= 1u << i;
	}
	free(exact);
	return found;
}

static void record_has_the_documented_form(void **state)
{
	(void)state;
	uint8_t out[28];
	struct span parts[] = { { (const uint8_t *)"he", 2 }, { (const uint8_t *)"llo", 3 } };
	static const uint8_t expected[28] = {
		0xbe, 0x5d, 0x5c, 0x77,                         /* check */
		0x03, 0x00, 0x00, 0x05,                         /* type 3, 5 octets */
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x02, /* sequence 258 */
		0xa5, 0x27, 0x38, 0xef,                         /* body sum */
		'h', 'e', 'l', 'l', 'o', 0, 0, 0,               /* body, padding */
	};

	assert_int_equal(record_size(5), sizeof(out));
	record_encode(0x01020304, 3, 258, parts, 2, out);
	assert_memory_equal(out, expected, sizeof(out));
}

static void names_round_trip_and_others_are_refused(void **state)
{
	(void)state;
	char buf[SEGMENT_NAME_MAX];
	struct segment_id id, in = { 0x2a, 0x9f3ac2e1 };
	static const char *const bad[] = { "", "lock", "quarantine", "0000002a-9f3ac2e1",
		"0000002a-9f3ac2e1.seg~", "2a-9f3ac2e1.seg", "0000002A-9f3ac2e1.seg",
		"+000002a-9f3ac2e1.seg", "0000002a-9f3ac2e1.seg.seg.seg.seg.seg",
		" 000002a-9f3ac2e1.seg" };

	assert_string_equal(segment_name(in, buf), "0000002a-9f3ac2e1.seg");
	assert_true(segment_name_parse(buf, &id));
	assert_int_equal(id.number, in.number);
	assert_int_equal(id.salt, in.salt);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(segment_name_parse(bad[i], &id));
}

static void header_round_trips_and_tells_its_version(void **state)
{
	(void)state;
	struct image im;
	struct segment_id id;
	struct segment_scan s;
	uint64_t first;
	fill(&im);

	assert_int_equal(segment_header_decode(span_of(im.bytes, IMAGE), &id, &first), 0);
	assert_int_equal(id.number, 7);
	assert_int_equal(id.salt, 0x9f3ac2e1);
	assert_int_equal(first, 100);
	for (size_t len = 0; len < SEGMENT_HEADER; len++)
		assert_int_equal(
			segment_header_decode(span_of(im.bytes, len), &id, &first), -EBADMSG);
	im.bytes[5] = 2;
	assert_int_equal(segment_header_decode(span_of(im.bytes, IMAGE), &id, &first), -EBADMSG);
	static const uint8_t newer[] = { 0x54, 0x47, 0x4a, 0x4c, 0, 2, 0, 32 };
	memcpy(im.bytes, newer, sizeof(newer));
	uint32_t sum = crc32c(0, im.bytes, SEGMENT_HEADER - 4);
	for (int i = 0; i < 4; i++)
		im.bytes[28 + i] = (uint8_t)(sum >> (24 - 8 * i));
	assert_int_equal(segment_scan_init(&s, span_of(im.bytes, IMAGE), im.id), -EPROTONOSUPPORT);
}

static void whole_image_is_found(void **state)
{
	(void)state;
	struct image im;
	struct damage d;
	fill(&im);

	assert_int_equal(scan(&im, IMAGE, &d), (1u << COUNT) - 1);
	assert_int_equal(d.places, 0);
	assert_int_equal(scan(&im, im.len, &d), (1u << COUNT) - 1);
	assert_int_equal(d.places, 0);
}

static void every_truncation_keeps_the_whole_records(void **state)
{
	(void)state;
	struct image im;
	struct damage d;
	fill(&im);

	for (uint32_t len = SEGMENT_HEADER; len < im.len; len++) {
		unsigned expected = 0;
		for (unsigned i = 0; i < COUNT; i++)
			if (im.at[i] + RECORD_HEADER + i * 5 <= len)
				expected |= 1u << i;
		assert_int_equal(scan(&im, len, &d), expected);
		assert_int_equal(d.places, d.torn);
	}
}

static void a_torn_tail_is_told_without_its_zeros(void **state)
{
	(void)state;
	struct image im;
	struct damage d;
	fill(&im);

	/* A power cut after any octet of the last record; the rest of the file is zeros. */
	for (uint32_t cut = im.at[COUNT - 1] + 1; cut < im.len - 1; cut++) {
		struct image torn = im;
		memset(torn.bytes + cut, 0, IMAGE - cut);
		assert_int_equal(scan(&torn, IMAGE, &d), (1u << (COUNT - 1)) - 1);
		assert_int_equal(d.places, 1);
		assert_int_equal(d.torn, 1);
		assert_true(d.bytes <= cut - im.at[COUNT - 1]);
	}
}

static void one_flipped_bit_costs_one_record(void **state)
{
	(void)state;
	struct image im;
	struct damage d;
	fill(&im);

	for (uint32_t at = 0; at < im.len; at++) {
		for (int bit = 0; bit < 8; bit++) {
			unsigned lost = 0;
			for (unsigned i = 0; i < COUNT; i++)
				if (at >= im.at[i] && at < im.at[i] + RECORD_HEADER + i * 5)
					lost |= 1u << i;
			im.bytes[at] ^= (uint8_t)(1 << bit);
			assert_int_equal(scan(&im, IMAGE, &d), ((1u << COUNT) - 1) & ~lost);
			assert_int_equal(d.places, lost != 0 || at < SEGMENT_HEADER);
			im.bytes[at] ^= (uint8_t)(1 << bit);
		}
	}
}

static void a_zeroed_block_costs_what_it_covers(void **state)
{
	(void)state;
	struct image im;
	struct damage d;
	fill(&im);

	for (unsigned first = 0; first + 3 < COUNT; first++) {
		struct image hole = im;
		memset(hole.bytes + im.at[first], 0, im.at[first + 3] - im.at[first]);
		assert_int_equal(scan(&hole, IMAGE, &d), ((1u << COUNT) - 1) & ~(7u << first));
		assert_int_equal(d.places, 1);
		assert_int_equal(d.torn, 0);
	}
	memset(im.bytes, 0, SEGMENT_HEADER); /* the salt is in the name too */
	assert_int_equal(scan(&im, IMAGE, &d), (1u << COUNT) - 1);
}

static void a_payload_that_looks_like_records_is_none(void **state)
{
	(void)state;
	uint8_t bytes[1024] = { 0 }, body[256];
	struct segment_id id = { 1, 0x12345678 };
	struct span part = { (const uint8_t *)"forged", 6 };
	struct segment_scan s;
	struct record r;

	for (size_t at = 0; at + record_size(6) <= sizeof(body); at += record_size(6))
		record_encode(0, 1, 5000 + at, &part, 1, body + at);
	part = span_of(body, sizeof(body));
	segment_header_encode(id, 1, bytes);
	record_encode(id.salt, 1, 1, &part, 1, bytes + SEGMENT_HEADER);
	bytes[SEGMENT_HEADER + 6] ^=
		1; /* its length is damaged: the search goes through the body */
	assert_int_equal(segment_scan_init(&s, span_of(bytes, sizeof(bytes)), id), 0);
	assert_false(segment_scan_next(&s, &r));
}

static void impossible_records_are_refused(void **state)
{
	(void)state;
	uint8_t out[64];
	struct record r;
	static const struct {
		uint8_t type;
		uint64_t seq;
		int err;
	} rows[] = { { 1, 1, 0 }, { 63, SEQ_MAX, 0 }, { RECORD_FORGET, 1, 0 }, { 0, 1, -EBADMSG },
		{ 64, 1, -EBADMSG }, { 255, 1, -EBADMSG }, { 1, 0, -EBADMSG },
		{ 1, SEQ_MAX + 1, -EBADMSG } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		record_encode(9, rows[i].type, rows[i].seq, NULL, 0, out);
		assert_int_equal(record_decode(9, out, sizeof(out), &r), rows[i].err);
		assert_int_equal(record_decode(8, out, sizeof(out), &r), -EBADMSG);
		assert_int_equal(record_decode(9, out, RECORD_HEADER - 1, &r), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record_has_the_documented_form),
		cmocka_unit_test(names_round_trip_and_others_are_refused),
		cmocka_unit_test(header_round_trips_and_tells_its_version),
		cmocka_unit_test(whole_image_is_found),
		cmocka_unit_test(every_truncation_keeps_the_whole_records),
		cmocka_unit_test(a_torn_tail_is_told_without_its_zeros),
		cmocka_unit_test(one_flipped_bit_costs_one_record),
		cmocka_unit_test(a_zeroed_block_costs_what_it_covers),
		cmocka_unit_test(a_payload_that_looks_like_records_is_none),
		cmocka_unit_test(impossible_records_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
