#include "adapters/mqttsn/sn_topics.h"

#include "gateway/base/util.h"

#include <stdlib.h>
#include <string.h>

/* MQTT-SN 1.2, 5.3.11: 0x0000 and 0xFFFF are reserved. */
#define IDS_MAX 0xFFFE

static void topics_free(struct session_extra *e)
{
	struct sn_topics *t = container_of(e, struct sn_topics, extra);
	for (uint32_t i = 0; i < t->n; i++)
		free(t->all[i].name);
	free(t->all);
	free(t->slots);
	free(t);
}

struct sn_topics *sn_topics_of(struct session *s)
{
	struct sn_topics *t = sn_topics_peek(s);
	if (t || !(t = calloc(1, sizeof(*t))))
		return t;
	t->extra.free = topics_free;
	session_set_extra(s, &t->extra);
	return t;
}

struct sn_topic *sn_topics_by_id(const struct sn_topics *t, uint16_t id)
{
	return t && id > 0 && id <= t->n ? &t->all[id - 1] : NULL;
}

/* The slot that holds `name`, or the free one where it belongs. */
static uint32_t find_slot(const struct sn_topics *t, struct span name)
{
	uint32_t i = (uint32_t)hash_bytes(name.p, name.len) & (t->n_slots - 1);
	while (t->slots[i] && !span_equal(sn_topic_name(&t->all[t->slots[i] - 1]), name))
		i = (i + 1) & (t->n_slots - 1);
	return i;
}

struct sn_topic *sn_topics_by_name(const struct sn_topics *t, struct span name)
{
	return t && t->n ? sn_topics_by_id(t, t->slots[find_slot(t, name)]) : NULL;
}

static bool grow_slots(struct sn_topics *t)
{
	uint32_t n = t->n_slots ? t->n_slots * 2 : 8;
	uint16_t *slots = calloc(n, sizeof(*slots));
	if (!slots)
		return false;
	free(t->slots);
	t->slots = slots;
	t->n_slots = n;
	for (uint32_t i = 0; i < t->n; i++)
		t->slots[find_slot(t, sn_topic_name(&t->all[i]))] = t->all[i].id;
	return true;
}

static bool make_room(struct sn_topics *t)
{
	if (t->n * 2 + 2 > t->n_slots && !grow_slots(t))
		return false;
	if (t->n < t->room)
		return true;
	uint32_t room = t->room ? t->room * 2 : 4;
	struct sn_topic *all = realloc(t->all, room * sizeof(*all));
	if (!all)
		return false;
	t->all = all;
	t->room = room;
	return true;
}

struct sn_topic *sn_topics_add(struct sn_topics *t, struct span name, uint32_t max)
{
	struct sn_topic *found = sn_topics_by_name(t, name);
	if (found)
		return found;
	if (t->n >= MIN(max, IDS_MAX) || name.len > UINT16_MAX || !make_room(t))
		return NULL;
	char *copy = malloc(name.len + 1);
	if (!copy)
		return NULL;
	memcpy(copy, name.p, name.len);
	copy[name.len] = '\0';
	uint32_t slot = find_slot(t, name);
	struct sn_topic *topic = &t->all[t->n++];
	*topic = (struct sn_topic){ .name = copy, .len = (uint16_t)name.len, .id = (uint16_t)t->n };
	t->slots[slot] = topic->id;
	return topic;
}

void sn_topics_unannounce(struct sn_topics *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		t->all[i].announced = false;
}
