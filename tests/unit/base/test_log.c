#include "gateway/base/log.h"

#include "gateway/base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int real_stderr, capture_fd;
static char captured[1 << 20];

static int capture_begin(void **state)
{
	char path[] = "/tmp/tidegate-test-log-XXXXXX";
	(void)state;
	capture_fd = mkstemp(path);
	if (capture_fd < 0)
		return -1;
	unlink(path);
	real_stderr = dup(STDERR_FILENO);
	return dup2(capture_fd, STDERR_FILENO) < 0 ? -1 : 0;
}

/* What was logged since capture_begin(); the standard error is the real one again. */
static const char *capture_end(void)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	ssize_t n = pread(capture_fd, captured, sizeof(captured) - 1, 0);
	captured[n > 0 ? n : 0] = '\0';
	close(capture_fd);
	return captured;
}

static void priorities_for_journald(void **state)
{
	(void)state;
	log_init(LOG_LEVEL_DEBUG, true);
	log_error("store: %s", "disk full");
	log_warn("w");
	log_notice("n");
	log_info("i");
	log_debug("d");
	assert_string_equal(capture_end(), "<3>store: disk full\n<4>w\n<5>n\n<6>i\n<7>d\n");
}

static void time_and_level_for_people(void **state)
{
	char level[8], rest[32];
	int y, mo, d, h, mi, s, ms;
	(void)state;
	log_init(LOG_LEVEL_INFO, false);
	log_warn("dev-17 lost");
	const char *line = capture_end();
	assert_int_equal(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %7[a-z]: %31[^\n]", &y, &mo, &d,
				 &h, &mi, &s, &ms, level, rest),
		9);
	assert_string_equal(level, "warn");
	assert_string_equal(rest, "dev-17 lost");
}

static void levels_above_the_limit_are_silent(void **state)
{
	(void)state;
	log_init(LOG_LEVEL_WARN, true);
	log_notice("no");
	log_debug("no");
	log_set_level(LOG_LEVEL_NOTICE);
	assert_int_equal(log_level(), LOG_LEVEL_NOTICE);
	log_notice("yes");
	assert_string_equal(capture_end(), "<5>yes\n");
}

static void control_characters_are_escaped(void **state)
{
	(void)state;
	log_init(LOG_LEVEL_INFO, true);
	log_info("id %s", "a\nb\x1b[31m\x7f\xc2\x9b caf\xc3\xa9");
	assert_string_equal(capture_end(), "<6>id a\\x0ab\\x1b[31m\\x7f\\xc2\x9b caf\xc3\xa9\n");
}

static void long_lines_are_cut_visibly(void **state)
{
	char id[5000];
	(void)state;
	memset(id, 'x', sizeof(id) - 1);
	id[sizeof(id) - 1] = '\0';
	log_init(LOG_LEVEL_INFO, true);
	log_info("%s", id);
	memset(id, '\n', sizeof(id) - 1);
	log_info("%s", id);
	const char *text = capture_end();
	const char *second = strchr(text, '\n') + 1;
	assert_in_range(second - text, 900, 1024);
	assert_memory_equal(second - 4, "...\n", 4);
	assert_in_range(strlen(second), 900, 1024);
	assert_string_equal(second + strlen(second) - 4, "...\n");
}

static void errno_survives(void **state)
{
	(void)state;
	log_init(LOG_LEVEL_INFO, true);
	errno = ENOSPC;
	log_info("x");
	int after = errno;
	capture_end();
	assert_int_equal(after, ENOSPC);
}

static void *log_many(void *arg)
{
	for (int i = 0; i < 500; i++)
		log_info("%s", (const char *)arg);
	return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
	static char a[100], b[100];
	pthread_t ta, tb;
	int lines = 0;
	(void)state;
	memset(a, 'a', sizeof(a) - 1);
	memset(b, 'b', sizeof(b) - 1);
	log_init(LOG_LEVEL_INFO, true);
	assert_int_equal(pthread_create(&ta, NULL, log_many, a), 0);
	assert_int_equal(pthread_create(&tb, NULL, log_many, b), 0);
	pthread_join(ta, NULL);
	pthread_join(tb, NULL);
	capture_end();
	for (char *line = strtok(captured, "\n"); line; line = strtok(NULL, "\n"), lines++)
		assert_true(strcmp(line + 3, a) == 0 || strcmp(line + 3, b) == 0);
	assert_int_equal(lines, 1000);
}

static void limited_lines_say_how_many_were_left_out(void **state)
{
	static struct log_limit limit = LOG_LIMIT(2, 10000);
	(void)state;
	clock_freeze(1000, 0);
	log_init(LOG_LEVEL_INFO, true);
	for (int i = 0; i < 5; i++)
		log_limited(&limit, LOG_LEVEL_INFO, "peer %d", i);
	log_limited(&limit, LOG_LEVEL_DEBUG, "not even counted");
	clock_advance(9999);
	log_limited(&limit, LOG_LEVEL_INFO, "peer 5");
	clock_advance(1);
	log_limited(&limit, LOG_LEVEL_INFO, "peer 6");
	log_limited(&limit, LOG_LEVEL_INFO, "peer 7");
	assert_string_equal(
		capture_end(), "<6>peer 0\n<6>peer 1\n<6>peer 6 (4 like it left out)\n<6>peer 7\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(priorities_for_journald, capture_begin),
		cmocka_unit_test_setup(time_and_level_for_people, capture_begin),
		cmocka_unit_test_setup(levels_above_the_limit_are_silent, capture_begin),
		cmocka_unit_test_setup(control_characters_are_escaped, capture_begin),
		cmocka_unit_test_setup(long_lines_are_cut_visibly, capture_begin),
		cmocka_unit_test_setup(errno_survives, capture_begin),
		cmocka_unit_test_setup(lines_of_threads_do_not_mix, capture_begin),
		cmocka_unit_test_setup(limited_lines_say_how_many_were_left_out, capture_begin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
