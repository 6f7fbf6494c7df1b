#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_SOCKET_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_SOCKET_H

#include "gateway/base/addr.h"
#include "gateway/base/span.h"

#include <stdbool.h>
#include <stddef.h>

struct event_base;

/* A place where datagrams come in and go out. The UDP one is below; tests have their own. */
struct sn_socket {
	const struct sn_socket_ops *ops;
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
/* The address it is bound to. */
void sn_udp_local(const struct sn_socket *s, struct addr *a);

#endif
