#include "adapters/mqtt/mq_codec.h"

#include "gateway/base/util.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES(s)                                                                                   \
	{                                                                                          \
		(const uint8_t *)(s), sizeof(s) - 1                                                \
	}

/* Every packet type: the octets by hand, and what they say. */
struct vector {
	struct span bytes;
	enum mq_side from;
	struct mq_packet p;
};

static const struct vector vectors[] = {
	/* CONNECT | "MQTT" | 4 | clean | keep alive 60 | "dev" */
	{ BYTES("\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03"
		"dev"),
		MQ_FROM_CLIENT,
		{ .type = MQ_CONNECT,
			.connect = { .level = 4,
				.clean_start = true,
				.keepalive_s = 60,
				.client_id = BYTES("dev") } } },
	/* CONNECT | "MQIsdp" | 3 | no flags | 0 | "a" */
	{ BYTES("\x10\x0f\x00\x06MQIsdp\x03\x00\x00\x00\x00\x01"
		"a"),
		MQ_FROM_CLIENT,
		{ .type = MQ_CONNECT, .connect = { .level = 3, .client_id = BYTES("a") } } },
	/* username, password, will retain, will QoS 2, will | 10 | "" | "w" | "\0" | "u" | "p" */
	{ BYTES("\x10\x18\x00\x04MQTT\x04\xf4\x00\x0a\x00\x00\x00\x01w\x00\x01\x00\x00\x01u\x00\x01"
		"p"),
		MQ_FROM_CLIENT,
		{ .type = MQ_CONNECT,
			.connect = { .level = 4,
				.has_will = true,
				.will_qos = 2,
				.will_retain = true,
				.has_username = true,
				.has_password = true,
				.keepalive_s = 10,
				.will_topic = BYTES("w"),
				.will_payload = BYTES("\0"),
				.username = BYTES("u"),
				.password = BYTES("p") } } },
	{ BYTES("\x20\x02\x01\x00"), MQ_FROM_SERVER,
		{ .type = MQ_CONNACK, .session_present = true } },
	{ BYTES("\x20\x02\x00\x05"), MQ_FROM_SERVER,
		{ .type = MQ_CONNACK, .code = MQ_NOT_AUTHORIZED } },
	/* PUBLISH QoS 0 | "a/b" | "hi" */
	{ BYTES("\x30\x07\x00\x03"
		"a/bhi"),
		MQ_FROM_CLIENT,
		{ .type = MQ_PUBLISH,
			.publish = { .topic = BYTES("a/b"), .payload = BYTES("hi") } } },
	/* PUBLISH DUP QoS 2 retain | "t" | 0x1234 | empty */
	{ BYTES("\x3d\x05\x00\x01t\x12\x34"), MQ_FROM_SERVER,
		{ .type = MQ_PUBLISH,
			.packet_id = 0x1234,
			.publish = { .dup = true,
				.retain = true,
				.qos = 2,
				.topic = BYTES("t") } } },
	{ BYTES("\x40\x02\x00\x01"), MQ_FROM_CLIENT, { .type = MQ_PUBACK, .packet_id = 1 } },
	{ BYTES("\x50\x02\x01\x00"), MQ_FROM_SERVER, { .type = MQ_PUBREC, .packet_id = 256 } },
	{ BYTES("\x62\x02\xff\xff"), MQ_FROM_CLIENT, { .type = MQ_PUBREL, .packet_id = 65535 } },
	{ BYTES("\x70\x02\x00\x02"), MQ_FROM_CLIENT, { .type = MQ_PUBCOMP, .packet_id = 2 } },
	/* SUBSCRIBE | 7 | "a/+" QoS 1 | "#" QoS 0 */
	{ BYTES("\x82\x0c\x00\x07\x00\x03"
		"a/+\x01\x00\x01#\x00"),
		MQ_FROM_CLIENT,
		{ .type = MQ_SUBSCRIBE,
			.packet_id = 7,
			.filters = BYTES("\x00\x03"
					 "a/+\x01\x00\x01#\x00") } },
	{ BYTES("\x90\x05\x00\x07\x00\x02\x80"), MQ_FROM_SERVER,
		{ .type = MQ_SUBACK, .packet_id = 7, .codes = BYTES("\x00\x02\x80") } },
	{ BYTES("\xa2\x05\x00\x08\x00\x01+"), MQ_FROM_CLIENT,
		{ .type = MQ_UNSUBSCRIBE, .packet_id = 8, .filters = BYTES("\x00\x01+") } },
	{ BYTES("\xb0\x02\x00\x08"), MQ_FROM_SERVER, { .type = MQ_UNSUBACK, .packet_id = 8 } },
	{ BYTES("\xc0\x00"), MQ_FROM_CLIENT, { .type = MQ_PINGREQ } },
	{ BYTES("\xd0\x00"), MQ_FROM_SERVER, { .type = MQ_PINGRESP } },
	{ BYTES("\xe0\x00"), MQ_FROM_CLIENT, { .type = MQ_DISCONNECT } },
};

