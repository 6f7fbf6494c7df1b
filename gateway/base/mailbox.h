#ifndef TIDEGATE_BASE_MAILBOX_H
#define TIDEGATE_BASE_MAILBOX_H

#include "gateway/base/list.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct event_base;

/* The door from foreign threads into the loop: an eventfd and a mutex-protected list, one wake per
 * change from empty to non-empty, at most `MAILBOX_BATCH` letters per turn. */
#define MAILBOX_BATCH 512

struct mail {
	struct list node; /* embedded first in the letter; owned by the sender until posted */
};

struct mailbox;

/* `receive` runs in the loop's thread, once per letter, in posting order, and takes the letter
 * over. Returns NULL when no descriptor or memory is left. */
struct mailbox *mailbox_new(
	struct event_base *base, void (*receive)(struct mail *, void *), void *arg);
/* Any thread. Never fails, never blocks for longer than a list insertion. */
void mailbox_post(struct mailbox *mb, struct mail *m);
/* Loop thread, once no other thread can post. Letters still inside are given to `receive` first. */
void mailbox_free(struct mailbox *mb);

/* The other direction: a queue on which one worker thread sleeps. Any thread posts. */
struct workqueue {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list letters;
	bool stopped;
};

void workqueue_init(struct workqueue *q);
void workqueue_post(struct workqueue *q, struct mail *m);
/* Takes the whole list into `out` (initialised by this call). Waits at most `timeout_ms` (< 0: for
 * ever) for the first letter. Returns false when the queue is stopped and empty. */
bool workqueue_take(struct workqueue *q, struct list *out, int timeout_ms);
void workqueue_stop(struct workqueue *q);
void workqueue_destroy(struct workqueue *q);

/* Threads without any signal delivered to them; `name` of at most 15 characters shows in ps and
 * gdb. Returns 0 or a negative errno. */
int thread_start(pthread_t *t, const char *name, void *(*run)(void *), void *arg);

#endif
