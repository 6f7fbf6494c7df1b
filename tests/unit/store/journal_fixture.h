#ifndef TIDEGATE_TESTS_JOURNAL_FIXTURE_H
#define TIDEGATE_TESTS_JOURNAL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/timer.h"
#include "gateway/store/journal_impl.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A journal in a directory of its own, driven by hand: a standing clock, a loop that is turned only
 * here. */
struct seen {
	uint64_t seq;
	uint8_t type;
	uint32_t len;
	char start[28];
};

struct fixture;
struct typed {
	struct fixture *f;
	uint8_t type;
};

struct fixture {
	char dir[64];
	struct event_base *base;
	struct store_conf conf;
	struct journal *j;
	struct journal_report report;
	struct journal_handler handlers[JOURNAL_TYPES];
	struct typed types[JOURNAL_TYPES];
	struct seen *seen; /* what the last open replayed */
	size_t n_seen, cap_seen;
	uint64_t refuse_seq; /* the handler answers negative to it */
};

struct waiter {
	struct journal_wait wait;
	int fired, err;
};

static inline int fixture_replay(void *arg, uint64_t seq, struct span body)
{
	struct typed *t = arg;
	struct fixture *f = t->f;

	if (f->n_seen == f->cap_seen) {
		f->cap_seen = f->cap_seen ? f->cap_seen * 2 : 64;
		f->seen = realloc(f->seen, f->cap_seen * sizeof(*f->seen));
		assert_non_null(f->seen);
	}
	struct seen *s = &f->seen[f->n_seen++];
	*s = (struct seen){ .seq = seq, .type = t->type, .len = (uint32_t)body.len };
	if (body.len)
		memcpy(s->start, body.p, MIN(body.len, sizeof(s->start) - 1));
	return seq == f->refuse_seq ? -1 : 0;
}

static inline void fixture_init_in(struct fixture *f, const char *parent, int64_t max_bytes)
{
	memset(f, 0, sizeof(*f));
	log_set_level(LOG_LEVEL_ERROR);
	clock_freeze(1000000, 1700000000000);
	snprintf(f->dir, sizeof(f->dir), "%.30s/tg-journal-XXXXXX", parent);
	assert_non_null(mkdtemp(f->dir));
	f->base = event_base_new();
	f->conf = (struct store_conf){
		.dir = f->dir, .max_bytes = max_bytes, .commit_interval_ms = 250
	};
	for (uint8_t i = 1; i < JOURNAL_TYPES; i++) {
		f->types[i] = (struct typed){ f, i };
		f->handlers[i] = (struct journal_handler){ fixture_replay, &f->types[i] };
	}
}

static inline void fixture_init(struct fixture *f, int64_t max_bytes)
{
	fixture_init_in(f, "/tmp", max_bytes);
}

static inline void fixture_open(struct fixture *f)
{
	f->n_seen = 0;
	assert_int_equal(journal_open(f->base, &f->conf, f->handlers, &f->j, &f->report), 0);
	f->j->paid_ms = clock_ms(); /* after a busy time: one commit at once */
}

static inline void fixture_close(struct fixture *f)
{
	journal_close(f->j, 5000);
	f->j = NULL;
}

static inline void fixture_reopen(struct fixture *f)
{
	fixture_close(f);
	fixture_open(f);
}

static inline int fixture_remove_one(
	const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static inline void fixture_remove(const char *path)
{
	nftw(path, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void fixture_destroy(struct fixture *f)
{
	if (f->j)
		fixture_close(f);
	fixture_remove(f->dir);
	event_base_free(f->base);
	free(f->seen);
}

/* One turn of the loop, `ms` later. */
static inline void fixture_turn(struct fixture *f, int64_t ms)
{
	clock_advance(ms);
	event_base_loop(f->base, EVLOOP_NONBLOCK);
	timers_run();
	journal_turn(f->j);
}

static inline bool fixture_busy(const struct fixture *f)
{
	const struct journal *j = f->j;

	return !list_empty(&j->flights) || (j->gather && j->gather->sync && !j->error) ||
	       j->clean.state != CLEAN_IDLE || j->clean.due;
}

/* Turns until nothing is left to do but what a second's wait would bring. */
static inline void fixture_settle(struct fixture *f)
{
	for (int i = 0; i < 20000; i++) {
		fixture_turn(f, 5);
		if (!fixture_busy(f))
			return;
		usleep(50);
	}
	fail_msg("the journal doesn't come to rest");
}

/* The slow timer has fired and what it started is done. */
static inline void fixture_second(struct fixture *f)
{
	fixture_turn(f, SLOW_MS + SLOW_MS / 16);
	fixture_settle(f);
}

static inline void on_stored(struct journal_wait *w, int err)
{
	struct waiter *x = container_of(w, struct waiter, wait);

	x->fired++;
	x->err = err;
}

static inline uint64_t append_bytes(
	struct fixture *f, uint8_t type, const void *p, size_t len, struct waiter *w, int *err)
{
	struct span part = { p, len };

	if (w)
		*w = (struct waiter){ .wait.done = on_stored };
	return journal_append(f->j, type, &part, 1, w ? &w->wait : NULL, err);
}

static inline uint64_t append_text(
	struct fixture *f, uint8_t type, const char *text, struct waiter *w)
{
	int err;
	uint64_t seq = append_bytes(f, type, text, strlen(text), w, &err);

	assert_int_equal(err, 0);
	assert_true(seq > 0);
	return seq;
}

static inline uint64_t append_lazy(struct fixture *f, const char *text)
{
	struct span part = { (const uint8_t *)text, strlen(text) };
	int err;
	uint64_t seq = journal_append_lazy(f->j, 1, &part, 1, &err);

	assert_true(seq > 0);
	return seq;
}

static inline const struct seen *find_seen(const struct fixture *f, uint64_t seq)
{
	for (size_t i = 0; i < f->n_seen; i++)
		if (f->seen[i].seq == seq)
			return &f->seen[i];
	return NULL;
}

static inline void assert_text(struct fixture *f, uint64_t seq, const char *text)
{
	char buf[256];
	long n = journal_read(f->j, seq, buf, sizeof(buf));

	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, strlen(text));
	assert_int_equal(journal_length(f->j, seq), n);
}

/* Names of the segment files, sorted; returns how many. */
static inline unsigned segment_files(const struct fixture *f, char names[][32], unsigned max)
{
	struct dirent **list;
	int n = scandir(f->dir, &list, NULL, alphasort);
	unsigned found = 0;

	for (int i = 0; i < n; i++) {
		if (strstr(list[i]->d_name, ".seg") && found < max)
			snprintf(names[found++], 32, "%.31s", list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return found;
}

static inline size_t file_get(const struct fixture *f, const char *name, uint8_t *buf, size_t cap)
{
	char path[128];
	snprintf(path, sizeof(path), "%.63s/%.31s", f->dir, name);
	int fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	ssize_t n = read(fd, buf, cap);
	close(fd);
	assert_true(n >= 0);
	return (size_t)n;
}

static inline void file_put(
	const struct fixture *f, const char *name, const uint8_t *buf, size_t len)
{
	char path[128];
	snprintf(path, sizeof(path), "%.63s/%.31s", f->dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, buf, len), len);
	close(fd);
}

static inline void file_drop(const struct fixture *f, const char *name)
{
	char path[128];
	snprintf(path, sizeof(path), "%.63s/%.31s", f->dir, name);
	unlink(path);
}

#endif
