#ifndef TIDEGATE_BASE_CLOCK_H
#define TIDEGATE_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* The time of this turn. Read once per turn by clock_tick(), so all that happens in a turn happens
 * at one moment; a test that set the time moves it by hand. Milliseconds. Loop thread only. */
int64_t clock_ms(void);      /* monotonic; counts suspend (CLOCK_BOOTTIME); never 0 */
int64_t clock_wall_ms(void); /* since 1970 */
void clock_tick(void);
/* A wall clock for records that are read after a restart: as clock_wall_ms(), but what is done to
 * the clock while the machine is up does not move it, once clock_keep() was called. */
int64_t clock_stamp_ms(void);
/* How much time has passed since clock_stamp_ms() was `then`, over a restart: 0 where it can't
 * tell, because it went backwards or one of the two moments is before 2020: a machine without a
 * clock battery starts in 1970 and learns the time later. */
int64_t clock_stamp_passed(int64_t then_ms);
/* clock_keep() writes to a file by how much clock_stamp_ms() is ahead of the time since the machine
 * was started, and clock_recall() goes on with what it finds there from this start of the machine.
 * Both block; at the start of the process. clock_keep() returns 0 or a negative errno: then the
 * stamps jump with the wall clock. */
void clock_recall(const char *path);
int clock_keep(const char *path);

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
