#ifndef TIDEGATE_BASE_LOG_H
#define TIDEGATE_BASE_LOG_H

#include "gateway/base/util.h"

#include <stdbool.h>
#include <stdint.h>

/* One line, one event, the subject first: "dev-17 10.0.0.9:5321 mqttsn: ...". A peer's mistakes are
 * info and rate-limited, ours are error, and warn means the operator can do something. Never a
 * payload or a secret. Safe to call from any thread. */
enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_NOTICE,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG
};

/* `prefix`: put sd-daemon "<N>" priorities in front instead of time and level (journald reads
 * them); the caller decides from $JOURNAL_STREAM. Control characters in a line are escaped. */
void log_init(enum log_level max, bool prefix);
void log_set_level(enum log_level max);
enum log_level log_level(void);

void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...)  log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)   log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_notice(...) log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)   log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_level() >= LOG_LEVEL_DEBUG)                                                \
			log_line(LOG_LEVEL_DEBUG, __VA_ARGS__);                                    \
	} while (0)

/* At most `burst` lines per `period_ms`; the next line let through tells how many were left out.
 * A static struct per call site or per peer: LOG_LIMIT(10, 10000). Loop thread only. */
struct log_limit {
	uint32_t burst, period_ms;
	uint32_t used, suppressed;
	int64_t since_ms;
};
#define LOG_LIMIT(burst, period_ms)                                                                \
	{                                                                                          \
		(burst), (period_ms), 0, 0, 0                                                      \
	}
void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

#endif
