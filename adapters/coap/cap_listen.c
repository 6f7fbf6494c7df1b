#include "adapters/coap/cap_client.h"

#include "gateway/base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* A longer datagram is cut to 1472 octets by libcoap 4.3.1 and taken as whole when its MTU is above
 * that; below, it is refused. */
#define MTU            1400
#define BATCH          64
#define RECEIVE_BUFFER (4 << 20)
/* Sessions that belong to no client of ours: pings and noise. libcoap walks over all of them. */
#define IDLE_SESSIONS 64

int cap_listen_addr(const char *text, struct addr *addr)
{
	struct uri u;

	if (uri_parse(&u, text) || strcmp(u.scheme, "coap") != 0 || u.path[0])
		return -EINVAL;
	return addr_from_text(addr, u.host, u.port ? u.port : COAP_DEFAULT_PORT);
}

/* ---- opening ---- */

/* libcoap sets SO_REUSEADDR, with which two processes can share a UDP port and the later one gets
 * all the datagrams. A bind without it tells whether the port is free. */
static int port_free(const struct addr *addr)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(addr, false, &ss);
	int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err = fd == -1 || bind(fd, (struct sockaddr *)&ss, len) == -1 ? -errno : 0;

	if (fd != -1)
		close(fd);
	return err;
}

static bool is_our_socket(int fd, const struct addr *addr)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int type;
	socklen_t type_len = sizeof(type);
	struct addr local;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_DGRAM &&
	       getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
	       addr_from_sockaddr(&local, (struct sockaddr *)&ss, len) == 0 &&
	       addr_equal(&local, addr);
}

/* libcoap does not tell the descriptor of an endpoint. */
static int find_socket(const struct addr *addr)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int found = -1;

	if (!dir)
		return -1;
	while (found == -1 && (entry = readdir(dir))) {
		int fd = atoi(entry->d_name);

		if (is_our_socket(fd, addr))
			found = fd;
	}
	closedir(dir);
	return found;
}

static void tune_socket(struct cap_listener *l)
{
	int size = RECEIVE_BUFFER, off = 0, on = 1;

	fcntl(l->fd, F_SETFD, FD_CLOEXEC);
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof(off));
	/* Beyond net.core.rmem_max where we may. */
	if (setsockopt(l->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) == -1)
		setsockopt(l->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(l->fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on));
	l->batch = setsockopt(l->fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) ? 1 : BATCH;
}

/* ---- the turn ---- */

/* What libcoap does not pass on: an acknowledgement of a message of ours, a reset of an
 * unconfirmable one. The first octets of each datagram are looked at before libcoap takes it; that
 * also tells exactly how many there are. */
struct glance {
	uint8_t head[4]; /* RFC 7252, 3: version, type, token length; code; message id */
	struct sockaddr_storage from;
	socklen_t from_len;
	/* For SO_RXQ_OVFL and the packet info that libcoap asked for. */
	_Alignas(struct cmsghdr) uint8_t control[128];
};

/* The kernel's count of datagrams it had no room for, as of this one. */
static void count_overflow(struct cap_listener *l, struct msghdr *msg)
{
	struct cmsghdr *c;
	uint32_t dropped;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_RXQ_OVFL)
			continue;
		memcpy(&dropped, CMSG_DATA(c), sizeof(dropped));
		if (dropped != l->overflowed)
			count_add(&cap_counts.overflowed, dropped - l->overflowed);
		l->overflowed = dropped;
	}
}

static void prepare(struct mmsghdr *msg, struct iovec *iov, struct glance *g)
{
	*iov = (struct iovec){ g->head, sizeof(g->head) };
	msg->msg_hdr = (struct msghdr){
		.msg_name = &g->from,
		.msg_namelen = sizeof(g->from),
		.msg_iov = iov,
		.msg_iovlen = 1,
		.msg_control = g->control,
		.msg_controllen = sizeof(g->control),
	};
}

