#ifndef TIDEGATE_CORE_SUB_IDS_H
#define TIDEGATE_CORE_SUB_IDS_H

#include <stddef.h>
#include <stdint.h>

/* The subscription identifiers of one delivery (MQTT 5.0, 3.3.2.3.8) in the 32 bits that most need
 * for one: 0 is none, an identifier (they have 28 bits) is itself, and only several are a counted
 * block, told by the highest bit. */
#define SUB_IDS_MANY 0x80000000u

/* The set with one more, which may be there already: every matching subscription adds its own. The
 * caller's reference to `ids` becomes one to the result. Without memory the set stays as it is. */
uint32_t sub_ids_add(uint32_t ids, uint32_t id);
uint32_t sub_ids_ref(uint32_t ids); /* returns `ids` */
void sub_ids_unref(uint32_t ids);

size_t sub_ids_count(uint32_t ids);
/* The one at `i` < sub_ids_count(). */
uint32_t sub_ids_at(uint32_t ids, size_t i);

/* How many blocks there are; for tests. */
size_t sub_ids_blocks(void);

#endif
