#include "adapters/mqttsn/sn_socket.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/base/util.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#define BATCH        64
#define DATAGRAM_MAX 65536
/* Receive buffers a multiple of a page apart would all fall on the same cache lines. */
#define IN_STRIDE    (DATAGRAM_MAX + 192)
#define OUT_BYTES    (256 * 1024)
#define SOCKET_BYTES (4 * 1024 * 1024)

static struct count overflowed = COUNT("mqttsn.kernel_drops");
static struct count unsent = COUNT("mqttsn.send_failed");

union ovfl_space {
	char bytes[CMSG_SPACE(sizeof(uint32_t))];
	struct cmsghdr align;
};

/* What goes through recvmmsg() and sendmmsg(). */
struct batch {
	struct mmsghdr msgs[BATCH];
	struct iovec parts[BATCH];
	struct sockaddr_storage names[BATCH];
	uint8_t *bytes; /* owned */
};

struct udp {
	struct sn_socket socket;
	struct sn_socket_user user;
	struct event *read, *write; /* owned */
	int fd;
	bool v6;
	bool full;              /* send() said -EAGAIN since the last `writable` */
	uint32_t drops;         /* the kernel's counter when we last saw it */
	unsigned n_out, out_at; /* out.msgs[out_at .. n_out) wait */
	size_t out_used;        /* of out.bytes */
	struct batch in, out;
	union ovfl_space control[BATCH];
};

static struct udp *udp_of(struct sn_socket *s)
{
	return container_of(s, struct udp, socket);
}

/* SO_RXQ_OVFL: how many datagrams this socket has lost since it was opened. */
static void see_drops(struct udp *u, struct msghdr *h)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_RXQ_OVFL)
			continue;
		uint32_t drops;
		memcpy(&drops, CMSG_DATA(c), sizeof(drops));
		count_add(&overflowed, drops - u->drops);
		u->drops = drops;
	}
}

static void prepare_in(struct udp *u)
{
	for (unsigned i = 0; i < BATCH; i++) {
		struct msghdr *h = &u->in.msgs[i].msg_hdr;
		h->msg_namelen = sizeof(u->in.names[i]);
		h->msg_controllen = sizeof(u->control[i]);
		h->msg_flags = 0;
	}
}

static void take_in(struct udp *u, unsigned i)
{
	struct mmsghdr *m = &u->in.msgs[i];
	struct addr from;
	see_drops(u, &m->msg_hdr);
	if (m->msg_hdr.msg_flags & MSG_TRUNC)
		return;
	if (addr_from_sockaddr(&from, m->msg_hdr.msg_name, m->msg_hdr.msg_namelen) < 0)
		return;
	u->user.receive(
		u->user.arg, &u->socket, &from, span_of(m->msg_hdr.msg_iov->iov_base, m->msg_len));
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct udp *u = arg;
	(void)what;
	clock_tick();
	prepare_in(u);
	int n = recvmmsg(fd, u->in.msgs, BATCH, MSG_DONTWAIT, NULL);
	if (n <= 0)
		return;
	for (unsigned i = 0; i < (unsigned)n; i++)
		take_in(u, i);
}

/* A datagram that the kernel refuses for itself (no route, a firewall) must not hold up the others.
 */
static void skip_refused(struct udp *u, int err)
{
	static struct log_limit limit = LOG_LIMIT(5, 60000);
	char text[ADDR_TEXT_MAX];
	struct addr to = { 0 };
	const struct msghdr *h = &u->out.msgs[u->out_at++].msg_hdr;
	addr_from_sockaddr(&to, h->msg_name, h->msg_namelen);
	count_one(&unsent);
	log_limited(&limit, LOG_LEVEL_INFO, "%s mqttsn: cannot send: %s", addr_text(&to, text),
		strerror(err));
}

static void udp_flush(struct sn_socket *s)
{
	struct udp *u = udp_of(s);
	while (u->out_at < u->n_out) {
		int n = sendmmsg(
			u->fd, u->out.msgs + u->out_at, u->n_out - u->out_at, MSG_DONTWAIT);
		if (n > 0) {
			u->out_at += (unsigned)n;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			event_add(u->write, NULL);
			return;
		} else if (errno != EINTR) {
			skip_refused(u, errno);
		}
	}
	u->out_at = u->n_out = 0;
	u->out_used = 0;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct udp *u = arg;
	(void)fd;
	(void)what;
	clock_tick();
	udp_flush(&u->socket);
	if (!u->full || u->n_out)
		return;
	u->full = false;
	u->user.writable(u->user.arg, &u->socket);
}

static bool has_room(const struct udp *u, size_t len)
{
	return u->n_out < BATCH && OUT_BYTES - u->out_used >= len;
}

static int udp_send(struct sn_socket *s, const struct addr *to, struct span datagram)
{
	struct udp *u = udp_of(s);
	assert(datagram.len <= DATAGRAM_MAX);
	if (!has_room(u, datagram.len))
		udp_flush(s);
	if (!has_room(u, datagram.len)) {
		u->full = true;
		return -EAGAIN;
	}
	unsigned i = u->n_out++;
	uint8_t *bytes = u->out.bytes + u->out_used;
	memcpy(bytes, datagram.p, datagram.len);
	u->out_used += datagram.len;
	u->out.parts[i] = (struct iovec){ bytes, datagram.len };
	u->out.msgs[i].msg_hdr.msg_namelen = addr_to_sockaddr(to, u->v6, &u->out.names[i]);
	return 0;
}

