#ifndef TIDEGATE_CORE_AUTOSUB_H
#define TIDEGATE_CORE_AUTOSUB_H

#include "gateway/base/conf.h"
#include "gateway/core/session.h"

/* Subscriptions that a client gets with its new session, without asking: sections
 * [autosubscribe.NAME]. They are as if the client had made them: its rights are asked, it can end
 * them, and a resumed session has them still. */
enum { AUTOSUB_RULES_MAX = 64 };

struct autosub_rule {
	const char *topic; /* with %c and %u; NULL in [autosubscribe] itself */
	int64_t qos, retain_handling;
	bool no_local, retain_as_published;
	int protocol; /* index into the row's choices: any, mqtt, mqttsn */
};

struct autosub {
	const struct autosub_rule *rules[AUTOSUB_RULES_MAX]; /* borrowed from the conf */
	size_t n;
};

extern const struct conf_section autosub_conf_section;

/* `conf` stays until the next call. */
void autosub_load(struct autosub *a, const struct conf *conf);
/* Filters are put below `mountpoint` (NULL: none); the rules of [rewrite] are not for them. `a` may
 * be NULL. What is refused is logged. */
void autosub_apply(const struct autosub *a, struct session *s, const char *mountpoint);

#endif
