#ifndef TIDEGATE_UPSTREAM_LEDGER_H
#define TIDEGATE_UPSTREAM_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

/* What was bound upstream and will not arrive: how much, whose and why. Bounded: past so many
 * clients with losses the rest is entered under nobody's name. Each line has a total of this run
 * and a gap: what no gap record has told the upstream of yet (gaps.h). */
struct ledger;

enum loss {
	LOSS_QOS0,       /* no room for QoS 0 */
	LOSS_EXPIRED,    /* its publisher's Message Expiry */
	LOSS_AGED,       /* backlog_age */
	LOSS_SUPERSEDED, /* latest_only */
	LOSS_OLDEST,     /* drop_oldest */
	LOSS_UNREADABLE, /* the storage does not give it back */
	LOSS_REFUSED,    /* by the broker, for good */
	LOSSES
};
const char *loss_name(enum loss l); /* "aged" */

struct ledger *ledger_new(void); /* NULL: no memory */
void ledger_free(struct ledger *l);

/* The number of a client from now until as many ledger_release(); 0: nobody's name. */
uint16_t ledger_client(struct ledger *l, const char *client_id);
void ledger_release(struct ledger *l, uint16_t client);

/* Each of `n` messages was captured between the two times. */
void ledger_enter(struct ledger *l, uint16_t client, enum loss why, uint64_t n,
	int64_t first_wall_ms, int64_t last_wall_ms);
/* The same of an earlier run: the gap alone. */
void ledger_reopen(struct ledger *l, uint16_t client, enum loss why, uint64_t n,
	int64_t first_wall_ms, int64_t last_wall_ms);

struct ledger_line {
	const char *client_id; /* "" when it is not known */
	enum loss why;
	uint64_t total;                      /* in this run */
	uint64_t gap;                        /* of these and of earlier ones, not told yet */
	int64_t first_wall_ms, last_wall_ms; /* of the gap */
};
/* Calls `each` for every line that is not empty. It returns whether the gap has been told: then it
 * is closed. */
void ledger_each(struct ledger *l, bool (*each)(const struct ledger_line *, void *), void *arg);

uint64_t ledger_total(const struct ledger *l, enum loss why); /* in this run */
unsigned ledger_gaps(const struct ledger *l);                 /* how many are open */
uint64_t ledger_changes(const struct ledger *l); /* another number whenever a gap has changed */

#endif
