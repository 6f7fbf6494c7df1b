/* The packets of MQTT 5.0: what they have beyond those of 3.1.1. Properties are in test_mq_props.c.
 */
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

/* The octets by hand, and what they say. */
struct vector {
	struct span bytes;
	enum mq_side from;
	struct mq_packet p;
	uint32_t whole_at; /* bit n: cut to n octets the body is a packet as well */
};

static const struct vector vectors[] = {
	/* CONNECT | "MQTT" | 5 | clean | keep alive 60 | 5: session expiry 10 | "dev" */
	{ BYTES("\x10\x15\x00\x04MQTT\x05\x02\x00\x3c\x05\x11\x00\x00\x00\x0a\x00\x03"
		"dev"),
		MQ_FROM_CLIENT,
		{ .type = MQ_CONNECT,
			.props = BYTES("\x11\x00\x00\x00\x0a"),
			.connect = { .level = 5,
				.clean_start = true,
				.keepalive_s = 60,
				.client_id = BYTES("dev") } },
		0 },
	/* will, password alone | 0 | no properties | "" | 5: will delay 1 | "w" | "x" | "p" */
	{ BYTES("\x10\x1c\x00\x04MQTT\x05\x4c\x00\x00\x00\x00\x00\x05\x18\x00\x00\x00\x01\x00\x01w"
		"\x00\x01x\x00\x01p"),
		MQ_FROM_CLIENT,
		{ .type = MQ_CONNECT,
			.connect = { .level = 5,
				.has_will = true,
				.will_qos = 1,
				.has_password = true,
				.will_props = BYTES("\x18\x00\x00\x00\x01"),
				.will_topic = BYTES("w"),
				.will_payload = BYTES("x"),
				.password = BYTES("p") } },
		0 },
	/* CONNACK | session present | success | 3: receive maximum 10 */
	{ BYTES("\x20\x06\x01\x00\x03\x21\x00\x0a"), MQ_FROM_SERVER,
		{ .type = MQ_CONNACK, .session_present = true, .props = BYTES("\x21\x00\x0a") },
		0 },
	/* CONNACK | refused: bad authentication method | no properties */
	{ BYTES("\x20\x03\x00\x8c\x00"), MQ_FROM_SERVER, { .type = MQ_CONNACK, .code = 0x8c }, 0 },
	/* PUBLISH QoS 1 | "a" | 7 | 2: payload format 1 | "hi" */
	{ BYTES("\x32\x0a\x00\x01"
		"a\x00\x07\x02\x01\x01hi"),
		MQ_FROM_CLIENT,
		{ .type = MQ_PUBLISH,
			.packet_id = 7,
			.props = BYTES("\x01\x01"),
			.publish = { .qos = 1, .topic = BYTES("a"), .payload = BYTES("hi") } },
		1u << 8 | 1u << 9 },
	/* PUBLISH QoS 0 | "" | 3: topic alias 1 | empty */
	{ BYTES("\x30\x06\x00\x00\x03\x23\x00\x01"), MQ_FROM_SERVER,
		{ .type = MQ_PUBLISH, .props = BYTES("\x23\x00\x01") }, 0 },
	/* PUBACK | 1, and no more: success */
	{ BYTES("\x40\x02\x00\x01"), MQ_FROM_CLIENT, { .type = MQ_PUBACK, .packet_id = 1 }, 0 },
	/* PUBREC | 1 | quota exceeded */
	{ BYTES("\x50\x03\x00\x01\x97"), MQ_FROM_SERVER,
		{ .type = MQ_PUBREC, .packet_id = 1, .code = 0x97 }, 1u << 2 },
	/* PUBREL | 1 | not found | 4: reason "r" */
	{ BYTES("\x62\x08\x00\x01\x92\x04\x1f\x00\x01r"), MQ_FROM_CLIENT,
		{ .type = MQ_PUBREL,
			.packet_id = 1,
			.code = 0x92,
			.props = BYTES("\x1f\x00\x01r") },
		1u << 2 | 1u << 3 },
	/* PUBCOMP | 1 | success | 5: user property "" = "" */
	{ BYTES("\x70\x09\x00\x01\x00\x05\x26\x00\x00\x00\x00"), MQ_FROM_SERVER,
		{ .type = MQ_PUBCOMP, .packet_id = 1, .props = BYTES("\x26\x00\x00\x00\x00") },
		1u << 2 | 1u << 3 },
	/* SUBSCRIBE | 7 | 2: identifier 5 | "a" QoS 2, No Local, as published, handling 2 */
	{ BYTES("\x82\x09\x00\x07\x02\x0b\x05\x00\x01"
		"a\x2e"),
		MQ_FROM_CLIENT,
		{ .type = MQ_SUBSCRIBE,
			.packet_id = 7,
			.props = BYTES("\x0b\x05"),
			.filters = BYTES("\x00\x01"
					 "a\x2e") },
		0 },
	/* SUBACK | 7 | no properties | QoS 2, shared subscriptions not supported */
	{ BYTES("\x90\x05\x00\x07\x00\x02\x9e"), MQ_FROM_SERVER,
		{ .type = MQ_SUBACK, .packet_id = 7, .codes = BYTES("\x02\x9e") }, 1u << 4 },
	/* UNSUBSCRIBE | 8 | no properties | "+" */
	{ BYTES("\xa2\x06\x00\x08\x00\x00\x01+"), MQ_FROM_CLIENT,
		{ .type = MQ_UNSUBSCRIBE, .packet_id = 8, .filters = BYTES("\x00\x01+") }, 0 },
	/* UNSUBACK | 8 | no properties | no subscription existed */
	{ BYTES("\xb0\x04\x00\x08\x00\x11"), MQ_FROM_SERVER,
		{ .type = MQ_UNSUBACK, .packet_id = 8, .codes = BYTES("\x11") }, 0 },
	/* DISCONNECT, and no more; with will; taken over | 4: reason "r" */
	{ BYTES("\xe0\x00"), MQ_FROM_CLIENT, { .type = MQ_DISCONNECT }, 0 },
	{ BYTES("\xe0\x01\x04"), MQ_FROM_CLIENT, { .type = MQ_DISCONNECT, .code = 0x04 }, 1u << 0 },
	{ BYTES("\xe0\x06\x8e\x04\x1f\x00\x01r"), MQ_FROM_SERVER,
		{ .type = MQ_DISCONNECT, .code = 0x8e, .props = BYTES("\x1f\x00\x01r") },
		1u << 0 | 1u << 1 },
	/* AUTH | continue | 4: method "m" */
	{ BYTES("\xf0\x06\x18\x04\x15\x00\x01m"), MQ_FROM_CLIENT,
		{ .type = MQ_AUTH, .code = 0x18, .props = BYTES("\x15\x00\x01m") },
		1u << 0 | 1u << 1 },
};

