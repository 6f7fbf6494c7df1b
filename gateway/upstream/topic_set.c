#include "gateway/upstream/topic_set.h"

#include "gateway/base/util.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct member {
	uint64_t hash;
	uint32_t n;
	UT_hash_handle hh;
};

struct topic_set {
	struct member *members;
};

struct topic_set *topic_set_new(void)
{
	return calloc(1, sizeof(struct topic_set));
}

void topic_set_free(struct topic_set *s)
{
	struct member *m, *tmp;

	if (!s)
		return;
	HASH_ITER(hh, s->members, m, tmp)
	{
		HASH_DEL(s->members, m);
		free(m);
	}
	free(s);
}

static struct member *find(const struct topic_set *s, struct span topic)
{
	uint64_t hash = hash_bytes(topic.p, topic.len);
	struct member *m;

	HASH_FIND(hh, s->members, &hash, sizeof(hash), m);
	return m;
}

int topic_set_add(struct topic_set *s, struct span topic)
{
	struct member *m = find(s, topic);

	if (m) {
		m->n++;
		return 0;
	}
	if (!(m = calloc(1, sizeof(*m))))
		return -ENOMEM;
	m->hash = hash_bytes(topic.p, topic.len);
	m->n = 1;
	HASH_ADD(hh, s->members, hash, sizeof(m->hash), m);
	if (!m->hh.tbl) { /* uthash found no memory */
		free(m);
		return -ENOMEM;
	}
	return 0;
}

void topic_set_remove(struct topic_set *s, struct span topic)
{
	struct member *m = find(s, topic);

	if (!m || --m->n > 0)
		return;
	HASH_DEL(s->members, m);
	free(m);
}

bool topic_set_has(const struct topic_set *s, struct span topic)
{
	return find(s, topic) != NULL;
}
