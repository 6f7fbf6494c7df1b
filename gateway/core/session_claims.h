#ifndef TIDEGATE_CORE_SESSION_CLAIMS_H
#define TIDEGATE_CORE_SESSION_CLAIMS_H

#include "gateway/core/keeper.h"
#include "gateway/core/session.h"

/* What stored sessions claim of the keeper (their mail, and the QoS 2 exchanges of their own
 * publications), over a restart. */

/* They get it back with keeper_restore(); what belongs to none of them is given up. */
void session_claims_restore(struct sessions *all, struct keeper *k);
/* The process ends: all claims of a session stay in the storage. To be followed by its end. */
void session_claims_leave(struct session *s);

#endif
