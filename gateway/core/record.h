#ifndef TIDEGATE_CORE_RECORD_H
#define TIDEGATE_CORE_RECORD_H

/* The types of the journal's records, and who understands them. Numbers are for ever. */
enum journal_record {
	JR_MESSAGE = 1, /* keeper.c: a message with the claims of all who must not lose it */
	JR_CLAIM = 2,   /* keeper.c: one claim more on a stored message, or one that changed */
	JR_DONE = 3,    /* keeper.c: the end of one claim of several */
	JR_SESSION = 4, /* session_store.c: a session, whole */
	JR_SESSION_DELTA = 5, /* session_store.c: what has changed since */
	JR_UPLINK = 6,        /* gateway/upstream: what the client library must know again */
	JR_INTEREST = 7,      /* gateway/upstream: a filter that is subscribed there */
	JR_GAP = 8,           /* gateway/upstream: what was dropped while the link was away */
};

#endif
