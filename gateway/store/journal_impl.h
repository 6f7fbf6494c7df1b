#ifndef TIDEGATE_STORE_JOURNAL_IMPL_H
#define TIDEGATE_STORE_JOURNAL_IMPL_H

#include "gateway/base/timer.h"
#include "gateway/store/day_count.h"
#include "gateway/store/journal.h"
#include "gateway/store/journal_commit.h"
#include "gateway/store/journal_index.h"
#include "gateway/store/journal_segment.h"
#include "gateway/store/seq_ranges.h"

/* What the journal's own files share; nobody else includes it.
 *
 * journal.c         append, forget, read, status
 * journal_gather.c  from appended bytes to a commit and its end, good or bad
 * journal_failure.c a commit that failed: who is told, what is kept, when it is tried again
 * journal_mark.c    what has reached stable storage, for those who don't wait for one record
 * journal_clean.c   gives disk space back
 * journal_replay.c  open: recovery and replay
 *
 * How a forgotten record stays forgotten. A forget record must not go before the last copy of the
 * record it ends. Forgets stand in the same segment as their record or in a later one, so each
 * segment remembers from which to which of them (by .order) the forgets of its dead records stand
 * [forgets_lo, forgets_hi]; a segment that holds forgets is "pinned" while it lies in the interval
 * of another one. To unpin, the dead records of that other one are restated: its file is read, all
 * its dead sequences are forgotten once more in the current segment, and after that commit its
 * interval begins there. The interval may be wider than the truth, never narrower. */

#define SEGMENT_SIZE  (1u << 20)
#define COMMIT_BURST  16           /* commits that a quiet time pays for in advance */
#define COMMIT_FULL   (16u << 10)  /* gathered bytes that are written before the interval is over */
#define GATHER_MAX    (4u << 20)   /* bytes not yet on disk; past it appends are refused */
#define LAZY_MAX      (256u << 10) /* so many bytes of lazy records are worth a sync */
#define SLOW_MS       1000         /* cleaning and failed storage are retried after this */
#define FORGET_MS     20 /* forgets are gathered for so long: what a crash may bring back */
#define RESERVE_FILES 2  /* segments that only forgets, copies and probes may open */

struct segment {
	struct list node;     /* in journal.segments */
	uint32_t order;       /* its place there, growing; a file's name may be anything */
	struct segment_id id; /* the file's name */
	uint32_t salt;        /* of its records; differs from id.salt only in a renamed file */
	uint32_t size;        /* of the file */
	uint32_t used;        /* where the next record begins */
	uint32_t records, live;
	uint64_t live_bytes;
	uint32_t forgets_lo, forgets_hi; /* orders; 0: none written */
	unsigned busy;                   /* chunks under way to it */
	bool sealed;                     /* takes no more records */
	bool holds_forgets;
	bool dirty;   /* forgets of its records were not written yet */
	bool stale;   /* may hold copies of records that live elsewhere or were undone */
	bool damaged; /* move what lives away from it */
	bool unread;  /* could not be read whole at the start: left as it is for the next */
	int64_t rest_until_ms; /* the cleaner could not read it */
	bool probe;            /* made to see whether the storage is well again */
};

/* A live record copied forward; the index follows once the copy is on stable storage. */
struct move {
	uint64_t seq;
	struct segment *from, *to;
	uint32_t offset;
};

/* One commit, gathering or under way. */
struct batch {
	struct job job;
	struct list flight; /* in journal.flights once handed over, then perhaps in .soft */
	struct list chunks;
	struct list waiters;
	size_t bytes;
	uint64_t first_seq; /* of the caller's records; 0: none */
	uint64_t mark;      /* reached when it succeeds; 0: holds not all that was pending, or is
			       not synced */
	bool sync;          /* somebody waits for what it holds */
	bool of_cleaner;    /* holds a part of its present work */
	struct seq_ranges forgets;
	struct move *moves; /* owned */
	size_t n_moves, cap_moves;
};

enum clean_state { CLEAN_IDLE, CLEAN_UNLINKING, CLEAN_READING, CLEAN_WALKING, CLEAN_SETTLING };

struct cleaner {
	struct job job;
	struct segment_id id; /* for the thread, as are image and image_len */
	uint8_t *image;       /* owned */
	uint32_t image_len, unread;

	enum clean_state state;
	bool evacuate;       /* copy what lives; else restate what is dead */
	struct segment *seg; /* borrowed; what it works on */
	struct segment_scan scan;
	struct seq_ranges dead;
	uint32_t from;      /* order of the current segment when the walk began */
	unsigned unsettled; /* batches under way with its work */
	bool failed;
	bool due;              /* something changed that may make work */
	int64_t rest_until_ms; /* after a failure */
	struct timer step;
};

