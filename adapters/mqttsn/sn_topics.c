#include "adapters/mqttsn/sn_topics.h"

#include "adapters/mqttsn/sn_store.h"
#include "gateway/base/util.h"
#include "gateway/core/session_store.h"
#include "gateway/core/topic.h"

#include <stdlib.h>
#include <string.h>

/* MQTT-SN 1.2, 5.3.11: 0x0000 and 0xFFFF are reserved. */
#define IDS_MAX 0xFFFE

/* The most octets of names that one device can have; with it all sizes fit into 32 bits. */
#define NAMES_MAX (UINT32_C(1) << 30)

/* The most ids in a row whose names may be lost on the disk. */
#define HOLE_MAX 64
/* So many ids are reserved at once. */
#define RESERVE 32

static void topics_save(const struct session_extra *e, struct session_items *items);

static void topics_free(struct session_extra *e)
{
	struct sn_topics *t = container_of(e, struct sn_topics, extra);
	free(t->index);
	free(t);
}

static const struct session_extra_ops extra_ops = {
	.free = topics_free,
	.save = topics_save,
};

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
	if (!t || !name.len) /* lost names are empty */
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

/* The table with so much room for entries; without an index it is the room used, no more. */
static struct sn_topics *resize(struct sn_topics *t, uint32_t room)
{
	bool fresh = !t;
	t = realloc(t, sizeof(*t) + room);
	if (!t)
		return NULL;
	if (fresh)
		*t = (struct sn_topics){ .extra.ops = &extra_ops };
	return t;
}

