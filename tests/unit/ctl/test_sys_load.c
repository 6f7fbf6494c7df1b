#include "gateway/ctl/sys_load.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MINUTE INT64_C(60000)

static void close_to(double got, double wanted)
{
	assert_true(fabs(got - wanted) < 0.01);
}

static void starts_at_zero_and_rises(void **state)
{
	struct sys_load l = { 0 };
	(void)state;
	/* 600 in the first minute: 1 - 1/e of it after one time constant. */
	sys_load_update(&l, 600, MINUTE);
	close_to(l.average[0], 600 * (1 - exp(-1)));
	close_to(l.average[1], 600 * (1 - exp(-0.2)));
	close_to(l.average[2], 600 * (1 - exp(-1.0 / 15)));
}

static void settles_at_the_rate(void **state)
{
	struct sys_load l = { 0 };
	uint64_t n = 0;
	(void)state;
	for (int i = 0; i < 600 * 6; i++) /* 10 hours at 120 a minute */
		sys_load_update(&l, n += 20, 10000);
	for (int i = 0; i < 3; i++)
		close_to(l.average[i], 120);
}

static void steps_do_not_matter(void **state)
{
	struct sys_load once = { 0 }, often = { 0 };
	(void)state;
	sys_load_update(&once, 6000, MINUTE);
	for (uint64_t n = 1; n <= 60; n++)
		sys_load_update(&often, n * 100, 1000);
	for (int i = 0; i < 3; i++)
		close_to(once.average[i], often.average[i]);
}

static void falls_when_nothing_comes(void **state)
{
	struct sys_load l = { 100, { 50, 50, 50 } };
	(void)state;
	sys_load_update(&l, 100, MINUTE);
	close_to(l.average[0], 50 * exp(-1));
	assert_true(l.average[0] < l.average[1] && l.average[1] < l.average[2]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_at_zero_and_rises),
		cmocka_unit_test(settles_at_the_rate),
		cmocka_unit_test(steps_do_not_matter),
		cmocka_unit_test(falls_when_nothing_comes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
