#include "gateway/base/log.h"

#include "gateway/base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static _Atomic int max_level = LOG_LEVEL_NOTICE;
static _Atomic bool with_prefix;

static const struct {
	const char *name;
	char priority; /* sd-daemon(3) */
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", '3' },
	[LOG_LEVEL_WARN] = { "warn", '4' },
	[LOG_LEVEL_NOTICE] = { "notice", '5' },
	[LOG_LEVEL_INFO] = { "info", '6' },
	[LOG_LEVEL_DEBUG] = { "debug", '7' },
};

void log_init(enum log_level max, bool prefix)
{
	with_prefix = prefix;
	max_level = (int)max;
}

void log_set_level(enum log_level max)
{
	max_level = (int)max;
}

enum log_level log_level(void)
{
	return (enum log_level)max_level;
}

/* Client ids and topics reach the log: no line break or terminal sequence of theirs may. In UTF-8
 * the C1 controls are C2 80 .. C2 9F. */
static bool is_control(const unsigned char *p)
{
	return *p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f);
}

/* Appends `text` escaped, at most to `end`; returns the new end. */
static char *append_escaped(char *out, const char *end, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	for (const unsigned char *p = (const unsigned char *)text; *p && end - out >= 4; p++) {
		if (!is_control(p)) {
			*out++ = (char)*p;
			continue;
		}
		*out++ = '\\';
		*out++ = 'x';
		*out++ = hex[*p >> 4];
		*out++ = hex[*p & 15];
	}
	return out;
}

static char *append_head(char *out, enum log_level level)
{
	if (with_prefix) {
		*out++ = '<';
		*out++ = levels[level].priority;
		*out++ = '>';
		return out;
	}
	/* Not clock_wall_ms(): other threads log too, and the turn may have begun a while ago. */
	struct timespec ts;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	out += strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	return out +
	       snprintf(out, 32, ".%03dZ %s: ", (int)(ts.tv_nsec / 1000000), levels[level].name);
}

static void log_write(const char *line, size_t len)
{
	/* One write: lines of several threads do not mix. A log that cannot be written is no reason
	 * to stop, so what does not go out is lost. */
	while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
		;
}

static void log_text(enum log_level level, const char *text)
{
	static const char cut[] = "...";
	char line[LINE_MAX_BYTES];
	const char *end = line + sizeof(line) - sizeof(cut); /* room for the dots and the newline */
	int saved_errno = errno;
	char *out = append_escaped(append_head(line, level), end, text);
	if (end - out < 4) {
		memcpy(out, cut, sizeof(cut) - 1);
		out += sizeof(cut) - 1;
	}
	*out++ = '\n';
	log_write(line, (size_t)(out - line));
	errno = saved_errno;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	if ((int)level > max_level)
		return;
	char text[LINE_MAX_BYTES];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_text(level, text);
}

/* Whether a line may go out; `left_out` is what was suppressed since the last that did. */
static bool limit_allows(struct log_limit *l, uint32_t *left_out)
{
	int64_t now_ms = clock_ms();
	if (!l->since_ms || now_ms - l->since_ms >= l->period_ms) {
		l->since_ms = now_ms;
		l->used = 0;
	}
	if (l->used >= l->burst) {
		l->suppressed++;
		return false;
	}
	l->used++;
	*left_out = l->suppressed;
	l->suppressed = 0;
	return true;
}

void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
{
	uint32_t left_out;
	if ((int)level > max_level || !limit_allows(limit, &left_out))
		return;
	char text[LINE_MAX_BYTES];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (left_out)
		log_line(level, "%.900s (%u like it left out)", text, left_out);
	else
		log_text(level, text);
}