static enum reason decode(
	struct span bytes, enum mq_side from, enum mq_version version, struct mq_packet *p)
{
	struct mq_header h;

	assert_int_equal(mq_header_read(bytes, &h), 0);
	assert_int_equal(h.size + h.body, bytes.len);
	return mq_decode(&h, span_of(bytes.p + h.size, h.body), from, version, p);
}

static void assert_span(struct span got, struct span want)
{
	assert_int_equal(got.len, want.len);
	if (want.len)
		assert_memory_equal(got.p, want.p, want.len);
}

static void assert_connect(const struct mq_connect *got, const struct mq_connect *want)
{
	assert_int_equal(got->level, want->level);
	assert_int_equal(got->clean_start, want->clean_start);
	assert_int_equal(got->has_will, want->has_will);
	assert_int_equal(got->will_qos, want->will_qos);
	assert_int_equal(got->will_retain, want->will_retain);
	assert_int_equal(got->has_username, want->has_username);
	assert_int_equal(got->has_password, want->has_password);
	assert_int_equal(got->keepalive_s, want->keepalive_s);
	assert_span(got->client_id, want->client_id);
	assert_span(got->will_topic, want->will_topic);
	assert_span(got->will_payload, want->will_payload);
	assert_span(got->username, want->username);
	assert_span(got->password, want->password);
}

static void assert_packet(const struct mq_packet *got, const struct mq_packet *want)
{
	assert_int_equal(got->type, want->type);
	assert_int_equal(got->packet_id, want->packet_id);
	assert_int_equal(got->code, want->code);
	assert_int_equal(got->session_present, want->session_present);
	switch (want->type) {
	case MQ_CONNECT:
		assert_connect(&got->connect, &want->connect);
		break;
	case MQ_PUBLISH:
		assert_int_equal(got->publish.dup, want->publish.dup);
		assert_int_equal(got->publish.retain, want->publish.retain);
		assert_int_equal(got->publish.qos, want->publish.qos);
		assert_span(got->publish.topic, want->publish.topic);
		assert_span(got->publish.payload, want->publish.payload);
		break;
	case MQ_SUBSCRIBE:
	case MQ_UNSUBSCRIBE:
		assert_span(got->filters, want->filters);
		break;
	case MQ_SUBACK:
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
		assert_int_equal(decode(vectors[i].bytes, vectors[i].from, MQ_V311, &p), R_SUCCESS);
		assert_packet(&p, &vectors[i].p);
	}
}

static void every_packet_is_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		uint8_t buf[64];
		struct writer w = writer_of(buf, sizeof(buf));
		mq_encode(&w, &vectors[i].p);
		assert_false(w.bad);
		assert_span(span_of(buf, w.len), vectors[i].bytes);
	}
}

/* A body cut anywhere is refused, but for a PUBLISH, whose payload has no length of its own. */
static void every_truncation_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct mq_header h;
		assert_int_equal(mq_header_read(v->bytes, &h), 0);
		size_t least = v->p.type == MQ_PUBLISH  ? h.body - v->p.publish.payload.len
			       : v->p.type == MQ_SUBACK ? 3
							: h.body;
		for (size_t len = 0; len < least; len++) {
			/* A copy of exactly that size, so that a read beyond it is seen. */
			uint8_t *copy = malloc(len + 1);
			struct mq_header cut = h;
			cut.body = (uint32_t)len;
			struct mq_packet p;
			memcpy(copy, v->bytes.p + h.size, len);
			if (v->p.type != MQ_SUBSCRIBE || len != 8) /* there the first filter ends */
				assert_int_equal(
					mq_decode(&cut, span_of(copy, len), v->from, MQ_V311, &p),
					R_MALFORMED);
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
		enum mq_type type = vectors[i].p.type;
		if (type == MQ_PUBLISH || type == MQ_SUBACK)
			continue;
		assert_int_equal(mq_header_read(vectors[i].bytes, &h), 0);
		memcpy(buf, vectors[i].bytes.p + h.size, h.body);
		h.body++;
		assert_int_equal(mq_decode(&h, span_of(buf, h.body), vectors[i].from, MQ_V311, &p),
			R_MALFORMED);
	}
}

