#ifndef TIDEGATE_UPSTREAM_EXCHANGES_H
#define TIDEGATE_UPSTREAM_EXCHANGES_H

#include "gateway/base/list.h"
#include "gateway/base/span.h"
#include "gateway/store/journal.h"

#include <stdbool.h>
#include <stdint.h>

/* The QoS 2 exchanges with the upstream on stable storage, so that they go on where they were after
 * a crash. A record is a few octets: the message itself lies in the journal already. Loop thread
 * only.
 *
 * Sending (MQTT 5.0, 4.3.3): which message was given which packet id is stored before PUBLISH
 * leaves, that it is released before PUBREL leaves: sent again as PUBLISH it would be a new message
 * for a server that has seen PUBREL. The record ends after the message's own.
 *
 * Receiving: which packet ids have been delivered here, stored with the delivery and ended by
 * PUBREL. The digest tells a repetition from a new message under an id whose end was not on disk
 * yet. */
struct exchanges;

enum exchange_way { EXCHANGE_OUT = 1, EXCHANGE_IN = 2 };

struct exchange {
	struct list node;
	uint64_t session; /* which one at which server, see uplink_session() */
	uint64_t what;    /* OUT: the message's record, 0 when nobody waits for it any more and it
			     only has to be released; IN: message_digest() */
	uint16_t packet_id;
	enum exchange_way way;
	bool released; /* OUT: the server has the message */

	/* exchanges.c's */
	struct exchanges *all;
	uint64_t seq; /* in the journal; 0: not */
	uint64_t old; /* the record that `seq` replaces, ended once that is stored */
	struct journal_wait wait;
	/* Tells that the last exchange_store() is on stable storage, or (err < 0) that it won't
	 * be. NULL: nobody waits. */
	void (*stored)(struct exchange *, int err);
	void *owner;
};

/* Created before the journal is opened; ends the program without memory. */
struct exchanges *exchanges_new(void);
/* The handler of JR_UPLINK. */
int exchanges_replay(void *exchanges, uint64_t seq, struct span body);
/* NULL: memory only. */
void exchanges_attach(struct exchanges *x, struct journal *j);
void exchanges_free(struct exchanges *x); /* what is in the journal stays there */
/* A packet waits for something else that was stored in this turn. */
void exchanges_hurry(struct exchanges *x);
/* Before journal_turn(): commits at once what packets wait for. */
void exchanges_turn(struct exchanges *x);

/* In memory only, until it is stored. NULL: no memory. */
struct exchange *exchange_begin(struct exchanges *x, const struct exchange *init);
/* As it is now to stable storage, with the next commit. 0: `stored` will be told, once for the last
 * call, never from inside. -ENOTSUP (no journal), -ENOSPC, -EIO: what was stored before stands. */
int exchange_store(struct exchange *e);
/* Frees it; `stored` is not told. */
void exchange_end(struct exchange *e);
/* Its owner goes away, the record stays. */
void exchange_leave(struct exchange *e);

struct list *exchanges_list(struct exchanges *x); /* in the order of their beginning */
/* The latest of that id; NULL: none. */
struct exchange *exchange_find(
	struct exchanges *x, enum exchange_way way, uint64_t session, uint16_t packet_id);

/* 64-bit FNV-1a over spans, the same in every run. */
uint64_t exchange_digest(const struct span parts[], unsigned n);

#endif
