#include "adapters/mqtt/mq_ws.h"

#include "gateway/base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SPAN(text) span_of(text, sizeof(text) - 1)

/* Decodes all of `in`, `step` octets at a time, into `out`; the first event that is not MORE. */
static enum mq_ws_event decode(
	struct mq_ws_decoder *d, struct span in, size_t step, uint8_t *out, size_t *out_len)
{
	uint8_t *to = out;
	enum mq_ws_event event = MQ_WS_MORE;

	*d = (struct mq_ws_decoder){ 0 };
	while (in.len && event == MQ_WS_MORE) {
		struct span part = span_of(in.p, MIN(step, in.len));
		in = span_of(in.p + part.len, in.len - part.len);
		event = mq_ws_decode(d, &part, &to);
		if (event == MQ_WS_MORE)
			assert_int_equal(part.len, 0);
	}
	*out_len = (size_t)(to - out);
	return event;
}

/* Whatever the pieces are that it comes in. */
static void assert_data(struct span in, const char *data)
{
	struct mq_ws_decoder d;
	uint8_t out[256];
	size_t len;

	for (size_t step = 1; step <= in.len; step++) {
		assert_int_equal(decode(&d, in, step, out, &len), MQ_WS_MORE);
		assert_int_equal(len, strlen(data));
		assert_memory_equal(out, data, len);
	}
}

static void assert_broken(struct span in, uint16_t code)
{
	struct mq_ws_decoder d;
	uint8_t out[256];
	size_t len;

	for (size_t step = 1; step <= in.len; step++) {
		assert_int_equal(decode(&d, in, step, out, &len), MQ_WS_GOT_BROKEN);
		assert_int_equal(d.code, code);
	}
}

