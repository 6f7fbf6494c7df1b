#include "adapters/mqtt/mq_listen.h"

#include "adapters/mqtt/mq_conn.h"
#include "adapters/mqtt/mq_group.h"
#include "adapters/mqtt/mqtt.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG          1024
#define ACCEPTS_PER_TURN 64
#define REST_MS          1000

struct mq_listener {
	struct list node;       /* in mqtt->listeners */
	struct mq_group *group; /* borrowed */
	struct event acceptable;
	int fd;
	bool tls, ws;
};

static struct count turned_away = COUNT("mqtt.turned_away");

static const struct {
	const char *scheme;
	uint16_t port;
	bool tls, ws;
} schemes[] = {
	{ "mqtt", 1883, false, false },
	{ "mqtts", 8883, true, false },
	{ "ws", 8083, false, true },
	{ "wss", 8084, true, true },
};

int mq_listen_parse(const char *uri, struct mq_place *p)
{
	struct uri u;

	if (uri_parse(&u, uri) < 0 || u.path[0])
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		if (strcmp(u.scheme, schemes[i].scheme) != 0)
			continue;
		p->scheme = schemes[i].scheme;
		p->tls = schemes[i].tls;
		p->ws = schemes[i].ws;
		return addr_from_text(&p->addr, u.host, u.port ? u.port : schemes[i].port);
	}
	return -EINVAL;
}

static void set_option(int fd, int level, int option, int value)
{
	/* Each of them is a nicety: the socket works without. */
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

static bool has_room(const struct mq_listener *l)
{
	static struct log_limit limit = LOG_LIMIT(1, 10000);
	const struct mqtt *m = l->group->mqtt;

	if (m->n_conns >= m->max_conns)
		log_limited(&limit, LOG_LEVEL_WARN,
			"mqtt: %zu connections, the most that are allowed; others are turned away",
			m->n_conns);
	else if (l->tls && m->handshakes >= m->max_handshakes)
		log_limited(&limit, LOG_LEVEL_WARN,
			"mqtt: %zu TLS handshakes under way, the most that are allowed; others "
			"are turned away",
			m->handshakes);
	else
		return true;
	return false;
}

/* Who finds no room is closed at once, so that the peer knows, and does not hang in the backlog. */
static void take_peer(
	struct mq_listener *l, int fd, const struct sockaddr_storage *ss, socklen_t len)
{
	struct addr peer;

	if (addr_from_sockaddr(&peer, (const void *)ss, len) < 0 || !has_room(l)) {
		count_one(&turned_away);
		close(fd);
		return;
	}
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (mq_conn_new(l->group, fd, &peer, l->tls, l->ws))
		traffic_one(&mq_traffic, TRAFFIC_SOCKETS);
}

static bool out_of_resources(int e)
{
	return e == EMFILE || e == ENFILE || e == ENOBUFS || e == ENOMEM;
}

/* A listener that is ready but cannot be accepted from would spin the loop. */
static void listeners_rest(struct mqtt *m, int e)
{
	static struct log_limit limit = LOG_LIMIT(1, 60000);
	struct list *pos;

	list_for_each(pos, &m->listeners)
		event_del(&list_entry(pos, struct mq_listener, node)->acceptable);
	timer_arm(&m->accept_again, REST_MS);
	log_limited(&limit, LOG_LEVEL_WARN, "mqtt: cannot accept connections for a moment: %s",
		strerror(e));
}

static void on_accept_again(struct timer *t)
{
	struct mqtt *m = container_of(t, struct mqtt, accept_again);
	struct list *pos;

	list_for_each(pos, &m->listeners)
		event_add(&list_entry(pos, struct mq_listener, node)->acceptable, NULL);
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	struct mq_listener *l = arg;
	(void)what;

	clock_tick();
	for (unsigned n = 0; n < ACCEPTS_PER_TURN; n++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		int peer = accept4(fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (peer >= 0)
			take_peer(l, peer, &ss, len);
		else if (out_of_resources(errno)) {
			listeners_rest(l->group->mqtt, errno);
			return;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		/* Else that one connection failed (ECONNABORTED...): the next may be well. */
	}
}

static int open_socket(const struct addr *a, bool v6_only)
{
	struct sockaddr_storage ss;
	bool v6 = a->family == 6;
	socklen_t len = addr_to_sockaddr(a, v6, &ss);

	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (v6)
		set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6_only);
	if (bind(fd, (struct sockaddr *)&ss, len) < 0 || listen(fd, BACKLOG) < 0) {
		int e = errno;
		close(fd);
		return -e;
	}
	return fd;
}

static void log_cannot_listen(const struct mq_place *p, int e)
{
	char text[ADDR_TEXT_MAX];

	log_error("mqtt: cannot listen on %s://%s: %s", p->scheme, addr_text(&p->addr, text),
		e == EADDRINUSE ? "address already in use (often by another MQTT broker)"
				: strerror(e));
}

int mq_listen_open(struct mq_group *g, const struct mq_place *p, bool v6_only)
{
	struct mqtt *m = g->mqtt;
	char text[ADDR_TEXT_MAX];

	int fd = open_socket(&p->addr, v6_only);
	if (fd < 0) {
		log_cannot_listen(p, -fd);
		return fd;
	}
	struct mq_listener *l = must_calloc(1, sizeof(*l));
	l->group = g;
	l->fd = fd;
	l->tls = p->tls;
	l->ws = p->ws;
	event_assign(&l->acceptable, m->env.base, fd, EV_READ | EV_PERSIST, on_acceptable, l);
	event_add(&l->acceptable, NULL);
	list_append(&m->listeners, &l->node);
	timer_init(&m->accept_again, on_accept_again);
	log_notice("mqtt: listening on %s://%s", p->scheme, addr_text(&p->addr, text));
	return 0;
}

void mq_listen_close(struct mqtt *m)
{
	timer_disarm(&m->accept_again);
	while (!list_empty(&m->listeners)) {
		struct mq_listener *l = list_first(&m->listeners, struct mq_listener, node);
		event_del(&l->acceptable);
		close(l->fd);
		list_remove(&l->node);
		free(l);
	}
}
