#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_MULTICAST_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_MULTICAST_H

#include "adapters/mqttsn/sn_socket.h"
#include "gateway/base/list.h"

/* An ear in a multicast group, for a listener: what it hears is told to `user.receive` as if it had
 * come to the listener, by which it is answered as well. A socket of its own, because one that is
 * bound to an address hears no groups. `ears` is a list of all of them, which they leave only
 * with sn_ears_close().
 *
 * Joins `group` (with port 0: the listener's port) on the interface of that index; 0: the one that
 * has the listener's address, or the system's choice. sn_udp_share() comes first. 0, or a
 * negative errno: there is no multicast here. */
int sn_ear_open(struct event_base *base, struct sn_socket *listener, const struct addr *group,
	unsigned interface, const struct sn_socket_user *user, struct list *ears);
void sn_ears_close(struct list *ears);

/* Whether a listener can answer those who ask in that group. */
bool sn_ear_fits(const struct sn_socket *listener, const struct addr *group);
/* Index of the interface that has this address; 0: none, or it is any address. */
unsigned sn_interface_of(const struct addr *a);

#endif
