#include "adapters/mqtt/mq_props.h"

#include "adapters/mqtt/mq_codec.h"
#include "gateway/base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES(s)                                                                                   \
	{                                                                                          \
		(const uint8_t *)(s), sizeof(s) - 1                                                \
	}

#define WILL    (1u << MQ_PROPS_OF_WILL)
#define BIT(t)  (1u << (t))
#define MESSAGE (WILL | BIT(MQ_PUBLISH))
#define ACKS    (BIT(MQ_PUBACK) | BIT(MQ_PUBREC) | BIT(MQ_PUBREL) | BIT(MQ_PUBCOMP))
#define CLIENTS                                                                                    \
	(MESSAGE | ACKS | BIT(MQ_CONNECT) | BIT(MQ_SUBSCRIBE) | BIT(MQ_UNSUBSCRIBE) |              \
		BIT(MQ_DISCONNECT) | BIT(MQ_AUTH))
#define SERVERS                                                                                    \
	(BIT(MQ_PUBLISH) | ACKS | BIT(MQ_CONNACK) | BIT(MQ_SUBACK) | BIT(MQ_UNSUBACK) |            \
		BIT(MQ_DISCONNECT) | BIT(MQ_AUTH))

/* Table 2.4 of MQTT 5.0 once more, with a value of each; `client` and `server` where it may stand.
 */
static const struct {
	struct span bytes;
	struct mq_prop p;
	uint32_t client, server;
} every[] = {
	{ BYTES("\x01\x01"), { .id = 0x01, .number = 1 }, MESSAGE, BIT(MQ_PUBLISH) },
	{ BYTES("\x02\x00\x00\x01\x00"), { .id = 0x02, .number = 256 }, MESSAGE, BIT(MQ_PUBLISH) },
	{ BYTES("\x03\x00\x01x"), { .id = 0x03, .value = BYTES("x") }, MESSAGE, BIT(MQ_PUBLISH) },
	{ BYTES("\x08\x00\x03r/s"), { .id = 0x08, .value = BYTES("r/s") }, MESSAGE,
		BIT(MQ_PUBLISH) },
	{ BYTES("\x09\x00\x02\x00\xff"), { .id = 0x09, .value = BYTES("\x00\xff") }, MESSAGE,
		BIT(MQ_PUBLISH) },
	{ BYTES("\x0b\x80\x01"), { .id = 0x0b, .number = 128 }, BIT(MQ_SUBSCRIBE),
		BIT(MQ_PUBLISH) },
	{ BYTES("\x11\xff\xff\xff\xff"), { .id = 0x11, .number = UINT32_MAX },
		BIT(MQ_CONNECT) | BIT(MQ_DISCONNECT), BIT(MQ_CONNACK) | BIT(MQ_DISCONNECT) },
	{ BYTES("\x12\x00\x01i"), { .id = 0x12, .value = BYTES("i") }, 0, BIT(MQ_CONNACK) },
	{ BYTES("\x13\x00\x3c"), { .id = 0x13, .number = 60 }, 0, BIT(MQ_CONNACK) },
	{ BYTES("\x15\x00\x01m"), { .id = 0x15, .value = BYTES("m") },
		BIT(MQ_CONNECT) | BIT(MQ_AUTH), BIT(MQ_CONNACK) | BIT(MQ_AUTH) },
	{ BYTES("\x17\x00"), { .id = 0x17, .number = 0 }, BIT(MQ_CONNECT), 0 },
	{ BYTES("\x18\x00\x00\x00\x05"), { .id = 0x18, .number = 5 }, WILL, 0 },
	{ BYTES("\x19\x01"), { .id = 0x19, .number = 1 }, BIT(MQ_CONNECT), 0 },
	{ BYTES("\x1a\x00\x01x"), { .id = 0x1a, .value = BYTES("x") }, 0, BIT(MQ_CONNACK) },
	{ BYTES("\x1c\x00\x01s"), { .id = 0x1c, .value = BYTES("s") }, 0,
		BIT(MQ_CONNACK) | BIT(MQ_DISCONNECT) },
	{ BYTES("\x1f\x00\x01r"), { .id = 0x1f, .value = BYTES("r") },
		ACKS | BIT(MQ_DISCONNECT) | BIT(MQ_AUTH), SERVERS & ~BIT(MQ_PUBLISH) },
	{ BYTES("\x21\x00\x01"), { .id = 0x21, .number = 1 }, BIT(MQ_CONNECT), BIT(MQ_CONNACK) },
	{ BYTES("\x22\x00\x00"), { .id = 0x22, .number = 0 }, BIT(MQ_CONNECT), BIT(MQ_CONNACK) },
	{ BYTES("\x23\x00\x07"), { .id = 0x23, .number = 7 }, BIT(MQ_PUBLISH), BIT(MQ_PUBLISH) },
	{ BYTES("\x24\x01"), { .id = 0x24, .number = 1 }, 0, BIT(MQ_CONNACK) },
	{ BYTES("\x25\x00"), { .id = 0x25, .number = 0 }, 0, BIT(MQ_CONNACK) },
	{ BYTES("\x26\x00\x01k\x00\x00"), { .id = 0x26, .name = BYTES("k") }, CLIENTS, SERVERS },
	{ BYTES("\x27\x00\x00\x00\x01"), { .id = 0x27, .number = 1 }, BIT(MQ_CONNECT),
		BIT(MQ_CONNACK) },
	{ BYTES("\x28\x01"), { .id = 0x28, .number = 1 }, 0, BIT(MQ_CONNACK) },
	{ BYTES("\x29\x01"), { .id = 0x29, .number = 1 }, 0, BIT(MQ_CONNACK) },
	{ BYTES("\x2a\x00"), { .id = 0x2a, .number = 0 }, 0, BIT(MQ_CONNACK) },
};

