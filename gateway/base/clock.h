#ifndef TIDEGATE_BASE_CLOCK_H
#define TIDEGATE_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* The time of this turn. Read once per turn by clock_tick(), so all that happens in a turn happens
 * at one moment; a test that set the time moves it by hand. Milliseconds. Loop thread only. */
int64_t clock_ms(void);      /* monotonic; counts suspend (CLOCK_BOOTTIME); never 0 */
int64_t clock_wall_ms(void); /* since 1970 */
void clock_tick(void);
/* How much time has passed since the wall clock showed `then`, over a restart: 0 where it can't
 * tell, because it went backwards or one of the two moments is before 2020: a machine without a
 * clock battery starts in 1970 and learns the time later. */
int64_t clock_wall_passed(int64_t then_wall_ms);

/* The wall clock is set by somebody who knows the time (NTP), as far as the kernel can tell. Looked
 * up anew every few seconds. */
bool clock_synced(void);
/* "2026-11-21T08:50:36.384Z" (ISO 8601, RFC 3339) in `buf`. */
#define CLOCK_TEXT_MAX 32
const char *clock_text(int64_t wall_ms, char buf[CLOCK_TEXT_MAX]);

/* From here on the clock stands still but for clock_advance(). For tests. */
void clock_freeze(int64_t ms, int64_t wall_ms);
void clock_advance(int64_t ms);

#endif
