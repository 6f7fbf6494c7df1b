#include "gateway/store/forget_later.h"

#include "gateway/base/util.h"

#include <errno.h>
#include <stdlib.h>

int forget_later_reserve(struct forget_later *f, size_t n)
{
	struct forget_batch *b = &f->added;

	if (b->cap - b->n >= n)
		return 0;
	size_t cap = MAX(b->cap * 2, b->n + MAX(n, 16u));
	uint64_t *v = reallocarray(b->v, cap, sizeof(*v));
	if (!v)
		return -ENOMEM;
	b->v = v;
	b->cap = cap;
	return 0;
}

int forget_later_add(struct forget_later *f, uint64_t seq)
{
	int err = forget_later_reserve(f, 1);

	if (!err)
		f->added.v[f->added.n++] = seq;
	return err;
}

bool forget_later_turn(struct forget_later *f, struct journal *j)
{
	struct forget_batch done = f->waiting;

	if (done.n > 0 && !journal_reached(j, f->mark))
		return false;
	while (done.n > 0)
		journal_forget(j, done.v[--done.n]);
	f->waiting = f->added;
	f->added = done;
	if (f->waiting.n == 0)
		return false;
	f->mark = journal_mark(j);
	return true;
}

void forget_later_free(struct forget_later *f)
{
	free(f->added.v);
	free(f->waiting.v);
	*f = (struct forget_later){ 0 };
}
