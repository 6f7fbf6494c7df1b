#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_DUMP_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_DUMP_H

#include "adapters/mqttsn/sn_peer.h"

#include <stddef.h>

/* What the gateway knows of its devices, as lines for people: USR1 writes them to the log, a
 * control socket to whoever asks. Octets of devices are shown as they are: ids and names have been
 * checked for control characters, and `line` may escape. */
typedef void sn_dump_line(void *arg, const char *text);

/* One device: state, address, queue, what it owes us, last trouble, drops; then at most `topics` of
 * its topic ids, the rest as a number. */
void sn_dump_client(const struct sn_peer *p, size_t topics, sn_dump_line *line, void *arg);
/* The first `clients` that have a session, then how many more there are. */
void sn_dump_clients(
	const struct sn_gateway *gw, size_t clients, size_t topics, sn_dump_line *line, void *arg);

const char *sn_state_name(enum sn_state state);

#endif
