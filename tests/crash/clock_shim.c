/* Preloaded into the daemon: the wall clock is as many seconds off as the file says that
 * TIDEGATE_CLOCK_OFFSET names, from the moment that it says so. The clocks that can't be set go on
 * as they are, as they do when somebody sets a machine's clock.
 *
 * Waiting for a moment of the wall clock follows: a kernel wakes at the moment that was asked for,
 * whatever has been done to the clock meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS 20000000 /* how soon a waiting thread notices that the clock was set */

static const char *path;

__attribute__((constructor)) static void start(void)
{
	path = getenv("TIDEGATE_CLOCK_OFFSET");
}

static long offset(void)
{
	char text[32];
	int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return 0;
	long n = syscall(SYS_read, fd, text, sizeof(text) - 1);
	syscall(SYS_close, fd);
	text[n > 0 ? n : 0] = 0;
	return strtol(text, NULL, 10);
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int err = (int)syscall(SYS_clock_gettime, id, ts);

	if (!err && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ts->tv_sec += offset();
	return err;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &ts);
	*tv = (struct timeval){ ts.tv_sec, ts.tv_nsec / 1000 };
	return 0;
}

time_t time(time_t *out)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (out)
		*out = ts.tv_sec;
	return ts.tv_sec;
}

static int64_t now_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* glibc since 2.25 keeps there which clock pthread_condattr_setclock() has chosen. */
static bool is_monotonic(const pthread_cond_t *cond)
{
	return cond->__data.__wrefs & 2;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
	const struct timespec *restrict deadline)
{
	int64_t due_ns = (int64_t)deadline->tv_sec * 1000000000 + deadline->tv_nsec;

	if (is_monotonic(cond))
		return pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, deadline);
	for (;;) {
		int64_t left_ns = due_ns - now_ns(CLOCK_REALTIME);
		bool last = left_ns <= SLICE_NS;
		int64_t end_ns = now_ns(CLOCK_MONOTONIC) + (last ? left_ns : SLICE_NS);
		struct timespec end = { end_ns / 1000000000, end_ns % 1000000000 };
		int err = pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &end);
		if (err != ETIMEDOUT || last)
			return err;
	}
}
