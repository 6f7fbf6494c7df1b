#include "adapters/mqttsn/sn_codec.h"

#include "gateway/base/util.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Every type of MQTT-SN 1.2: the octets by hand, and what they say. */
struct vector {
	const char *bytes;
	size_t len;
	struct sn_packet p;
};
#define BYTES(s) (s), sizeof(s) - 1
#define TEXT(s)                                                                                    \
	{                                                                                          \
		(const uint8_t *)(s), sizeof(s) - 1                                                \
	}

static const struct vector vectors[] = {
	/* len type | GwId | Duration 900 */
	{ BYTES("\x05\x00\x07\x03\x84"), { .type = SN_ADVERTISE, .gw_id = 7, .duration_s = 900 } },
	{ BYTES("\x03\x01\x02"), { .type = SN_SEARCHGW, .radius = 2 } },
	{ BYTES("\x03\x02\x09"), { .type = SN_GWINFO, .gw_id = 9 } },
	{ BYTES("\x05\x02\x09\x0a\x0b"),
		{ .type = SN_GWINFO, .gw_id = 9, .data = TEXT("\x0a\x0b") } },
	/* len type | Will+Clean | ProtocolId | Duration 60 | "dev" */
	{ BYTES("\x09\x04\x0c\x01\x00\x3c"
		"dev"),
		{ .type = SN_CONNECT,
			.will = true,
			.clean = true,
			.protocol_id = 1,
			.duration_s = 60,
			.data = TEXT("dev") } },
	{ BYTES("\x03\x05\x01"), { .type = SN_CONNACK, .return_code = SN_CONGESTION } },
	{ BYTES("\x02\x06"), { .type = SN_WILLTOPICREQ } },
	{ BYTES("\x02\x07"), { .type = SN_WILLTOPIC } },
	/* len type | QoS 1 + Retain | "w" */
	{ BYTES("\x04\x07\x30w"), { .type = SN_WILLTOPIC,
					  .present = true,
					  .qos = 1,
					  .retain = true,
					  .data = TEXT("w") } },
	{ BYTES("\x02\x08"), { .type = SN_WILLMSGREQ } },
	{ BYTES("\x02\x09"), { .type = SN_WILLMSG } },
	{ BYTES("\x05\x09"
		"bye"),
		{ .type = SN_WILLMSG, .data = TEXT("bye") } },
	/* len type | TopicId | MsgId | "a/b" */
	{ BYTES("\x09\x0a\x00\x00\x00\x01"
		"a/b"),
		{ .type = SN_REGISTER, .msg_id = 1, .data = TEXT("a/b") } },
	{ BYTES("\x07\x0b\x00\x05\x00\x01\x02"), { .type = SN_REGACK,
							 .topic_id = 5,
							 .msg_id = 1,
							 .return_code = SN_INVALID_TOPIC_ID } },
	/* len type | DUP + QoS 2 + Retain + predefined | TopicId | MsgId | data */
	{ BYTES("\x09\x0c\xd1\x01\x02\x03\x04hi"), { .type = SN_PUBLISH,
							   .dup = true,
							   .qos = 2,
							   .retain = true,
							   .topic_type = SN_TOPIC_PREDEFINED,
							   .topic_id = 0x0102,
							   .msg_id = 0x0304,
							   .data = TEXT("hi") } },
	/* QoS -1, short topic "ab", empty payload */
	{ BYTES("\x07\x0c\x62"
		"ab\x00\x00"),
		{ .type = SN_PUBLISH,
			.qos = SN_QOS_MINUS_1,
			.topic_type = SN_TOPIC_SHORT,
			.topic_id = 0x6162 } },
	{ BYTES("\x07\x0d\x00\x05\x00\x06\x03"), { .type = SN_PUBACK,
							 .topic_id = 5,
							 .msg_id = 6,
							 .return_code = SN_NOT_SUPPORTED } },
	{ BYTES("\x04\x0e\x12\x34"), { .type = SN_PUBCOMP, .msg_id = 0x1234 } },
	{ BYTES("\x04\x0f\x12\x34"), { .type = SN_PUBREC, .msg_id = 0x1234 } },
	{ BYTES("\x04\x10\x12\x34"), { .type = SN_PUBREL, .msg_id = 0x1234 } },
	/* len type | QoS 1 | MsgId | "a/+" */
	{ BYTES("\x08\x12\x20\x00\x09"
		"a/+"),
		{ .type = SN_SUBSCRIBE, .qos = 1, .msg_id = 9, .data = TEXT("a/+") } },
	{ BYTES("\x07\x12\xc1\x00\x09\x00\x07"), { .type = SN_SUBSCRIBE,
							 .dup = true,
							 .qos = 2,
							 .topic_type = SN_TOPIC_PREDEFINED,
							 .msg_id = 9,
							 .topic_id = 7 } },
	{ BYTES("\x08\x13\x40\x00\x07\x00\x09\x00"),
		{ .type = SN_SUBACK, .qos = 2, .topic_id = 7, .msg_id = 9 } },
	{ BYTES("\x06\x14\x00\x00\x09x"),
		{ .type = SN_UNSUBSCRIBE, .msg_id = 9, .data = TEXT("x") } },
	{ BYTES("\x07\x14\x02\x00\x09xy"), { .type = SN_UNSUBSCRIBE,
						   .topic_type = SN_TOPIC_SHORT,
						   .msg_id = 9,
						   .topic_id = 0x7879 } },
	{ BYTES("\x04\x15\x00\x09"), { .type = SN_UNSUBACK, .msg_id = 9 } },
	{ BYTES("\x02\x16"), { .type = SN_PINGREQ } },
	{ BYTES("\x05\x16"
		"dev"),
		{ .type = SN_PINGREQ, .data = TEXT("dev") } },
	{ BYTES("\x02\x17"), { .type = SN_PINGRESP } },
	{ BYTES("\x02\x18"), { .type = SN_DISCONNECT } },
	{ BYTES("\x04\x18\x00\x0a"), { .type = SN_DISCONNECT, .present = true, .duration_s = 10 } },
	{ BYTES("\x02\x1a"), { .type = SN_WILLTOPICUPD } },
	{ BYTES("\x04\x1a\x50w"), { .type = SN_WILLTOPICUPD,
					  .present = true,
					  .qos = 2,
					  .retain = true,
					  .data = TEXT("w") } },
	{ BYTES("\x03\x1b\x00"), { .type = SN_WILLTOPICRESP } },
	{ BYTES("\x03\x1c!"), { .type = SN_WILLMSGUPD, .data = TEXT("!") } },
	{ BYTES("\x03\x1d\x03"), { .type = SN_WILLMSGRESP, .return_code = SN_NOT_SUPPORTED } },
	/* len type | Ctrl | node id | a PINGREQ behind it */
	{ BYTES("\x05\xfe\x01\xaa\xbb\x02\x16"), { .type = SN_ENCAPSULATED,
							 .ctrl = 1,
							 .data = TEXT("\xaa\xbb"),
							 .inner = TEXT("\x02\x16") } },
};

