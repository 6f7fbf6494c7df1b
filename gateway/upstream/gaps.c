#include "gateway/upstream/gaps.h"

#include "gateway/base/clock.h"
#include "gateway/base/json.h"
#include "gateway/core/message.h"
#include "gateway/core/record.h"
#include "gateway/core/topic.h"
#include "gateway/store/journal.h"
#include "gateway/upstream/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define WRITE_MS    1000
#define RECORD_MAX  65536u
#define CLIENT_MAX  256
#define LINE_FIXED  27 /* octets of a line besides the client id */
#define STALE_MAX   8
#define PAYLOAD_MAX 1024

/* JR_GAP: version 8 | lines {client id 16 + octets, reason 8, count 64, first 64, last 64} */
enum { GAPS_VERSION = 1 };

struct gaps {
	struct ledger *ledger;           /* borrowed */
	struct journal *journal;         /* borrowed; NULL: none */
	uint64_t seq;                    /* of the record that holds; 0: none */
	uint64_t stale[STALE_MAX], mark; /* to be forgotten when the mark is reached */
	unsigned n_stale;
	uint64_t seen; /* ledger_changes() when it was written */
	int64_t next_ms;
};

struct gaps *gaps_new(struct ledger *l)
{
	struct gaps *g = calloc(1, sizeof(*g));

	if (g)
		g->ledger = l;
	return g;
}

void gaps_free(struct gaps *g)
{
	free(g);
}

/* ---- On stable storage ---- */

static bool close_line(const struct ledger_line *line, void *arg)
{
	(void)line;
	(void)arg;
	return true;
}

static void supersede(struct gaps *g)
{
	if (g->seq && g->n_stale < STALE_MAX)
		g->stale[g->n_stale++] = g->seq;
	g->seq = 0;
}

static int read_line(struct gaps *g, struct reader *r)
{
	struct span id = rd_span16(r);
	uint8_t why = rd_u8(r);
	uint64_t n = rd_u64(r);
	int64_t first = (int64_t)rd_u64(r), last = (int64_t)rd_u64(r);
	char name[CLIENT_MAX + 1];

	if (r->bad || id.len > CLIENT_MAX || !utf8_valid(id) || n == 0)
		return -EBADMSG;
	if (why >= LOSSES) /* of a later version */
		return 0;
	snprintf(name, sizeof(name), "%.*s", SPAN_ARGS(id));
	uint16_t client = ledger_client(g->ledger, name);
	ledger_reopen(g->ledger, client, (enum loss)why, n, first, last);
	ledger_release(g->ledger, client);
	return 0;
}

/* Each record holds all that was open then: the last one counts. */
int gaps_replay(void *gaps, uint64_t seq, struct span body)
{
	struct gaps *g = gaps;
	struct reader r = reader_of(body);
	uint8_t version = rd_u8(&r);

	if (version > GAPS_VERSION)
		return 0;
	if (version == 0)
		return -EBADMSG;
	ledger_each(g->ledger, close_line, NULL);
	supersede(g);
	while (r.left > 0)
		if (read_line(g, &r) < 0)
			break; /* what came before it is good */
	g->seq = seq;
	g->seen = ledger_changes(g->ledger);
	return 0;
}

void gaps_attach(struct gaps *g, struct journal *j)
{
	g->journal = j;
}

static bool write_line(const struct ledger_line *line, void *arg)
{
	struct writer *w = arg;
	struct span id = span_str(line->client_id);

	if (line->gap == 0 || id.len > CLIENT_MAX || w->cap - w->len < id.len + LINE_FIXED)
		return false;
	wr_span16(w, id);
	wr_u8(w, (uint8_t)line->why);
	wr_u64(w, line->gap);
	wr_u64(w, (uint64_t)line->first_wall_ms);
	wr_u64(w, (uint64_t)line->last_wall_ms);
	return false;
}

/* 0 or a negative errno. */
static int write_record(struct gaps *g)
{
	uint8_t *buf = malloc(RECORD_MAX);
	struct writer w = writer_of(buf, RECORD_MAX);
	int err = 0;

	if (!buf)
		return -ENOMEM;
	wr_u8(&w, GAPS_VERSION);
	ledger_each(g->ledger, write_line, &w);
	struct span body = span_of(buf, w.len);
	uint64_t seq = w.len > 1 ? journal_append(g->journal, JR_GAP, &body, 1, NULL, &err) : 0;
	free(buf);
	if (err)
		return err;
	supersede(g);
	g->seq = seq;
	g->seen = ledger_changes(g->ledger);
	g->mark = journal_mark(g->journal);
	return 0;
}

bool gaps_turn(struct gaps *g)
{
	if (!g->journal)
		return false;
	if (g->n_stale > 0 && journal_reached(g->journal, g->mark))
		while (g->n_stale > 0)
			journal_forget(g->journal, g->stale[--g->n_stale]);
	if (g->seen == ledger_changes(g->ledger))
		return g->n_stale > 0;
	if (clock_ms() >= g->next_ms && g->n_stale == 0) {
		g->next_ms = clock_ms() + WRITE_MS;
		write_record(g);
	}
	return true;
}

void gaps_hurry(struct gaps *g)
{
	g->next_ms = 0;
	gaps_turn(g);
}

/* ---- To the upstream ---- */

struct telling {
	const char *topic, *gateway_id;
	bool (*push)(void *arg, struct message *m);
	void *arg;
};

static void wr_member(struct writer *w, const char *name, const char *value)
{
	wr_span(w, span_str(",\""));
	wr_span(w, span_str(name));
	wr_span(w, span_str("\":\""));
	wr_json(w, value);
	wr_u8(w, '"');
}

static void wr_line(struct writer *w, const struct ledger_line *line, const char *gateway_id)
{
	char text[CLOCK_TEXT_MAX + 16];

	wr_span(w, span_str("{\"gateway\":\""));
	wr_json(w, gateway_id);
	wr_u8(w, '"');
	if (line->client_id[0])
		wr_member(w, "client", line->client_id);
	wr_member(w, "reason", loss_name(line->why));
	snprintf(text, sizeof(text), ",\"count\":%llu", (unsigned long long)line->gap);
	wr_span(w, span_str(text));
	wr_member(w, "first", clock_text(line->first_wall_ms, text));
	wr_member(w, "last", clock_text(line->last_wall_ms, text));
	wr_member(w, "clock", clock_synced() ? "synced" : "unsynced");
	wr_u8(w, '}');
}

static bool tell_line(const struct ledger_line *line, void *arg)
{
	const struct telling *t = arg;
	uint8_t payload[PAYLOAD_MAX];
	struct writer w = writer_of(payload, sizeof(payload));

	if (line->gap == 0)
		return false;
	wr_line(&w, line, t->gateway_id);
	struct message *m = message_new(&(struct message_init){
		.topic = span_str(t->topic),
		.payload = span_of(payload, w.len),
		.qos = 1,
		.origin = ORIGIN_GATEWAY,
	});
	bool told = m && !w.bad && t->push(t->arg, m);
	message_unref(m);
	return told;
}

void gaps_tell(struct gaps *g, const char *topic, const char *gateway_id,
	bool (*push)(void *arg, struct message *m), void *arg)
{
	struct telling t = { topic, gateway_id, push, arg };

	if (ledger_gaps(g->ledger) > 0)
		ledger_each(g->ledger, tell_line, &t);
}
