#ifndef TIDEGATE_SIM_CHECK_H
#define TIDEGATE_SIM_CHECK_H

#include "gateway/base/span.h"

#include <stdint.h>

/* Whether what was published arrived: a payload starts with its number (0, 1, 2 ...), the topic
 * names its sender. Kept for each receiver and topic. */
struct check_result {
	uint64_t distinct;   /* messages, each counted once */
	uint64_t missing;    /* numbers below the highest that never came */
	uint64_t doubled;    /* came again */
	uint64_t disordered; /* came for the first time behind a higher number */
	uint64_t unnumbered;
};

struct check *check_new(void);
void check_free(struct check *c);
void check_message(struct check *c, unsigned receiver, struct span topic, struct span payload);
struct check_result check_result(const struct check *c);

#endif