static void assert_span(struct span got, struct span want)
{
	assert_int_equal(got.len, want.len);
	if (want.len)
		assert_memory_equal(got.p, want.p, want.len);
}

static void each_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(every); i++) {
		struct reader r = reader_of(every[i].bytes);
		struct mq_prop p;
		assert_true(mq_props_next(&r, &p));
		assert_int_equal(p.id, every[i].p.id);
		assert_int_equal(p.number, every[i].p.number);
		assert_span(p.value, every[i].p.value);
		assert_span(p.name, every[i].p.name);
		assert_false(mq_props_next(&r, &p));
		assert_false(r.bad);
	}
}

static void write(struct writer *w, const struct mq_prop *p)
{
	if (p->id == MQ_PROP_USER)
		mq_put_user(w, p->name, p->value);
	else if (p->value.len)
		mq_put_string(w, p->id, p->value);
	else
		mq_put_number(w, p->id, p->number);
}

static void each_is_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(every); i++) {
		uint8_t buf[16];
		struct writer w = writer_of(buf, sizeof(buf));
		write(&w, &every[i].p);
		assert_false(w.bad);
		assert_span(span_of(buf, w.len), every[i].bytes);
	}
}

static void each_has_its_packets(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(every); i++) {
		for (unsigned where = 0; where < MQ_TYPES; where++) {
			struct span b = every[i].bytes;
			enum reason client = every[i].client & BIT(where) ? R_SUCCESS : R_MALFORMED;
			enum reason server = every[i].server & BIT(where) ? R_SUCCESS : R_MALFORMED;
			/* [MQTT-3.3.4-6] */
			if (every[i].p.id == MQ_PROP_SUBSCRIPTION_ID && where == MQ_PUBLISH)
				client = R_PROTOCOL_ERROR;
			assert_int_equal(mq_props_check(b, where, MQ_FROM_CLIENT), client);
			assert_int_equal(mq_props_check(b, where, MQ_FROM_SERVER), server);
		}
	}
}

static void every_truncation_is_malformed(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(every); i++) {
		unsigned side = every[i].client ? MQ_FROM_CLIENT : MQ_FROM_SERVER;
		uint32_t in = every[i].client ? every[i].client : every[i].server;
		unsigned where = (unsigned)__builtin_ctz(in);
		for (size_t len = 1; len < every[i].bytes.len; len++) {
			uint8_t *copy = malloc(len);
			memcpy(copy, every[i].bytes.p, len);
			assert_int_equal(
				mq_props_check(span_of(copy, len), where, side), R_MALFORMED);
			free(copy);
		}
	}
}

static void only_user_properties_repeat(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(every); i++) {
		uint8_t twice[32];
		struct writer w = writer_of(twice, sizeof(twice));
		wr_span(&w, every[i].bytes);
		wr_span(&w, every[i].bytes);
		unsigned side = every[i].client ? MQ_FROM_CLIENT : MQ_FROM_SERVER;
		uint32_t in = every[i].client ? every[i].client : every[i].server;
		enum reason want = every[i].p.id == MQ_PROP_USER ? R_SUCCESS : R_PROTOCOL_ERROR;
		assert_int_equal(
			mq_props_check(span_of(twice, w.len), (unsigned)__builtin_ctz(in), side),
			want);
	}
	/* A server gives the identifiers of all subscriptions that match. */
	assert_int_equal(mq_props_check(span_of("\x0b\x01\x0b\x01", 4), MQ_PUBLISH, MQ_FROM_SERVER),
		R_SUCCESS);
}

