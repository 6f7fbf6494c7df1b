#ifndef TIDEGATE_UPSTREAM_GAPS_H
#define TIDEGATE_UPSTREAM_GAPS_H

#include "gateway/base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct journal;
struct ledger;
struct message;

/* What of the ledger the upstream has not been told yet, on stable storage (JR_GAP) until it is a
 * message of the backlog: one record with all open gaps, written anew at most once a second. */
struct gaps;

struct gaps *gaps_new(struct ledger *l); /* borrowed; NULL: no memory */
int gaps_replay(void *gaps, uint64_t seq, struct span body);
void gaps_attach(struct gaps *g, struct journal *j); /* NULL: memory only */
void gaps_free(struct gaps *g);

/* Writes what has changed. True: it is to be called again within a second. */
bool gaps_turn(struct gaps *g);
/* Whatever the time since the last record. */
void gaps_hurry(struct gaps *g);

/* Makes a message of each open gap, QoS 1, and gives it to `push`, which takes a reference and
 * returns whether it has it: then the gap is closed. The payload is JSON:
 * {"gateway":"cellar","client":"dev-17","reason":"aged","count":12,
 *  "first":"2026-11-21T08:00:00.000Z","last":"2026-11-21T09:30:00.000Z","clock":"synced"}
 * with the times of capture, and without "client" where it is not known. */
void gaps_tell(struct gaps *g, const char *topic, const char *gateway_id,
	bool (*push)(void *arg, struct message *m), void *arg);

#endif
