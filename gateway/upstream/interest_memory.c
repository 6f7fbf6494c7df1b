#include "gateway/upstream/interest_memory.h"

#include "gateway/base/util.h"
#include "gateway/core/record.h"
#include "gateway/core/topic.h"
#include "gateway/store/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* More filters are not remembered, whatever the journal says. */
#define REMEMBERED_MAX 100000

struct remembered {
	UT_hash_handle hh;
	uint64_t record;
	uint16_t len;
	char filter[];
};

struct interest_memory {
	struct journal *j;         /* borrowed; NULL: no storage */
	struct remembered *of_old; /* owned: of the last run, not added again so far */
	struct remembered *taken;  /* owned: the last one given out */
};

struct interest_memory *interest_memory_new(void)
{
	return must_calloc(1, sizeof(struct interest_memory));
}

int interest_memory_replay(void *memory, uint64_t seq, struct span body)
{
	struct interest_memory *m = memory;
	struct remembered *r;

	if (!topic_valid_filter(body) || HASH_COUNT(m->of_old) >= REMEMBERED_MAX)
		return -EBADMSG;
	HASH_FIND(hh, m->of_old, body.p, body.len, r);
	if (r)
		return -EEXIST;
	if (!(r = malloc(sizeof(*r) + body.len)))
		return 0;
	memcpy(r->filter, body.p, body.len);
	r->len = (uint16_t)body.len;
	r->record = seq;
	HASH_ADD_KEYPTR(hh, m->of_old, r->filter, r->len, r);
	if (!r->hh.tbl)
		free(r);
	return 0;
}

void interest_memory_attach(struct interest_memory *m, struct journal *j)
{
	m->j = j;
}

uint64_t interest_memory_add(struct interest_memory *m, struct span filter)
{
	struct remembered *r;
	int err;

	if (!m || !m->j)
		return 0;
	HASH_FIND(hh, m->of_old, filter.p, filter.len, r);
	if (!r)
		return journal_append_lazy(m->j, JR_INTEREST, &filter, 1, &err);
	uint64_t record = r->record;
	HASH_DEL(m->of_old, r);
	free(r);
	return record;
}

void interest_memory_drop(struct interest_memory *m, uint64_t record)
{
	if (m && m->j && record)
		journal_forget(m->j, record);
}

bool interest_memory_take(struct interest_memory *m, struct span *filter, uint64_t *record)
{
	free(m->taken);
	if (!(m->taken = m->of_old))
		return false;
	HASH_DEL(m->of_old, m->taken);
	*filter = span_of(m->taken->filter, m->taken->len);
	*record = m->taken->record;
	return true;
}

void interest_memory_forget(struct interest_memory *m)
{
	struct span filter;
	uint64_t record;

	while (m && interest_memory_take(m, &filter, &record))
		interest_memory_drop(m, record);
}

void interest_memory_free(struct interest_memory *m)
{
	struct remembered *r, *tmp;

	if (!m)
		return;
	HASH_ITER(hh, m->of_old, r, tmp)
	{
		HASH_DEL(m->of_old, r);
		free(r);
	}
	free(m->taken);
	free(m);
}
