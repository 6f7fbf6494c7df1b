#include "adapters/mqtt/mq_listen.h"

#include "adapters/mqtt/mq_conn.h"
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

#define DEFAULT_PORT     1883
#define BACKLOG          1024
#define ACCEPTS_PER_TURN 64
#define REST_MS          1000

struct mq_listener {
	struct list node;
	struct mqtt *mqtt; /* borrowed */
	struct event acceptable;
	int fd;
};

static struct count accepted = COUNT("mqtt.accepted");
static struct count turned_away = COUNT("mqtt.turned_away");

int mq_listen_parse(const char *uri, struct addr *a)
{
	struct uri u;

	if (uri_parse(&u, uri) < 0 || strcmp(u.scheme, "mqtt") != 0 || u.path[0])
		return -EINVAL;
	return addr_from_text(a, u.host, u.port ? u.port : DEFAULT_PORT);
}

static void set_option(int fd, int level, int option, int value)
{
	/* Each of them is a nicety: the socket works without. */
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

/* Too many connections are closed at once, so that the peer knows, and does not hang in the
 * backlog. */
static void take_peer(struct mqtt *m, int fd, const struct sockaddr_storage *ss, socklen_t len)
{
	static struct log_limit limit = LOG_LIMIT(1, 10000);
	struct addr peer;

	if (m->n_conns >= m->max_conns || addr_from_sockaddr(&peer, (const void *)ss, len) < 0) {
		count_one(&turned_away);
		log_limited(&limit, LOG_LEVEL_WARN,
			"mqtt: %zu connections, the most that are allowed; others are turned away",
			m->n_conns);
		close(fd);
		return;
	}
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (mq_conn_new(m, fd, &peer))
		count_one(&accepted);
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
			take_peer(l->mqtt, peer, &ss, len);
		else if (out_of_resources(errno)) {
			listeners_rest(l->mqtt, errno);
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

static void log_cannot_listen(const struct addr *a, int e)
{
	char text[ADDR_TEXT_MAX];

	log_error("mqtt: cannot listen on %s: %s", addr_text(a, text),
		e == EADDRINUSE ? "address already in use (often by another MQTT broker)"
				: strerror(e));
}

int mq_listen_open(struct mqtt *m, const struct addr *a, bool v6_only)
{
	char text[ADDR_TEXT_MAX];

	int fd = open_socket(a, v6_only);
	if (fd < 0) {
		log_cannot_listen(a, -fd);
		return fd;
	}
	struct mq_listener *l = must_calloc(1, sizeof(*l));
	l->mqtt = m;
	l->fd = fd;
	event_assign(&l->acceptable, m->env.base, fd, EV_READ | EV_PERSIST, on_acceptable, l);
	event_add(&l->acceptable, NULL);
	list_append(&m->listeners, &l->node);
	timer_init(&m->accept_again, on_accept_again);
	log_notice("mqtt: listening on %s", addr_text(a, text));
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
