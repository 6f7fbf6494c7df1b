#include "adapters/mqttsn/sn_topics.h"

#include "gateway/base/util.h"

#include <stdlib.h>
#include <string.h>

/* MQTT-SN 1.2, 5.3.11: 0x0000 and 0xFFFF are reserved. */
#define IDS_MAX 0xFFFE

/* The most octets of names that one device can have; with it all sizes fit into 32 bits. */
#define NAMES_MAX (UINT32_C(1) << 30)

static void topics_free(struct session_extra *e)
{
	struct sn_topics *t = container_of(e, struct sn_topics, extra);
	free(t->entries);
	free(t->index);
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

/* Octets of an entry: entries begin where a struct may. */
static uint32_t entry_size(size_t name_len)
{
	size_t align = _Alignof(struct sn_topic);
	return (uint32_t)((sizeof(struct sn_topic) + name_len + align - 1) / align * align);
}

static struct sn_topic *entry_at(const struct sn_topics *t, uint32_t offset)
{
	return (void *)(t->entries + offset);
}

/* To walk all: `offset` begins at 0. NULL at the end. */
static struct sn_topic *next_entry(const struct sn_topics *t, uint32_t *offset)
{
	if (*offset >= t->used)
		return NULL;
	struct sn_topic *entry = entry_at(t, *offset);
	*offset += entry_size(entry->len);
	return entry;
}

struct sn_topic *sn_topics_by_id(const struct sn_topics *t, uint16_t id)
{
	if (!t || id == 0 || id > t->n)
		return NULL;
	if (t->n_slots)
		return entry_at(t, t->index[id - 1]);
	uint32_t offset = 0;
	struct sn_topic *entry;
	while ((entry = next_entry(t, &offset)) && entry->id != id)
		;
	return entry;
}

static uint16_t *slots_of(uint32_t *index, uint32_t n_slots)
{
	return (uint16_t *)(index + n_slots / 2);
}

/* The slot that holds `name`, or the free one where it belongs. */
static uint16_t *find_slot(const struct sn_topics *t, struct span name)
{
	uint16_t *slots = slots_of(t->index, t->n_slots);
	uint32_t i = (uint32_t)hash_bytes(name.p, name.len) & (t->n_slots - 1);
	while (slots[i] && !span_equal(sn_topic_name(sn_topics_by_id(t, slots[i])), name))
		i = (i + 1) & (t->n_slots - 1);
	return &slots[i];
}

struct sn_topic *sn_topics_by_name(const struct sn_topics *t, struct span name)
{
	if (!t)
		return NULL;
	if (t->n_slots)
		return sn_topics_by_id(t, *find_slot(t, name));
	uint32_t offset = 0;
	struct sn_topic *entry;
	while ((entry = next_entry(t, &offset)) && !span_equal(sn_topic_name(entry), name))
		;
	return entry;
}

static void enter(struct sn_topics *t, struct sn_topic *entry)
{
	t->index[entry->id - 1] = (uint32_t)((uint8_t *)entry - t->entries);
	*find_slot(t, sn_topic_name(entry)) = entry->id;
}

static bool grow_index(struct sn_topics *t)
{
	uint32_t n = t->n_slots ? t->n_slots * 2 : SN_TOPICS_FEW * 4;
	uint32_t *index = calloc(n, sizeof(uint32_t) / 2 + sizeof(uint16_t));
	if (!index)
		return false;
	free(t->index);
	t->index = index;
	t->n_slots = n;
	uint32_t offset = 0;
	struct sn_topic *entry;
	while ((entry = next_entry(t, &offset)))
		enter(t, entry);
	return true;
}

/* For one more name. Small tables are as large as they need be. */
static bool make_room(struct sn_topics *t, uint32_t size)
{
	if (t->n >= SN_TOPICS_FEW && t->n * 2 + 2 > t->n_slots && !grow_index(t))
		return false;
	if (size <= t->room - t->used)
		return true;
	uint32_t room = t->used + size;
	if (room > NAMES_MAX)
		return false;
	if (t->n >= SN_TOPICS_FEW)
		room += room / 2;
	uint8_t *entries = realloc(t->entries, room);
	if (!entries)
		return false;
	t->entries = entries;
	t->room = room;
	return true;
}

struct sn_topic *sn_topics_add(
	struct sn_topics *t, struct span name, enum sn_origin origin, uint32_t max)
{
	struct sn_topic *entry = sn_topics_by_name(t, name);
	if (entry)
		return entry;
	uint32_t size = entry_size(name.len);
	if (t->n >= MIN(max, IDS_MAX) || name.len > UINT16_MAX || !make_room(t, size))
		return NULL;
	entry = entry_at(t, t->used);
	*entry = (struct sn_topic){
		.id = (uint16_t)++t->n,
		.len = (uint16_t)name.len,
		.origin = (unsigned)origin & 3u,
	};
	memcpy(entry->name, name.p, name.len);
	t->used += size;
	if (t->n_slots)
		enter(t, entry);
	return entry;
}

void sn_topics_unannounce(struct sn_topics *t)
{
	uint32_t offset = 0;
	struct sn_topic *entry;
	while ((entry = next_entry(t, &offset)))
		entry->announced = false;
}
