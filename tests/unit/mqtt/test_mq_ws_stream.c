#include "adapters/mqtt/mq_ws_stream.h"

#include "adapters/mqtt/mq_ws.h"
#include "gateway/base/util.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What lies below: gives what the test puts in, takes as much as the test lets it. */
struct below {
	struct mq_stream stream;
	uint8_t in[8192], out[8192];
	size_t in_len, out_len, room;
	bool ended, freed;
};

static ssize_t below_read(struct mq_stream *s, uint8_t *buf, size_t cap)
{
	struct below *b = container_of(s, struct below, stream);
	size_t n = MIN(cap, b->in_len);

	if (n == 0)
		return -EAGAIN;
	memcpy(buf, b->in, n);
	memmove(b->in, b->in + n, b->in_len - n);
	b->in_len -= n;
	return (ssize_t)n;
}

static ssize_t below_write(struct mq_stream *s, const struct iovec *iov, size_t n)
{
	struct below *b = container_of(s, struct below, stream);
	size_t sent = 0, wanted = 0;

	for (size_t i = 0; i < n; i++) {
		size_t part = MIN(iov[i].iov_len, b->room);
		assert_true(b->out_len + part <= sizeof(b->out));
		memcpy(b->out + b->out_len, iov[i].iov_base, part);
		b->out_len += part;
		b->room -= part;
		sent += part;
		wanted += iov[i].iov_len;
	}
	return sent || !wanted ? (ssize_t)sent : -EAGAIN;
}

static bool below_end(struct mq_stream *s)
{
	container_of(s, struct below, stream)->ended = true;
	return false;
}

static void below_free(struct mq_stream *s)
{
	container_of(s, struct below, stream)->freed = true;
}

static const struct mq_stream_ops below_ops = { below_read, below_write, below_end, below_free };

static const struct mq_ws_rules rules = { .path = "/mqtt" };
static struct below below;
static struct mq_stream *ws;

static void give(const void *bytes, size_t len)
{
	memcpy(below.in + below.in_len, bytes, len);
	below.in_len += len;
}

#define GIVE(text) give(text, sizeof(text) - 1)

#define REQUEST                                                                                    \
	"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"           \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"             \
	"Sec-WebSocket-Protocol: mqtt\r\n\r\n"

static int start(void **state)
{
	(void)state;
	below = (struct below){ .stream = { .ops = &below_ops }, .room = SIZE_MAX };
	ws = mq_ws_stream_new(&below.stream, &rules);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	mq_stream_free(ws);
	assert_true(below.freed);
	return 0;
}

static ssize_t flush(void)
{
	return mq_stream_write(ws, NULL, 0);
}

static void assert_out(const void *bytes, size_t len)
{
	assert_int_equal(below.out_len, len);
	assert_memory_equal(below.out, bytes, len);
	below.out_len = 0;
}

#define ASSERT_OUT(text) assert_out(text, sizeof(text) - 1)

static void open_it(void)
{
	uint8_t buf[512];

	GIVE(REQUEST);
	assert_int_equal(mq_stream_read(ws, buf, sizeof(buf)), -EAGAIN);
	assert_true(ws->unsent);
	assert_int_equal(flush(), 0);
	assert_false(ws->unsent);
	assert_memory_equal(below.out, "HTTP/1.1 101 ", 13);
	below.out_len = 0;
}

static void what_comes_behind_the_request_is_kept(void **state)
{
	(void)state;
	static const char bytes[] = REQUEST "\x82\x82\0\0\0\0ab";
	uint8_t buf[1024];
	for (size_t cut = 0; cut <= sizeof(REQUEST) - 1; cut += 13) {
		stop(NULL);
		start(NULL);
		give(bytes, cut);
		assert_int_equal(mq_stream_read(ws, buf, sizeof(buf)), -EAGAIN);
		give(bytes + cut, sizeof(bytes) - 1 - cut);
		assert_int_equal(mq_stream_read(ws, buf, sizeof(buf)), 2);
		assert_memory_equal(buf, "ab", 2);
	}
}

