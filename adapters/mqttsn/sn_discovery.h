#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_DISCOVERY_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_DISCOVERY_H

#include "gateway/base/addr.h"
#include "gateway/base/timer.h"

#include <stddef.h>

/* How devices find the gateway (MQTT-SN 1.2, 6.1): ADVERTISE every T_adv, and GWINFO for those who
 * ask with SEARCHGW. GWINFO goes to the asker at once (and has the size of the question); where it
 * is wanted also to everybody who listens, after a random time and once for all who asked
 * meanwhile. */
struct sn_gateway;
struct sn_conf;
struct sn_input;

struct sn_discovery {
	struct timer advertise; /* T_adv; armed while there are destinations */
	struct timer gwinfo;    /* armed: GWINFO is due by multicast */
	struct addr *to;        /* owned: destinations of ADVERTISE */
	size_t n_to;
};

void sn_discovery_init(struct sn_gateway *gw);
/* Takes the destinations over; the next turn advertises. */
void sn_discovery_configure(struct sn_gateway *gw, const struct sn_conf *conf);
void sn_discovery_destroy(struct sn_gateway *gw);

void sn_on_searchgw(const struct sn_input *in);

#endif
