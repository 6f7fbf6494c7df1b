#include "gateway/base/clock.h"
#include "gateway/base/util.h"
#include "gateway/core/topic.h"
#include "gateway/upstream/backlog_priv.h"
#include "gateway/upstream/upstream_conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* While the upstream answers, QoS 0 passes through; only a stalled link keeps it for long. */
#define QOS0_FACTOR_UP 16
#define AGE_STEP_MS    1000

struct latest {
	UT_hash_handle hh;
	uint64_t topic;
	struct entry *e; /* borrowed */
};

/* A topic must not change its lane while messages of it wait, so the list is that of the start. */
int policy_init(struct backlog *b, const struct conf *conf)
{
	const struct upstream_conf *c = conf_section(conf, "upstream");

	b->priority = calloc(c->priority.n + 1, sizeof(*b->priority));
	if (!b->priority)
		return -ENOMEM;
	for (size_t i = 0; i < c->priority.n; i++)
		if (!(b->priority[i] = strdup(c->priority.items[i])))
			return -ENOMEM;
	return 0;
}

void policy_close(struct backlog *b)
{
	for (size_t i = 0; b->priority && b->priority[i]; i++)
		free(b->priority[i]);
	free(b->priority);
}

static bool listed(const struct conf_list *filters, struct span topic)
{
	for (size_t i = 0; filters && i < filters->n; i++)
		if (topic_matches(span_str(filters->items[i]), topic))
			return true;
	return false;
}

void policy_of(const struct backlog *b, const struct message *m, struct entry_policy *p)
{
	struct span topic = message_topic(m);

	*p = (struct entry_policy){
		.droppable = m->qos > 0 && listed(b->limits.drop_oldest, topic),
		.latest = listed(b->limits.latest_only, topic),
	};
	for (char **filter = b->priority; *filter && !p->priority; filter++)
		p->priority = topic_matches(span_str(*filter), topic);
}

/* ---- Room ---- */

static bool drop_first(struct backlog *b, struct list *ages, enum loss why)
{
	if (list_empty(ages))
		return false;
	backlog_lost(b, &list_first(ages, struct large_entry, age)->e, why, R_SUCCESS);
	return true;
}

static bool room_qos0(struct backlog *b, int64_t size)
{
	int64_t max = b->limits.qos0_bytes * (b->up ? QOS0_FACTOR_UP : 1);

	while (b->status.qos0_bytes + size > max)
		if (!drop_first(b, &b->qos0, LOSS_QOS0))
			return false;
	return true;
}

bool policy_room(struct backlog *b, const struct message *m)
{
	int64_t size = (int64_t)message_size(m);

	if (m->qos == 0)
		return room_qos0(b, size);
	while ((b->keeper ? b->claimed_bytes : b->unstored_bytes) + size > b->limits.disk_bytes)
		if (!drop_first(b, &b->droppable, LOSS_OLDEST))
			return false;
	return true;
}

/* ---- The newest of a topic ---- */

static struct latest *find(const struct backlog *b, uint64_t topic)
{
	struct latest *l;

	HASH_FIND(hh, b->latest, &topic, sizeof(topic), l);
	return l;
}

/* Without memory it is not found later, and nothing supersedes it. */
static void remember(struct backlog *b, struct entry *e)
{
	struct latest *l = calloc(1, sizeof(*l));

	if (!l)
		return;
	l->topic = entry_large(e)->topic;
	l->e = e;
	HASH_ADD(hh, b->latest, topic, sizeof(l->topic), l);
	if (!l->hh.tbl)
		free(l);
}

/* What comes back from the link is older than all that never left. */
static void by_age(struct list *ages, struct entry *e)
{
	bool oldest = !list_empty(ages) &&
		      (int32_t)(list_first(ages, struct large_entry, age)->e.order - e->order) > 0;

	if (oldest)
		list_prepend(ages, &entry_large(e)->age);
	else
		list_append(ages, &entry_large(e)->age);
}

bool policy_waits(struct backlog *b, struct entry *e)
{
	if (b->limits.age_ms)
		backlog_soon(b, AGE_STEP_MS);
	if (e->qos == 0)
		by_age(&b->qos0, e);
	else if (e->droppable)
		by_age(&b->droppable, e);
	if (!e->latest)
		return true;
	struct latest *l = find(b, entry_large(e)->topic);
	if (!l) {
		remember(b, e);
		return true;
	}
	/* One that comes back from the link may be the older one. At QoS 2 it may be known there.
	 */
	struct entry *older = (int32_t)(l->e->order - e->order) < 0 ? l->e : e;
	if (older == e && e->qos == 2)
		return true;
	l->e = older == e ? l->e : e;
	backlog_lost(b, older, LOSS_SUPERSEDED, R_SUCCESS);
	return older != e;
}

void policy_left(struct backlog *b, struct entry *e)
{
	if (!e->large)
		return;
	list_remove(&entry_large(e)->age);
	struct latest *l = e->latest ? find(b, entry_large(e)->topic) : NULL;
	if (!l || l->e != e)
		return;
	HASH_DEL(b->latest, l);
	free(l);
}

/* ---- Age ---- */

int64_t policy_age(struct backlog *b)
{
	int64_t now_s = clock_ms() / 1000, next_ms = -1;

	if (b->limits.age_ms == 0)
		return -1;
	for (int lane = 0; lane < LANES; lane++) {
		while (!list_empty(&b->waiting[lane])) {
			struct entry *e = list_first(&b->waiting[lane], struct entry, node);
			if ((now_s - e->born_s) * 1000 <= b->limits.age_ms) {
				next_ms = AGE_STEP_MS;
				break;
			}
			backlog_lost(b, e, LOSS_AGED, R_SUCCESS);
		}
	}
	return next_ms;
}
