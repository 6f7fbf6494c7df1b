#ifndef TIDEGATE_UPSTREAM_BACKLOG_H
#define TIDEGATE_UPSTREAM_BACKLOG_H

#include "gateway/base/conf.h"
#include "gateway/base/list.h"
#include "gateway/base/reason.h"
#include "gateway/base/span.h"
#include "gateway/upstream/ledger.h"

#include <stdbool.h>
#include <stdint.h>

struct identity;
struct journal_handler;
struct keeper;
struct kept;
struct message;
struct receipt;

/* The ordered queue of what is bound upstream. QoS 1 and 2 are claims at the keeper: a publisher's
 * receipt is released by the upstream's acknowledgement or when the message is on stable storage,
 * whichever comes first. When neither can be had for a while, what has not left yet is taken back
 * and QoS 1 refused. Bodies of a long backlog stay on disk; an entry is 40 bytes. */
struct backlog;

struct backlog *backlog_new(const struct conf *conf);
/* Fills the row of JR_GAP for journal_open(). */
void backlog_handlers(struct backlog *b, struct journal_handler *handlers);
/* From here on it claims, and takes what keeper_restore() brings back. NULL or without storage:
 * memory only. */
void backlog_attach(struct backlog *b, struct keeper *k);
void backlog_free(struct backlog *b); /* what is on disk stays there; before keeper_free() */

/* The rest is for the bridge. */
struct entry {
	struct list node; /* queue or in-flight list of the backlog */
	union {
		struct kept *kept;   /* claimed */
		struct message *msg; /* else; counted */
	};
	uint32_t order;  /* of arrival, wraps */
	int32_t born_s;  /* clock_ms() / 1000 of arrival; of another run it may lie before 0 */
	uint16_t client; /* whose it is, see ledger.h */
	uint8_t qos;
	uint8_t tries; /* the bridge's: refusals so far */
	bool claimed : 1;
	bool now : 1;    /* claimed so: counted as on disk from the beginning */
	bool loaded : 1; /* claimed, and has a reference to the body */
	bool large : 1;  /* it is a struct large_entry */
	bool in_flight : 1;
	bool priority : 1, droppable : 1, latest : 1; /* what the policies say of its topic */
	bool retained : 1; /* counted by topic, see backlog_has_retained() */
	bool old : 1;      /* was waiting when the link came up: drain_rate applies */
	bool barred : 1;   /* the bridge's: lower QoS on its topic waits for it */
};

/* The message of an entry from backlog_next(), borrowed. */
struct message *entry_message(const struct entry *e);

struct backlog_limits {
	int64_t disk_bytes; /* of QoS 1 and 2; without storage: in memory */
	int64_t qos0_bytes;
	int64_t age_ms; /* older ones are dropped; 0: never */
	/* Filters; borrowed, NULL: none. */
	const struct conf_list *latest_only, *drop_oldest;
};

/* `more` is called when backlog_next() may have something again after it had not. */
void backlog_on_more(struct backlog *b, void (*more)(void *), void *arg);
void backlog_set_limits(struct backlog *b, const struct backlog_limits *limits);
/* Tells whether there is an upstream to wait for. Going down makes all held entries safe at once.
 */
void backlog_set_link(struct backlog *b, bool up);

/* Appends; `from` is who published it (NULL: the gateway itself, of its own accord, and ahead of
 * all others). `now`: to the journal at once; else when ack_hold has passed. With storage the
 * keeper has the receipt (keeper_open()), else it is held here (it may be NULL). R_SUCCESS, or
 * R_QUOTA: not taken. */
enum reason backlog_push(struct backlog *b, const struct identity *from, struct message *m,
	struct receipt *receipt, bool now);

/* The first that is not in flight, with its body; NULL: none, or its body can't be read just now.
 */
struct entry *backlog_next(struct backlog *b);
/* The entry that waits with that record, with its body; for what was under way when the process
 * ended. Starts at the head. NULL: there is none, or its body can't be read. */
struct entry *backlog_find(struct backlog *b, uint64_t record);
/* Where it lies on stable storage, or is on its way to; 0: nowhere. */
uint64_t entry_record(const struct entry *e);
void backlog_sent(struct backlog *b, struct entry *e);
void backlog_requeue(struct backlog *b, struct entry *e); /* to its old place */
/* Its life ends; `reason` goes to whoever still waits. */
void backlog_done(struct backlog *b, struct entry *e, enum reason reason);
/* The same, and it will not arrive: entered in the ledger. */
void backlog_lost(struct backlog *b, struct entry *e, enum loss why, enum reason reason);
struct ledger *backlog_ledger(struct backlog *b);
/* Tells the upstream what it has missed, see gaps.h: messages of QoS 1, ahead of all others. */
void backlog_tell_gaps(struct backlog *b, const char *topic, const char *gateway_id);
/* End of each turn, before journal_turn(): records what has changed in the ledger. */
void backlog_turn(struct backlog *b);

/* A retained message for `topic` is still waiting to go up. */
bool backlog_has_retained(struct backlog *b, struct span topic);
/* All that is held goes to the journal now. */
void backlog_secure(struct backlog *b);
/* Nobody waits for anything. */
bool backlog_safe(const struct backlog *b);

struct backlog_status {
	uint64_t queued, in_flight, stored; /* messages; queued is without in flight */
	int64_t disk_bytes, memory_bytes, qos0_bytes;
	uint64_t dropped_qos0, expired, unreadable;
	int error; /* 0, or why the journal took nothing the last time (negative errno) */
};
void backlog_status(const struct backlog *b, struct backlog_status *s);

#endif