static enum reason decode(struct span bytes, enum mq_side from, struct mq_packet *p)
{
	struct mq_header h;

	assert_int_equal(mq_header_read(bytes, &h), 0);
	assert_int_equal(h.size + h.body, bytes.len);
	return mq_decode(&h, span_of(bytes.p + h.size, h.body), from, MQ_V5, p);
}

static void assert_span(struct span got, struct span want)
{
	assert_int_equal(got.len, want.len);
	if (want.len)
		assert_memory_equal(got.p, want.p, want.len);
}

static void assert_body(const struct mq_packet *got, const struct mq_packet *want)
{
	switch (want->type) {
	case MQ_CONNECT:
		assert_int_equal(got->connect.keepalive_s, want->connect.keepalive_s);
		assert_int_equal(got->connect.has_will, want->connect.has_will);
		assert_int_equal(got->connect.will_qos, want->connect.will_qos);
		assert_span(got->connect.client_id, want->connect.client_id);
		assert_span(got->connect.will_props, want->connect.will_props);
		assert_span(got->connect.will_topic, want->connect.will_topic);
		assert_span(got->connect.will_payload, want->connect.will_payload);
		assert_span(got->connect.password, want->connect.password);
		break;
	case MQ_PUBLISH:
		assert_int_equal(got->publish.qos, want->publish.qos);
		assert_span(got->publish.topic, want->publish.topic);
		assert_span(got->publish.payload, want->publish.payload);
		break;
	case MQ_SUBSCRIBE:
	case MQ_UNSUBSCRIBE:
		assert_span(got->filters, want->filters);
		break;
	case MQ_SUBACK:
	case MQ_UNSUBACK:
		assert_span(got->codes, want->codes);
		break;
	default:
		break;
	}
}

static void every_packet_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		struct mq_packet p;
		const struct mq_packet *want = &vectors[i].p;
		assert_int_equal(decode(vectors[i].bytes, vectors[i].from, &p), R_SUCCESS);
		assert_int_equal(p.type, want->type);
		assert_int_equal(p.version, MQ_V5);
		assert_int_equal(p.packet_id, want->packet_id);
		assert_int_equal(p.code, want->code);
		assert_int_equal(p.session_present, want->session_present);
		assert_span(p.props, want->props);
		assert_body(&p, want);
	}
}

static void every_packet_is_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		uint8_t buf[64];
		struct writer w = writer_of(buf, sizeof(buf));
		struct mq_packet p = vectors[i].p;
		p.version = MQ_V5;
		mq_encode(&w, &p);
		assert_false(w.bad);
		assert_span(span_of(buf, w.len), vectors[i].bytes);
	}
}

static void every_truncation_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct mq_header h;
		assert_int_equal(mq_header_read(v->bytes, &h), 0);
		for (size_t len = 0; len < h.body; len++) {
			/* A copy of exactly that size, so that a read beyond it is seen. */
			uint8_t *copy = malloc(len + 1);
			struct mq_header cut = h;
			cut.body = (uint32_t)len;
			struct mq_packet p;
			memcpy(copy, v->bytes.p + h.size, len);
			enum reason why = mq_decode(&cut, span_of(copy, len), v->from, MQ_V5, &p);
			assert_int_equal(why == R_SUCCESS, len < 32 && v->whole_at >> len & 1);
			free(copy);
		}
	}
}