static void assert_same(const struct sn_packet *a, const struct sn_packet *b)
{
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->qos, b->qos);
	assert_int_equal(a->topic_type, b->topic_type);
	assert_int_equal(a->dup, b->dup);
	assert_int_equal(a->retain, b->retain);
	assert_int_equal(a->will, b->will);
	assert_int_equal(a->clean, b->clean);
	assert_int_equal(a->present, b->present);
	assert_int_equal(a->return_code, b->return_code);
	assert_int_equal(a->gw_id, b->gw_id);
	assert_int_equal(a->radius, b->radius);
	assert_int_equal(a->protocol_id, b->protocol_id);
	assert_int_equal(a->ctrl, b->ctrl);
	assert_int_equal(a->topic_id, b->topic_id);
	assert_int_equal(a->msg_id, b->msg_id);
	assert_int_equal(a->duration_s, b->duration_s);
	assert_true(span_equal(a->data, b->data));
	assert_true(span_equal(a->inner, b->inner));
}

/* A copy of exactly that size, so that the address sanitizer sees one octet too far. */
static struct span exact_copy(const void *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	memcpy(copy, bytes, len);
	return span_of(copy, len);
}

static void free_span(struct span s)
{
	free((void *)(uintptr_t)s.p);
}

static void test_vectors_decode(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		struct span s = exact_copy(vectors[i].bytes, vectors[i].len);
		struct sn_packet p;
		assert_int_equal(sn_decode(&p, s), 0);
		assert_same(&p, &vectors[i].p);
		free_span(s);
	}
}

