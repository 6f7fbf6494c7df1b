#include "gateway/core/session_store_priv.h"
#include "gateway/store/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t number_hash(uint64_t number)
{
	return (uint32_t)(hash_bytes(&number, sizeof(number)) >> 32);
}

static uint32_t trail_hash(const void *entry)
{
	const struct trail *t = entry;
	return number_hash(t->number);
}

static bool trail_is(const void *entry, const void *number)
{
	const struct trail *t = entry;
	return t->number == *(const uint64_t *)number;
}

void trails_init(struct trails *t)
{
	*t = (struct trails){ 0 };
	ptrtable_init(&t->by_number, trail_hash);
	list_init(&t->outdated);
}

struct trail *trail_find(const struct trails *t, uint64_t number)
{
	return ptrtable_find(&t->by_number, number_hash(number), trail_is, &number);
}

static struct trail *trail_get(struct trails *t, uint64_t number)
{
	struct trail *tr = trail_find(t, number);

	if (tr || !(tr = calloc(1, sizeof(*tr))))
		return tr;
	tr->number = number;
	list_init(&tr->node);
	if (ptrtable_add(&t->by_number, tr) < 0) {
		free(tr);
		return NULL;
	}
	return tr;
}

static void trail_free(struct trails *t, struct trail *tr)
{
	ptrtable_remove(&t->by_number, tr);
	t->n_outdated -= !list_empty(&tr->node);
	list_remove(&tr->node);
	t->n_records -= tr->n;
	free(tr->seqs);
	free(tr);
}

static int add(struct trails *t, struct trail *tr, uint64_t seq)
{
	if (tr->n == tr->cap) {
		uint32_t cap = tr->cap ? tr->cap * 2 : 2;
		uint64_t *seqs = reallocarray(tr->seqs, cap, sizeof(*seqs));
		if (!seqs)
			return -ENOMEM;
		tr->seqs = seqs;
		tr->cap = cap;
	}
	tr->seqs[tr->n++] = seq;
	t->n_records++;
	return 0;
}

int trail_add_delta(struct trails *t, uint64_t number, uint64_t seq, size_t body_len)
{
	struct trail *tr = trail_get(t, number);
	int err = tr ? add(t, tr, seq) : -ENOMEM;

	if (err == 0)
		tr->delta_bytes += body_len;
	else if (tr && tr->n == 0)
		trail_free(t, tr);
	return err;
}

void trail_outdate(
	struct trails *t, struct journal *j, uint64_t number, uint64_t seq, uint64_t mark)
{
	struct trail *tr = trail_get(t, number);

	if (!tr || add(t, tr, seq) < 0)
		journal_forget(j, seq);
	if (!tr || tr->n == 0) {
		if (tr)
			trail_free(t, tr);
		return;
	}
	tr->n_outdated = tr->n;
	tr->delta_bytes = 0;
	tr->mark = mark;
	t->n_outdated += list_empty(&tr->node);
	list_remove(&tr->node);
	list_append(&t->outdated, &tr->node);
}

static void forget_outdated(struct trails *t, struct journal *j, struct trail *tr)
{
	for (uint32_t i = 0; i < tr->n_outdated; i++)
		journal_forget(j, tr->seqs[i]);
	t->n_records -= tr->n_outdated;
	tr->n -= tr->n_outdated;
	memmove(tr->seqs, tr->seqs + tr->n_outdated, tr->n * sizeof(*tr->seqs));
	tr->n_outdated = 0;
	t->n_outdated--;
	list_remove(&tr->node);
	if (tr->n == 0)
		trail_free(t, tr);
}

void trails_sweep(struct trails *t, struct journal *j)
{
	while (!list_empty(&t->outdated)) {
		struct trail *tr = list_first(&t->outdated, struct trail, node);
		if (!journal_reached(j, tr->mark))
			break;
		forget_outdated(t, j, tr);
	}
}

void trail_end(struct trails *t, struct journal *j, uint64_t number)
{
	struct trail *tr = trail_find(t, number);

	if (!tr)
		return;
	for (uint32_t i = 0; j && i < tr->n; i++)
		journal_forget(j, tr->seqs[i]);
	trail_free(t, tr);
}

void trails_free(struct trails *t)
{
	for (size_t i = 0; i < t->by_number.cap; i++) {
		struct trail *tr = t->by_number.slots[i];
		if (!tr)
			continue;
		free(tr->seqs);
		free(tr);
	}
	ptrtable_clear(&t->by_number);
}
