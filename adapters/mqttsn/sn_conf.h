#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_CONF_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_CONF_H

#include "gateway/base/addr.h"
#include "gateway/base/conf.h"
#include "gateway/core/queue_policy.h"

#include <stdbool.h>
#include <stdint.h>

enum sn_minus_one { SN_MINUS_ONE_OFF, SN_MINUS_ONE_PREDEFINED, SN_MINUS_ONE_ALL };
enum sn_takeover { SN_TAKEOVER_REFUSE, SN_TAKEOVER_SAME_IP, SN_TAKEOVER_ALLOW };

#define SN_DEFAULT_PORT    1884
#define SN_FORWARDERS_ANY  "any"
#define SN_FORWARDERS_NONE "none"

/* Section [mqttsn], or [mqttsn.NAME]: a further group of listeners. */
struct sn_conf {
	struct conf_list listen;
	bool allow_plain;
	struct conf_list multicast;
	const char *multicast_interface;
	int64_t multicast_ttl;
	struct conf_list advertise;
	int64_t advertise_interval_ms; /* T_adv */
	int64_t gwinfo_delay_ms;       /* 0: no GWINFO by multicast */
	struct conf_list forwarders;
	int64_t gateway_id;
	int64_t retry_interval_ms; /* T_retry */
	int64_t retry_count;       /* N_retry */
	int64_t wait_interval_ms;  /* T_WAIT */
	int64_t keepalive_max_ms;  /* 0: as the device asks */
	const char *predefined_file;
	int qos_minus_one; /* enum sn_minus_one */
	int takeover;      /* enum sn_takeover */
	int64_t session_expiry_ms;
	int64_t topics_per_client;
	struct queue_policy mail; /* of a sleeper */
	int64_t half_open;
	const char *mountpoint; /* NULL: none */
};

/* "10.0.0.255:1885", "[ff05::1]:1885", "ff05::1": numeric, with the port or without. 0 or -EINVAL.
 */
int sn_conf_addr(const char *text, uint16_t default_port, struct addr *a);

#endif
