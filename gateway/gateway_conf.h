#ifndef TIDEGATE_GATEWAY_CONF_H
#define TIDEGATE_GATEWAY_CONF_H

#define GATEWAY_ID_MAX 64

struct gateway_conf {
	const char *id; /* NULL: the host name */
};

#endif