static void a_refused_request_is_answered(void **state)
{
	(void)state;
	uint8_t buf[512];
	GIVE("GET /other HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(mq_stream_read(ws, buf, sizeof(buf)), -EPROTO);
	assert_non_null(ws->why);
	assert_true(mq_stream_end(ws));
	assert_true(below.ended);
	assert_memory_equal(below.out, "HTTP/1.1 404 ", 13);
	assert_int_equal(mq_stream_read(ws, buf, sizeof(buf)), -EPROTO);
}

static void a_request_without_end_is_refused(void **state)
{
	(void)state;
	uint8_t buf[512];
	char row[64];
	ssize_t n = -EAGAIN;
	GIVE("GET /mqtt HTTP/1.1\r\n");
	memset(row, 'x', sizeof(row));
	for (unsigned i = 0; i < 100 && n == -EAGAIN; i++) {
		give(row, sizeof(row));
		n = mq_stream_read(ws, buf, sizeof(buf));
	}
	assert_int_equal(n, -EPROTO);
	assert_true(mq_stream_end(ws));
	assert_memory_equal(below.out, "HTTP/1.1 431 ", 13);
}

static void a_write_is_a_frame_in_one_go(void **state)
{
	(void)state;
	open_it();
	struct iovec iov[] = { { (void *)(uintptr_t) "ab", 2 }, { (void *)(uintptr_t) "cde", 3 } };
	assert_int_equal(mq_stream_write(ws, iov, 2), 5);
	ASSERT_OUT("\x82\x05"
		   "abcde");
}

/* However little is taken at a time, and though more is offered meanwhile, the frame stays whole.
 */
static void a_frame_survives_a_full_socket(void **state)
{
	(void)state;
	open_it();
	struct iovec iov = { (void *)(uintptr_t) "abcdefgh", 5 };
	for (unsigned n = 0; n < 2; n++) {
		below.room = n; /* 0, then half of the head */
		assert_int_equal(mq_stream_write(ws, &iov, 1), -EAGAIN);
		assert_true(ws->unsent);
	}
	below.room = 3;
	assert_int_equal(mq_stream_write(ws, &iov, 1), 2);
	GIVE("\x89\x81\0\0\0\0p"); /* a ping has to wait for the frame's end */
	uint8_t buf[64];
	assert_int_equal(mq_stream_read(ws, buf, sizeof(buf)), -EAGAIN);
	below.room = SIZE_MAX;
	iov = (struct iovec){ (void *)(uintptr_t) "cdefgh", 6 }; /* 3 of the frame, 3 new ones */
	assert_int_equal(mq_stream_write(ws, &iov, 1), 3);
	ASSERT_OUT("\x82\x05"
		   "abcde");
	assert_true(ws->unsent);
	iov = (struct iovec){ (void *)(uintptr_t) "fgh", 3 };
	assert_int_equal(mq_stream_write(ws, &iov, 1), 3);
	ASSERT_OUT("\x8a\x01p\x82\x03"
		   "fgh");
	assert_false(ws->unsent);
}

static void only_the_last_ping_is_answered(void **state)
{
	(void)state;
	uint8_t buf[64];
	open_it();
	GIVE("\x89\x81\0\0\0\0a\x89\x82\0\0\0\0bc");
	assert_int_equal(mq_stream_read(ws, buf, sizeof(buf)), -EAGAIN);
	assert_true(ws->unsent);
	below.room = 1;
	assert_int_equal(flush(), -EAGAIN);
	assert_true(ws->unsent);
	below.room = SIZE_MAX;
	assert_int_equal(flush(), 0);
	ASSERT_OUT("\x8a\x02"
		   "bc");
}

static void a_close_comes_after_what_was_before_it(void **state)
{
	(void)state;
	uint8_t buf[64];
	open_it();
	GIVE("\x82\x81\0\0\0\0x\x88\x82\0\0\0\0\x03\xe9\x82\x81\0\0\0\0y");
	assert_int_equal(mq_stream_read(ws, buf, sizeof(buf)), 1);
	assert_true(ws->pending);
	assert_int_equal(mq_stream_read(ws, buf, sizeof(buf)), 0);
	assert_true(mq_stream_end(ws));
	ASSERT_OUT("\x88\x02\x03\xe9");
}

static void a_broken_frame_is_answered_with_its_code(void **state)
{
	(void)state;
	uint8_t buf[64];
	open_it();
	GIVE("\x81\x81\0\0\0\0x");
	assert_int_equal(mq_stream_read(ws, buf, sizeof(buf)), -EPROTO);
	assert_true(mq_stream_end(ws));
	ASSERT_OUT("\x88\x02\x03\xeb");
}

/* In the middle of a frame a Close would be taken for its payload. */
static void no_close_in_the_middle_of_a_frame(void **state)
{
	(void)state;
	open_it();
	below.room = 3;
	struct iovec iov = { (void *)(uintptr_t) "abcde", 5 };
	assert_int_equal(mq_stream_write(ws, &iov, 1), 1);
	below.room = SIZE_MAX;
	assert_true(mq_stream_end(ws));
	ASSERT_OUT("\x82\x05"
		   "a");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_comes_behind_the_request_is_kept),
		TEST(a_refused_request_is_answered),
		TEST(a_request_without_end_is_refused),
		TEST(a_write_is_a_frame_in_one_go),
		TEST(a_frame_survives_a_full_socket),
		TEST(only_the_last_ping_is_answered),
		TEST(a_close_comes_after_what_was_before_it),
		TEST(a_broken_frame_is_answered_with_its_code),
		TEST(no_close_in_the_middle_of_a_frame),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
