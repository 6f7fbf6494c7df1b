#include "adapters/mqtt/mq_out.h"

#include "adapters/mqtt/mq_stream.h"

#include "gateway/core/message.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct mq_pool pool;
	struct mq_out out;
	int fds[2];
	struct mq_tcp tcp;
};

static int start(void **state)
{
	static struct fixture f;

	mq_pool_init(&f.pool, MQ_CHUNK_BYTES, 2);
	mq_out_init(&f.out, &f.pool);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f.fds), 0);
	mq_tcp_init(&f.tcp, f.fds[0]);
	*state = &f;
	return 0;
}

static int stop(void **state)
{
	struct fixture *f = *state;

	mq_out_clear(&f->out);
	mq_pool_close(&f->pool);
	close(f->fds[0]);
	close(f->fds[1]);
	assert_int_equal(messages_bytes(), 0);
	return 0;
}

static struct message *message_of(uint8_t fill, size_t len)
{
	uint8_t *p = malloc(len);

	memset(p, fill, len);
	struct message *m = message_new(&(struct message_init){
		.topic = span_str("t"), .payload = span_of(p, len), .origin = ORIGIN_GATEWAY });
	free(p);
	return m;
}

static void nothing_to_send_is_all_sent(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(mq_out_send(&f->out, &f->tcp.stream), 0);
}

static void small_things_leave_in_one_piece(void **state)
{
	struct fixture *f = *state;
	char got[16];
	mq_out_put(&f->out, span_str("abc"));
	mq_out_put(&f->out, span_str(""));
	mq_out_put(&f->out, span_str("defg"));
	assert_int_equal(f->out.bytes, 7);
	assert_int_equal(f->out.copied, 7);
	assert_int_equal(mq_out_send(&f->out, &f->tcp.stream), 0);
	assert_int_equal(f->out.bytes, 0);
	assert_int_equal(f->out.copied, 0);
	assert_int_equal(read(f->fds[1], got, sizeof(got)), 7);
	assert_memory_equal(got, "abcdefg", 7);
}

static void a_large_payload_is_not_copied(void **state)
{
	struct fixture *f = *state;
	struct message *small = message_of('s', MQ_SHARED_BYTES - 1);
	struct message *large = message_of('l', MQ_SHARED_BYTES);
	mq_out_share(&f->out, small, message_payload(small));
	assert_int_equal(small->refs, 1);
	assert_int_equal(f->out.copied, MQ_SHARED_BYTES - 1);
	mq_out_share(&f->out, large, message_payload(large));
	assert_int_equal(large->refs, 2);
	assert_int_equal(f->out.copied, MQ_SHARED_BYTES - 1);
	assert_int_equal(f->out.bytes, 2 * MQ_SHARED_BYTES - 1);
	assert_int_equal(mq_out_send(&f->out, &f->tcp.stream), 0);
	assert_int_equal(large->refs, 1);
	message_unref(small);
	message_unref(large);
}

/* Pieces of all sizes through a socket that takes little at a time: the stream is what was put. */
static void the_stream_is_kept_through_partial_writes(void **state)
{
	struct fixture *f = *state;
	size_t total = 0, got = 0;
	uint8_t *all = malloc(1 << 20), buf[777];
	setsockopt(f->fds[0], SOL_SOCKET, SO_SNDBUF, &(int){ 4096 }, sizeof(int));
	srand(7);
	for (unsigned i = 0; i < 300; i++) {
		size_t len = (size_t)rand() % 3000;
		struct message *m = message_of((uint8_t)i, len ? len : 1);
		struct span payload = message_payload(m);
		memcpy(all + total, payload.p, payload.len);
		total += payload.len;
		if (i & 1)
			mq_out_share(&f->out, m, payload);
		else
			mq_out_put(&f->out, payload);
		message_unref(m);
	}
	assert_int_equal(f->out.bytes, total);
	while (got < total) {
		int e = mq_out_send(&f->out, &f->tcp.stream);
		assert_true(e == 0 || e == -EAGAIN);
		ssize_t n = read(f->fds[1], buf, sizeof(buf));
		assert_true(n > 0);
		assert_memory_equal(buf, all + got, (size_t)n);
		got += (size_t)n;
		assert_true(f->out.bytes <= total - got + 65536);
	}
	assert_int_equal(mq_out_send(&f->out, &f->tcp.stream), 0);
	assert_int_equal(f->out.copied, 0);
	free(all);
}

static void a_dead_peer_is_an_error_and_no_signal(void **state)
{
	struct fixture *f = *state;
	close(f->fds[1]);
	f->fds[1] = dup(f->fds[0]);
	mq_out_put(&f->out, span_str("x"));
	assert_int_equal(mq_out_send(&f->out, &f->tcp.stream), -EPIPE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_to_send_is_all_sent),
		TEST(small_things_leave_in_one_piece),
		TEST(a_large_payload_is_not_copied),
		TEST(the_stream_is_kept_through_partial_writes),
		TEST(a_dead_peer_is_an_error_and_no_signal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
