#ifndef TIDEGATE_TESTS_STORAGE_RIG_H
#define TIDEGATE_TESTS_STORAGE_RIG_H

/* A router with a keeper on a real journal, that can be killed at any moment. Included after
 * cmocka.h, by one test file at a time. */
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/reap.h"
#include "gateway/base/timer.h"
#include "gateway/core/keeper.h"
#include "gateway/core/message.h"
#include "gateway/core/receipt.h"
#include "gateway/core/router.h"
#include "gateway/store/journal_impl.h"

#include <dlfcn.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In the place of the C library's, for this program only: the journal's thread fails when it is
 * told to, and does nothing to the files while they are copied. */
static atomic_bool store_fails;
static pthread_mutex_t store_files = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int fd, const void *p, size_t len, off_t at)
{
	if (atomic_load(&store_fails)) {
		errno = EIO;
		return -1;
	}
	pthread_mutex_lock(&store_files);
	ssize_t n = REAL(pwrite)(fd, p, len, at);
	pthread_mutex_unlock(&store_files);
	return n;
}

int unlinkat(int dir, const char *path, int flags)
{
	pthread_mutex_lock(&store_files);
	int err = REAL(unlinkat)(dir, path, flags);
	pthread_mutex_unlock(&store_files);
	return err;
}

/* There are no power cuts here. */
int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

static struct store {
	char dir[64];
	unsigned lives; /* directories so far */
	struct event_base *base;
	struct journal *journal;
	struct keeper *keeper;
	struct router *router;
	struct router_limits limits;
	struct keeper_conf conf;
	void (*before_commit)(void); /* in each turn; NULL: nothing to do */
} store;

static inline void store_shell(const char *format, const char *a, const char *b)
{
	char command[256];

	snprintf(command, sizeof(command), format, a, b);
	assert_int_equal(system(command), 0);
}

static inline void store_init(void)
{
	memset(&store, 0, sizeof(store));
	atomic_store(&store_fails, false);
	log_set_level(LOG_LEVEL_ERROR);
	clock_freeze(1000000, 1700000000000);
	strcpy(store.dir, "/tmp/tg-store-XXXXXX");
	assert_non_null(mkdtemp(store.dir));
	store.base = event_base_new();
	store.limits = (struct router_limits){ .max_delayed = 100 };
	store.conf =
		(struct keeper_conf){ .hold_ms = 1000, .lazy_ms = 600000, .memory_bytes = 1 << 20 };
}

/* The router is there before the journal: sessions are made in it during the replay. */
static inline void store_begin(void)
{
	store.router = router_new(&policy_allow_all, &store.limits);
}

static inline void store_replay(struct journal_handler handlers[JOURNAL_TYPES])
{
	struct store_conf conf = {
		.dir = store.dir, .max_bytes = 8 << 20, .commit_interval_ms = 250
	};
	struct journal_report report;

	store.keeper = keeper_new();
	keeper_set_conf(store.keeper, &store.conf);
	keeper_handlers(store.keeper, handlers);
	assert_int_equal(journal_open(store.base, &conf, handlers, &store.journal, &report), 0);
	assert_int_equal(report.bad_records, 0);
	router_set_keeper(store.router, store.keeper);
	keeper_attach(store.keeper, store.journal);
}

/* The journal is replayed into a keeper; store_ready() hands out what is in there. */
static inline void store_open(struct journal_handler handlers[JOURNAL_TYPES])
{
	store_begin();
	store_replay(handlers);
}

static inline void store_ready(void)
{
	keeper_restore(store.keeper);
}

static inline void store_close(void)
{
	router_free(store.router);
	reap();
	keeper_free(store.keeper);
	journal_close(store.journal, 5000);
	store.journal = NULL;
	receipts_run();
	reap();
	assert_int_equal(messages_bytes(), 0);
}

/* What is in the files now is what a kill finds: the next life goes on with a copy of it. Whatever
 * the end of this one writes is lost. */
static inline void store_kill(void (*close)(void))
{
	char copy[sizeof(store.dir)];

	snprintf(copy, sizeof(copy), "%.21s.%u", store.dir, ++store.lives);
	pthread_mutex_lock(&store_files);
	store_shell("cp -r %s %s", store.dir, copy);
	pthread_mutex_unlock(&store_files);
	close();
	store_shell("rm -rf %s%s", store.dir, "");
	strcpy(store.dir, copy);
}

static inline void store_remove(void)
{
	store_shell("rm -rf %s%s", store.dir, "");
	event_base_free(store.base);
}

/* One turn, `ms` later. */
static inline void store_turn(int64_t ms)
{
	clock_advance(ms);
	event_base_loop(store.base, EVLOOP_NONBLOCK);
	timers_run();
	receipts_run();
	router_turn(store.router);
	if (store.before_commit)
		store.before_commit();
	journal_turn(store.journal);
	reap();
}

static inline bool store_busy(void)
{
	const struct journal *j = store.journal;

	return !list_empty(&j->flights) || (j->gather && j->gather->sync && !j->error) ||
	       j->marked || receipts_pending();
}

/* Turns until all that is on its way to the disk is there, ends as well (they take 20 ms); less
 * time passes than hold_ms. */
static inline void store_settle(void)
{
	for (unsigned quiet = 0, i = 0; quiet < 6; i++) {
		store_turn(5);
		quiet = store_busy() ? 0 : quiet + 1;
		assert_in_range(i, 0, 20000);
		usleep(50);
	}
}

static inline uint64_t store_written(void)
{
	struct journal_status s;

	journal_status(store.journal, &s);
	return s.appended_records;
}

/* No write works any more; and works again. */
static inline void store_fail(bool on)
{
	atomic_store(&store_fails, on);
	for (unsigned i = 0; i < 600; i++) { /* it is tried again each second */
		store_turn(5);
		usleep(50);
	}
}

#endif
