#ifndef TIDEGATE_UPSTREAM_INTEREST_MEMORY_H
#define TIDEGATE_UPSTREAM_INTEREST_MEMORY_H

#include "gateway/base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct journal;

/* Which filters the broker's session holds for us, over a restart: it keeps them whether or not
 * anybody here still wants them. One record each, lazily: what a crash forgets stays subscribed. */
struct interest_memory;

struct interest_memory *interest_memory_new(void); /* ends the program without memory */
/* The handler of JR_INTEREST. */
int interest_memory_replay(void *memory, uint64_t seq, struct span body);
void interest_memory_attach(struct interest_memory *m, struct journal *j);
void interest_memory_free(struct interest_memory *m); /* NULL is fine; the records stay */

/* The filter is subscribed: its record, of the last run or new; 0: there is none (no storage). */
uint64_t interest_memory_add(struct interest_memory *m, struct span filter);
/* It is not any more; 0 is fine. */
void interest_memory_drop(struct interest_memory *m, uint64_t record);

/* One of those of the last run that nobody has added since; it is taken out, its record goes to the
 * caller. The span is valid until the next call. False: there is none. */
bool interest_memory_take(struct interest_memory *m, struct span *filter, uint64_t *record);
/* The broker has lost the session: all of the last run end. */
void interest_memory_forget(struct interest_memory *m);

#endif
