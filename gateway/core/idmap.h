#ifndef TIDEGATE_CORE_IDMAP_H
#define TIDEGATE_CORE_IDMAP_H

#include <stdint.h>

/* From packet ids to objects, for the exchanges of one session. Open addressing that starts with
 * four slots and grows with its content, so that an idle session pays nothing and an
 * acknowledgement costs O(1) whatever the window. Zeroed memory is a valid empty map. The values
 * are borrowed. */
struct idslot {
	void *value; /* NULL: free */
	uint16_t id;
};

struct idmap {
	struct idslot *slots; /* owned; NULL while nothing was ever put */
	uint32_t size;        /* a power of two, or 0 */
	uint32_t n;
};

/* Makes sure that the next idmap_put() finds room. 0 or -ENOMEM. */
int idmap_reserve(struct idmap *map);
/* After idmap_reserve(). Replaces what is there under the same id. */
void idmap_put(struct idmap *map, uint16_t id, void *value);
/* NULL: not there. */
void *idmap_get(const struct idmap *map, uint16_t id);
/* Removes and returns it. */
void *idmap_take(struct idmap *map, uint16_t id);
void idmap_destroy(struct idmap *map);

#endif
