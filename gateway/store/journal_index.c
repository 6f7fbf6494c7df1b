#include "gateway/store/journal_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 64

int index_reserve(struct index *x)
{
	if (x->n < x->cap)
		return 0;
	size_t cap = x->cap ? x->cap + x->cap / 4 : FIRST_CAP;
	struct index_entry *v = realloc(x->v, cap * sizeof(*v));
	if (!v)
		return -ENOMEM;
	x->v = v;
	x->cap = cap;
	return 0;
}

void index_push(struct index *x, const struct index_entry *e)
{
	x->v[x->n++] = *e;
}

struct index_entry *index_find(const struct index *x, uint64_t seq)
{
	size_t lo = x->head, hi = x->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (x->v[mid].seq < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < x->n && x->v[lo].seq == seq && x->v[lo].seg ? &x->v[lo] : NULL;
}

void index_remove(struct index *x, struct index_entry *e)
{
	e->seg = NULL;
	x->holes++;
	/* A backlog drains from the front, an undone append leaves from the end. */
	for (; x->head < x->n && !x->v[x->head].seg; x->head++)
		x->holes--;
	for (; x->head < x->n && !x->v[x->n - 1].seg; x->n--)
		x->holes--;
}

static void shrink(struct index *x)
{
	size_t cap = x->n < FIRST_CAP ? FIRST_CAP : x->n + x->n / 8;

	if (cap > x->cap / 4 * 3)
		return;
	struct index_entry *v = realloc(x->v, cap * sizeof(*v));
	if (!v)
		return;
	x->v = v;
	x->cap = cap;
}

void index_tidy(struct index *x)
{
	size_t kept = 0;

	if (x->head + x->holes <= index_live(x) / 2 + FIRST_CAP)
		return;
	for (size_t i = x->head; i < x->n; i++)
		if (x->v[i].seg)
			x->v[kept++] = x->v[i];
	x->head = x->holes = 0;
	x->n = kept;
	shrink(x);
}

void index_free(struct index *x)
{
	free(x->v);
	memset(x, 0, sizeof(*x));
}
