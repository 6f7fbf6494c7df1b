#ifndef TIDEGATE_CORE_SESSION_RARE_H
#define TIDEGATE_CORE_SESSION_RARE_H

#include "gateway/core/session.h"

/* When a will is published, besides the client's loss (MQTT 5.0, 3.1.2.5 and 3.1.3.2.2). */
struct will_terms {
	struct timer delay; /* armed while the will of a lost client waits */
	int64_t life_ms;    /* its expiry, counted from publication; 0: none */
	uint32_t delay_s;
};

/* What few sessions have, in one block that lives from its first use to the session's end. */
struct session_rare {
	struct session *session; /* borrowed */
	struct will_terms will;
	uint64_t dropped[DROP_REASONS];
};

/* Makes it when there is none. NULL: no memory. */
struct session_rare *session_rare(struct session *s);

#endif