static bool udp_pending(struct sn_socket *s)
{
	return udp_of(s)->n_out > 0;
}

static void udp_free(struct udp *u)
{
	if (u->read)
		event_free(u->read);
	if (u->write)
		event_free(u->write);
	if (u->fd >= 0)
		close(u->fd);
	free(u->in.bytes);
	free(u->out.bytes);
	free(u);
}

static void udp_close(struct sn_socket *s)
{
	udp_free(udp_of(s));
}

static const struct sn_socket_ops udp_ops = {
	.send = udp_send,
	.flush = udp_flush,
	.pending = udp_pending,
	.close = udp_close,
};

static void batch_init(struct batch *b, size_t bytes)
{
	b->bytes = must_calloc(1, bytes);
	for (unsigned i = 0; i < BATCH; i++) {
		struct msghdr *h = &b->msgs[i].msg_hdr;
		h->msg_name = &b->names[i];
		h->msg_iov = &b->parts[i];
		h->msg_iovlen = 1;
	}
}

static struct udp *udp_new(const struct sn_socket_user *user)
{
	struct udp *u = must_calloc(1, sizeof(*u));
	u->socket.ops = &udp_ops;
	u->user = *user;
	u->fd = -1;
	batch_init(&u->in, BATCH * IN_STRIDE);
	batch_init(&u->out, OUT_BYTES);
	for (unsigned i = 0; i < BATCH; i++) {
		u->in.parts[i] = (struct iovec){ u->in.bytes + i * IN_STRIDE, DATAGRAM_MAX };
		u->in.msgs[i].msg_hdr.msg_control = &u->control[i];
	}
	return u;
}

/* As much as we may have: the forced size needs CAP_NET_ADMIN, the other stops at
 * net.core.[rw]mem_max. Neither is needed to work. */
static void widen(int fd, int forced, int plain)
{
	int bytes = SOCKET_BYTES;
	if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof(bytes)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, plain, &bytes, sizeof(bytes));
}

static int open_fd(struct udp *u, const struct addr *at, bool dual_stack)
{
	struct sockaddr_storage ss;
	int on = 1, only = !dual_stack;
	u->v6 = at->family == 6;
	u->fd = socket(u->v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (u->fd < 0)
		return -errno;
	widen(u->fd, SO_RCVBUFFORCE, SO_RCVBUF);
	widen(u->fd, SO_SNDBUFFORCE, SO_SNDBUF);
	(void)setsockopt(u->fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on));
	if (u->v6 && setsockopt(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) < 0)
		return -errno;
	socklen_t len = addr_to_sockaddr(at, u->v6, &ss);
	if (bind(u->fd, (struct sockaddr *)&ss, len) < 0)
		return -errno;
	u->socket.dual_stack = dual_stack;
	len = sizeof(ss);
	if (getsockname(u->fd, (struct sockaddr *)&ss, &len) < 0)
		return -errno;
	return addr_from_sockaddr(&u->socket.at, (struct sockaddr *)&ss, len);
}

int sn_udp_open(struct event_base *base, const struct addr *at, bool dual_stack,
	const struct sn_socket_user *user, struct sn_socket **out)
{
	struct udp *u = udp_new(user);
	int rc = open_fd(u, at, dual_stack);
	if (rc < 0) {
		udp_free(u);
		return rc;
	}
	u->read = event_new(base, u->fd, EV_READ | EV_PERSIST, on_readable, u);
	u->write = event_new(base, u->fd, EV_WRITE, on_writable, u);
	if (!u->read || !u->write || event_add(u->read, NULL) < 0) {
		udp_free(u);
		return -ENOMEM;
	}
	*out = &u->socket;
	return 0;
}

uint32_t sn_udp_drops(const struct sn_socket *s)
{
	return container_of(s, const struct udp, socket)->drops;
}

int sn_udp_buffer(const struct sn_socket *s)
{
	int bytes = 0;
	socklen_t len = sizeof(bytes);
	(void)getsockopt(
		container_of(s, const struct udp, socket)->fd, SOL_SOCKET, SO_RCVBUF, &bytes, &len);
	return bytes;
}

static void set(int fd, int level, int name, int value)
{
	(void)setsockopt(fd, level, name, &value, sizeof(value));
}

/* Not before bind(), which has to notice another one at the same port. */
void sn_udp_share(struct sn_socket *s)
{
	set(udp_of(s)->fd, SOL_SOCKET, SO_REUSEADDR, 1);
}

/* Nothing of it is needed to serve: what the system does not have shows when it is used. */
void sn_udp_multicast(struct sn_socket *s, unsigned interface, int ttl)
{
	int fd = udp_of(s)->fd;
	struct ip_mreqn by = { .imr_ifindex = (int)interface };
	set(fd, SOL_SOCKET, SO_BROADCAST, 1);
	/* A socket at all addresses would hear whatever somebody on this machine has joined. */
	set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
	set(fd, IPPROTO_IP, IP_MULTICAST_TTL, ttl);
	if (interface)
		(void)setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof(by));
	if (s->at.family != 6)
		return;
	set(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
	set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, ttl);
	if (interface)
		set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)interface);
}
