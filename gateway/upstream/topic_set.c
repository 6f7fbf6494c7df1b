#include "gateway/upstream/topic_set.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct member {
	uint64_t topic;
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

static struct member *find(const struct topic_set *s, uint64_t topic)
{
	struct member *m;

	HASH_FIND(hh, s->members, &topic, sizeof(topic), m);
	return m;
}

int topic_set_add(struct topic_set *s, uint64_t topic)
{
	struct member *m = find(s, topic);

	if (m) {
		m->n++;
		return 0;
	}
	if (!(m = calloc(1, sizeof(*m))))
		return -ENOMEM;
	m->topic = topic;
	m->n = 1;
	HASH_ADD(hh, s->members, topic, sizeof(m->topic), m);
	if (!m->hh.tbl) { /* uthash found no memory */
		free(m);
		return -ENOMEM;
	}
	return 0;
}

void topic_set_remove(struct topic_set *s, uint64_t topic)
{
	struct member *m = find(s, topic);

	if (!m || --m->n > 0)
		return;
	HASH_DEL(s->members, m);
	free(m);
}

bool topic_set_has(const struct topic_set *s, uint64_t topic)
{
	return find(s, topic) != NULL;
}
