#ifndef TIDEGATE_UPSTREAM_BACKLOG_H
#define TIDEGATE_UPSTREAM_BACKLOG_H

#include "gateway/base/list.h"
#include "gateway/base/reason.h"
#include "gateway/base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct conf;
struct journal;
struct message;
struct receipt;

/* The ordered queue of what is bound upstream. It makes QoS 1 and 2 safe: a publisher's receipt is
 * released by the upstream's acknowledgement or by the journal's commit, whichever comes first.
 * When neither can be had for a while, what has not left yet is taken back and QoS 1 refused.
 * Bodies of a long backlog stay on disk; an entry is 48 bytes. */
struct backlog;

enum { JR_BACKLOG = 1 }; /* journal record: one message_encode() form */

/* Created before the journal is opened, so that it can take the records of the last run:
 * backlog_new(), journal_open() with backlog_replay() as handler of JR_BACKLOG, upstream_new(). */
struct backlog *backlog_new(const struct conf *conf);
int backlog_replay(void *backlog, uint64_t seq, struct span body);
void backlog_free(struct backlog *b); /* what is in the journal stays there */

/* The rest is for the bridge. */
struct entry {
	struct list node;    /* queue or in-flight list of the backlog */
	struct message *msg; /* counted; NULL: its body is in the journal only */
	union {
		struct {
			struct hold *hold; /* owned; NULL: safe, nobody waits */
			uint64_t seq;      /* in the journal; 0: not */
		};
		struct list qos0; /* QoS 0: age order, to drop the oldest */
	};
	uint32_t order; /* of arrival, wraps */
	uint8_t qos;
	uint8_t tries; /* the bridge's: refusals so far */
	bool in_flight : 1;
	bool retained : 1; /* counted by topic, see backlog_has_retained() */
	bool old : 1;      /* was waiting when the link came up: drain_rate applies */
	bool barred : 1;   /* the bridge's: lower QoS on its topic waits for it */
};

struct backlog_limits {
	int64_t disk_bytes;   /* journal bodies; without a journal: bytes in memory */
	int64_t memory_bytes; /* bodies kept in memory besides */
	int64_t qos0_bytes;
	int64_t ack_hold_ms;
};

/* `more` is called when backlog_next() may have something again after it had not. */
void backlog_attach(struct backlog *b, struct journal *j, void (*more)(void *), void *arg);
void backlog_set_limits(struct backlog *b, const struct backlog_limits *limits);
/* Tells whether there is an upstream to wait for. Going down makes all held entries safe at once.
 */
void backlog_set_link(struct backlog *b, bool up);

/* Appends. `store`: into the journal at once; else it is held in memory and stored when ack_hold
 * has passed. Holds `receipt` (may be NULL) as long as it is not safe. R_SUCCESS, or R_QUOTA: not
 * taken. */
enum reason backlog_push(struct backlog *b, struct message *m, struct receipt *receipt, bool store);

/* The first that is not in flight, with its body; NULL: none, or its body can't be read just now.
 */
struct entry *backlog_next(struct backlog *b);
void backlog_sent(struct backlog *b, struct entry *e);
void backlog_requeue(struct backlog *b, struct entry *e); /* to its old place */
/* Its life ends; `reason` goes to whoever still waits. */
void backlog_done(struct backlog *b, struct entry *e, enum reason reason);

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
