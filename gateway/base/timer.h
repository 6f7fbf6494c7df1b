#ifndef TIDEGATE_BASE_TIMER_H
#define TIDEGATE_BASE_TIMER_H

#include "gateway/base/list.h"

#include <stdbool.h>
#include <stdint.h>

/* One-shot timers embedded in the struct they belong to; found again with container_of(). Arming
 * and disarming cost O(1) whatever the number of timers (a hierarchical wheel); a timer fires in
 * the first timers_run() whose clock_ms() has reached its due time, never before. Loop thread only.
 * Zeroed memory is a valid disarmed timer as far as timer_disarm() and timer_armed() go. */
struct timer {
	struct list node;
	int64_t due_ms;
	void (*fire)(struct timer *);
};

void timer_init(struct timer *t, void (*fire)(struct timer *));
/* Arms, or moves an armed timer. `delay_ms` < 0 counts as 0; a delay of 0 fires in the next
 * timers_run(), never from inside the current one. */
void timer_arm(struct timer *t, int64_t delay_ms);
void timer_disarm(struct timer *t);
bool timer_armed(const struct timer *t);

/* For the loop: milliseconds until timers_run() has something to do (a lower bound; 0: now), or -1
 * when no timer is armed. */
int64_t timers_next_ms(void);
/* Fires what is due at clock_ms(). A callback may arm or disarm any timer, its own included, and
 * free the memory of its own. */
void timers_run(void);

#endif
