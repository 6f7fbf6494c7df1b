#ifndef TIDEGATE_STORE_DAY_COUNT_H
#define TIDEGATE_STORE_DAY_COUNT_H

#include <stdint.h>

/* What was counted in the last 24 hours, in hours of the monotonic clock. A sleep of the machine
 * counts as time. */
#define DAY_MS INT64_C(86400000)

struct day_count {
	uint64_t hours[24];
	uint64_t total;
	int64_t started_ms;
	int64_t hour; /* the present one, since the start */
};

void day_count_init(struct day_count *d, int64_t now_ms);
void day_count_add(struct day_count *d, int64_t now_ms, uint64_t n);
/* Between 23 and 24 hours back from now. */
uint64_t day_count_last_day(const struct day_count *d, int64_t now_ms);
/* Mean of a day; during the first day what it has seen so far. */
uint64_t day_count_per_day(const struct day_count *d, int64_t now_ms);

#endif
