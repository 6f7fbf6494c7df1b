#include "adapters/mqtt/mq_tls.h"

#include "gateway/base/util.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_BYTES   16384 /* RFC 8446, 5.1 */
#define TURN_MAX_BYTES 65536 /* taken in or sent in one go: other clients wait meanwhile */

struct mq_tls {
	struct mq_stream stream;
	SSL *ssl;          /* owned */
	size_t *half_open; /* borrowed; NULL: the handshake is done */
	int fd;            /* borrowed */
	bool broken;       /* no further word is possible */
	bool stopped;      /* `allowance` was used up */
	size_t allowance;  /* octets that this read() may still take from the socket */
};

static struct mq_tls *tls_of(struct mq_stream *s)
{
	return container_of(s, struct mq_tls, stream);
}

/* The socket as OpenSSL sees it: unlike its own it raises no SIGPIPE. */

/* OpenSSL goes on as long as it is given records without data, such as an endless row of key
 * updates: what it is given in one turn has to be bounded here. */
static int bio_read(BIO *b, char *buf, int len)
{
	struct mq_tls *t = BIO_get_data(b);
	size_t room = MIN((size_t)len, t->allowance);
	ssize_t n = room ? mq_socket_read(t->fd, buf, room) : -EAGAIN;

	t->stopped |= !room;
	BIO_clear_retry_flags(b);
	if (n == -EAGAIN)
		BIO_set_retry_read(b);
	if (n == 0)
		BIO_set_flags(b, BIO_FLAGS_IN_EOF);
	if (n < 0)
		return -1;
	t->allowance -= (size_t)n;
	return (int)n;
}

static int bio_write(BIO *b, const char *buf, int len)
{
	const struct mq_tls *t = BIO_get_data(b);
	struct iovec iov = { (void *)(uintptr_t)buf, (size_t)len };
	ssize_t n = mq_socket_write(t->fd, &iov, 1);

	BIO_clear_retry_flags(b);
	if (n == -EAGAIN)
		BIO_set_retry_write(b);
	return n < 0 ? -1 : (int)n;
}

static long bio_ctrl(BIO *b, int what, long num, void *ptr)
{
	(void)num;
	(void)ptr;
	switch (what) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return BIO_test_flags(b, BIO_FLAGS_IN_EOF) != 0;
	default:
		return 0;
	}
}

static BIO *socket_bio(struct mq_tls *t)
{
	static BIO_METHOD *method;

	if (!method) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "mqtt socket");
		if (!method)
			return NULL;
		BIO_meth_set_read(method, bio_read);
		BIO_meth_set_write(method, bio_write);
		BIO_meth_set_ctrl(method, bio_ctrl);
	}
	BIO *b = BIO_new(method);
	if (b) {
		BIO_set_data(b, t);
		BIO_set_init(b, 1);
	}
	return b;
}

static void handshake_over(struct mq_tls *t)
{
	if (t->half_open)
		--*t->half_open;
	t->half_open = NULL;
}

static ssize_t tls_broken(struct mq_tls *t)
{
	const char *why = ERR_reason_error_string(ERR_peek_error());

	t->stream.why = why ? why : "TLS failed";
	t->broken = true;
	ERR_clear_error();
	return -EPROTO;
}

/* What stands behind a result of SSL_read() or SSL_write() that is no success. */
static ssize_t tls_result(struct mq_tls *t, int n)
{
	switch (SSL_get_error(t->ssl, n)) {
	case SSL_ERROR_WANT_READ:
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		t->stream.read_blocked = true;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		t->broken = true;
		return -ECONNRESET;
	default:
		return tls_broken(t);
	}
}

/* Small records are gathered until the buffer is full or there are no more. */
static ssize_t tls_read(struct mq_stream *s, uint8_t *buf, size_t cap)
{
	struct mq_tls *t = tls_of(s);
	size_t got = 0;
	ssize_t e = -EAGAIN;

	if (t->broken)
		return s->why ? -EPROTO : -ECONNRESET;
	ERR_clear_error();
	s->read_blocked = false;
	t->stopped = false;
	t->allowance = TURN_MAX_BYTES;
	while (got < cap) {
		int n = SSL_read(t->ssl, buf + got, (int)MIN(cap - got, (size_t)TURN_MAX_BYTES));
		if (t->half_open && SSL_is_init_finished(t->ssl))
			handshake_over(t);
		if (n <= 0) {
			e = tls_result(t, n);
			break;
		}
		got += (size_t)n;
	}
	/* An end that follows data is met again by the next call. */
	s->pending = t->stopped || (got && (got == cap ? SSL_has_pending(t->ssl) : e != -EAGAIN));
	return got ? (ssize_t)got : e;
}