/* The table, with room for an entry of `size` octets more. NULL: no memory, `t` is as it was. */
static struct sn_topics *make_room(struct sn_topics *t, uint32_t size)
{
	uint32_t room = (t ? t->used : 0) + size;
	if (room > NAMES_MAX)
		return NULL;
	if (!t || t->n < SN_TOPICS_FEW)
		return resize(t, room);
	if ((!t->index || t->n * 2u + 2 > t->index->n_slots) && !grow_index(t))
		return NULL;
	if (room <= t->index->room)
		return t;
	room += room / 2;
	t = resize(t, room);
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

/* Ids whose names were lost are none of the client's doing. */
static bool has_room(const struct sn_topics *t, uint32_t max)
{
	uint32_t names = t->n, offset = 0;
	const struct sn_topic *entry;
	if (names == IDS_MAX)
		return false;
	if (names < max)
		return true;
	while ((entry = next_entry(t, &offset)))
		names -= !entry->len;
	return names < max;
}

struct sn_topic *sn_topics_add(
	struct session *s, struct span name, enum sn_origin origin, uint32_t max)
{
	struct sn_topics *t = sn_topics_peek(s);
	struct sn_topic *entry = sn_topics_by_name(t, name);
	if (entry)
		return entry;
	if (name.len > UINT16_MAX || (t && !has_room(t, max)))
		return NULL;
	t = make_room(t, entry_size(name.len));
	if (!t)
		return NULL;
	s->extra = &t->extra; /* under its new address */
	return append(t, name, origin);
}

void sn_topics_unannounce(struct sn_topics *t)
{
	uint32_t offset = 0;
	struct sn_topic *entry;
	while ((entry = next_entry(t, &offset)))
		entry->announced = false;
}

/* ---- Storage: {id 2, predefined id 2, flags 1, name} ---- */

#define ITEM_HEAD 5
enum { ITEM_AS = 0x03, ITEM_ORIGIN = 0x0C, ITEM_ANNOUNCED = 0x10, ITEM_REFUSED = 0x20 };

static void item_of(const struct sn_topic *t, uint8_t head[ITEM_HEAD], struct span parts[2])
{
	struct writer w = writer_of(head, ITEM_HEAD);
	wr_u16(&w, t->id);
	wr_u16(&w, t->predefined_id);
	wr_u8(&w, (uint8_t)(t->as | t->origin << 2 | (t->announced ? ITEM_ANNOUNCED : 0) |
			    (t->refused ? ITEM_REFUSED : 0)));
	parts[0] = span_of(head, w.len);
	parts[1] = sn_topic_name(t);
}

static struct span reserved_of(const struct sn_topics *t, uint8_t body[2])
{
	struct writer w = writer_of(body, 2);
	wr_u16(&w, t->reserved);
	return span_of(body, w.len);
}

static void topics_save(const struct session_extra *e, struct session_items *items)
{
	const struct sn_topics *t = container_of(e, const struct sn_topics, extra);
	uint8_t head[ITEM_HEAD];
	struct span parts[2];
	uint32_t offset = 0;
	const struct sn_topic *entry;
	while ((entry = next_entry(t, &offset))) {
		item_of(entry, head, parts);
		if (entry->len)
			session_item_put(items, SN_ITEM_TOPIC, parts, 2);
	}
	if (t->reserved <= t->n)
		return;
	parts[0] = reserved_of(t, head);
	session_item_put(items, SN_ITEM_RESERVED, parts, 1);
}

void sn_topics_note(struct session *s, const struct sn_topic *t)
{
	uint8_t head[ITEM_HEAD];
	struct span parts[2];
	item_of(t, head, parts);
	session_note(s, SN_ITEM_TOPIC, parts, 2);
}

void sn_topics_promise(struct session *s, const struct sn_topic *t)
{
	struct sn_topics *topics = sn_topics_peek(s);
	topics->reserved = MAX(topics->reserved, t->id);
	sn_topics_note(s, t);
}

bool sn_topics_reserve(struct session *s, const struct sn_topic *t)
{
	struct sn_topics *topics = sn_topics_peek(s);
	uint8_t body[2];
	if (t->id <= topics->reserved)
		return false;
	topics->reserved = (uint16_t)MIN(t->id + RESERVE - 1, IDS_MAX);
	struct span part = reserved_of(topics, body);
	session_note(s, SN_ITEM_RESERVED, &part, 1);
	return true;
}

/* The entry of that id: the one there is, or a new one behind the last. Names between them are
 * lost, as far as that can be. */
static struct sn_topic *entry_for(struct sn_topics **table, uint16_t id, struct span name)
{
	struct sn_topics *t = *table;
	struct sn_topic *entry = NULL;
	uint32_t n = t ? t->n : 0;
	if (id > IDS_MAX || id > n + 1 + HOLE_MAX)
		return NULL;
	if (id <= n)
		return sn_topics_by_id(t, id);
	for (; n < id; n++) {
		struct span it = n + 1 == id ? name : span_str("");
		t = make_room(*table, entry_size(it.len));
		if (!t)
			return NULL;
		*table = t;
		entry = append(t, it, SN_FROM_GATEWAY);
	}
	return entry;
}

/* What contradicts what was said before, or is no such item, counts for nothing. */
static void restore_entry(struct sn_topics **table, struct span body)
{
	struct reader r = reader_of(body);
	uint16_t id = rd_u16(&r), predefined_id = rd_u16(&r);
	uint8_t flags = rd_u8(&r);
	struct span name = rd_rest(&r);
	if (r.bad || id == 0 || !topic_valid_name(name))
		return;
	struct sn_topic *t = entry_for(table, id, name);
	if (!t || !span_equal(sn_topic_name(t), name))
		return;
	t->predefined_id = predefined_id;
	t->as = flags & ITEM_AS;
	t->origin = (unsigned)MIN((flags & ITEM_ORIGIN) >> 2, SN_FROM_SUBSCRIBE) & 3u;
	t->announced = flags & ITEM_ANNOUNCED;
	t->refused = flags & ITEM_REFUSED;
}

static uint16_t read_reserved(struct span body)
{
	struct reader r = reader_of(body);
	return rd_u16(&r);
}

void sn_topics_restore(struct session *s)
{
	struct reader r = reader_of(session_saved(s));
	struct session_item item;
	struct sn_topics *t = NULL;
	uint16_t reserved = 0;
	while (session_item_next(&r, &item)) {
		if (item.type == SN_ITEM_TOPIC)
			restore_entry(&t, item.body);
		else if (item.type == SN_ITEM_RESERVED)
			reserved = MAX(reserved, read_reserved(item.body));
	}
	if (reserved > (t ? t->n : 0))
		entry_for(&t, reserved, span_str(""));
	if (t)
		t->reserved = t->n;
	session_set_extra(s, t ? &t->extra : NULL);
}
