#include "gateway/core/message.h"

#include "gateway/base/clock.h"
#include "gateway/base/util.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW_MS  1000000
#define WALL_MS 1700000000000

static int setup(void **state)
{
	(void)state;
	clock_freeze(NOW_MS, WALL_MS);
	messages_set_budget(0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return messages_bytes() == 0 ? 0 : -1;
}

/* A content type "t". */
static const uint8_t some_props[] = { 0x03, 0, 1, 't' };

static struct message_init some_init(void)
{
	return (struct message_init){
		.topic = span_str("plant/7"),
		.payload = span_str("21.5"),
		.props = span_of(some_props, sizeof(some_props)),
		.qos = 2,
		.retain = true,
		.origin = 77,
		.expires_ms = NOW_MS + 5000,
	};
}

static struct message *some(void)
{
	struct message_init init = some_init();

	return message_new(&init);
}

static void holds_what_it_was_given(void **state)
{
	struct message *m = some();
	(void)state;

	assert_true(span_is(message_topic(m), "plant/7"));
	assert_true(span_is(message_payload(m), "21.5"));
	assert_true(span_equal(message_props(m), span_of(some_props, sizeof(some_props))));
	assert_true(span_equal(message_topic_wire(m), span_of("\0\7plant/7", 9)));
	assert_int_equal(m->qos, 2);
	assert_true(m->retain);
	assert_int_equal(m->origin, 77);
	assert_int_equal(m->received_wall_ms, WALL_MS);
	message_unref(m);
}

static void may_be_empty(void **state)
{
	struct message_init init = { .topic = span_str("t") };
	struct message *m = message_new(&init);
	(void)state;

	assert_int_equal(message_payload(m).len, 0);
	assert_int_equal(message_props(m).len, 0);
	assert_false(message_expired(m));
	message_unref(m);
	message_unref(NULL);
}

static void references_are_counted(void **state)
{
	struct message *m = some();
	size_t bytes = messages_bytes();
	(void)state;

	assert_int_equal(bytes, message_size(m));
	assert_ptr_equal(message_ref(m), m);
	message_unref(m);
	assert_int_equal(messages_bytes(), bytes);
	message_unref(m);
	assert_int_equal(messages_bytes(), 0);
}

static void the_budget_refuses(void **state)
{
	struct message *m = some();
	(void)state;

	messages_set_budget(message_size(m) * 2);
	struct message *second = some();
	assert_non_null(second);
	assert_null(some());
	message_unref(second);
	second = some();
	assert_non_null(second);
	messages_set_budget(1); /* below what is alive */
	assert_null(some());
	message_unref(m);
	message_unref(second);
	assert_null(some());
}

static void oversized_fields_are_refused(void **state)
{
	struct message_init init = some_init();
	(void)state;

	init.topic.len = UINT16_MAX + 1;
	assert_null(message_new(&init));
	init = some_init();
	init.payload.len = SIZE_MAX;
	assert_null(message_new(&init));
	init = some_init();
	init.props.len = SIZE_MAX - 8;
	assert_null(message_new(&init));
}

static void expires_at_its_moment(void **state)
{
	struct message *m = some();
	(void)state;

	clock_advance(4999);
	assert_false(message_expired(m));
	clock_advance(1);
	assert_true(message_expired(m));
	message_unref(m);
}

static uint64_t digest_of(const struct message_init *init)
{
	struct message *m = message_new(init);
	uint64_t digest = message_digest(m);

	message_unref(m);
	return digest;
}

static void the_digest_tells_messages_apart(void **state)
{
	struct message_init init = some_init(), other = some_init();
	uint64_t digest = digest_of(&init);
	(void)state;

	other.qos = 1; /* a repetition may differ in all that is no content */
	other.origin = 5;
	other.expires_ms = 0;
	other.props.len = 0;
	assert_true(digest_of(&other) == digest);
	other.retain = false;
	assert_true(digest_of(&other) != digest);
	other = some_init();
	other.payload = span_str("21.6");
	assert_true(digest_of(&other) != digest);
	other = some_init();
	other.topic = span_str("plant/8");
	assert_true(digest_of(&other) != digest);
	other = some_init(); /* the same octets, divided otherwise */
	other.topic = span_str("plant/72");
	other.payload = span_str("1.5");
	assert_true(digest_of(&other) != digest);
	other = some_init();
	other.payload = span_of("21.5\0", 5);
	assert_true(digest_of(&other) != digest);
}

/* It is kept in the journal: it must be the same after a restart, with another seed. */
static void the_digest_is_the_same_for_ever(void **state)
{
	struct message_init init = some_init();
	(void)state;

	hash_seed(1);
	uint64_t digest = digest_of(&init);
	hash_seed(2);
	assert_true(digest_of(&init) == digest);
}

static size_t encode(const struct message *m, uint8_t *buf)
{
	uint8_t scratch[MESSAGE_SCRATCH];
	struct span parts[MESSAGE_PARTS];
	unsigned n = message_encode(m, scratch, parts);
	size_t len = 0;

	assert_in_range(n, 1, MESSAGE_PARTS);
	for (unsigned i = 0; i < n; i++) {
		memcpy(buf + len, parts[i].p, parts[i].len);
		len += parts[i].len;
	}
	return len;
}

static void survives_the_journal(void **state)
{
	struct message *m = some();
	uint8_t buf[256];
	size_t len = encode(m, buf);
	(void)state;

	clock_advance(1500);
	struct message *back = message_decode(span_of(buf, len), 123);
	assert_non_null(back);
	assert_true(span_equal(message_topic(back), message_topic(m)));
	assert_true(span_equal(message_payload(back), message_payload(m)));
	assert_true(span_equal(message_props(back), message_props(m)));
	assert_int_equal(back->qos, 2);
	assert_true(back->retain);
	assert_int_equal(back->origin, 123);
	assert_int_equal(back->received_wall_ms, WALL_MS);
	assert_int_equal(back->expires_ms, m->expires_ms);
	message_unref(m);
	message_unref(back);
}

/* The stored octets of a known message: the form must not change unnoticed. */
static void the_form_is_fixed(void **state)
{
	static const uint8_t form[] = {
		1,    /* version */
		0x0e, /* QoS 2, retain, expires */
		0,
		0,
		0,
		4, /* payload length */
		0,
		0,
		0,
		4, /* props length */
		0,
		0,
		0,
		0,
		0,
		0,
		0x13,
		0x88, /* lives 5000 ms more */
		0,
		0,
		0x01,
		0x8b,
		0xcf,
		0xe5,
		0x68,
		0, /* wall clock now */
		0,
		0,
		0x01,
		0x8b,
		0xcf,
		0xe5,
		0x68,
		0, /* wall clock of arrival */
		0,
		7,
		'p',
		'l',
		'a',
		'n',
		't',
		'/',
		'7',
		'2',
		'1',
		'.',
		'5',
		0x03,
		0,
		1,
		't',
	};
	struct message *m = some();
	uint8_t buf[256];
	(void)state;

	assert_int_equal(encode(m, buf), sizeof(form));
	assert_memory_equal(buf, form, sizeof(form));
	message_unref(m);
}

static struct message *decode_later(struct message *m, int64_t wall_ms)
{
	uint8_t buf[256];
	size_t len = encode(m, buf);

	clock_freeze(50, wall_ms); /* another process: its own monotonic clock */
	return message_decode(span_of(buf, len), 1);
}

static void life_goes_on_while_the_gateway_is_down(void **state)
{
	struct message *m = some();
	struct message *back = decode_later(m, WALL_MS + 2000);
	(void)state;

	assert_int_equal(back->expires_ms, 50 + 3000);
	message_unref(back);
	clock_freeze(NOW_MS, WALL_MS);
	back = decode_later(m, WALL_MS + 10000);
	assert_true(message_expired(back));
	message_unref(back);
	clock_freeze(NOW_MS, WALL_MS);
	back = decode_later(m, WALL_MS - 10000); /* no clock battery */
	assert_int_equal(back->expires_ms, 50 + 5000);
	message_unref(back);
	message_unref(m);
}

/* By a year too far, a year back, and from and into 1970. */
static void a_jumping_clock_expires_no_more_than_it_must(void **state)
{
	static const struct {
		int64_t encoded_ms, decoded_ms;
		bool expired;
	} jumps[] = {
		{ WALL_MS, WALL_MS + INT64_C(31536000000), true },
		{ WALL_MS, WALL_MS - INT64_C(31536000000), false },
		{ WALL_MS, 60000, false },
		{ 60000, WALL_MS, false },
		{ 60000, 90000, false },
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(jumps); i++) {
		clock_freeze(NOW_MS, jumps[i].encoded_ms);
		struct message *m = some();
		struct message *back = decode_later(m, jumps[i].decoded_ms);
		assert_int_equal(message_expired(back), jumps[i].expired);
		if (!jumps[i].expired)
			assert_int_equal(back->expires_ms, 50 + 5000);
		message_unref(back);
		message_unref(m);
	}
}

static void what_expired_before_stays_expired(void **state)
{
	struct message *m = some();
	(void)state;

	clock_advance(6000);
	struct message *back = decode_later(m, WALL_MS + 6000);
	assert_true(message_expired(back));
	message_unref(back);
	message_unref(m);
}

/* What lies in the journal was acknowledged; the budget is for what is new. */
static void the_budget_does_not_stop_what_comes_back(void **state)
{
	struct message *m = some();
	uint8_t buf[256];
	size_t len = encode(m, buf);
	(void)state;

	messages_set_budget(1);
	struct message *back = message_decode(span_of(buf, len), 1);
	assert_non_null(back);
	assert_null(some());
	message_unref(back);
	message_unref(m);
}

static void every_truncation_is_refused(void **state)
{
	struct message *m = some();
	uint8_t buf[256];
	size_t len = encode(m, buf);
	(void)state;

	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);
		memcpy(exact, buf, cut);
		assert_null(message_decode(span_of(exact, cut), 1));
		free(exact);
	}
	buf[len] = 0; /* one octet too many */
	assert_null(message_decode(span_of(buf, len + 1), 1));
	message_unref(m);
}

