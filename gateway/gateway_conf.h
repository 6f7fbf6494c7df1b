#ifndef TIDEGATE_GATEWAY_CONF_H
#define TIDEGATE_GATEWAY_CONF_H

#define GATEWAY_ID_MAX 64

#include <stdint.h>

struct gateway_conf {
	const char *id;          /* NULL: the host name */
	int64_t sys_interval_ms; /* 0: no values */
	int shared_strategy;     /* enum share_strategy */
};

#endif
