#include "gateway/store/day_count.h"

#include "gateway/base/util.h"

#define HOURS   ((int64_t)ARRAY_SIZE(((struct day_count *)0)->hours))
#define HOUR_MS (DAY_MS / HOURS)

static int64_t hour_of(const struct day_count *d, int64_t now_ms)
{
	return MAX((now_ms - d->started_ms) / HOUR_MS, d->hour);
}

void day_count_init(struct day_count *d, int64_t now_ms)
{
	*d = (struct day_count){ .started_ms = now_ms };
}

void day_count_add(struct day_count *d, int64_t now_ms, uint64_t n)
{
	int64_t hour = hour_of(d, now_ms);
	int64_t passed = MIN(hour - d->hour, HOURS);

	for (int64_t i = 0; i < passed; i++)
		d->hours[(hour - i) % HOURS] = 0;
	d->hour = hour;
	d->hours[hour % HOURS] += n;
	d->total += n;
}

uint64_t day_count_last_day(const struct day_count *d, int64_t now_ms)
{
	int64_t oldest = hour_of(d, now_ms) - HOURS + 1;
	uint64_t sum = 0;

	for (int64_t hour = MAX(oldest, 0); hour <= d->hour; hour++)
		sum += d->hours[hour % HOURS];
	return sum;
}

uint64_t day_count_per_day(const struct day_count *d, int64_t now_ms)
{
	int64_t up_ms = now_ms - d->started_ms;

	if (up_ms <= DAY_MS)
		return d->total;
	return (uint64_t)((double)d->total * (double)DAY_MS / (double)up_ms);
}
