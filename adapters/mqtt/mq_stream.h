#ifndef TIDEGATE_MQTT_MQ_STREAM_H
#define TIDEGATE_MQTT_MQ_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* The bytes of one client: what a connection needs of a socket, of TLS above it, and of WebSocket
 * above either. Nothing blocks; nobody but the owner of the socket watches it, by these flags. */
struct mq_stream {
	const struct mq_stream_ops *ops;
	const char
		*why; /* static; what was wrong when an operation failed, NULL: nothing special */
	bool pending; /* read() has more to give though the socket may stay silent */
	bool read_blocked; /* read() has to be called again when the socket can be written */
	bool unsent;       /* has bytes of its own: write() of nothing sends them */
};

struct mq_stream_ops {
	/* As many bytes as are there, at most `cap`; 0: the peer has ended; -EAGAIN: none now;
	 * -EPROTO: the peer broke the rules (`why`); else the socket's error. */
	ssize_t (*read)(struct mq_stream *s, uint8_t *buf, size_t cap);
	/* How many of these bytes were taken (0 only for none), or as above. What was not taken
	 * must be offered again, with the same bytes in front. */
	ssize_t (*write)(struct mq_stream *s, const struct iovec *iov, size_t n);
	/* The last word of the protocol, if there is one: it is sent as far as the socket takes it.
	 * True: the peer should get the chance to read it. */
	bool (*end)(struct mq_stream *s);
	/* Frees it, and what lies below but for the socket. */
	void (*free)(struct mq_stream *s);
};

static inline ssize_t mq_stream_read(struct mq_stream *s, uint8_t *buf, size_t cap)
{
	return s->ops->read(s, buf, cap);
}

static inline ssize_t mq_stream_write(struct mq_stream *s, const struct iovec *iov, size_t n)
{
	return s->ops->write(s, iov, n);
}

static inline bool mq_stream_end(struct mq_stream *s)
{
	return s->ops->end(s);
}

static inline void mq_stream_free(struct mq_stream *s)
{
	s->ops->free(s);
}

/* The bare socket; part of the connection, so that a plain client costs no allocation. */
struct mq_tcp {
	struct mq_stream stream;
	int fd; /* borrowed */
};
void mq_tcp_init(struct mq_tcp *t, int fd);

/* One system call each, for streams that end at a socket; as the operations above. */
ssize_t mq_socket_read(int fd, void *buf, size_t cap);
ssize_t mq_socket_write(int fd, const struct iovec *iov, size_t n);

#endif