static void octets_left_over_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		uint8_t buf[64] = { 0 };
		struct mq_header h;
		struct mq_packet p;
		const struct mq_packet *v = &vectors[i].p;
		bool open = v->type == MQ_PUBLISH || v->type == MQ_SUBACK || v->type == MQ_UNSUBACK;
		assert_int_equal(mq_header_read(vectors[i].bytes, &h), 0);
		/* Where a reason may be left out, an octet more is the reason, or "no properties".
		 */
		bool optional = v->props.len == 0 && (h.type >= MQ_PUBACK && h.type <= MQ_PUBCOMP);
		if (open || optional || (v->type == MQ_DISCONNECT && v->props.len == 0))
			continue;
		memcpy(buf, vectors[i].bytes.p + h.size, h.body);
		h.body++;
		assert_int_equal(mq_decode(&h, span_of(buf, h.body), vectors[i].from, MQ_V5, &p),
			R_MALFORMED);
	}
}

static void what_may_be_left_out_may_be_said(void **state)
{
	(void)state;
	struct mq_packet p;
	assert_int_equal(decode((struct span)BYTES("\x40\x03\x00\x01\x00"), MQ_FROM_CLIENT, &p), 0);
	assert_int_equal(
		decode((struct span)BYTES("\x40\x04\x00\x01\x10\x00"), MQ_FROM_CLIENT, &p), 0);
	assert_int_equal(p.code, 0x10);
	assert_int_equal(decode((struct span)BYTES("\xe0\x02\x00\x00"), MQ_FROM_CLIENT, &p), 0);
	assert_int_equal(decode((struct span)BYTES("\xf0\x00"), MQ_FROM_CLIENT, &p), 0);
}

static void what_the_standard_forbids_is_refused(void **state)
{
	(void)state;
	static const struct {
		struct span bytes;
		enum reason why;
	} refused[] = {
		/* a topic that is left out without an alias; reasons that are none of theirs */
		{ BYTES("\x30\x03\x00\x00\x00"), R_PROTOCOL_ERROR },
		{ BYTES("\x40\x03\x00\x01\x92"), R_PROTOCOL_ERROR },
		{ BYTES("\x62\x03\x00\x01\x10"), R_PROTOCOL_ERROR },
		{ BYTES("\xe0\x01\x8e"), R_PROTOCOL_ERROR },
		{ BYTES("\xf0\x01\x04"), R_PROTOCOL_ERROR },
		/* SUBSCRIBE: no filter; QoS 3; handling 3; reserved bits; No Local with $share */
		{ BYTES("\x82\x03\x00\x07\x00"), R_PROTOCOL_ERROR },
		{ BYTES("\x82\x07\x00\x07\x00\x00\x01#\x03"), R_PROTOCOL_ERROR },
		{ BYTES("\x82\x07\x00\x07\x00\x00\x01#\x30"), R_PROTOCOL_ERROR },
		{ BYTES("\x82\x07\x00\x07\x00\x00\x01#\x40"), R_MALFORMED },
		{ BYTES("\x82\x07\x00\x07\x00\x00\x01#\x80"), R_MALFORMED },
		{ BYTES("\x82\x0f\x00\x07\x00\x00\x09$share/g/\x04"), R_PROTOCOL_ERROR },
		/* CONNECT: of the older name; with the reserved flag */
		{ BYTES("\x10\x0f\x00\x06MQIsdp\x05\x02\x00\x00\x00\x00\x00"), R_VERSION },
		{ BYTES("\x10\x0d\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x00"), R_MALFORMED },
		/* the length of properties beyond the packet, and longer than need be */
		{ BYTES("\xc0\x01\x00"), R_MALFORMED },
		{ BYTES("\x30\x04\x00\x01t\x01"), R_MALFORMED },
		{ BYTES("\x30\x05\x00\x01t\x80\x00"), R_MALFORMED },
	};
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct mq_packet p;
		assert_int_equal(decode(refused[i].bytes, MQ_FROM_CLIENT, &p), refused[i].why);
	}
}

static void reasons_belong_to_a_packet_and_a_side(void **state)
{
	(void)state;
	assert_true(mq_code_valid(MQ_DISCONNECT, MQ_FROM_CLIENT, 0x04));
	assert_false(mq_code_valid(MQ_DISCONNECT, MQ_FROM_SERVER, 0x04));
	assert_true(mq_code_valid(MQ_DISCONNECT, MQ_FROM_SERVER, 0x8e));
	assert_false(mq_code_valid(MQ_DISCONNECT, MQ_FROM_CLIENT, 0x8e));
	assert_true(mq_code_valid(MQ_CONNACK, MQ_FROM_SERVER, 0x8c));
	assert_false(mq_code_valid(MQ_CONNACK, MQ_FROM_SERVER, 0x8e));
	assert_false(mq_code_valid(MQ_PUBLISH, MQ_FROM_SERVER, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_packet_is_read),
		cmocka_unit_test(every_packet_is_written),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(octets_left_over_are_refused),
		cmocka_unit_test(what_may_be_left_out_may_be_said),
		cmocka_unit_test(what_the_standard_forbids_is_refused),
		cmocka_unit_test(reasons_belong_to_a_packet_and_a_side),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
