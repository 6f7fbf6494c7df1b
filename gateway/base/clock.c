#include "gateway/base/clock.h"

#include <stdbool.h>
#include <time.h>

static struct {
	int64_t ms, wall_ms; /* of this turn; 0: not read yet */
	bool frozen;
} now;

static int64_t read_ms(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void clock_tick(void)
{
	if (now.frozen)
		return;
	int64_t ms = read_ms(CLOCK_BOOTTIME);
	now.ms = ms ? ms : 1;
	now.wall_ms = read_ms(CLOCK_REALTIME);
}

int64_t clock_ms(void)
{
	if (!now.ms)
		clock_tick();
	return now.ms;
}

int64_t clock_wall_ms(void)
{
	if (!now.ms)
		clock_tick();
	return now.wall_ms;
}

int64_t clock_wall_passed(int64_t then_wall_ms)
{
	const int64_t trusted_ms = INT64_C(1577836800000); /* 2020-01-01 */
	int64_t wall_ms = clock_wall_ms();

	if (then_wall_ms < trusted_ms || wall_ms < then_wall_ms)
		return 0;
	return wall_ms - then_wall_ms;
}

void clock_freeze(int64_t ms, int64_t wall_ms)
{
	now.frozen = true;
	now.ms = ms ? ms : 1;
	now.wall_ms = wall_ms;
}

void clock_advance(int64_t ms)
{
	now.ms += ms;
	now.wall_ms += ms;
}
