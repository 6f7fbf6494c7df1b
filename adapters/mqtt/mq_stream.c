#include "adapters/mqtt/mq_stream.h"

#include "gateway/base/util.h"

#include <errno.h>
#include <sys/socket.h>

static ssize_t result(ssize_t n)
{
	if (n >= 0)
		return n;
	return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

ssize_t mq_socket_read(int fd, void *buf, size_t cap)
{
	return result(recv(fd, buf, cap, MSG_DONTWAIT));
}

ssize_t mq_socket_write(int fd, const struct iovec *iov, size_t n)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n };

	/* A peer that is gone must not raise SIGPIPE. */
	return n ? result(sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT)) : 0;
}

static ssize_t tcp_read(struct mq_stream *s, uint8_t *buf, size_t cap)
{
	return mq_socket_read(container_of(s, struct mq_tcp, stream)->fd, buf, cap);
}

static ssize_t tcp_write(struct mq_stream *s, const struct iovec *iov, size_t n)
{
	return mq_socket_write(container_of(s, struct mq_tcp, stream)->fd, iov, n);
}

static bool tcp_end(struct mq_stream *s)
{
	(void)s;
	return false;
}

static void tcp_free(struct mq_stream *s)
{
	(void)s;
}

static const struct mq_stream_ops tcp_ops = {
	.read = tcp_read,
	.write = tcp_write,
	.end = tcp_end,
	.free = tcp_free,
};

void mq_tcp_init(struct mq_tcp *t, int fd)
{
	*t = (struct mq_tcp){ .stream = { .ops = &tcp_ops }, .fd = fd };
}
