#ifndef TIDEGATE_ADAPTERS_ADAPTER_H
#define TIDEGATE_ADAPTERS_ADAPTER_H

#include "gateway/base/conf.h"
#include "gateway/core/limits.h"
#include "gateway/core/rewrite.h"
#include "gateway/core/router.h"
#include "gateway/core/session.h"

struct event_base;

/* What an adapter is given; borrowed for its whole life. */
struct env {
	struct event_base *base;
	struct router *router;
	struct sessions *sessions;
	const char *gateway_id;
	const struct rewrite *rewrite; /* for struct scope; NULL: no rules */
	bool stored;                   /* there is storage: what sessions are survives a restart */
};

/* The contract of a protocol adapter. All is called in the loop's thread. */
struct adapter {
	const char *name;                   /* also its section's name */
	const struct conf_section *section; /* optional: absent section = not started */
	/* Opens its listeners. 0, or after one line in the log: -EADDRINUSE / -EADDRNOTAVAIL /
	 * -EACCES (a listener cannot be had), or -EINVAL (a value that only start-up could check).
	 */
	int (*start)(const struct env *env, const struct conf *conf, void **self);
	/* End of each turn: what was written in this turn leaves. */
	void (*flush)(void *self);
	/* Applies the rows marked `reload`. `conf` has been checked. 0, or a negative errno with
	 * the old values kept. */
	int (*reload)(void *self, const struct conf *conf);
	/* TERM: accept nobody new, finish what is under way. True when there is nothing under way.
	 */
	bool (*drain)(void *self);
	/* Closes everything and frees. Sessions have been ended or detached before. */
	void (*stop)(void *self);
	/* USR1: its state, a bounded number of lines, to the log. */
	void (*dump)(void *self);
};

extern const struct adapter adapter_mqttsn, adapter_coap, adapter_mqtt;
extern const struct conf_section mqttsn_conf_section, cap_conf_section, mqtt_conf_section;

#endif
