#ifndef TIDEGATE_NOTIFY_H
#define TIDEGATE_NOTIFY_H

#include "gateway/base/util.h"

/* What the service manager is told (sd_notify). All of it is silent where there is none. */
void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);
void notify_status(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Starts pinging the watchdog at half its interval when the service manager asks for one. The ping
 * comes from a timer of the loop, so a loop that hangs stops it. */
void notify_watchdog_start(void);
void notify_watchdog_stop(void);

#endif
