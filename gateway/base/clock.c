#include "gateway/base/clock.h"

#include "gateway/base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

#define TRUSTED_MS  INT64_C(1577836800000) /* 2020-01-01: no clock of ours has been right before */
#define SYNCED_MS   10000
#define BOOT_ID_MAX 64
#define KEPT_MAX    128

static bool kept;
static int64_t ahead_ms;

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

int64_t clock_stamp_ms(void)
{
	return kept ? clock_ms() + ahead_ms : clock_wall_ms();
}

int64_t clock_stamp_passed(int64_t then_ms)
{
	int64_t now_ms = clock_stamp_ms();

	if (then_ms < TRUSTED_MS || now_ms < then_ms)
		return 0;
	return now_ms - then_ms;
}

/* What this start of the machine is called. */
static int read_boot_id(char id[BOOT_ID_MAX])
{
	char *text;
	size_t len;
	int err = file_read("/proc/sys/kernel/random/boot_id", BOOT_ID_MAX - 1, &text, &len);

	if (err)
		return err;
	text[strcspn(text, "\n")] = '\0';
	snprintf(id, BOOT_ID_MAX, "%s", text);
	free(text);
	return 0;
}

void clock_recall(const char *path)
{
	char *text, id[BOOT_ID_MAX], kept_id[BOOT_ID_MAX] = "";
	long long ahead = 0;
	size_t len;

	if (read_boot_id(id) != 0 || file_read(path, KEPT_MAX, &text, &len) != 0)
		return;
	int n = sscanf(text, "%63s %lld", kept_id, &ahead);
	free(text);
	/* Also of this start of the machine, it may be from before the time was known. */
	if (n != 2 || strcmp(id, kept_id) != 0 || ahead < TRUSTED_MS || ahead > INT64_MAX / 2)
		return;
	ahead_ms = ahead;
	kept = true;
}

int clock_keep(const char *path)
{
	char id[BOOT_ID_MAX], text[KEPT_MAX];
	int err = kept ? 0 : read_boot_id(id);

	if (err || kept)
		return err;
	ahead_ms = clock_wall_ms() - clock_ms();
	int n = snprintf(text, sizeof(text), "%s %lld\n", id, (long long)ahead_ms);
	err = file_replace(path, 0600, text, (size_t)n);
	kept = !err;
	return err;
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
