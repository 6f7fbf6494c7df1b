#include "gateway/core/idmap.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define SIZE_MIN  4
#define SIZE_KEEP 128 /* an empty map larger than this gives its memory back */

/* Ids are mostly handed out one after the other, so the id itself spreads best. */
static uint32_t home(const struct idmap *map, uint16_t id)
{
	return id & (map->size - 1);
}

/* The slot of `id`, or the free one where it would go. There is always a free one. */
static uint32_t find(const struct idmap *map, uint16_t id)
{
	uint32_t i = home(map, id);
	while (map->slots[i].value && map->slots[i].id != id)
		i = (i + 1) & (map->size - 1);
	return i;
}

int idmap_reserve(struct idmap *map)
{
	if ((map->n + 1) * 2 <= map->size)
		return 0;
	struct idmap grown = { .size = map->size ? map->size * 2 : SIZE_MIN };
	grown.slots = calloc(grown.size, sizeof(*grown.slots));
	if (!grown.slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < map->size; i++)
		if (map->slots[i].value)
			idmap_put(&grown, map->slots[i].id, map->slots[i].value);
	free(map->slots);
	*map = grown;
	return 0;
}

void idmap_put(struct idmap *map, uint16_t id, void *value)
{
	struct idslot *slot = &map->slots[find(map, id)];
	if (!slot->value)
		map->n++;
	*slot = (struct idslot){ value, id };
}

void *idmap_get(const struct idmap *map, uint16_t id)
{
	return map->n ? map->slots[find(map, id)].value : NULL;
}

/* Moves back what had to make way for slot `hole`, so that no search ends too early. */
static void close_gap(struct idmap *map, uint32_t hole)
{
	uint32_t mask = map->size - 1;
	for (uint32_t i = (hole + 1) & mask; map->slots[i].value; i = (i + 1) & mask) {
		uint32_t wanted = home(map, map->slots[i].id);
		if (((i - wanted) & mask) < ((i - hole) & mask))
			continue;
		map->slots[hole] = map->slots[i];
		hole = i;
	}
	map->slots[hole].value = NULL;
}

void *idmap_take(struct idmap *map, uint16_t id)
{
	if (!map->n)
		return NULL;
	uint32_t i = find(map, id);
	void *value = map->slots[i].value;
	if (!value)
		return NULL;
	map->n--;
	close_gap(map, i);
	if (map->n == 0 && map->size > SIZE_KEEP)
		idmap_destroy(map);
	return value;
}

void idmap_destroy(struct idmap *map)
{
	free(map->slots);
	*map = (struct idmap){ 0 };
}
