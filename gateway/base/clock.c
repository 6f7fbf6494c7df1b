#include "gateway/base/clock.h"

#include <stdio.h>
#include <sys/timex.h>
#include <time.h>

#define TRUSTED_MS INT64_C(1577836800000) /* 2020-01-01: no clock of ours has been right before */
#define SYNCED_MS  10000

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
	int64_t wall_ms = clock_wall_ms();

	if (then_wall_ms < TRUSTED_MS || wall_ms < then_wall_ms)
		return 0;
	return wall_ms - then_wall_ms;
}

bool clock_synced(void)
{
	static int64_t looked_ms;
	static bool synced;
	struct timex t = { .modes = 0 };

	if (clock_wall_ms() < TRUSTED_MS)
		return false;
	if (!looked_ms || clock_ms() - looked_ms >= SYNCED_MS) {
		looked_ms = clock_ms();
		synced = adjtimex(&t) != TIME_ERROR && !(t.status & STA_UNSYNC);
	}
	return synced;
}

const char *clock_text(int64_t wall_ms, char buf[CLOCK_TEXT_MAX])
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;

	if (wall_ms < 0 || !gmtime_r(&seconds, &tm) || tm.tm_year > 8099)
		return "1970-01-01T00:00:00.000Z";
	size_t n = strftime(buf, CLOCK_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + n, CLOCK_TEXT_MAX - n, ".%03dZ", (int)(wall_ms % 1000));
	return buf;
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
