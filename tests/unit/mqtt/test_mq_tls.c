#include "adapters/mqtt/mq_tls.h"

#include "gateway/base/util.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A server's stream and OpenSSL as its client at the two ends of a socket; a pre-shared key, so
 * that no certificate is needed. */
struct pair {
	struct ssl_ctx_st *ctx;
	struct mq_stream *s;
	size_t half_open;
	SSL_CTX *client_ctx;
	SSL *client;
	int fds[2];
};

static unsigned client_key(SSL *ssl, const char *hint, char *identity, unsigned identity_max,
	unsigned char *key, unsigned key_max)
{
	(void)ssl;
	(void)hint;
	snprintf(identity, identity_max, "lamp");
	assert_true(key_max >= 2);
	key[0] = 0x12;
	key[1] = 0x34;
	return 2;
}

static struct ssl_ctx_st *server_context(void)
{
	char path[] = "/tmp/tidegate-psk-XXXXXX";
	int fd = mkstemp(path);
	struct mq_tls_conf conf = { .psk_file = path };
	struct mq_tls_error err;
	struct ssl_ctx_st *ctx;

	assert_int_equal(write(fd, "lamp:1234\n", 10), 10);
	close(fd);
	if (mq_tls_context_new(&conf, &ctx, &err) < 0)
		fail_msg("%s", err.text);
	unlink(path);
	return ctx;
}

static int start(void **state)
{
	static struct pair p;

	p = (struct pair){ .ctx = server_context() };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p.fds), 0);
	p.s = mq_tls_stream_new(p.ctx, p.fds[0], &p.half_open);
	assert_non_null(p.s);
	p.client_ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_psk_client_callback(p.client_ctx, client_key);
	p.client = SSL_new(p.client_ctx);
	SSL_set_fd(p.client, p.fds[1]);
	SSL_set_connect_state(p.client);
	*state = &p;
	return 0;
}

static int stop(void **state)
{
	struct pair *p = *state;

	mq_stream_free(p->s);
	assert_int_equal(p->half_open, 0);
	SSL_free(p->client);
	SSL_CTX_free(p->client_ctx);
	mq_tls_context_free(p->ctx);
	close(p->fds[0]);
	close(p->fds[1]);
	return 0;
}

static void shake_hands(struct pair *p)
{
	uint8_t byte;

	assert_int_equal(p->half_open, 1);
	for (unsigned n = 0; n < 10 && p->half_open; n++) {
		SSL_do_handshake(p->client);
		assert_int_equal(mq_stream_read(p->s, &byte, 1), -EAGAIN);
	}
	SSL_do_handshake(p->client);
	assert_int_equal(p->half_open, 0);
	assert_true(SSL_is_init_finished(p->client));
}

static void fill(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 7 % 251);
}

static void records_are_gathered_and_none_is_forgotten(void **state)
{
	struct pair *p = *state;
	uint8_t buf[8];
	shake_hands(p);
	assert_int_equal(SSL_write(p->client, "ab", 2), 2);
	assert_int_equal(SSL_write(p->client, "cdef", 4), 4);
	assert_int_equal(mq_stream_read(p->s, buf, 4), 4);
	assert_memory_equal(buf, "abcd", 4);
	assert_true(p->s->pending); /* the socket is empty, and would wake nobody */
	assert_int_equal(mq_stream_read(p->s, buf, sizeof(buf)), 2);
	assert_memory_equal(buf, "ef", 2);
	assert_false(p->s->pending);
	assert_int_equal(mq_stream_read(p->s, buf, sizeof(buf)), -EAGAIN);
}

/* However much the peer has sent: others wait for their turn. */
static void a_read_takes_a_bounded_amount(void **state)
{
	struct pair *p = *state;
	static uint8_t data[8000], buf[400 * 1000];
	size_t sent = 0, got = 0;
	unsigned reads = 0;
	shake_hands(p);
	setsockopt(p->fds[1], SOL_SOCKET, SO_SNDBUF, &(int){ 400000 }, sizeof(int));
	while (sent < sizeof(buf) && SSL_write(p->client, data, sizeof(data)) > 0)
		sent += sizeof(data);
	assert_true(sent > 100000);
	while (got < sent) {
		ssize_t n = mq_stream_read(p->s, buf, sizeof(buf));
		assert_in_range(n, 1, 65536 + 17000); /* and a record that was read ahead */
		got += (size_t)n;
		reads++;
		if (got < sent)
			assert_true(p->s->pending);
	}
	assert_int_equal(got, sent);
	assert_true(reads > 1);
}

