#ifndef TIDEGATE_STORE_JOURNAL_H
#define TIDEGATE_STORE_JOURNAL_H

#include "gateway/base/conf.h"
#include "gateway/base/list.h"
#include "gateway/base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct event_base;

/* The append-only log on stable storage. It knows records and bytes, not what they mean. A record
 * is {length, type, CRC-32C, 64-bit sequence, body}; segments are preallocated files in `dir`.
 * Appended bytes are gathered during a turn and handed at its end to the commit thread, which
 * writes and fdatasyncs them; a waiter is told afterwards, in the loop's thread. Loop thread only,
 * all of it. */
struct journal;

struct store_conf {
	const char *dir;            /* NULL: no journal, memory only */
	int64_t max_bytes;          /* bound on the bytes of all segments on disk */
	int64_t commit_interval_ms; /* longest gathering time of a group commit; 0: every turn */
};
extern const struct conf_section store_conf_section; /* "store" */

#define JOURNAL_BODY_MAX (2u << 20)
#define JOURNAL_TYPES    64 /* the caller's are 1..63 */

/* Who waits for a record to be on stable storage. Embedded in the caller's struct; zeroed memory is
 * valid and idle. */
struct journal_wait {
	struct list node;
	uint64_t seq;
	/* err 0: the record is on stable storage. Else a negative errno: it is not, the append is
	 * undone and its sequence means nothing any more. Fires exactly once, never from inside
	 * journal_append(). */
	void (*done)(struct journal_wait *, int err);
};
void journal_wait_cancel(struct journal_wait *w); /* idle afterwards; harmless when idle */
bool journal_wait_pending(const struct journal_wait *w);

/* Called during replay for each live record, in sequence order. `body` is valid during the call. A
 * negative return forgets the record (it is of no use to its owner); 0 keeps it. */
typedef int journal_replay_fn(void *arg, uint64_t seq, struct span body);

struct journal_handler {
	journal_replay_fn *fn; /* NULL: records of this type are kept untouched */
	void *arg;
};

struct journal_report { /* what opening found */
	uint64_t records, live_records, live_bytes;
	uint64_t bad_records, bad_bytes; /* set aside in dir/quarantine */
	unsigned segments;
};

/* Opens or creates the directory (0700), takes its lock, recovers what is there and replays it. A
 * damaged or torn part never fails the call. Blocking; start-up only. Returns 0, -EAGAIN when
 * another process holds the directory, or a negative errno for a directory that can't be used; the
 * reason has been logged. */
int journal_open(struct event_base *base, const struct store_conf *conf,
	const struct journal_handler handlers[JOURNAL_TYPES], struct journal **out,
	struct journal_report *report);

/* Copies the parts of a record and returns its sequence (> 0, growing for ever, also over
 * restarts), or 0 with *err = -ENOSPC (max_bytes reached), -EIO (the storage fails at present),
 * -EMSGSIZE. `wait` may be NULL. */
uint64_t journal_append(struct journal *j, uint8_t type, const struct span *parts, unsigned n_parts,
	struct journal_wait *wait, int *err);
/* The record's life ends. Not synced by itself: after a crash a forgotten record may be replayed
 * once more. */
void journal_forget(struct journal *j, uint64_t seq);
/* Reads a live record's body back from memory or disk into a buffer of the caller. Returns the
 * length, -ENOENT when it is not live, -EMSGSIZE when `cap` is too small, or -EIO/-EBADMSG. One
 * bounded pread. */
long journal_read(struct journal *j, uint64_t seq, void *buf, size_t cap);
/* Length of a live record's body, or -ENOENT. */
long journal_length(struct journal *j, uint64_t seq);

/* End of a turn: hands what was appended to the commit thread, at once for the first append after a
 * quiet time, else when commit_interval has passed. */
void journal_turn(struct journal *j);
/* Commit now whatever is gathered, whatever the interval. */
void journal_hurry(struct journal *j);

struct journal_status {
	uint64_t live_records, live_bytes, disk_bytes, max_bytes;
	uint64_t appended_records, written_bytes, commits; /* since the start */
	unsigned segments;
	int error; /* 0, or the errno (negative) that keeps it from storing at present */
	bool full; /* the last append was refused for max_bytes */
};
void journal_status(const struct journal *j, struct journal_status *s);

/* Commits what is left, waits for it at most `wait_ms`, stops the thread, releases the lock. */
void journal_close(struct journal *j, int wait_ms);

#endif
