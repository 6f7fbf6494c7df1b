#ifndef TIDEGATE_UPSTREAM_BACKLOG_PRIV_H
#define TIDEGATE_UPSTREAM_BACKLOG_PRIV_H

/* The inside of the backlog, for backlog.c (entries and their order), backlog_keep.c (what makes
 * them safe) and backlog_policy.c (what goes first and what gives way) alone. */
#include "gateway/base/timer.h"
#include "gateway/core/keeper.h"
#include "gateway/core/message.h"
#include "gateway/core/receipt.h"
#include "gateway/upstream/backlog.h"
#include "gateway/upstream/gaps.h"
#include "gateway/upstream/topic_set.h"

struct latest; /* of a topic of latest_only: the entry that waits */

/* An entry of which more must be known: QoS 0, retained, named by a policy, or waited for without
 * storage. */
struct large_entry {
	struct entry e;
	struct list age;          /* backlog.qos0 or .droppable while it waits */
	struct receipt_hold hold; /* without storage */
	uint64_t topic;           /* its hash */
};

enum { LANE_PRIORITY, LANE_REST, LANES };

struct backlog {
	struct keeper *keeper; /* borrowed; NULL: memory only */
	struct ledger *ledger; /* owned */
	struct gaps *gaps;     /* owned */
	struct backlog_limits limits;
	bool up;
	struct list waiting[LANES]; /* struct entry.node, oldest first */
	struct list in_flight;      /* struct entry.node */
	struct list qos0;           /* struct large_entry.age: waiting ones, oldest first */
	struct list droppable;      /* the same, of drop_oldest */
	struct latest *latest;      /* by topic */
	char **priority;            /* owned, NULL-terminated: filters */
	struct claimant now, later;
	struct timer timer; /* something is to be tried again, or refused, or too old */
	struct topic_set *retained;
	uint32_t order;
	unsigned unreadable_tries;
	size_t holds;           /* without storage: entries whose receipt is held */
	int64_t claimed_bytes;  /* of QoS 1 and 2 on disk, or on their way there */
	int64_t unstored_bytes; /* without storage: QoS 1 and 2 in memory */
	bool failing;           /* the storage has refused for so long that QoS 1 is */
	void (*more)(void *);
	void *arg;
	struct backlog_status status;
};

/* backlog.c */
static inline struct large_entry *entry_large(struct entry *e)
{
	return container_of(e, struct large_entry, e);
}
void backlog_soon(struct backlog *b, int64_t delay_ms); /* the timer, at the latest then */

/* backlog_keep.c: the message of an entry. */
void keep_init(struct backlog *b);
/* Claims it, or without storage holds it. 0 or a negative errno. */
int keep_take(
	struct backlog *b, struct entry *e, struct message *m, struct receipt *receipt, bool now);
void keep_restored(struct backlog *b, struct entry *e, struct kept *kept);
void keep_end(struct backlog *b, struct entry *e, enum reason reason);
void keep_leave(struct backlog *b, struct entry *e); /* on disk it lives on */
/* Its body in memory as long as the entry says `loaded`. 0, -EAGAIN: not now, or another negative
 * errno: it is lost. */
int keep_load(struct entry *e);
void keep_unload(struct entry *e);
/* The storage fails and nobody else takes what waits: publishers at QoS 1 are told. */
void keep_refuse(struct backlog *b);

/* backlog_policy.c */
int policy_init(struct backlog *b, const struct conf *conf); /* 0 or -ENOMEM */
void policy_close(struct backlog *b);
/* What the policies say of a message; whether an entry must be large for it. */
struct entry_policy {
	bool priority, droppable, latest;
};
void policy_of(const struct backlog *b, const struct message *m, struct entry_policy *p);
/* Before a message of `size` is taken; false: there is no room. */
bool policy_room(struct backlog *b, const struct message *m);
/* It begins to wait: what it makes useless goes. False: it is useless itself and is gone. */
bool policy_waits(struct backlog *b, struct entry *e);
/* It waits no more; harmless to repeat. */
void policy_left(struct backlog *b, struct entry *e);
/* Drops what is too old; the time until there may be more, or -1. */
int64_t policy_age(struct backlog *b);

#endif