static void the_wrong_side_and_wrong_flags_are_refused(void **state)
{
	(void)state;
	for (uint8_t type = 0; type < MQ_TYPES; type++) {
		for (uint8_t flags = 0; flags < 16; flags++) {
			struct mq_header h = { type, flags, 2, 2, false };
			struct mq_packet p;
			uint8_t expected = type == MQ_PUBREL ? 2 : 0;
			if (type < MQ_PUBACK || type > MQ_PUBCOMP)
				continue;
			enum reason r =
				mq_decode(&h, span_of("\x00\x05", 2), MQ_FROM_CLIENT, MQ_V311, &p);
			assert_int_equal(r, flags == expected ? R_SUCCESS : R_MALFORMED);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		enum mq_type type = vectors[i].p.type;
		enum mq_side other =
			vectors[i].from == MQ_FROM_CLIENT ? MQ_FROM_SERVER : MQ_FROM_CLIENT;
		struct mq_packet p;
		bool both = type >= MQ_PUBLISH && type <= MQ_PUBCOMP;
		assert_int_equal(decode(vectors[i].bytes, other, MQ_V311, &p),
			both ? R_SUCCESS : R_PROTOCOL_ERROR);
	}
}

static void mqtt_3_1_lets_a_repeated_subscribe_carry_dup(void **state)
{
	(void)state;
	struct mq_packet p;
	struct span again = BYTES("\x8a\x06\x00\x07\x00\x01#\x00");
	assert_int_equal(decode(again, MQ_FROM_CLIENT, MQ_V31, &p), R_SUCCESS);
	assert_int_equal(decode(again, MQ_FROM_CLIENT, MQ_V311, &p), R_MALFORMED);
}

struct refused {
	struct span bytes;
	enum reason why;
};

static const struct refused refused[] = {
	/* reserved types */
	{ BYTES("\x00\x00"), R_MALFORMED },
	{ BYTES("\xf0\x00"), R_MALFORMED },
	/* QoS 3; DUP at QoS 0; packet id 0; no topic; wildcard; not UTF-8; U+0000; surrogate */
	{ BYTES("\x36\x05\x00\x01t\x00\x01"), R_MALFORMED },
	{ BYTES("\x38\x03\x00\x01t"), R_MALFORMED },
	{ BYTES("\x32\x05\x00\x01t\x00\x00"), R_MALFORMED },
	{ BYTES("\x30\x02\x00\x00"), R_MALFORMED },
	{ BYTES("\x30\x05\x00\x03"
		"a/#"),
		R_MALFORMED },
	{ BYTES("\x30\x03\x00\x01\xff"), R_MALFORMED },
	{ BYTES("\x30\x03\x00\x01\x00"), R_MALFORMED },
	{ BYTES("\x30\x05\x00\x03\xed\xa0\x80"), R_MALFORMED },
	/* CONNECT: reserved flag; will QoS 3; will QoS, retain without will; password alone */
	{ BYTES("\x10\x0c\x00\x04MQTT\x04\x03\x00\x00\x00\x00"), R_MALFORMED },
	{ BYTES("\x10\x10\x00\x04MQTT\x04\x1e\x00\x00\x00\x00\x00\x00\x00\x00"), R_MALFORMED },
	{ BYTES("\x10\x0c\x00\x04MQTT\x04\x0a\x00\x00\x00\x00"), R_MALFORMED },
	{ BYTES("\x10\x0c\x00\x04MQTT\x04\x22\x00\x00\x00\x00"), R_MALFORMED },
	{ BYTES("\x10\x0e\x00\x04MQTT\x04\x42\x00\x00\x00\x00\x00\x00"), R_MALFORMED },
	/* CONNECT: a wildcard in the will's topic; another protocol; unknown levels */
	{ BYTES("\x10\x11\x00\x04MQTT\x04\x06\x00\x00\x00\x00\x00\x01#\x00\x00"), R_MALFORMED },
	{ BYTES("\x10\x0c\x00\x04MQTX\x04\x02\x00\x00\x00\x00"), R_PROTOCOL_ERROR },
	{ BYTES("\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00"), R_VERSION },
	{ BYTES("\x10\x0c\x00\x04MQTT\x84\x02\x00\x00\x00\x00"), R_VERSION },
	{ BYTES("\x10\x0e\x00\x06MQIsdp\x04\x02\x00\x00\x00\x00"), R_VERSION },
	/* SUBSCRIBE: nothing; packet id 0; QoS 3; reserved bits; filters that are none */
	{ BYTES("\x82\x02\x00\x07"), R_MALFORMED },
	{ BYTES("\x82\x06\x00\x00\x00\x01#\x00"), R_MALFORMED },
	{ BYTES("\x82\x06\x00\x07\x00\x01#\x03"), R_MALFORMED },
	{ BYTES("\x82\x06\x00\x07\x00\x01#\x04"), R_MALFORMED },
	{ BYTES("\x82\x05\x00\x07\x00\x00\x00"), R_MALFORMED },
	{ BYTES("\x82\x07\x00\x07\x00\x02"
		"a#\x00"),
		R_MALFORMED },
	{ BYTES("\x82\x08\x00\x07\x00\x03"
		"#/a\x00"),
		R_MALFORMED },
	{ BYTES("\x82\x07\x00\x07\x00\x02"
		"+a\x00"),
		R_MALFORMED },
	/* UNSUBSCRIBE: nothing */
	{ BYTES("\xa2\x02\x00\x07"), R_MALFORMED },
	/* a body where none belongs */
	{ BYTES("\xc0\x01\x00"), R_MALFORMED },
	{ BYTES("\xe0\x01\x00"), R_MALFORMED },
};

static void what_the_standard_forbids_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct mq_packet p;
		assert_int_equal(
			decode(refused[i].bytes, MQ_FROM_CLIENT, MQ_V311, &p), refused[i].why);
		if (refused[i].why == R_VERSION)
			assert_int_not_equal(p.connect.level, 0);
	}
}

