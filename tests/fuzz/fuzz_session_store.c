#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/reap.h"
#include "gateway/base/timer.h"
#include "gateway/core/record.h"
#include "gateway/core/session_store.h"
#include "gateway/store/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a hostile journal brings back: the input is records {type, length 16, body}. They are
 * replayed into sessions; those are written whole, and what was written is replayed in its turn:
 * the same must come of it. Then all time passes. */
#define RECORDS_MAX 256

struct journal {
	struct {
		uint8_t *body;
		size_t len;
		uint8_t type;
		bool live;
	} records[RECORDS_MAX + 1];
	uint64_t n;
	bool failing;
};

static struct journal journal;

static uint64_t add(struct journal *j, uint8_t type, const struct span *parts, unsigned n_parts)
{
	uint64_t seq = ++j->n;
	size_t len = 0;

	for (unsigned i = 0; i < n_parts; i++)
		len += parts[i].len;
	j->records[seq].body = malloc(len + 1);
	j->records[seq].type = type;
	j->records[seq].len = 0;
	j->records[seq].live = true;
	for (unsigned i = 0; i < n_parts; i++) {
		if (parts[i].len)
			memcpy(j->records[seq].body + j->records[seq].len, parts[i].p,
				parts[i].len);
		j->records[seq].len += parts[i].len;
	}
	return seq;
}

int journal_room_for(const struct journal *j, size_t body_len)
{
	if (j->failing || j->n == RECORDS_MAX)
		return -EIO;
	return body_len > JOURNAL_BODY_MAX ? -EMSGSIZE : 0;
}

uint64_t journal_append(struct journal *j, uint8_t type, const struct span *parts, unsigned n_parts,
	struct journal_wait *wait, int *err)
{
	(void)wait;
	*err = journal_room_for(j, 0);
	return *err ? 0 : add(j, type, parts, n_parts);
}

uint64_t journal_append_lazy(
	struct journal *j, uint8_t type, const struct span *parts, unsigned n_parts, int *err)
{
	return journal_append(j, type, parts, n_parts, NULL, err);
}

void journal_forget(struct journal *j, uint64_t seq)
{
	if (seq == 0 || seq > j->n || !j->records[seq].live)
		abort();
	j->records[seq].live = false;
}

long journal_length(struct journal *j, uint64_t seq)
{
	return j->records[seq].live ? (long)j->records[seq].len : -ENOENT;
}

long journal_read(struct journal *j, uint64_t seq, void *buf, size_t cap)
{
	(void)j, (void)seq, (void)buf, (void)cap;
	return -ENOENT;
}

uint64_t journal_mark(struct journal *j)
{
	return j->n;
}

bool journal_reached(const struct journal *j, uint64_t mark)
{
	(void)j, (void)mark;
	return true;
}

bool journal_failing(const struct journal *j)
{
	return j->failing;
}

void journal_wait_cancel(struct journal_wait *w)
{
	(void)w;
}

static struct router *router;
static struct sessions *all;
static struct session_store *store;

static void start(void)
{
	static const struct sessions_conf conf = { .window = 20, .max_expiry_s = 1000000 };
	struct journal_handler handlers[JOURNAL_TYPES] = { { NULL, NULL } };

	router = router_new(&policy_allow_all, &(struct router_limits){ 0 });
	all = sessions_new(router, &conf);
	store = session_store_new(all);
	session_store_handlers(store, handlers);
	for (uint64_t i = 1, n = journal.n; i <= n; i++) {
		const struct journal_handler *h = &handlers[journal.records[i].type];
		struct span body = span_of(journal.records[i].body, journal.records[i].len);
		if (journal.records[i].live && h->fn(h->arg, i, body) < 0)
			journal.records[i].live = false;
	}
	session_store_attach(store, &journal, 0);
	session_store_restored(store);
}

static void end(void)
{
	journal.failing = true;
	sessions_free(all);
	session_store_free(store);
	reap();
	router_free(router);
	journal.failing = false;
}

static size_t things(void)
{
	struct router_stats s;

	router_stats(router, &s);
	return sessions_count(all, false) * 1000000 + s.subscriptions + s.shared;
}

static void change(struct session *s, void *arg)
{
	(void)arg;
	session_changed(s);
}

static void take_records(const uint8_t *data, size_t len)
{
	while (len >= 3 && journal.n < RECORDS_MAX / 4) {
		size_t n = (size_t)data[1] << 8 | data[2];
		n = n < len - 3 ? n : len - 3;
		struct span body = span_of(data + 3, n);
		add(&journal, data[0] % 2 ? JR_SESSION_DELTA : JR_SESSION, &body, 1);
		data += 3 + n;
		len -= 3 + n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_set_level(LOG_LEVEL_ERROR);
	clock_freeze(1000000, 1700000000000);
	take_records(data, size);
	start();
	size_t before = things();
	sessions_each(all, change, NULL);
	session_store_turn(store);
	session_store_close(store);
	end();
	start();
	if (things() != before)
		abort();
	clock_advance(INT64_C(1) << 40);
	timers_run();
	reap();
	end();
	for (uint64_t i = 1; i <= journal.n; i++)
		free(journal.records[i].body);
	journal.n = 0;
	if (messages_bytes())
		abort();
	return 0;
}
