#include "gateway/base/clock.h"
#include "gateway/core/keeper.h"
#include "gateway/core/record.h"
#include "gateway/core/sub_ids.h"
#include "gateway/store/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a hostile journal brings back: the input is records {type, length 16, body}, replayed into a
 * keeper, restored, and ended. The first octet says which kinds have an owner. Nothing may stay
 * behind. */
#define RECORDS_MAX 64
#define CLAIMS_MAX  20000

struct journal {
	struct {
		struct span body;
		uint8_t type;
		bool live;
	} records[RECORDS_MAX + 1];
	uint64_t n;
};

static struct journal journal;

uint64_t journal_append(struct journal *j, uint8_t type, const struct span *parts, unsigned n_parts,
	struct journal_wait *wait, int *err)
{
	(void)j, (void)type, (void)parts, (void)n_parts, (void)wait;
	*err = -EIO;
	return 0;
}

uint64_t journal_append_lazy(
	struct journal *j, uint8_t type, const struct span *parts, unsigned n_parts, int *err)
{
	return journal_append(j, type, parts, n_parts, NULL, err);
}

int journal_room_for(const struct journal *j, size_t body_len)
{
	(void)j, (void)body_len;
	return -EIO;
}

uint64_t journal_mark(struct journal *j)
{
	return j->n;
}

bool journal_reached(const struct journal *j, uint64_t mark)
{
	return mark <= j->n;
}

void journal_forget(struct journal *j, uint64_t seq)
{
	if (seq == 0 || seq > j->n || !j->records[seq].live)
		abort();
	j->records[seq].live = false;
}

long journal_length(struct journal *j, uint64_t seq)
{
	return (long)j->records[seq].body.len;
}

long journal_read(struct journal *j, uint64_t seq, void *buf, size_t cap)
{
	struct span body = j->records[seq].body;

	if (!j->records[seq].live || body.len > cap)
		abort();
	memcpy(buf, body.p, body.len);
	return (long)body.len;
}

void journal_wait_cancel(struct journal_wait *w)
{
	(void)w;
}

static struct {
	struct kept *kept;
	struct claim c;
} taken[CLAIMS_MAX];
static size_t n_taken;

/* Every third claim is of no use to its owner. */
static bool on_restore(void *arg, struct kept *kept, const struct claim *c, struct message *m)
{
	(void)arg;
	if (kept_loaded(kept) != m || !kept_safe(kept, c))
		abort();
	if (n_taken == CLAIMS_MAX || c->packet_id % 3 == 2)
		return false;
	taken[n_taken].kept = kept;
	taken[n_taken++].c = *c;
	return true;
}

static void take_records(const uint8_t *data, size_t len)
{
	static const uint8_t types[] = { JR_MESSAGE, JR_CLAIM, JR_DONE };

	memset(&journal, 0, sizeof(journal));
	while (len >= 3 && journal.n < RECORDS_MAX) {
		size_t n = (size_t)data[1] << 8 | data[2];
		n = n < len - 3 ? n : len - 3;
		journal.n++;
		journal.records[journal.n].type = types[data[0] % 3];
		journal.records[journal.n].body = span_of(data + 3, n);
		journal.records[journal.n].live = true;
		data += 3 + n;
		len -= 3 + n;
	}
}

static void end_all(void)
{
	int err;

	for (size_t i = 0; i < n_taken; i++) {
		message_unref(kept_message(taken[i].kept, &err));
		if (i % 5 == 4)
			kept_leave(taken[i].kept, &taken[i].c);
		else
			kept_end(taken[i].kept, &taken[i].c, R_SUCCESS);
	}
	n_taken = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_handler handlers[JOURNAL_TYPES] = { { NULL, NULL } };

	if (size == 0)
		return 0;
	clock_freeze(1000000, 1700000000000);
	struct keeper *k = keeper_new();
	keeper_handlers(k, handlers);
	take_records(data + 1, size - 1);
	for (uint64_t i = 1; i <= journal.n; i++) {
		struct journal_handler *h = &handlers[journal.records[i].type];
		if (h->fn(h->arg, i, journal.records[i].body) < 0)
			journal.records[i].live = false;
	}
	keeper_attach(k, &journal);
	for (int kind = 1; kind < CLAIM_KINDS; kind++)
		if (data[0] & 1 << kind)
			keeper_on_restore(k, (enum claim_kind)kind, on_restore, NULL);
	keeper_restore(k);
	end_all();
	keeper_free(k);
	if (messages_bytes() || sub_ids_blocks())
		abort();
	return 0;
}
