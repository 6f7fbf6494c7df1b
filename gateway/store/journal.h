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
	int64_t commit_interval_ms; /* time between group commits, on average; 0: every turn */
	int64_t lazy_interval_ms;   /* the callers': until what nobody was promised is appended */
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
	 * journal_append(). (Without a waiter an append is not undone, see journal_mark().) */
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
/* The same for a record nobody was promised: written and synced with what is written next for
 * somebody else, with journal_hurry() or journal_close(), or once a lot of them has gathered. It
 * causes no write of its own; a crash before may lose it. */
uint64_t journal_append_lazy(
	struct journal *j, uint8_t type, const struct span *parts, unsigned n_parts, int *err);
/* What journal_append() would say to a body of that length now: 0, -ENOSPC, -EIO, -EMSGSIZE. */
int journal_room_for(const struct journal *j, size_t body_len);

/* The record's life ends. Written 20 ms later and not synced by itself: a crash of the gateway may
 * bring back what was forgotten in its last 20 ms, a power cut what was forgotten since the last
 * sync and the kernel's own write-back. (Kept in memory until the next sync, as lazy records are,
 * forgets would save nothing, because the kernel writes the page back once however often it
 * changed, but a crash after a long backlog has drained would bring all of it back.) Who promises
 * more takes a mark. */
void journal_forget(struct journal *j, uint64_t seq);

/* A mark stands for all that was appended and forgotten until now, lazily or not, and makes it be
 * synced with the next commit. O(1), the same number for all of one commit; 0 is always reached.
 *
 * While the storage fails no mark is reached. Afterwards the journal writes the forgets again, and
 * also the records that were appended without a waiter: those are not undone. So a mark that was
 * taken before a failure is reached in the end. It says nothing of a record whose waiter was told
 * that it is undone. */
uint64_t journal_mark(struct journal *j);
/* It is on stable storage. A turn of the loop follows whenever this changes. */
bool journal_reached(const struct journal *j, uint64_t mark);
/* The storage takes nothing at present; it is tried again each second. */
bool journal_failing(const struct journal *j);
/* Reads a live record's body back from memory or disk into a buffer of the caller. Returns the
 * length, -ENOENT when it is not live, -EMSGSIZE when `cap` is too small, or -EIO/-EBADMSG. One
 * bounded pread. */
long journal_read(struct journal *j, uint64_t seq, void *buf, size_t cap);
/* Length of a live record's body, or -ENOENT. */
long journal_length(struct journal *j, uint64_t seq);

/* End of a turn: hands what was appended to the commit thread, at once after a quiet time, else
 * when commit_interval has passed or enough is gathered to fill whole blocks. */
void journal_turn(struct journal *j);
/* Commit now whatever is gathered, whatever the interval. */
void journal_hurry(struct journal *j);

struct journal_status {
	uint64_t live_records, live_bytes, disk_bytes, max_bytes;
	uint64_t appended_records, written_bytes, commits; /* since the start */
	uint64_t written_last_day; /* bytes of the last 24 hours, in steps of one hour */
	uint64_t written_per_day;  /* mean since the start; of less than a day: written_bytes */
	unsigned segments;
	int error; /* 0, or the errno (negative) that keeps it from storing at present */
	bool full; /* the last append was refused for max_bytes */
};
void journal_status(const struct journal *j, struct journal_status *s);

/* Commits what is left, waits for it at most `wait_ms`, stops the thread, releases the lock. */
void journal_close(struct journal *j, int wait_ms);

#endif
