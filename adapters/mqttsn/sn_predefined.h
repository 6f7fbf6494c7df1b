#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_PREDEFINED_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_PREDEFINED_H

#include "gateway/base/span.h"

#include <stddef.h>
#include <stdint.h>

/* Predefined topic ids (MQTT-SN 1.2, 3), known to device and gateway in advance, from a file:
 *
 *	# a comment
 *	[*]
 *	1 = house/outdoor/temperature
 *	[meter-*]
 *	1 = house/meters
 *	[dev-17]
 *	2 = house/cellar/pump
 *
 * [*] is for every device, another header for the client ids that it matches: '*' stands for any
 * octets, '?' for one. The same number may stand in several: the client id written out comes first,
 *then the patterns in their order in the file, then [*]. */
struct sn_predefined;

#define SN_PREDEFINED_FILE_MAX (1 << 20)

/* Reads `path`; NULL: an empty table. 0, or a negative errno with one line "FILE:LINE: what is
 * wrong; what would be right" in `why`. */
int sn_predefined_load(const char *path, struct sn_predefined **out, char *why, size_t why_len);
void sn_predefined_free(struct sn_predefined *p); /* NULL is fine */
size_t sn_predefined_count(const struct sn_predefined *p);

/* The name behind an id; an empty span: none. `client_id` NULL: nobody known, [*] alone. */
struct span sn_predefined_find(const struct sn_predefined *p, const char *client_id, uint16_t id);

#endif