static unsigned glance_at(struct cap_listener *l, struct glance *g)
{
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	int start = 0, n;

	for (unsigned i = 0; i < l->batch; i++)
		prepare(&msgs[i], &iov[i], &g[i]);
	if (l->batch > 1)
		setsockopt(l->fd, SOL_SOCKET, SO_PEEK_OFF, &start, sizeof(start));
	/* With MSG_TRUNC the peek offset moves on by whole datagrams. */
	n = recvmmsg(l->fd, msgs, l->batch, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) {
		g[i].from_len = msgs[i].msg_hdr.msg_namelen;
		if (msgs[i].msg_len < sizeof(g[i].head))
			g[i].head[0] = 0;
		traffic_one(&cap_traffic, TRAFFIC_PACKETS_IN);
		traffic_add(&cap_traffic, TRAFFIC_BYTES_IN, msgs[i].msg_len);
	}
	if (n > 0)
		count_overflow(l, &msgs[n - 1].msg_hdr);
	return n > 0 ? (unsigned)n : 0;
}

static void heard_of(struct cap_listener *l, const struct glance *g)
{
	unsigned version = g->head[0] >> 6, type = g->head[0] >> 4 & 3;
	uint16_t mid = (uint16_t)(g->head[2] << 8 | g->head[3]);
	struct cap_client *c;
	struct addr peer;

	if (version != 1 || (type != COAP_MESSAGE_ACK && type != COAP_MESSAGE_RST) ||
		addr_from_sockaddr(&peer, (const struct sockaddr *)&g->from, g->from_len))
		return;
	c = cap_client_find(l, &peer);
	if (!c)
		return;
	if (type == COAP_MESSAGE_ACK)
		cap_outbox_acknowledged(c, mid);
	else
		cap_outbox_reset(c, mid);
}

/* libcoap reads one datagram for each event, and does its rounds once for all that it is given. */
static void process(struct cap_listener *l, const struct epoll_event *events, int n_events)
{
	struct epoll_event all[BATCH + 2];
	struct glance glances[BATCH];
	unsigned n = 0, n_glances = 0;

	for (int i = 0; i < n_events; i++) {
		unsigned copies = 1;

		/* NULL is libcoap's own timer; it has no other descriptors in there. */
		if (events[i].data.ptr)
			copies = n_glances = glance_at(l, glances);
		while (copies--)
			all[n++] = events[i];
	}
	coap_io_do_epoll(l->context, all, n);
	for (unsigned i = 0; i < n_glances; i++)
		heard_of(l, &glances[i]);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct epoll_event events[2];
	int n;

	(void)what;
	clock_tick();
	n = epoll_wait(fd, events, 2, 0);
	if (n > 0)
		process(arg, events, n);
}

bool cap_send(coap_session_t *session, coap_pdu_t *pdu)
{
	size_t size = cap_pdu_size(pdu);

	if (coap_send(session, pdu) == COAP_INVALID_MID)
		return false;
	traffic_one(&cap_traffic, TRAFFIC_PACKETS_OUT);
	traffic_add(&cap_traffic, TRAFFIC_BYTES_OUT, size);
	return true;
}

/* ---- what libcoap calls ---- */

static void on_nack(coap_session_t *session, const coap_pdu_t *sent,
	const coap_nack_reason_t reason, const coap_mid_t mid)
{
	struct cap_listener *l = coap_get_app_data(coap_session_get_context(session));
	const coap_address_t *remote = coap_session_get_addr_remote(session);
	struct cap_client *c;
	struct addr peer;

	(void)sent;
	if (addr_from_sockaddr(&peer, &remote->addr.sa, remote->size))
		return;
	c = cap_client_find(l, &peer);
	if (c && reason == COAP_NACK_RST)
		cap_outbox_reset(c, (uint16_t)mid);
	else if (c)
		cap_outbox_lost(c, (uint16_t)mid);
}

/* We only send responses, so one that comes is odd. In an acknowledgement it counts as that. */
static coap_response_t on_response(coap_session_t *session, const coap_pdu_t *sent,
	const coap_pdu_t *received, const coap_mid_t mid)
{
	(void)session;
	(void)sent;
	(void)mid;
	return coap_pdu_get_type(received) == COAP_MESSAGE_ACK ? COAP_RESPONSE_OK
							       : COAP_RESPONSE_FAIL;
}

