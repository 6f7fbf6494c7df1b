#ifndef TIDEGATE_UPSTREAM_INTEREST_H
#define TIDEGATE_UPSTREAM_INTEREST_H

#include "gateway/base/conf.h"
#include "gateway/base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct interest_memory;
struct uplink;

/* Which filters have to be subscribed upstream: what local clients want, as far as `import` allows,
 * and what `import_always` names; merged, so that no filter is subscribed that another one covers;
 * kept for a while after the last who wanted it has gone. */
struct interest;

#define INTEREST_LINGER_MS 10000
/* For clients to come back after a restart of the gateway. */
#define INTEREST_RETURN_MS 60000
/* Retained messages that a SUBSCRIBE brings come within this time of its answer. */
#define INTEREST_REPLAY_MS 3000

struct interest *interest_new(struct uplink *uplink); /* NULL: no memory */
void interest_free(struct interest *i);
/* What is subscribed is remembered there (borrowed). Of the last run's, those that nobody wants
 * INTEREST_RETURN_MS after the broker's session was found are unsubscribed. */
void interest_set_memory(struct interest *i, struct interest_memory *memory);
/* Limits and static filters; the lists are copied. 0, or -ENOMEM and nothing has changed. */
int interest_set_imports(
	struct interest *i, const struct conf_list *imports, const struct conf_list *always);

/* As a router_watcher tells it. Filters that begin with '$' are left alone. */
void interest_wanted(struct interest *i, struct span filter, uint8_t qos);
void interest_unwanted(struct interest *i, struct span filter);

void interest_up(struct interest *i, bool session_present);
void interest_down(struct interest *i);
void interest_granted(struct interest *i, const uint8_t *codes, size_t n);
void interest_turn(struct interest *i); /* asks for what is missing, a request at a time */

/* It may come from upstream. */
bool interest_allows(const struct interest *i, struct span topic);
/* Subscribed upstream, or just being so: what we publish there comes back on 3.1.1. */
bool interest_matches(struct interest *i, struct span topic);
/* A message with the retain flag set is likely to be an answer to a SUBSCRIBE. */
bool interest_replaying(const struct interest *i);
/* Lines of the table; those subscribed upstream. */
unsigned interest_count(const struct interest *i, unsigned *subscribed);

#endif