/* MQTT 5.0, 1.5.5 forbids it; 3.1.1 does not. */
static void a_padded_length_is_malformed_in_5_only(void **state)
{
	(void)state;
	struct mq_header h;
	struct mq_packet p;
	assert_int_equal(mq_header_read((struct span)BYTES("\xc0\x80\x80\x00"), &h), 0);
	assert_int_equal(h.size, 4);
	struct span none = { NULL, 0 };
	assert_int_equal(mq_decode(&h, none, MQ_FROM_CLIENT, MQ_V311, &p), R_SUCCESS);
	assert_int_equal(mq_decode(&h, none, MQ_FROM_CLIENT, MQ_V5, &p), R_MALFORMED);
}

static void the_length_has_at_most_four_octets(void **state)
{
	(void)state;
	struct mq_header h;
	assert_int_equal(mq_header_read((struct span)BYTES(""), &h), -EAGAIN);
	assert_int_equal(mq_header_read((struct span)BYTES("\x30"), &h), -EAGAIN);
	assert_int_equal(mq_header_read((struct span)BYTES("\x30\x80"), &h), -EAGAIN);
	assert_int_equal(mq_header_read((struct span)BYTES("\x30\xff\xff\xff"), &h), -EAGAIN);
	assert_int_equal(mq_header_read((struct span)BYTES("\x30\xff\xff\xff\xff"), &h), -EBADMSG);
	assert_int_equal(
		mq_header_read((struct span)BYTES("\x30\xff\xff\xff\xff\x01"), &h), -EBADMSG);

	assert_int_equal(mq_header_read((struct span)BYTES("\x30\x80\x00"), &h), 0);
	assert_int_equal(h.size, 3);
	assert_int_equal(h.body, 0);
	assert_true(h.padded);
	assert_int_equal(mq_header_read((struct span)BYTES("\x3b\xff\xff\xff\x7f\x00"), &h), 0);
	assert_int_equal(h.type, MQ_PUBLISH);
	assert_int_equal(h.flags, 0x0b);
	assert_int_equal(h.size, 5);
	assert_int_equal(h.body, 268435455);
	assert_int_equal(mq_header_read((struct span)BYTES("\xc0\x00"), &h), 0);
	assert_int_equal(h.size, 2);
}

