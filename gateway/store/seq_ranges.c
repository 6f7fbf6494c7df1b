#include "gateway/store/seq_ranges.h"

#include "gateway/base/util.h"
#include "gateway/base/wire.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_CAP 16

static int grow(struct seq_ranges *r)
{
	size_t cap = r->cap ? r->cap * 2 : FIRST_CAP;
	struct seq_range *v = realloc(r->v, cap * sizeof(*v));

	if (!v)
		return -ENOMEM;
	r->v = v;
	r->cap = cap;
	return 0;
}

int seq_ranges_add(struct seq_ranges *r, uint64_t first, uint64_t last)
{
	if (r->n > 0 && r->v[r->n - 1].last + 1 == first) {
		r->v[r->n - 1].last = last;
		return 0;
	}
	if (r->n == r->cap && grow(r) < 0)
		return -ENOMEM;
	r->v[r->n++] = (struct seq_range){ first, last };
	return 0;
}

int seq_ranges_add_all(struct seq_ranges *to, const struct seq_ranges *from)
{
	for (size_t i = 0; i < from->n; i++)
		if (seq_ranges_add(to, from->v[i].first, from->v[i].last) < 0)
			return -ENOMEM;
	return 0;
}

static int by_first(const void *a, const void *b)
{
	uint64_t x = ((const struct seq_range *)a)->first;
	uint64_t y = ((const struct seq_range *)b)->first;

	return x < y ? -1 : x > y;
}

void seq_ranges_sort(struct seq_ranges *r)
{
	size_t kept = 0;

	if (r->n == 0)
		return;
	qsort(r->v, r->n, sizeof(*r->v), by_first);
	for (size_t i = 1; i < r->n; i++) {
		struct seq_range *last = &r->v[kept];
		/* The second question is asked only where last->last < first, so + 1 cannot wrap.
		 */
		if (r->v[i].first <= last->last || r->v[i].first == last->last + 1)
			last->last = MAX(last->last, r->v[i].last);
		else
			r->v[++kept] = r->v[i];
	}
	r->n = kept + 1;
}

bool seq_ranges_has(const struct seq_ranges *r, uint64_t seq)
{
	size_t lo = 0, hi = r->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (seq > r->v[mid].last)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < r->n && seq >= r->v[lo].first;
}

void seq_ranges_drop(struct seq_ranges *r, size_t n)
{
	if (n == 0)
		return;
	r->n -= n;
	memmove(r->v, r->v + n, r->n * sizeof(*r->v));
}

void seq_ranges_free(struct seq_ranges *r)
{
	free(r->v);
	*r = (struct seq_ranges){ NULL, 0, 0 };
}

static void wr_leb128(struct writer *w, uint64_t v)
{
	do {
		uint8_t b = v & 0x7f;
		v >>= 7;
		wr_u8(w, v ? b | 0x80 : b);
	} while (v);
}

static uint64_t rd_leb128(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 63; shift += 7) {
		uint8_t b = rd_u8(r);
		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return v;
	}
	r->bad = true; /* more than 63 bits: no sequence is that large */
	return 0;
}

size_t seq_ranges_encode(const struct seq_ranges *r, size_t *next, uint8_t *buf, size_t cap)
{
	struct writer w = writer_of(buf, cap);
	uint64_t end = 0;

	for (; *next < r->n && w.cap - w.len >= SEQ_RANGE_ENCODED_MAX; (*next)++) {
		const struct seq_range *range = &r->v[*next];
		wr_leb128(&w, range->first - end);
		wr_leb128(&w, range->last - range->first);
		end = range->last;
	}
	return w.len;
}

int seq_ranges_decode(struct seq_ranges *r, struct span body)
{
	struct reader in = reader_of(body);
	uint64_t end = 0;

	while (in.left > 0) {
		uint64_t gap = rd_leb128(&in);
		uint64_t more = rd_leb128(&in);
		/* Each is below 2^63 and `end` stays so; neither sum can wrap. */
		if (in.bad || gap > INT64_MAX - end || more > INT64_MAX - end - gap)
			return -EBADMSG;
		if (seq_ranges_add(r, end + gap, end + gap + more) < 0)
			return -ENOMEM;
		end += gap + more;
	}
	return 0;
}
