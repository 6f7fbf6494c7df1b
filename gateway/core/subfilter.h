#ifndef TIDEGATE_CORE_SUBFILTER_H
#define TIDEGATE_CORE_SUBFILTER_H

#include "gateway/base/span.h"

#include <stdbool.h>

/* What a client may write where a filter is asked for: a filter alone, or with a prefix. */
enum subfilter_kind {
	SUBFILTER_OWN,
	SUBFILTER_SHARED,   /* $share/{group}/{filter}: MQTT 5.0, 4.8.2 */
	SUBFILTER_EXCLUSIVE /* $exclusive/{filter}: one holder at a time */
};
#define SUBFILTER_EXCLUSIVE_PREFIX "$exclusive/"

struct subfilter {
	enum subfilter_kind kind;
	struct span filter; /* without the prefix; views of what was parsed */
};

/* False: not valid, or the group has no name or one with a wildcard, or prefixes are stacked. */
bool subfilter_parse(struct span text, struct subfilter *out);

#endif
