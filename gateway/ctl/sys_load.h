#ifndef TIDEGATE_CTL_SYS_LOAD_H
#define TIDEGATE_CTL_SYS_LOAD_H

#include <stdint.h>

/* Moving averages over 1, 5 and 15 minutes of something that is counted, per minute, as a system's
 * load average is computed. */
struct sys_load {
	uint64_t last;
	double average[3];
};

extern const char *const sys_load_names[3]; /* "1min"... */

/* `now` is the count `elapsed_ms` (> 0) after the previous call. */
void sys_load_update(struct sys_load *l, uint64_t now, int64_t elapsed_ms);

#endif
