#ifndef TIDEGATE_CORE_SESSION_CLAIMS_H
#define TIDEGATE_CORE_SESSION_CLAIMS_H

#include "gateway/core/keeper.h"
#include "gateway/core/session_store.h"

/* What stored sessions claim of the keeper (their mail, and the QoS 2 exchanges of their own
 * publications), over a restart. */

/* Whose claims they are; 0: the session is not stored. One that was made in this turn is written
 * first. */
static inline uint64_t session_claims_owner(struct session *s)
{
	if (!session_number(s) && (s->expiry_s || s->stored))
		(void)session_mark(s);
	return session_number(s);
}

/* They get it back with keeper_restore(); what belongs to none of them is given up. */
void session_claims_restore(struct sessions *all, struct keeper *k);
/* The process ends: all claims of a session stay in the storage. To be followed by its end. */
void session_claims_leave(struct session *s);

#endif