struct journal {
	struct store_conf conf;
	uint32_t segment_size;
	int dir_fd, lock_fd;
	struct commit commit;

	struct list segments;
	unsigned n_segments;
	uint64_t disk_bytes;
	uint64_t started_bytes;  /* of a start too near to max_bytes or past it, until there is room
				    again; else 0 */
	struct segment *current; /* NULL: the next record opens one */
	uint32_t next_number, last_order;
	uint64_t next_seq;

	struct index index;
	uint64_t live_bytes;

	struct batch *gather; /* NULL: empty */
	struct list
		flights; /* struct batch.flight, with the thread; more than one only at the end */
	struct seq_ranges pending;  /* forgotten, not yet in a batch */
	struct seq_ranges unsynced; /* written, but no sync since */
	int64_t paid_ms;            /* the intervals of all commits are over then */
	uint64_t mark;              /* greatest that was handed over */
	uint64_t reached;           /* greatest on stable storage */
	bool marked;                /* somebody waits for mark + 1 */
	struct list soft; /* struct batch.flight: with records, written but no sync since */
	size_t soft_bytes;
	bool hurry, closing;
	bool forgets_due; /* `pending` holds some of records that may be on disk */
	struct timer commit_timer, slow_timer, forget_timer;

	int error; /* negative errno while the storage fails */
	bool full;
	struct cleaner clean;

	int read_fd; /* -1: none */
	struct segment_id read_id;
	uint64_t appended_records, commits;
	struct day_count written; /* bytes */
};

/* journal.c */
struct segment *journal_segment_add(struct journal *j, struct segment_id id, uint32_t size);
/* Of the segment that takes the next record. */
uint32_t journal_present_order(const struct journal *j);
void journal_segment_free(struct journal *j, struct segment *s);
uint64_t journal_disk_size(const struct segment *s); /* whole blocks */
/* Most bytes for all but the callers' records. */
uint64_t journal_bound(const struct journal *j);
void journal_drop_entry(struct journal *j, struct index_entry *e); /* accounts; writes nothing */
void journal_end_record(
	struct journal *j, struct index_entry *e); /* the life of a live record ends */
/* A record's body and type from disk, checked. The body's length, -EMSGSIZE, -EIO or -EBADMSG. */
long journal_pread(
	struct journal *j, const struct index_entry *e, void *buf, size_t cap, uint8_t *type);

/* journal_gather.c */
enum room_for { ROOM_USER, ROOM_INTERNAL, ROOM_PROBE, ROOM_KEPT };
void journal_gather_init(struct journal *j);
void journal_gather_free(struct journal *j);
/* Room for one record of `size` octets in the gathered batch and on disk: *out is where to encode
 * it; its segment and offset come back in `at`. 0, -ENOSPC or -ENOMEM. */
/* Whether journal_room() would find some on disk for the caller's record. */
bool journal_has_room(const struct journal *j, uint32_t size);
int journal_room(
	struct journal *j, uint32_t size, enum room_for who, struct index_entry *at, uint8_t **out);
/* Gathers the ranges from *next on as forget records, at least one record, and moves *next. 0 or
 * the first failure of journal_room(). */
int journal_gather_forgets(
	struct journal *j, struct seq_ranges *r, size_t *next, enum room_for who);
void journal_gather_pending(struct journal *j, enum room_for who);
void journal_post(struct journal *j); /* the gathered batch, as it is */
void journal_seal(struct journal *j, struct segment *s);
void journal_commit_when_due(struct journal *j);
void journal_slow_soon(struct journal *j); /* cleaning and probes, in a second */
void journal_forget_soon(struct journal *j);
/* Something would have to be written or synced for all that has happened to be safe. */
bool journal_has_unsafe(const struct journal *j);
void journal_hand_over_last(struct journal *j);
void journal_abandon(struct journal *j, int err); /* every waiter is told */

/* journal_failure.c */
/* A commit has failed, and what gathered meanwhile (NULL: nothing) must not follow it. Their
 * waiters are told by the caller afterwards. */
void journal_failed(struct journal *j, struct batch *b, struct batch *gathered, int err);
void journal_healed(struct journal *j);
/* Writes something to see whether the storage is well again. */
void journal_probe(struct journal *j);

/* journal_clean.c */
void journal_clean_init(struct journal *j);
void journal_clean(struct journal *j);                  /* one bounded step */
void journal_clean_settled(struct journal *j, int err); /* a batch with its work has ended */
void journal_clean_free(struct journal *j);

/* journal_replay.c */
int journal_recover(
	struct journal *j, const struct journal_handler *handlers, struct journal_report *report);

#endif