static void values_have_their_limits(void **state)
{
	(void)state;
	static const struct {
		struct span bytes;
		unsigned where;
		enum reason why;
	} bad[] = {
		{ BYTES("\x01\x02"), MQ_PUBLISH, R_PROTOCOL_ERROR },
		{ BYTES("\x17\x02"), MQ_CONNECT, R_PROTOCOL_ERROR },
		{ BYTES("\x21\x00\x00"), MQ_CONNECT, R_PROTOCOL_ERROR },
		{ BYTES("\x27\x00\x00\x00\x00"), MQ_CONNECT, R_PROTOCOL_ERROR },
		{ BYTES("\x0b\x00"), MQ_SUBSCRIBE, R_PROTOCOL_ERROR },
		{ BYTES("\x08\x00\x03r/#"), MQ_PUBLISH, R_PROTOCOL_ERROR },
		{ BYTES("\x08\x00\x00"), MQ_PUBLISH, R_PROTOCOL_ERROR },
		{ BYTES("\x16\x00\x00"), MQ_CONNECT, R_PROTOCOL_ERROR }, /* data without a method */
		{ BYTES("\x03\x00\x01\xff"), MQ_PUBLISH, R_MALFORMED },
		{ BYTES("\x26\x00\x01\xff\x00\x01x"), MQ_PUBLISH, R_MALFORMED },
		{ BYTES("\x26\x00\x01x\x00\x01\xff"), MQ_PUBLISH, R_MALFORMED },
		{ BYTES("\x0b\x80\x00"), MQ_SUBSCRIBE, R_MALFORMED }, /* longer than need be */
		{ BYTES("\x00\x00"), MQ_PUBLISH, R_MALFORMED },
		{ BYTES("\x2b\x00"), MQ_PUBLISH, R_MALFORMED },
		{ BYTES("\xff\x00"), MQ_PUBLISH, R_MALFORMED },
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(
			mq_props_check(bad[i].bytes, bad[i].where, MQ_FROM_CLIENT), bad[i].why);
}

static void values_are_found(void **state)
{
	(void)state;
	struct span props = BYTES("\x02\x00\x00\x00\x09\x26\x00\x01k\x00\x01v\x03\x00\x01x");
	assert_int_equal(mq_props_number(props, MQ_PROP_MESSAGE_EXPIRY, 1), 9);
	assert_int_equal(mq_props_number(props, MQ_PROP_TOPIC_ALIAS, 1), 1);
	assert_span(mq_props_string(props, MQ_PROP_CONTENT_TYPE), span_str("x"));
	assert_span(mq_props_string(props, MQ_PROP_RESPONSE_TOPIC), span_str(""));
	assert_int_equal(mq_props_number(span_of(NULL, 0), MQ_PROP_MESSAGE_EXPIRY, 3), 3);
}

static void only_what_belongs_to_the_message_travels(void **state)
{
	(void)state;
	uint8_t buf[64];
	struct writer w = writer_of(buf, sizeof(buf));
	struct span mixed =
		BYTES("\x26\x00\x01k\x00\x01v\x02\x00\x00\x00\x09\x23\x00\x01\x03\x00\x01x"
		      "\x0b\x05\x09\x00\x00");
	struct span rest = BYTES("\x26\x00\x01k\x00\x01v\x03\x00\x01x\x09\x00\x00");
	assert_false(mq_props_all_travel(mixed));
	mq_props_travelling(mixed, &w);
	assert_span(span_of(buf, w.len), rest);
	assert_true(mq_props_all_travel(rest));
	assert_true(mq_props_all_travel(span_of(NULL, 0)));
}

static void the_size_of_a_variable_integer(void **state)
{
	(void)state;
	static const uint32_t values[] = { 0, 127, 128, 16383, 16384, 2097151, 2097152, 268435455 };
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		uint8_t buf[4];
		struct writer w = writer_of(buf, sizeof(buf));
		wr_varint(&w, values[i]);
		assert_int_equal(mq_varint_size(values[i]), w.len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_is_read),
		cmocka_unit_test(each_is_written),
		cmocka_unit_test(each_has_its_packets),
		cmocka_unit_test(every_truncation_is_malformed),
		cmocka_unit_test(only_user_properties_repeat),
		cmocka_unit_test(values_have_their_limits),
		cmocka_unit_test(values_are_found),
		cmocka_unit_test(only_what_belongs_to_the_message_travels),
		cmocka_unit_test(the_size_of_a_variable_integer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