struct cursor {
	const struct iovec *iov;
	size_t n, at; /* `at`: in the first of them */
};

/* The next bytes, at most a record's: in place when they lie together, else copied to `room`. */
static struct iovec next_bytes(const struct cursor *c, uint8_t room[RECORD_BYTES])
{
	size_t len = 0, at = c->at;

	if (c->n == 1 || c->iov->iov_len - at >= RECORD_BYTES)
		return (struct iovec){ (uint8_t *)c->iov->iov_base + at,
			MIN(c->iov->iov_len - at, (size_t)RECORD_BYTES) };
	for (size_t i = 0; i < c->n && len < RECORD_BYTES; i++, at = 0) {
		size_t part = MIN(c->iov[i].iov_len - at, RECORD_BYTES - len);
		memcpy(room + len, (const uint8_t *)c->iov[i].iov_base + at, part);
		len += part;
	}
	return (struct iovec){ room, len };
}

static void advance(struct cursor *c, size_t taken)
{
	while (c->n && taken >= c->iov->iov_len - c->at) {
		taken -= c->iov->iov_len - c->at;
		c->at = 0;
		c->iov++;
		c->n--;
	}
	c->at += taken;
}

/* A record that the socket did not take whole is kept by OpenSSL; offering the same bytes again
 * sends the rest of it. */
static ssize_t tls_write(struct mq_stream *s, const struct iovec *iov, size_t n)
{
	static uint8_t room[RECORD_BYTES]; /* of the loop's thread */
	struct mq_tls *t = tls_of(s);
	struct cursor c = { iov, n, 0 };
	size_t sent = 0;

	if (t->broken)
		return -EPIPE;
	ERR_clear_error();
	for (advance(&c, 0); c.n && sent < TURN_MAX_BYTES; advance(&c, 0)) {
		struct iovec bytes = next_bytes(&c, room);
		int done = SSL_write(t->ssl, bytes.iov_base, (int)bytes.iov_len);
		if (done <= 0) {
			bool blocked = s->read_blocked;
			ssize_t e = tls_result(t, done);
			s->read_blocked = blocked; /* the owner waits for room anyway */
			return sent ? (ssize_t)sent : e ? e : -EPIPE;
		}
		sent += (size_t)done;
		advance(&c, (size_t)done);
	}
	return sent || !n ? (ssize_t)sent : -EAGAIN;
}

/* RFC 8446, 6.1; after a failure its alert has been sent, and should be read before a reset. */
static bool tls_end(struct mq_stream *s)
{
	struct mq_tls *t = tls_of(s);

	ERR_clear_error();
	if (!t->broken && SSL_is_init_finished(t->ssl))
		(void)SSL_shutdown(t->ssl);
	ERR_clear_error();
	return true;
}

static void tls_free(struct mq_stream *s)
{
	struct mq_tls *t = tls_of(s);

	handshake_over(t);
	SSL_free(t->ssl);
	free(t);
}

static const struct mq_stream_ops tls_ops = {
	.read = tls_read,
	.write = tls_write,
	.end = tls_end,
	.free = tls_free,
};

struct mq_stream *mq_tls_stream_new(struct ssl_ctx_st *ctx, int fd, size_t *half_open)
{
	struct mq_tls *t = calloc(1, sizeof(*t));
	SSL *ssl = t ? SSL_new(ctx) : NULL;
	BIO *b = ssl ? socket_bio(t) : NULL;

	if (!b) {
		ERR_clear_error();
		SSL_free(ssl);
		free(t);
		return NULL;
	}
	SSL_set_bio(ssl, b, b);
	SSL_set_accept_state(ssl);
	t->stream.ops = &tls_ops;
	t->ssl = ssl;
	t->fd = fd;
	t->half_open = half_open;
	++*half_open;
	return &t->stream;
}
