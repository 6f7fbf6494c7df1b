#include "adapters/mqttsn/sn_multicast.h"

#include "gateway/base/clock.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

/* SEARCHGW has 3 octets, and 258 in an encapsulation. */
#define HEARD_MAX      512
#define HEARD_PER_TURN 16

struct ear {
	struct list node;
	struct sn_socket *listener; /* borrowed */
	struct sn_socket_user user;
	struct event *read; /* owned */
	int fd;
};

bool sn_ear_fits(const struct sn_socket *listener, const struct addr *group)
{
	return listener->at.family == group->family || (listener->dual_stack && group->family == 4);
}

static bool is_at(const struct ifaddrs *i, const struct addr *a)
{
	struct addr at;
	socklen_t len = sizeof(struct sockaddr_in6);
	if (!i->ifa_addr)
		return false;
	if (i->ifa_addr->sa_family == AF_INET)
		len = sizeof(struct sockaddr_in);
	return addr_from_sockaddr(&at, i->ifa_addr, len) == 0 && addr_same_ip(&at, a);
}

unsigned sn_interface_of(const struct addr *a)
{
	struct ifaddrs *all;
	unsigned index = 0;
	if (addr_is_any(a) || getifaddrs(&all) < 0)
		return 0;
	for (const struct ifaddrs *i = all; i && !index; i = i->ifa_next) {
		if (is_at(i, a))
			index = if_nametoindex(i->ifa_name);
	}
	freeifaddrs(all);
	return index;
}

static int hear_one(struct ear *ear)
{
	uint8_t buf[HEARD_MAX];
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct addr from;
	ssize_t n = recvfrom(
		ear->fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&ss, &len);
	if (n < 0)
		return -errno;
	if ((size_t)n <= sizeof(buf) && addr_from_sockaddr(&from, (struct sockaddr *)&ss, len) == 0)
		ear->user.receive(ear->user.arg, ear->listener, &from, span_of(buf, (size_t)n));
	return 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	clock_tick();
	for (int i = 0; i < HEARD_PER_TURN && hear_one(arg) == 0; i++)
		;
}

static int join(int fd, const struct addr *group, unsigned interface)
{
	struct group_req req = { .gr_interface = interface };
	int level = group->family == 6 ? IPPROTO_IPV6 : IPPROTO_IP;
	addr_to_sockaddr(group, false, &req.gr_group);
	return setsockopt(fd, level, MCAST_JOIN_GROUP, &req, sizeof(req)) < 0 ? -errno : 0;
}

/* Bound to the group's address it hears nothing else. */
static int open_fd(struct ear *ear, const struct addr *group, unsigned interface)
{
	struct sockaddr_storage ss;
	int on = 1;
	ear->fd = socket(group->family == 6 ? AF_INET6 : AF_INET,
		SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (ear->fd < 0 || setsockopt(ear->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		(group->family == 6 &&
			setsockopt(ear->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0))
		return -errno;
	socklen_t len = addr_to_sockaddr(group, false, &ss);
	if (bind(ear->fd, (struct sockaddr *)&ss, len) < 0)
		return -errno;
	return join(ear->fd, group, interface);
}

static int attach(struct ear *ear, struct event_base *base)
{
	ear->read = event_new(base, ear->fd, EV_READ | EV_PERSIST, on_readable, ear);
	return ear->read && event_add(ear->read, NULL) == 0 ? 0 : -ENOMEM;
}

static void ear_free(struct ear *ear)
{
	if (ear->read)
		event_free(ear->read);
	if (ear->fd >= 0)
		close(ear->fd);
	free(ear);
}

int sn_ear_open(struct event_base *base, struct sn_socket *listener, const struct addr *group,
	unsigned interface, const struct sn_socket_user *user, struct list *ears)
{
	struct ear *ear = must_calloc(1, sizeof(*ear));
	struct addr at = *group;
	ear->fd = -1;
	ear->listener = listener;
	ear->user = *user;
	if (!at.port)
		at.port = listener->at.port;
	if (!interface)
		interface = at.scope ? at.scope : sn_interface_of(&listener->at);
	int rc = open_fd(ear, &at, interface);
	if (rc == 0)
		rc = attach(ear, base);
	if (rc < 0)
		ear_free(ear);
	else
		list_append(ears, &ear->node);
	return rc;
}

void sn_ears_close(struct list *ears)
{
	while (!list_empty(ears)) {
		struct ear *ear = list_first(ears, struct ear, node);
		list_remove(&ear->node);
		ear_free(ear);
	}
}