static void test_vectors_encode(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		uint8_t out[64];
		int n = sn_encode(&vectors[i].p, out, sizeof(out));
		assert_int_equal(n, vectors[i].len);
		assert_memory_equal(out, vectors[i].bytes, vectors[i].len);
		for (int cap = 0; cap < n; cap++)
			assert_int_equal(sn_encode(&vectors[i].p, out, (size_t)cap), -EMSGSIZE);
	}
}

/* Cut anywhere, with the length as it was: the length does not match. */
static void test_truncated(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		size_t end = vectors[i].p.type == SN_ENCAPSULATED ? 5 : vectors[i].len;
		for (size_t len = 0; len < end; len++) {
			struct span s = exact_copy(vectors[i].bytes, len);
			struct sn_packet p;
			assert_int_equal(sn_decode(&p, s), -EBADMSG);
			free_span(s);
		}
	}
}

static void test_trailing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		uint8_t buf[64];
		struct sn_packet p;
		memcpy(buf, vectors[i].bytes, vectors[i].len);
		buf[vectors[i].len] = 0;
		int rc = sn_decode(&p, span_of(buf, vectors[i].len + 1));
		assert_int_equal(rc, vectors[i].p.type == SN_ENCAPSULATED ? 0 : -EBADMSG);
	}
}

/* Cut anywhere with a length that says so: either the fields are all there, or it is refused. */
static void test_short_fields(void **state)
{
	static const struct {
		uint8_t type;
		size_t min; /* shortest valid message, length and type included */
	} sizes[] = {
		{ SN_ADVERTISE, 5 },
		{ SN_SEARCHGW, 3 },
		{ SN_GWINFO, 3 },
		{ SN_CONNECT, 6 },
		{ SN_CONNACK, 3 },
		{ SN_REGISTER, 6 },
		{ SN_REGACK, 7 },
		{ SN_PUBLISH, 7 },
		{ SN_PUBACK, 7 },
		{ SN_PUBCOMP, 4 },
		{ SN_PUBREC, 4 },
		{ SN_PUBREL, 4 },
		{ SN_SUBSCRIBE, 5 },
		{ SN_SUBACK, 8 },
		{ SN_UNSUBSCRIBE, 5 },
		{ SN_UNSUBACK, 4 },
		{ SN_WILLTOPICRESP, 3 },
		{ SN_WILLMSGRESP, 3 },
		{ SN_ENCAPSULATED, 3 },
	};
	uint8_t buf[16] = { 0 };
	struct sn_packet p;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		buf[1] = sizes[i].type;
		for (size_t len = 2; len <= sizes[i].min; len++) {
			buf[0] = (uint8_t)len;
			int want = len < sizes[i].min ? -EBADMSG : 0;
			assert_int_equal(sn_decode(&p, span_of(buf, len)), want);
		}
	}
	/* A duration of one octet; a topic id of one and of three octets. */
	assert_int_equal(sn_decode(&p, span_of("\x03\x18\x01", 3)), -EBADMSG);
	assert_int_equal(sn_decode(&p, span_of("\x06\x12\x01\x00\x01\x07", 6)), -EBADMSG);
	assert_int_equal(sn_decode(&p, span_of("\x08\x12\x01\x00\x01\x07\x07\x07", 8)), -EBADMSG);
}

static void test_all_types(void **state)
{
	uint8_t buf[2] = { 2, 0 };
	unsigned known = 0;
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		struct sn_packet p;
		buf[1] = (uint8_t)type;
		int rc = sn_decode(&p, span_of(buf, 2));
		bool reserved = strcmp(sn_type_name((uint8_t)type), "reserved") == 0;
		assert_int_equal(rc == -EOPNOTSUPP, reserved);
		p = (struct sn_packet){ .type = (uint8_t)type };
		assert_int_equal(sn_encode(&p, (uint8_t[64]){ 0 }, 64) == -EINVAL, reserved);
		known += !reserved;
	}
	assert_int_equal(known, 28);
}

