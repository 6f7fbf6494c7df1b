#ifndef TIDEGATE_TESTS_FAKE_JOURNAL_H
#define TIDEGATE_TESTS_FAKE_JOURNAL_H

/* A journal in memory that commits and fails on command; included by one test file at a time. */

#include "gateway/core/keeper.h"
#include "gateway/store/journal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FAKE_RECORDS 40000

struct fake_record {
	char *body;
	size_t len;
	uint8_t type;
	bool live, lazy;
	struct journal_wait *wait;
};

struct journal {
	struct fake_record records[FAKE_RECORDS];
	uint64_t n, synced;
	int append_error, read_error;
	size_t max_body; /* larger ones find no room */
	unsigned forgotten;
};

static struct journal *journal;

static inline uint64_t fake_append(
	struct journal *j, uint8_t type, const struct span *parts, unsigned n_parts, int *err)
{
	size_t len = 0;

	for (unsigned i = 0; i < n_parts; i++)
		len += parts[i].len;
	*err = journal_room_for(j, len);
	if (*err)
		return 0;
	assert_true(j->n + 1 < FAKE_RECORDS);
	struct fake_record *r = &j->records[++j->n];
	r->body = malloc(len + 1);
	r->type = type;
	r->live = true;
	for (unsigned i = 0; i < n_parts; i++) {
		if (parts[i].len)
			memcpy(r->body + r->len, parts[i].p, parts[i].len);
		r->len += parts[i].len;
	}
	return j->n;
}

uint64_t journal_append(struct journal *j, uint8_t type, const struct span *parts, unsigned n_parts,
	struct journal_wait *wait, int *err)
{
	uint64_t seq = fake_append(j, type, parts, n_parts, err);

	if (seq && wait) {
		j->records[seq].wait = wait;
		wait->seq = seq;
	}
	return seq;
}

uint64_t journal_append_lazy(
	struct journal *j, uint8_t type, const struct span *parts, unsigned n_parts, int *err)
{
	uint64_t seq = fake_append(j, type, parts, n_parts, err);

	j->records[seq].lazy = true;
	return seq;
}

int journal_room_for(const struct journal *j, size_t body_len)
{
	if (body_len > JOURNAL_BODY_MAX)
		return -EMSGSIZE;
	if (j->append_error)
		return j->append_error;
	return j->max_body && body_len > j->max_body ? -ENOSPC : 0;
}

void journal_forget(struct journal *j, uint64_t seq)
{
	assert_true(seq > 0 && seq <= j->n && j->records[seq].live);
	j->records[seq].live = false;
	j->forgotten++;
}

long journal_length(struct journal *j, uint64_t seq)
{
	return seq <= j->n && j->records[seq].live ? (long)j->records[seq].len : -ENOENT;
}

long journal_read(struct journal *j, uint64_t seq, void *buf, size_t cap)
{
	if (j->read_error)
		return j->read_error;
	assert_true(j->records[seq].live && cap >= j->records[seq].len);
	memcpy(buf, j->records[seq].body, j->records[seq].len);
	return (long)j->records[seq].len;
}

uint64_t journal_mark(struct journal *j)
{
	return j->n + j->forgotten;
}

bool journal_reached(const struct journal *j, uint64_t mark)
{
	return mark <= j->synced;
}

bool journal_failing(const struct journal *j)
{
	return j->append_error != 0;
}

void journal_wait_cancel(struct journal_wait *w)
{
	for (uint64_t i = journal->n; w->done && i > 0; i--)
		if (journal->records[i].wait == w)
			journal->records[i].wait = NULL;
}

/* What was appended until now, in order. */
static inline void commit(int err)
{
	uint64_t n = journal->n;

	journal->synced = err ? journal->synced : journal_mark(journal);
	for (uint64_t i = 1; i <= n; i++) {
		struct journal_wait *w = journal->records[i].wait;
		journal->records[i].wait = NULL;
		if (w && err)
			journal->records[i].live = false;
		if (w)
			w->done(w, err);
	}
}

static inline unsigned live_records(void)
{
	unsigned n = 0;

	for (uint64_t i = 1; i <= journal->n; i++)
		n += journal->records[i].live;
	return n;
}

/* As journal_open() would, into a keeper that is new; and as it forgets what is of no use. */
static inline void replay_into(struct keeper *k)
{
	struct journal_handler handlers[JOURNAL_TYPES] = { { NULL, NULL } };

	keeper_handlers(k, handlers);
	for (uint64_t i = 1; i <= journal->n; i++) {
		struct fake_record *r = &journal->records[i];
		journal_replay_fn *fn = r->live ? handlers[r->type].fn : NULL;
		if (fn && fn(handlers[r->type].arg, i, span_of(r->body, r->len)) < 0)
			r->live = false;
	}
	keeper_attach(k, journal);
}

static inline void journal_setup(void)
{
	journal = calloc(1, sizeof(*journal));
}

static inline void journal_teardown(void)
{
	for (uint64_t i = 1; i <= journal->n; i++)
		free(journal->records[i].body);
	free(journal);
}

#endif
