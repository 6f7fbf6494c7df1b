#ifndef TIDEGATE_BASE_JSON_H
#define TIDEGATE_BASE_JSON_H

#include "gateway/base/wire.h"

/* The inside of a JSON string (RFC 8259, 7). Control characters, which no name of ours has, are
 * left out. */
static inline void wr_json(struct writer *w, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			wr_u8(w, '\\');
		if ((unsigned char)*text >= ' ')
			wr_u8(w, (uint8_t)*text);
	}
}

#endif
