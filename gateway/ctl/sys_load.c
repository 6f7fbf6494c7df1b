#include "gateway/ctl/sys_load.h"

#include <math.h>

const char *const sys_load_names[3] = { "1min", "5min", "15min" };

void sys_load_update(struct sys_load *l, uint64_t now, int64_t elapsed_ms)
{
	static const double minutes[3] = { 1, 5, 15 };
	double elapsed = (double)elapsed_ms / 60000;
	double per_minute = (double)(now - l->last) / elapsed;

	for (int i = 0; i < 3; i++) {
		double keep = exp(-elapsed / minutes[i]);
		l->average[i] = per_minute + keep * (l->average[i] - per_minute);
	}
	l->last = now;
}
