#include "gateway/upstream/ledger.h"

#include "gateway/base/count.h"
#include "gateway/base/util.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* Clients are entered when they publish, so that a message needs only a number; who has lost
 * nothing and has nothing waiting makes room for others. */
#define CLIENTS_MAX 1024
#define LOSERS_MAX  256

struct line {
	uint64_t total, gap;
	int64_t first_wall_ms, last_wall_ms;
};

struct client {
	UT_hash_handle hh;
	uint32_t refs;
	uint16_t number;
	struct line *lines; /* owned, LOSSES of them; NULL: it has lost nothing */
	char id[];
};

struct ledger {
	struct client *by_id;
	struct client *clients[CLIENTS_MAX]; /* owned; [0] is nobody */
	uint16_t next;                       /* where the search for a free number begins */
	unsigned losers, gaps;
	uint64_t changes, totals[LOSSES];
};

static struct count counts[LOSSES] = {
	[LOSS_QOS0] = COUNT("upstream.dropped.qos0"),
	[LOSS_EXPIRED] = COUNT("upstream.dropped.expired"),
	[LOSS_AGED] = COUNT("upstream.dropped.aged"),
	[LOSS_SUPERSEDED] = COUNT("upstream.dropped.superseded"),
	[LOSS_OLDEST] = COUNT("upstream.dropped.oldest"),
	[LOSS_UNREADABLE] = COUNT("upstream.dropped.unreadable"),
	[LOSS_REFUSED] = COUNT("upstream.dropped.refused"),
};

const char *loss_name(enum loss l)
{
	return counts[l].name + strlen("upstream.dropped.");
}

static struct client *client_new(struct ledger *l, uint16_t number, const char *id)
{
	size_t size = strlen(id) + 1;
	struct client *c = calloc(1, sizeof(*c) + size);

	if (!c)
		return NULL;
	c->number = number;
	memcpy(c->id, id, size);
	HASH_ADD_KEYPTR(hh, l->by_id, c->id, size - 1, c);
	if (!c->hh.tbl) { /* uthash found no memory */
		free(c);
		return NULL;
	}
	return l->clients[number] = c;
}

static void client_free(struct ledger *l, struct client *c)
{
	HASH_DEL(l->by_id, c);
	l->clients[c->number] = NULL;
	free(c->lines);
	free(c);
}

struct ledger *ledger_new(void)
{
	struct ledger *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	struct client *nobody = client_new(l, 0, "");
	if (nobody)
		nobody->lines = calloc(LOSSES, sizeof(*nobody->lines));
	if (!nobody || !nobody->lines) {
		ledger_free(l);
		return NULL;
	}
	return l;
}

void ledger_free(struct ledger *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (l->clients[i])
			client_free(l, l->clients[i]);
	free(l);
}

/* A free number, or that of a client nobody asks for any more; 0: none. */
static uint16_t find_number(struct ledger *l)
{
	for (unsigned i = 1; i < CLIENTS_MAX; i++) {
		l->next = (uint16_t)(l->next % (CLIENTS_MAX - 1) + 1);
		struct client *c = l->clients[l->next];
		if (c && c->refs == 0 && !c->lines)
			client_free(l, c);
		if (!l->clients[l->next])
			return l->next;
	}
	return 0;
}

uint16_t ledger_client(struct ledger *l, const char *client_id)
{
	struct client *c;

	HASH_FIND(hh, l->by_id, client_id, strlen(client_id), c);
	if (!c) {
		uint16_t number = find_number(l);
		c = number ? client_new(l, number, client_id) : NULL;
	}
	if (!c)
		c = l->clients[0];
	c->refs++;
	return c->number;
}

void ledger_release(struct ledger *l, uint16_t client)
{
	assert(l->clients[client]->refs > 0);
	l->clients[client]->refs--;
}

static struct line *lines_of(struct ledger *l, struct client *c)
{
	if (!c->lines && l->losers < LOSERS_MAX) {
		c->lines = calloc(LOSSES, sizeof(*c->lines));
		l->losers += c->lines != NULL;
	}
	return c->lines ? c->lines : l->clients[0]->lines;
}

static struct line *widen(struct ledger *l, uint16_t client, enum loss why, uint64_t n,
	int64_t first_wall_ms, int64_t last_wall_ms)
{
	struct line *line = &lines_of(l, l->clients[client])[why];

	line->first_wall_ms = line->gap ? MIN(line->first_wall_ms, first_wall_ms) : first_wall_ms;
	line->last_wall_ms = line->gap ? MAX(line->last_wall_ms, last_wall_ms) : last_wall_ms;
	l->gaps += line->gap == 0;
	l->changes++;
	line->gap += n;
	return line;
}

void ledger_enter(struct ledger *l, uint16_t client, enum loss why, uint64_t n,
	int64_t first_wall_ms, int64_t last_wall_ms)
{
	widen(l, client, why, n, first_wall_ms, last_wall_ms)->total += n;
	l->totals[why] += n;
	count_add(&counts[why], n);
}

void ledger_reopen(struct ledger *l, uint16_t client, enum loss why, uint64_t n,
	int64_t first_wall_ms, int64_t last_wall_ms)
{
	widen(l, client, why, n, first_wall_ms, last_wall_ms);
}

void ledger_each(struct ledger *l, bool (*each)(const struct ledger_line *, void *), void *arg)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct client *c = l->clients[i];
		for (int why = 0; c && c->lines && why < LOSSES; why++) {
			struct line *line = &c->lines[why];
			const struct ledger_line told = { c->id, (enum loss)why, line->total,
				line->gap, line->first_wall_ms, line->last_wall_ms };
			if (line->total + line->gap > 0 && each(&told, arg) && line->gap > 0) {
				line->gap -= told.gap; /* telling may have cost some */
				l->gaps -= line->gap == 0;
				l->changes++;
			}
		}
	}
}

uint64_t ledger_total(const struct ledger *l, enum loss why)
{
	return l->totals[why];
}

unsigned ledger_gaps(const struct ledger *l)
{
	return l->gaps;
}

uint64_t ledger_changes(const struct ledger *l)
{
	return l->changes;
}