static void hostile_forms_are_refused(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} spoil[] = {
		{ 0, 2 },     /* unknown version */
		{ 1, 0x0f },  /* QoS 3 */
		{ 1, 0x2e },  /* unknown flag */
		{ 1, 0x06 },  /* life left of what does not expire */
		{ 2, 0xff },  /* payload of 4 GB */
		{ 6, 0x7f },  /* props of 2 GB */
		{ 10, 0x80 }, /* lives for ever and a day */
		{ 35, 0 },    /* no topic */
		{ 37, '#' },  /* wildcard */
		{ 37, 0x01 }, /* control character */
		{ 47, 0x22 }, /* a property that does not travel */
		{ 50, 0x80 }, /* no UTF-8 */
	};
	struct message *m = some();
	uint8_t buf[256];
	size_t len = encode(m, buf);
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(spoil); i++) {
		uint8_t good = buf[spoil[i].at];
		buf[spoil[i].at] = spoil[i].value;
		assert_null(message_decode(span_of(buf, len), 1));
		buf[spoil[i].at] = good;
	}
	struct message *back = message_decode(span_of(buf, len), 1);
	assert_non_null(back);
	message_unref(back);
	message_unref(m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(holds_what_it_was_given),
		TEST(may_be_empty),
		TEST(references_are_counted),
		TEST(the_budget_refuses),
		TEST(oversized_fields_are_refused),
		TEST(expires_at_its_moment),
		TEST(the_digest_tells_messages_apart),
		TEST(the_digest_is_the_same_for_ever),
		TEST(survives_the_journal),
		TEST(the_form_is_fixed),
		TEST(life_goes_on_while_the_gateway_is_down),
		TEST(what_expired_before_stays_expired),
		TEST(a_jumping_clock_expires_no_more_than_it_must),
		TEST(the_budget_does_not_stop_what_comes_back),
		TEST(every_truncation_is_refused),
		TEST(hostile_forms_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