/* RFC 6455, 5.7, the masked "Hello", as a binary message: FIN + 2, mask + 5, the mask, the text. */
static void the_example_of_the_standard(void **state)
{
	(void)state;
	assert_data(SPAN("\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "Hello");
}

static void frames_follow_each_other(void **state)
{
	(void)state;
	assert_data(SPAN("\x82\x82\0\0\0\0ab"
			 "\x82\x80\x01\x02\x03\x04" /* empty */
			 "\x82\x83\0\0\0\1cde"),
		"abcde"); /* the mask has a fourth octet that "cde" does not reach */
}

/* 5.4: BINARY without FIN, a CONTINUATION, the last one; a ping in between is no part of it. */
static void fragments_are_one_stream(void **state)
{
	(void)state;
	assert_data(SPAN("\x02\x81\0\0\0\0x"
			 "\x00\x81\0\0\0\0y"
			 "\x8a\x80\0\0\0\0" /* a pong nobody asked for */
			 "\x80\x81\0\0\0\0z"
			 "\x82\x81\0\0\0\0!"),
		"xyz!");
}

/* The mask goes on where a piece of a frame ended. */
static void the_length_of_16_bits(void **state)
{
	(void)state;
	uint8_t in[8 + 200] = { 0x82, 0x80 | 126, 0, 200, 1, 2, 3, 4 };
	char data[201] = "";
	for (size_t i = 0; i < 200; i++) {
		data[i] = (char)('a' + i % 26);
		in[8 + i] = (uint8_t)(data[i] ^ in[4 + i % 4]);
	}
	assert_data(span_of(in, sizeof(in)), data);
}

/* A frame may be as long as it likes: it is never gathered. */
static void the_length_of_64_bits(void **state)
{
	(void)state;
	struct mq_ws_decoder d;
	uint8_t out[16];
	size_t len;
	assert_int_equal(decode(&d, SPAN("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0abc"), 17,
				 out, &len),
		MQ_WS_MORE);
	assert_int_equal(len, 3);
	assert_true(d.left == (uint64_t)INT64_MAX - 3);
}

static void output_may_lie_where_input_does(void **state)
{
	(void)state;
	uint8_t buf[] = "\x82\x82\0\0\0\0ab\x89\x81\0\0\0\0p\x82\x82\0\0\0\0cd";
	struct mq_ws_decoder d = { 0 };
	struct span in = span_of(buf, sizeof(buf) - 1);
	uint8_t *out = buf;
	assert_int_equal(mq_ws_decode(&d, &in, &out), MQ_WS_GOT_PING);
	assert_int_equal(mq_ws_decode(&d, &in, &out), MQ_WS_MORE);
	assert_int_equal(out - buf, 4);
	assert_memory_equal(buf, "abcd", 4);
}

static void a_ping_gives_its_payload(void **state)
{
	(void)state;
	struct mq_ws_decoder d;
	uint8_t out[16];
	size_t len;
	struct span in = SPAN("\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
	for (size_t step = 1; step <= in.len; step++) {
		assert_int_equal(decode(&d, in, step, out, &len), MQ_WS_GOT_PING);
		assert_int_equal(d.control_len, 5);
		assert_memory_equal(d.control, "Hello", 5);
		assert_int_equal(len, 0);
	}
	assert_int_equal(decode(&d, SPAN("\x89\x80\0\0\0\0"), 6, out, &len), MQ_WS_GOT_PING);
	assert_int_equal(d.control_len, 0);
}

static void assert_close(struct span in, uint16_t code)
{
	struct mq_ws_decoder d;
	uint8_t out[16];
	size_t len;

	assert_int_equal(decode(&d, in, 1, out, &len), MQ_WS_GOT_CLOSE);
	assert_int_equal(d.code, code);
}

static void a_close_gives_its_code(void **state)
{
	(void)state;
	assert_close(SPAN("\x88\x80\0\0\0\0"), MQ_WS_NORMAL);
	assert_close(SPAN("\x88\x82\0\0\0\0\x03\xe9"), 1001);
	assert_close(SPAN("\x88\x85\0\0\0\0\x0f\xa0"
			  "bye"),
		4000);
	assert_broken(SPAN("\x88\x81\0\0\0\0\x03"), MQ_WS_PROTOCOL);     /* half a code */
	assert_broken(SPAN("\x88\x82\0\0\0\0\x03\xed"), MQ_WS_PROTOCOL); /* 1005 is never sent */
	assert_broken(SPAN("\x88\x82\0\0\0\0\x00\x01"), MQ_WS_PROTOCOL);
	assert_broken(SPAN("\x88\x82\0\0\0\0\x13\x88"), MQ_WS_PROTOCOL); /* 5000 */
}

static void what_breaks_the_rules(void **state)
{
	(void)state;
	const struct {
		const char *what;
		struct span in;
		uint16_t code;
	} cases[] = {
		{ "not masked", SPAN("\x82\x01x"), MQ_WS_PROTOCOL },
		{ "text", SPAN("\x81\x81\0\0\0\0x"), MQ_WS_UNSUPPORTED },
		{ "RSV1", SPAN("\xc2\x81\0\0\0\0x"), MQ_WS_PROTOCOL },
		{ "RSV3", SPAN("\x92\x81\0\0\0\0x"), MQ_WS_PROTOCOL },
		{ "opcode 3", SPAN("\x83\x81\0\0\0\0x"), MQ_WS_PROTOCOL },
		{ "opcode 11", SPAN("\x8b\x81\0\0\0\0x"), MQ_WS_PROTOCOL },
		{ "a ping of 126", SPAN("\x89\xfe\0\x7e\0\0\0\0"), MQ_WS_PROTOCOL },
		{ "a ping of 64 bits", SPAN("\x89\xff\0\0\0\0\0\0\0\1\0\0\0\0"), MQ_WS_PROTOCOL },
		{ "a ping in pieces", SPAN("\x09\x81\0\0\0\0x"), MQ_WS_PROTOCOL },
		{ "a continuation of nothing", SPAN("\x80\x81\0\0\0\0x"), MQ_WS_PROTOCOL },
		{ "a message inside another", SPAN("\x02\x81\0\0\0\0x\x82\x81\0\0\0\0y"),
			MQ_WS_PROTOCOL },
		{ "125 in 16 bits", SPAN("\x82\xfe\0\x7d\0\0\0\0"), MQ_WS_PROTOCOL },
		{ "65535 in 64 bits", SPAN("\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0"),
			MQ_WS_PROTOCOL },
		{ "a length below 0", SPAN("\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0"), MQ_WS_PROTOCOL },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		print_message("%s\n", cases[i].what);
		assert_broken(cases[i].in, cases[i].code);
	}
}

static void our_heads(void **state)
{
	(void)state;
	const struct {
		uint64_t len;
		struct span head;
	} cases[] = {
		{ 0, SPAN("\x82\x00") },
		{ 125, SPAN("\x82\x7d") },
		{ 126, SPAN("\x82\x7e\x00\x7e") },
		{ 65535, SPAN("\x82\x7e\xff\xff") },
		{ 65536, SPAN("\x82\x7f\0\0\0\0\0\x01\0\0") },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t buf[MQ_WS_OWN_HEAD];
		struct writer w = writer_of(buf, sizeof(buf));
		mq_ws_put_head(&w, MQ_WS_BINARY, cases[i].len);
		assert_false(w.bad);
		assert_int_equal(w.len, cases[i].head.len);
		assert_memory_equal(buf, cases[i].head.p, w.len);
	}
	uint8_t buf[4];
	struct writer w = writer_of(buf, sizeof(buf));
	mq_ws_put_close(&w, MQ_WS_PROTOCOL);
	assert_memory_equal(buf, "\x88\x02\x03\xea", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_of_the_standard),
		cmocka_unit_test(frames_follow_each_other),
		cmocka_unit_test(fragments_are_one_stream),
		cmocka_unit_test(the_length_of_16_bits),
		cmocka_unit_test(the_length_of_64_bits),
		cmocka_unit_test(output_may_lie_where_input_does),
		cmocka_unit_test(a_ping_gives_its_payload),
		cmocka_unit_test(a_close_gives_its_code),
		cmocka_unit_test(what_breaks_the_rules),
		cmocka_unit_test(our_heads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