static void test_reserved_topic_type(void **state)
{
	struct sn_packet p;
	(void)state;
	assert_int_equal(sn_decode(&p, span_of("\x07\x0c\x03\x00\x01\x00\x01", 7)), -EBADMSG);
	assert_int_equal(sn_decode(&p, span_of("\x07\x12\x03\x00\x01\x00\x01", 7)), -EBADMSG);
	/* CONNECT does not use these bits: they are ignored. */
	assert_int_equal(sn_decode(&p, span_of("\x07\x04\x07\x01\x00\x01x", 7)), 0);
}

static void test_length_field(void **state)
{
	struct sn_packet p;
	(void)state;
	/* Three octets although one would do. */
	assert_int_equal(sn_decode(&p, span_of("\x01\x00\x04\x17", 4)), 0);
	assert_int_equal(p.type, SN_PINGRESP);
	assert_int_equal(sn_decode(&p, span_of("\x01\x00\x03\x17", 4)), -EBADMSG);
	assert_int_equal(sn_decode(&p, span_of("\x01\x00\x00\x17", 4)), -EBADMSG);
	assert_int_equal(sn_decode(&p, span_of("\x01\xff\xff\x17", 4)), -EBADMSG);
	assert_int_equal(sn_decode(&p, span_of("\x01\x00", 2)), -EBADMSG);
	assert_int_equal(sn_decode(&p, span_of("\x01", 1)), -EBADMSG);
	assert_int_equal(sn_decode(&p, span_of("\x00\x17", 2)), -EBADMSG);
	assert_int_equal(sn_decode(&p, span_of("", 0)), -EBADMSG);
}

/* The payload sizes around the step from one length octet to three, and the largest. */
static void test_long_messages(void **state)
{
	static uint8_t payload[65535], out[65535 + 16];
	static const size_t sizes[] = { 247, 248, 249, 1000, SN_DATAGRAM_MAX - 9, 65526 };
	(void)state;
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct sn_packet p = { .type = SN_PUBLISH, .data = span_of(payload, sizes[i]) };
		struct sn_packet back;
		size_t want = sizes[i] + 7 > 255 ? sizes[i] + 9 : sizes[i] + 7;
		int n = sn_encode(&p, out, sizeof(out));
		assert_int_equal(n, want);
		assert_int_equal(sn_encode(&p, out, want - 1), -EMSGSIZE);
		assert_int_equal(sn_encode(&p, out, want), n);
		assert_int_equal(sn_decode(&back, span_of(out, (size_t)n)), 0);
		assert_same(&back, &p);
	}
	struct sn_packet huge = { .type = SN_PUBLISH, .data = span_of(payload, 65527) };
	assert_int_equal(sn_encode(&huge, out, sizeof(out)), -EMSGSIZE);
}

static void test_version_2(void **state)
{
	/* flags, packet id 0x1234, version 2, keep alive 60, "d" */
	static const char connect[] = "\x09\x01\x01\x12\x34\x02\x00\x3c"
				      "d";
	uint8_t answer[SN_V2_CONNACK_LEN];
	struct sn_packet p;
	(void)state;
	assert_int_equal(sn_decode(&p, span_of(connect, 9)), -EBADMSG);
	assert_true(sn_v2_connect(span_of(connect, 9), answer));
	assert_memory_equal(answer, "\x06\x02\x00\x12\x34\x84", SN_V2_CONNACK_LEN);
	assert_false(sn_v2_connect(span_of("\x03\x01\x02", 3), answer));
	assert_false(sn_v2_connect(span_of("\x07\x01\x01\x12\x34\x03\x00", 7), answer));
	assert_false(sn_v2_connect(span_of(connect, 8), answer));
	assert_false(sn_v2_connect(span_of("", 0), answer));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors_decode),
		cmocka_unit_test(test_vectors_encode),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_trailing),
		cmocka_unit_test(test_short_fields),
		cmocka_unit_test(test_all_types),
		cmocka_unit_test(test_reserved_topic_type),
		cmocka_unit_test(test_length_field),
		cmocka_unit_test(test_long_messages),
		cmocka_unit_test(test_version_2),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