static void filters_are_stepped_through(void **state)
{
	(void)state;
	uint8_t buf[64];
	struct writer w = writer_of(buf, sizeof(buf));
	struct mq_filter f = { span_str("a/b"), 2 };
	mq_put_filter(&w, MQ_SUBSCRIBE, &f);
	f = (struct mq_filter){ span_str("#"), 1 };
	mq_put_filter(&w, MQ_SUBSCRIBE, &f);
	assert_int_equal(w.len, 10);

	struct reader r = reader_of(span_of(buf, w.len));
	assert_true(mq_next_filter(&r, MQ_SUBSCRIBE, &f));
	assert_true(span_is(f.filter, "a/b"));
	assert_int_equal(f.options, 2);
	assert_true(mq_next_filter(&r, MQ_SUBSCRIBE, &f));
	assert_true(span_is(f.filter, "#"));
	assert_int_equal(f.options, 1);
	assert_false(mq_next_filter(&r, MQ_SUBSCRIBE, &f));
}

static void a_subscribe_has_a_bounded_number_of_filters(void **state)
{
	(void)state;
	size_t cap = MQ_HEADER_MAX + 2 + (MQ_FILTERS_MAX + 1) * 4;
	uint8_t *list = malloc(cap), *packet = malloc(cap + MQ_HEADER_MAX);
	struct writer l = writer_of(list, cap);
	for (unsigned n = 0; n < MQ_FILTERS_MAX + 1; n++)
		mq_put_filter(&l, MQ_SUBSCRIBE, &(struct mq_filter){ span_str("#"), 0 });

	for (unsigned extra = 0; extra < 2; extra++) {
		struct span filters = span_of(list, (MQ_FILTERS_MAX + extra) * 4u);
		struct writer w = writer_of(packet, cap + MQ_HEADER_MAX);
		struct mq_packet p;
		mq_encode(&w, &(struct mq_packet){
				      .type = MQ_SUBSCRIBE, .packet_id = 1, .filters = filters });
		assert_false(w.bad);
		assert_int_equal(decode(span_of(packet, w.len), MQ_FROM_CLIENT, MQ_V311, &p),
			extra ? R_QUOTA : R_SUCCESS);
	}
	free(packet);
	free(list);
}

static void a_header_fits_its_payload(void **state)
{
	(void)state;
	uint8_t head[MQ_HEADER_MAX];
	struct mq_publish pub = { .qos = 1, .retain = true };
	assert_int_equal(mq_publish_header(head, &pub, 125), 2); /* 2 + 125 = 127 */
	assert_memory_equal(head, "\x33\x7f", 2);
	assert_int_equal(mq_publish_header(head, &pub, 126), 3);
	assert_memory_equal(head, "\x33\x80\x01", 3);
	pub = (struct mq_publish){ .qos = 0 };
	assert_int_equal(mq_publish_header(head, &pub, 5), 2);
	assert_memory_equal(head, "\x30\x05", 2);
}

static void a_full_buffer_is_told(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		for (size_t cap = 0; cap < vectors[i].bytes.len; cap++) {
			uint8_t *buf = malloc(cap + 1);
			struct writer w = writer_of(buf, cap);
			mq_encode(&w, &vectors[i].p);
			assert_true(w.bad);
			free(buf);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_packet_is_read),
		cmocka_unit_test(every_packet_is_written),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(octets_left_over_are_refused),
		cmocka_unit_test(the_wrong_side_and_wrong_flags_are_refused),
		cmocka_unit_test(mqtt_3_1_lets_a_repeated_subscribe_carry_dup),
		cmocka_unit_test(what_the_standard_forbids_is_refused),
		cmocka_unit_test(the_length_has_at_most_four_octets),
		cmocka_unit_test(a_padded_length_is_malformed_in_5_only),
		cmocka_unit_test(filters_are_stepped_through),
		cmocka_unit_test(a_subscribe_has_a_bounded_number_of_filters),
		cmocka_unit_test(a_header_fits_its_payload),
		cmocka_unit_test(a_full_buffer_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
