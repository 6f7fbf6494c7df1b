#ifndef TIDEGATE_STORE_JOURNAL_COMMIT_H
#define TIDEGATE_STORE_JOURNAL_COMMIT_H

#include "gateway/base/mailbox.h"
#include "gateway/store/journal_segment.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct event_base;

/* The commit thread: everything that can wait for a disk once the gateway runs. The loop posts
 * jobs, the thread runs them one after the other and posts them back. A job's fields belong to the
 * thread while it is under way, but what the loop only reads may be read by both. */
struct commit {
	pthread_t thread;
	struct workqueue queue;
	struct mailbox *mailbox;
	int dir_fd; /* borrowed */
	pthread_mutex_t lock;
	pthread_cond_t has_ended;
	bool ended;

	/* The thread's own: the file being written. */
	int fd; /* -1: none */
	uint32_t number;
	bool dirty;     /* written since its last sync */
	bool dir_dirty; /* a file was created since the directory's last sync */
};

struct job {
	struct mail mail;
	int (*run)(struct commit *c, struct job *job); /* in the thread */
	void (*done)(void *arg, struct job *job); /* in the loop; `err` is what run() returned */
	int err;
};

/* `arg` goes to every done(). 0 or a negative errno. */
int commit_start(struct commit *c, struct event_base *base, int dir_fd, void *arg);
void commit_post(struct commit *c, struct job *job);
/* Waits at most `wait_ms` for the jobs that were posted, then gives those back that are done.
 * -ETIMEDOUT: the thread hangs in the disk; its memory and that of the jobs must stay. */
int commit_stop(struct commit *c, int wait_ms);

/* Bytes for one place of one segment. */
struct chunk {
	struct list node;
	struct segment *seg; /* the loop's; the thread must not look into it */
	struct segment_id id;
	uint32_t file_size; /* of the segment; preallocated when `create` */
	bool create;
	uint32_t offset, len, cap;
	uint8_t *bytes; /* owned */
};

/* Writes chunks in order; with `sync` they and the directory entries of new files are on stable
 * storage on success. After a failure the segment is not written to any more: what a failed
 * fdatasync left in the page cache cannot be trusted. */
int commit_write(struct commit *c, struct list *chunks, bool sync);
/* The file is gone, and stays gone after a power cut. */
int commit_unlink(struct commit *c, struct segment_id id);

/* The calls that can fail on a bad or full disk, so that a test can make them fail. */
struct journal_io {
	ssize_t (*write_at)(int fd, const void *bytes, size_t len, off_t offset);
	int (*sync)(int fd);
	int (*reserve)(int fd, off_t size);
	int (*unlink_at)(int dir_fd, const char *name, int flags);
};
extern struct journal_io journal_io;

#endif
