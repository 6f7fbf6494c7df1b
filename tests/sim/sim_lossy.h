#ifndef TIDEGATE_SIM_LOSSY_H
#define TIDEGATE_SIM_LOSSY_H

#include "gateway/base/span.h"

#include <stdint.h>

struct device;

/* A bad network between the devices and their sockets: datagrams are lost, come twice, or late and
 * so in another order. What happens to the n-th datagram of a device in one direction depends on
 * the seed alone. */
enum lossy_way { LOSSY_UP, LOSSY_DOWN };

struct lossy_options {
	unsigned loss, dup, reorder; /* percent */
	unsigned delay_ms;           /* a late one is up to that late */
	uint64_t seed;
	void (*pass[2])(struct device *, struct span datagram); /* by enum lossy_way */
};

struct lossy *lossy_new(const struct lossy_options *o);
/* Drops what is still held. */
void lossy_free(struct lossy *l);
void lossy_seed(const struct lossy *l, struct device *d);
/* Calls pass[way] with the datagram not at all, at once or later, once or twice. */
void lossy_send(struct lossy *l, struct device *d, enum lossy_way way, struct span datagram);
/* Datagrams lost up to now. */
uint64_t lossy_lost(const struct lossy *l);

#endif
