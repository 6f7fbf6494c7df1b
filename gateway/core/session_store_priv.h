#ifndef TIDEGATE_CORE_SESSION_STORE_PRIV_H
#define TIDEGATE_CORE_SESSION_STORE_PRIV_H

#include "gateway/base/timer.h"
#include "gateway/core/ptrtable.h"
#include "gateway/core/session_store.h"

/* The inside of the session store, for session_store.c, session_image.c, session_trail.c and
 * session_restore.c; and what session.c tells it. */

/* ---- session.c tells what happens to sessions; harmless without storage ---- */

/* A statement of the core, as session_note(). */
void session_store_subscribed(struct session *s, struct span filter, const struct sub_opts *opts);
void session_store_unsubscribed(struct session *s, struct span filter);
/* It ends, and with it its records; not so at the end of the process. */
void session_store_ended(struct sessions *all, struct session *s);
/* The session takes the place of one that was stored and is over now. */
void session_store_replaces(struct session *s);

/* ---- session.c for those who restore ---- */

/* A detached session of that name; NULL: no memory. */
struct session *session_make(struct sessions *all, enum protocol protocol, const char *client_id);
bool session_set_username(struct session *s, const char *username); /* copied; false: no memory */
void session_arm_expiry(struct session *s);                         /* from now on */

/* ---- session_image.c: sessions and items ---- */

struct session_items {
	uint8_t *p; /* owned; grows and is used again */
	size_t len, cap;
	bool failed; /* no memory */
};
void session_items_put_raw(struct session_items *items, const void *p, size_t len);

/* All there is to say of a session. */
void session_image_put(struct session *s, struct session_items *items);
void session_item_subscribed(
	struct session_items *items, struct span filter, const struct sub_opts *opts);

struct saved_identity {
	enum protocol protocol;
	char client_id[257];
};
/* The items are well-formed; all of them, if not what each says. */
bool session_items_valid(struct span items);
/* The first item, which says whose record it is. */
bool session_image_identity(struct span items, struct saved_identity *id);
/* Takes over what the items say, one after the other; what can't be is left out. The number of
 * those that can't be. */
unsigned session_image_apply(struct session *s, struct span items);

/* What the adapter had saved, until it asks for it; a session's extra. */
struct saved_extra {
	struct session_extra extra;
	size_t len;
	uint8_t bytes[];
};

/* ---- session_trail.c: the records of a session besides the last whole one ---- */

/* Deltas since then, and records that are outdated but must stay until what outdates them is on
 * stable storage: a power cut may leave the later part of a commit on the disk and not the earlier
 * one. Most sessions have none. */
struct trail {
	uint64_t number;
	uint64_t mark;        /* at which the outdated ones may go */
	uint64_t delta_bytes; /* of the bodies of the deltas */
	uint32_t n_outdated, n, cap;
	uint64_t *seqs;   /* owned: the outdated ones, then the deltas */
	struct list node; /* trails.outdated, in order of mark; with n_outdated > 0 */
};
struct trails {
	struct ptrtable by_number;
	struct list outdated;
	size_t n_outdated; /* trails on that list */
	size_t n_records;
};
void trails_init(struct trails *t);
void trails_free(struct trails *t);
struct trail *trail_find(const struct trails *t, uint64_t number); /* NULL: none */
/* 0 or -ENOMEM. */
int trail_add_delta(struct trails *t, uint64_t number, uint64_t seq, size_t body_len);
/* All deltas, and the record `seq`, are outdated by what `mark` stands for. Without memory the
 * record is forgotten at once. */
void trail_outdate(
	struct trails *t, struct journal *j, uint64_t number, uint64_t seq, uint64_t mark);
/* The outdated ones that may go are forgotten. */
void trails_sweep(struct trails *t, struct journal *j);
/* All records of the session are forgotten. `j` may be NULL. */
void trail_end(struct trails *t, struct journal *j, uint64_t number);

/* ---- session_restore.c ---- */

void session_restore_init(struct session_store *st);
void session_restore_clear(struct session_store *st);
/* A session ends, perhaps while the journal is replayed: then its records are forgotten later. */
void session_restore_ended(struct session_store *st, const struct session *s);

/* ---- session_store.c ---- */

/* A session with something to be written. */
struct change {
	struct session *s; /* borrowed; NULL: it has ended, or is written */
	uint8_t *items;    /* owned: statements, if they are all that has changed */
	uint32_t len, cap;
	bool whole;
};

struct session_store {
	struct sessions *all; /* borrowed */
	struct journal *j;    /* borrowed; NULL: not attached, or no storage */
	struct change *changes;
	uint32_t n_changes, cap_changes;
	bool rescan; /* sessions are marked as changed that are not in `changes`: no memory */
	bool lazies; /* some session has changed lazily */
	bool due;    /* changed or written since the last turn */
	bool closing;
	uint64_t n_sessions; /* stored */
	uint64_t last_mark;  /* of what was written or forgotten last */
	struct timer lazy;   /* armed while `lazies` */
	int64_t lazy_interval_ms;
	struct trails trails;
	struct session_items buf; /* for the record being written */

	/* session_restore.c: during a replay */
	struct ptrtable by_number;
	uint64_t *orphans; /* owned: records whose session has ended or been replaced */
	size_t n_orphans, cap_orphans;
	uint64_t restored, broken;
};

#define SESSION_RECORD_VERSION 1
#define SESSION_RECORD_HEAD    9 /* version 1, number 8 (0: the record's own sequence) */

#endif
