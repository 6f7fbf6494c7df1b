#include "gateway/upstream/exchanges.h"

#include "gateway/base/util.h"
#include "gateway/base/wire.h"
#include "gateway/core/record.h"
#include "gateway/store/forget_later.h"

#include <errno.h>
#include <stdlib.h>

/* A record: version, way and flags, packet id, session, what. */
#define FORM          1
#define RECORD_SIZE   20
#define FLAG_WAY      0x03
#define FLAG_RELEASED 0x04

/* More than a journal of ours can hold: a window each way, twice for changes that were not ended.
 */
#define REPLAYED_MAX 4096

struct exchanges {
	struct journal *journal; /* borrowed; NULL: memory only */
	struct list list;
	unsigned n;
	bool hurry; /* stored in this turn */
	/* Records whose exchange is over go after the end of its message is on stable storage: a
	 * power cut in between would leave the message alone, and it would be sent again. */
	struct forget_later ended;
};

struct exchanges *exchanges_new(void)
{
	struct exchanges *x = must_calloc(1, sizeof(*x));

	list_init(&x->list);
	return x;
}

struct exchange *exchange_begin(struct exchanges *x, const struct exchange *init)
{
	struct exchange *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->all = x;
	e->session = init->session;
	e->what = init->what;
	e->packet_id = init->packet_id;
	e->way = init->way;
	e->released = init->released;
	e->stored = init->stored;
	e->owner = init->owner;
	list_init(&e->node);
	list_append(&x->list, &e->node);
	x->n++;
	return e;
}

static void forget(struct exchanges *x, uint64_t *seq)
{
	if (*seq && x->journal)
		journal_forget(x->journal, *seq);
	*seq = 0;
}

static bool same_exchange(const struct exchange *a, const struct exchange *b)
{
	return a->way == b->way && a->session == b->session && a->packet_id == b->packet_id;
}

struct exchange *exchange_find(
	struct exchanges *x, enum exchange_way way, uint64_t session, uint16_t packet_id)
{
	struct exchange key = { .way = way, .session = session, .packet_id = packet_id };

	for (struct list *pos = x->list.prev; pos != &x->list; pos = pos->prev)
		if (same_exchange(list_entry(pos, struct exchange, node), &key))
			return list_entry(pos, struct exchange, node);
	return NULL;
}

/* A later record of the same id stands for a change, or for the next message under it: then the
 * earlier one had been completed. */
int exchanges_replay(void *exchanges, uint64_t seq, struct span body)
{
	struct exchanges *x = exchanges;
	struct reader r = reader_of(body);
	struct exchange init = { 0 };
	uint8_t form = rd_u8(&r), flags = rd_u8(&r);

	init.packet_id = rd_u16(&r);
	init.session = rd_u64(&r);
	init.what = rd_u64(&r);
	init.way = (enum exchange_way)(flags & FLAG_WAY);
	init.released = flags & FLAG_RELEASED;
	if (r.bad || r.left || form != FORM || init.packet_id == 0 || x->n >= REPLAYED_MAX ||
		(init.way != EXCHANGE_OUT && init.way != EXCHANGE_IN))
		return -EBADMSG;
	struct exchange *e = exchange_begin(x, &init);
	if (!e)
		return 0; /* it stays on disk for the next start */
	e->seq = seq;
	return 0;
}

static void exchange_free(struct exchange *e)
{
	journal_wait_cancel(&e->wait);
	list_remove(&e->node);
	e->all->n--;
	free(e);
}

void exchanges_attach(struct exchanges *x, struct journal *j)
{
	struct list *pos, *tmp;

	x->journal = j;
	list_for_each_safe(pos, tmp, &x->list) {
		struct exchange *e = list_entry(pos, struct exchange, node);
		if (exchange_find(x, e->way, e->session, e->packet_id) == e)
			continue;
		forget(x, &e->seq);
		exchange_free(e);
	}
}

void exchanges_free(struct exchanges *x)
{
	if (!x)
		return;
	while (!list_empty(&x->list))
		exchange_free(list_first(&x->list, struct exchange, node));
	forget_later_free(&x->ended);
	free(x);
}

static void on_stored(struct journal_wait *w, int err)
{
	struct exchange *e = container_of(w, struct exchange, wait);

	if (err) {
		e->seq = e->old; /* what stood there before still stands */
		e->old = 0;
	} else {
		forget(e->all, &e->old);
	}
	if (e->stored)
		e->stored(e, err);
}

int exchange_store(struct exchange *e)
{
	struct journal *j = e->all->journal;
	uint8_t bytes[RECORD_SIZE];
	struct writer w = writer_of(bytes, sizeof(bytes));
	int err = 0;

	if (!j)
		return -ENOTSUP;
	wr_u8(&w, FORM);
	wr_u8(&w, (uint8_t)(e->way | (e->released ? FLAG_RELEASED : 0)));
	wr_u16(&w, e->packet_id);
	wr_u64(&w, e->session);
	wr_u64(&w, e->what);
	struct span part = span_of(w.p, w.len);
	journal_wait_cancel(&e->wait);
	e->wait.done = on_stored;
	uint64_t seq = journal_append(j, JR_UPLINK, &part, 1, &e->wait, &err);
	if (!seq)
		return err;
	/* A change that comes before the last one was stored: that one's record is of no use. */
	if (e->old)
		forget(e->all, &e->seq);
	else
		e->old = e->seq;
	e->seq = seq;
	e->all->hurry = true;
	return 0;
}

void exchanges_hurry(struct exchanges *x)
{
	x->hurry = true;
}

void exchanges_turn(struct exchanges *x)
{
	if (!x->journal)
		return;
	forget_later_turn(&x->ended, x->journal);
	if (x->hurry)
		journal_hurry(x->journal);
	x->hurry = false;
}

static void forget_in_order(struct exchanges *x, uint64_t *seq)
{
	if (*seq == 0 || forget_later_add(&x->ended, *seq) < 0)
		forget(x, seq);
	*seq = 0;
}

void exchange_end(struct exchange *e)
{
	/* The older one is of no use without the later one. */
	if (e->way == EXCHANGE_OUT) {
		forget_in_order(e->all, &e->old);
		forget_in_order(e->all, &e->seq);
	} else {
		forget(e->all, &e->old);
		forget(e->all, &e->seq);
	}
	exchange_free(e);
}

void exchange_leave(struct exchange *e)
{
	e->stored = NULL;
	e->owner = NULL;
}

struct list *exchanges_list(struct exchanges *x)
{
	return &x->list;
}

uint64_t exchange_digest(const struct span parts[], unsigned n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (unsigned i = 0; i < n; i++) {
		for (size_t k = 0; k < parts[i].len; k++)
			h = (h ^ parts[i].p[k]) * UINT64_C(0x100000001b3);
		h = (h ^ 0xff) * UINT64_C(0x100000001b3); /* no octet of UTF-8 */
	}
	return h;
}