/* What it calls an alert is a reset from a peer, which is how observations end. */
static void on_log(coap_log_t level, const char *text)
{
	static struct log_limit limit = LOG_LIMIT(10, 10000);

	if (level != LOG_ALERT)
		log_limited(
			&limit, LOG_LEVEL_INFO, "libcoap: %.*s", (int)strcspn(text, "\r\n"), text);
}

/* ---- life ---- */

static int add_resources(coap_context_t *context)
{
	static const coap_request_t methods[] = { COAP_REQUEST_GET, COAP_REQUEST_POST,
		COAP_REQUEST_PUT, COAP_REQUEST_DELETE, COAP_REQUEST_FETCH, COAP_REQUEST_PATCH,
		COAP_REQUEST_IPATCH };
	coap_resource_t *any = coap_resource_unknown_init(cap_on_request);
	coap_resource_t *core =
		coap_resource_init(coap_make_str_const(COAP_DEFAULT_URI_WELLKNOWN), 0);

	if (!any || !core)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		coap_register_request_handler(any, methods[i], cap_on_request);
		coap_register_request_handler(core, methods[i], cap_on_request);
	}
	coap_add_resource(context, any);
	coap_add_resource(context, core);
	return 0;
}

static int open_context(struct cap_listener *l)
{
	coap_context_t *context = l->context = coap_new_context(NULL);

	if (!context)
		return -ENOMEM;
	coap_set_app_data(context, l);
	coap_context_set_block_mode(context, 0);
	coap_context_set_max_idle_sessions(context, IDLE_SESSIONS);
	coap_context_set_session_timeout(context, 30);
	coap_register_nack_handler(context, on_nack);
	coap_register_response_handler(context, on_response);
	return add_resources(context);
}

static int open_endpoint(struct cap_listener *l)
{
	struct sockaddr_storage ss;
	coap_endpoint_t *endpoint;
	coap_address_t address;
	coap_tick_t now;
	int err = port_free(&l->addr);

	if (err)
		return err;
	coap_address_init(&address);
	address.size = addr_to_sockaddr(&l->addr, false, &ss);
	memcpy(&address.addr, &ss, MIN(sizeof(address.addr), sizeof(ss)));
	endpoint = coap_new_endpoint(l->context, &address, COAP_PROTO_UDP);
	l->fd = endpoint ? find_socket(&l->addr) : -1;
	if (l->fd == -1)
		return -EADDRNOTAVAIL;
	coap_endpoint_set_default_mtu(endpoint, MTU);
	tune_socket(l);
	l->epoll_fd = coap_context_get_coap_fd(l->context);
	coap_ticks(&now);
	coap_io_prepare_epoll(l->context, now);
	return 0;
}

static int open_listener(struct cap_listener *l)
{
	int err = open_context(l);

	if (!err)
		err = open_endpoint(l);
	if (err)
		return err;
	l->readable =
		event_new(l->cap->env.base, l->epoll_fd, EV_READ | EV_PERSIST, on_readable, l);
	return l->readable && event_add(l->readable, NULL) == 0 ? 0 : -ENOMEM;
}

int cap_listen(struct cap *cap, const char *uri)
{
	struct cap_listener *l = must_calloc(1, sizeof(*l));
	int err;

	coap_startup();
	coap_set_log_handler(on_log);
	coap_set_log_level(LOG_ERR);
	l->cap = cap;
	l->fd = -1;
	list_init(&l->node);
	err = cap_listen_addr(uri, &l->addr);
	if (!err)
		err = open_listener(l);
	if (err) {
		log_error("coap: cannot listen on %s: %s", uri, strerror(-err));
		cap_listener_free(l);
		return err;
	}
	list_append(&cap->listeners, &l->node);
	log_notice("coap: listening on %s", uri);
	return 0;
}

void cap_listener_free(struct cap_listener *l)
{
	if (l->readable)
		event_free(l->readable);
	list_remove(&l->node);
	if (l->context)
		coap_free_context(l->context);
	free(l);
}