static void key_updates_are_followed(void **state)
{
	struct pair *p = *state;
	uint8_t byte;
	shake_hands(p);
	for (unsigned n = 0; n < 20; n++) {
		assert_int_equal(SSL_key_update(p->client, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_write(p->client, "x", 1), 1);
		assert_int_equal(mq_stream_read(p->s, &byte, 1), 1);
		struct iovec iov = { &byte, 1 };
		assert_int_equal(mq_stream_write(p->s, &iov, 1), 1);
		assert_int_equal(SSL_read(p->client, &byte, 1), 1);
	}
}

static void an_end_comes_after_what_was_before_it(void **state)
{
	struct pair *p = *state;
	uint8_t buf[8];
	shake_hands(p);
	assert_int_equal(SSL_write(p->client, "x", 1), 1);
	SSL_shutdown(p->client);
	assert_int_equal(mq_stream_read(p->s, buf, sizeof(buf)), 1);
	assert_true(p->s->pending);
	assert_int_equal(mq_stream_read(p->s, buf, sizeof(buf)), 0);
}

static void a_cut_is_an_end(void **state)
{
	struct pair *p = *state;
	uint8_t byte;
	shake_hands(p);
	shutdown(p->fds[1], SHUT_WR);
	assert_int_equal(mq_stream_read(p->s, &byte, 1), 0);
}

/* The client reads as much as there is. */
static size_t client_take(struct pair *p, uint8_t *buf, size_t cap)
{
	size_t got = 0;
	int n;

	while (got < cap && (n = SSL_read(p->client, buf + got, (int)(cap - got))) > 0)
		got += (size_t)n;
	return got;
}

/* The rest is offered again from another place, as mq_out does, and may have grown meanwhile. */
static void what_a_full_socket_left_goes_on(void **state)
{
	struct pair *p = *state;
	enum { SIZE = 600 * 1024 };
	uint8_t *data = malloc(SIZE), *got = malloc(SIZE);
	size_t sent = 0, taken = 0;
	unsigned blocked = 0;
	fill(data, SIZE);
	shake_hands(p);
	setsockopt(p->fds[0], SOL_SOCKET, SO_SNDBUF, &(int){ 8192 }, sizeof(int));
	while (sent < SIZE) {
		size_t left = SIZE - sent, first = MIN(left, (size_t)777);
		uint8_t *copy = malloc(left);
		memcpy(copy, data + sent, left);
		struct iovec iov[3] = { { copy, first }, { copy, 0 },
			{ copy + first, MIN(left - first, 50000 + (size_t)blocked) } };
		ssize_t n = mq_stream_write(p->s, iov, 3);
		free(copy);
		assert_true(n > 0 || n == -EAGAIN);
		sent += n > 0 ? (size_t)n : 0;
		blocked += n < 0;
		if (n < 0)
			taken += client_take(p, got + taken, SIZE - taken);
		assert_false(p->s->read_blocked);
	}
	taken += client_take(p, got + taken, SIZE - taken);
	assert_true(blocked > 0);
	assert_int_equal(taken, SIZE);
	assert_memory_equal(got, data, SIZE);
	free(data);
	free(got);
}

static void the_last_word_is_a_close_notify(void **state)
{
	struct pair *p = *state;
	uint8_t byte;
	shake_hands(p);
	assert_int_equal(mq_stream_write(p->s, NULL, 0), 0);
	assert_true(mq_stream_end(p->s));
	assert_int_equal(SSL_read(p->client, &byte, 1), 0);
	assert_int_equal(SSL_get_error(p->client, 0), SSL_ERROR_ZERO_RETURN);
}

static void what_is_no_tls_is_told_and_answered(void **state)
{
	struct pair *p = *state;
	uint8_t buf[64] = "\x10\x0c\x00\x04MQTT\x04";
	assert_int_equal(send(p->fds[1], buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(mq_stream_read(p->s, buf, sizeof(buf)), -EPROTO);
	assert_non_null(p->s->why);
	assert_int_equal(mq_stream_read(p->s, buf, sizeof(buf)), -EPROTO);
	struct iovec iov = { buf, 1 };
	assert_int_equal(mq_stream_write(p->s, &iov, 1), -EPIPE);
	assert_true(mq_stream_end(p->s));
}

static void a_damaged_record_ends_it(void **state)
{
	struct pair *p = *state;
	uint8_t buf[64];
	shake_hands(p);
	static const uint8_t record[] = "\x17\x03\x03\x00\x20"
					"0123456789abcdef0123456789abcdef";
	assert_int_equal(send(p->fds[1], record, sizeof(record) - 1, 0), (int)sizeof(record) - 1);
	assert_int_equal(mq_stream_read(p->s, buf, sizeof(buf)), -EPROTO);
	assert_non_null(p->s->why);
}

static void streams_outlive_their_context(void **state)
{
	struct pair *p = *state;
	mq_tls_context_free(p->ctx); /* a reload, in the middle of a handshake */
	p->ctx = NULL;
	shake_hands(p);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(records_are_gathered_and_none_is_forgotten),
		TEST(a_read_takes_a_bounded_amount),
		TEST(key_updates_are_followed),
		TEST(an_end_comes_after_what_was_before_it),
		TEST(a_cut_is_an_end),
		TEST(what_a_full_socket_left_goes_on),
		TEST(the_last_word_is_a_close_notify),
		TEST(what_is_no_tls_is_told_and_answered),
		TEST(a_damaged_record_ends_it),
		TEST(streams_outlive_their_context),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
