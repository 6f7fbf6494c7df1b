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
	free(t->index);
	free(t);
}

static const struct session_extra_ops extra_ops = { .free = topics_free };

/* Octets of an entry: entries begin where a struct may. */
static uint32_t entry_size(size_t name_len)
{
	size_t align = _Alignof(struct sn_topic);
	return (uint32_t)((sizeof(struct sn_topic) + name_len + align - 1) / align * align);
}

static struct sn_topic *entry_at(const struct sn_topics *t, uint32_t offset)
{
	return (void *)((uint8_t *)t->entries + offset);
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
	if (t->index)
		return entry_at(t, t->index->begins[id - 1]);
	uint32_t offset = 0;
	struct sn_topic *entry;
	while ((entry = next_entry(t, &offset)) && entry->id != id)
		;
	return entry;
}

static uint16_t *slots_of(struct sn_topic_index *index)
{
	return (uint16_t *)(index->begins + index->n_slots / 2);
}

/* The slot that holds `name`, or the free one where it belongs. */
static uint16_t *find_slot(const struct sn_topics *t, struct span name)
{
	uint16_t *slots = slots_of(t->index);
	uint32_t last = t->index->n_slots - 1;
	uint32_t i = (uint32_t)hash_bytes(name.p, name.len) & last;
	while (slots[i] && !span_equal(sn_topic_name(sn_topics_by_id(t, slots[i])), name))
		i = (i + 1) & last;
	return &slots[i];
}

struct sn_topic *sn_topics_by_name(const struct sn_topics *t, struct span name)
{
	if (!t)
		return NULL;
	if (t->index)
		return sn_topics_by_id(t, *find_slot(t, name));
	uint32_t offset = 0;
	struct sn_topic *entry;
	while ((entry = next_entry(t, &offset)) && !span_equal(sn_topic_name(entry), name))
		;
	return entry;
}

static void enter(struct sn_topics *t, struct sn_topic *entry)
{
	t->index->begins[entry->id - 1] = (uint32_t)((uint8_t *)entry - t->entries);
	*find_slot(t, sn_topic_name(entry)) = entry->id;
}

static bool grow_index(struct sn_topics *t)
{
	uint32_t n = t->index ? t->index->n_slots * 2 : SN_TOPICS_FEW * 4;
	struct sn_topic_index *index =
		calloc(1, sizeof(*index) + n * (sizeof(index->begins[0]) / 2 + sizeof(uint16_t)));
	if (!index)
		return false;
	index->n_slots = n;
	index->room = t->index ? t->index->room : t->used;
	free(t->index);
	t->index = index;
	uint32_t offset = 0;
	struct sn_topic *entry;
	while ((entry = next_entry(t, &offset)))
		enter(t, entry);
	return true;
}

/* The table with so much room for entries; without an index it is the room used, no more. It
 * belongs to the session under its new address. */
static struct sn_topics *resize(struct session *s, struct sn_topics *t, uint32_t room)
{
	bool fresh = !t;
	t = realloc(t, sizeof(*t) + room);
	if (!t)
		return NULL;
	if (fresh)
		*t = (struct sn_topics){ .extra.ops = &extra_ops };
	s->extra = &t->extra;
	return t;
}

/* The table, with room for an entry of `size` octets more. */
static struct sn_topics *make_room(struct session *s, uint32_t size)
{
	struct sn_topics *t = sn_topics_peek(s);
	uint32_t room = (t ? t->used : 0) + size;
	if (room > NAMES_MAX)
		return NULL;
	if (!t || t->n < SN_TOPICS_FEW)
		return resize(s, t, room);
	if ((!t->index || t->n * 2 + 2 > t->index->n_slots) && !grow_index(t))
		return NULL;
	if (room <= t->index->room)
		return t;
	room += room / 2;
	t = resize(s, t, room);
	if (t)
		t->index->room = room;
	return t;
}

static struct sn_topic *append(struct sn_topics *t, struct span name, enum sn_origin origin)
{
	struct sn_topic *entry = entry_at(t, t->used);
	*entry = (struct sn_topic){
		.id = (uint16_t)++t->n,
		.len = (uint16_t)name.len,
		.origin = (unsigned)origin & 3u,
	};
	memcpy(entry->name, name.p, name.len);
	t->used += entry_size(name.len);
	if (t->index)
		enter(t, entry);
	return entry;
}

struct sn_topic *sn_topics_add(
	struct session *s, struct span name, enum sn_origin origin, uint32_t max)
{
	struct sn_topics *t = sn_topics_peek(s);
	struct sn_topic *entry = sn_topics_by_name(t, name);
	if (entry)
		return entry;
	if ((t ? t->n : 0) >= MIN(max, IDS_MAX) || name.len > UINT16_MAX)
		return NULL;
	t = make_room(s, entry_size(name.len));
	return t ? append(t, name, origin) : NULL;
}

void sn_topics_unannounce(struct sn_topics *t)
{
	uint32_t offset = 0;
	struct sn_topic *entry;
	while ((entry = next_entry(t, &offset)))
		entry->announced = false;
}
