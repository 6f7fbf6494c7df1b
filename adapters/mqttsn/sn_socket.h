#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_SOCKET_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_SOCKET_H

#include "gateway/base/addr.h"
#include "gateway/base/span.h"

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct sn_group;

/* A place where datagrams come in and go out. The UDP one is below; tests have their own. */
struct sn_socket {
	const struct sn_socket_ops *ops;
	struct sn_group *group; /* borrowed: whose listener it is */
	struct addr at;         /* where it listens */
	bool dual_stack;        /* `at` is every address of both families */
	char *listen;           /* owned by who opened it: as configured; NULL: unknown */
};

struct sn_socket_ops {
	/* Takes a copy of the datagram. 0, or -EAGAIN: full, `writable` will be called. */
	int (*send)(struct sn_socket *, const struct addr *to, struct span datagram);
	void (*flush)(struct sn_socket *);   /* the end of a turn: what was taken leaves */
	bool (*pending)(struct sn_socket *); /* something taken has not left */
	void (*close)(struct sn_socket *);   /* drops what has not left; frees */
};

/* Whom a socket tells. Both are called from the loop. */
struct sn_socket_user {
	void (*receive)(
		void *arg, struct sn_socket *, const struct addr *from, struct span datagram);
	void (*writable)(void *arg, struct sn_socket *); /* after send() said -EAGAIN */
	void *arg;
};

/* UDP in batches: at most 64 datagrams are read per wake, and what a turn has written leaves with
 * one system call. With `dual_stack` an IPv6 socket serves IPv4 as well. 0, or a negative errno of
 * socket() or bind(). */
int sn_udp_open(struct event_base *base, const struct addr *at, bool dual_stack,
	const struct sn_socket_user *user, struct sn_socket **out);
/* Datagrams that the kernel had no room for (SO_RXQ_OVFL), as far as we know of them. */
uint32_t sn_udp_drops(const struct sn_socket *s);
/* Octets of its receive buffer, as the kernel counts them. */
int sn_udp_buffer(const struct sn_socket *s);
/* Permits sockets of groups, see sn_multicast.h, at its port. */
void sn_udp_share(struct sn_socket *s);
/* Lets it send to groups, by the interface of that index (0: its address's, or the system's choice)
 * and `ttl` hops far, and to broadcast addresses. */
void sn_udp_multicast(struct sn_socket *s, unsigned interface, int ttl);

#endif
