#include "gateway/notify.h"

#include "gateway/base/timer.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>

static void tell(const char *state)
{
	sd_notify(0, state);
}

static uint64_t watchdog_interval_us(void)
{
	uint64_t us = 0;
	return sd_watchdog_enabled(0, &us) > 0 ? us : 0;
}
#else
static void tell(const char *state)
{
	(void)state;
}

static uint64_t watchdog_interval_us(void)
{
	return 0;
}
#endif

static struct timer watchdog;
static int64_t watchdog_ms;

void notify_ready(void)
{
	tell("READY=1");
}

void notify_reloading(void)
{
	struct timespec now;
	char state[96];

	/* sd_notify(3): RELOADING=1 goes with the monotonic time of the signal. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
		(long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	tell(state);
}

void notify_stopping(void)
{
	tell("STOPPING=1");
}

void notify_status(const char *fmt, ...)
{
	char state[256] = "STATUS=";
	va_list args;

	va_start(args, fmt);
	vsnprintf(state + 7, sizeof(state) - 7, fmt, args);
	va_end(args);
	tell(state);
}

static void on_watchdog(struct timer *t)
{
	tell("WATCHDOG=1");
	timer_arm(t, watchdog_ms);
}

void notify_watchdog_start(void)
{
	watchdog_ms = (int64_t)(watchdog_interval_us() / 2000);
	if (watchdog_ms == 0)
		return;
	timer_init(&watchdog, on_watchdog);
	timer_arm(&watchdog, 0);
}

void notify_watchdog_stop(void)
{
	timer_disarm(&watchdog);
}
