#include "gateway/base/timer.h"

#include "gateway/base/clock.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A timer that writes down when it fired. */
struct probe {
	struct timer timer;
	int64_t fired_ms; /* 0: not yet */
	int times;
	int order;
};

static int fired_so_far;

static void on_probe(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, timer);
	p->fired_ms = clock_ms();
	p->times++;
	p->order = ++fired_so_far;
}

static void probe_arm(struct probe *p, int64_t delay_ms)
{
	*p = (struct probe){ 0 };
	timer_init(&p->timer, on_probe);
	timer_arm(&p->timer, delay_ms);
}

static int setup(void **state)
{
	(void)state;
	clock_freeze(1000000, 0);
	fired_so_far = 0;
	return 0;
}

static void fires_once_and_not_early(void **state)
{
	struct probe p;
	(void)state;
	probe_arm(&p, 100);
	assert_true(timer_armed(&p.timer));
	clock_advance(99);
	timers_run();
	assert_int_equal(p.times, 0);
	clock_advance(1);
	timers_run();
	assert_int_equal(p.times, 1);
	assert_false(timer_armed(&p.timer));
	clock_advance(1000000);
	timers_run();
	assert_int_equal(p.times, 1);
}

/* Every border between two levels, walked the way the loop does: sleep as long as timers_next_ms()
 * says. */
static void the_loop_meets_every_due_time_exactly(void **state)
{
	static const int64_t delays[] = { 1, 2, 63, 64, 65, 127, 128, 4095, 4096, 4097, 262143,
		262144, 262145, 86400000, INT64_C(1) << 30, (INT64_C(1) << 36) + 7 };
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(delays); i++) {
		struct probe p;
		int64_t due_ms = clock_ms() + delays[i];
		int turns = 0;
		probe_arm(&p, delays[i]);
		while (p.times == 0) {
			int64_t next_ms = timers_next_ms();
			assert_true(next_ms > 0 && next_ms <= due_ms - clock_ms());
			clock_advance(next_ms);
			timers_run();
			assert_in_range(++turns, 1, 9);
		}
		assert_int_equal(p.fired_ms, due_ms);
		assert_int_equal(timers_next_ms(), -1);
	}
}

static void late_run_fires_all_in_order(void **state)
{
	struct probe p[4];
	(void)state;
	probe_arm(&p[0], 70000);
	probe_arm(&p[1], 5);
	probe_arm(&p[2], 5000);
	probe_arm(&p[3], 69);
	clock_advance(1000000000);
	timers_run();
	assert_int_equal(p[1].order, 1);
	assert_int_equal(p[3].order, 2);
	assert_int_equal(p[2].order, 3);
	assert_int_equal(p[0].order, 4);
}

static void disarmed_it_does_not_fire(void **state)
{
	struct probe p;
	struct timer zeroed = { 0 };
	(void)state;
	probe_arm(&p, 10);
	timer_disarm(&p.timer);
	assert_false(timer_armed(&p.timer));
	assert_int_equal(timers_next_ms(), -1);
	clock_advance(20);
	timers_run();
	assert_int_equal(p.times, 0);
	assert_false(timer_armed(&zeroed));
	timer_disarm(&zeroed);
}

static void arming_again_moves_it(void **state)
{
	struct probe p;
	(void)state;
	probe_arm(&p, 10);
	timer_arm(&p.timer, 500);
	clock_advance(499);
	timers_run();
	assert_int_equal(p.times, 0);
	timer_arm(&p.timer, 1);
	clock_advance(1);
	timers_run();
	assert_int_equal(p.times, 1);
}

static void any_delay_is_taken(void **state)
{
	struct probe past, never;
	(void)state;
	probe_arm(&never, INT64_MAX);
	assert_true(timers_next_ms() > 0);
	probe_arm(&past, -5);
	assert_int_equal(timers_next_ms(), 0);
	timers_run();
	assert_int_equal(past.times, 1);
	assert_int_equal(never.times, 0);
	timer_disarm(&never.timer);
}

static struct probe other;

static void on_arm_again(struct timer *t)
{
	on_probe(t);
	timer_arm(t, 0);
}

static void zero_delay_waits_for_the_next_run(void **state)
{
	struct probe p = { 0 };
	(void)state;
	timer_init(&p.timer, on_arm_again);
	timer_arm(&p.timer, 0);
	timers_run();
	assert_int_equal(p.times, 1);
	assert_int_equal(timers_next_ms(), 0);
	timers_run();
	assert_int_equal(p.times, 2);
	timer_disarm(&p.timer);
}

static void on_disarm_other(struct timer *t)
{
	on_probe(t);
	timer_disarm(&other.timer);
}

static void a_callback_may_disarm_one_that_is_due_too(void **state)
{
	struct probe p = { 0 };
	(void)state;
	timer_init(&p.timer, on_disarm_other);
	timer_arm(&p.timer, 5);
	probe_arm(&other, 5);
	clock_advance(5);
	timers_run();
	assert_int_equal(p.times, 1);
	assert_int_equal(other.times, 0);
}

static void on_free(struct timer *t)
{
	fired_so_far++;
	free(container_of(t, struct probe, timer));
}

static void a_callback_may_free_its_own_memory(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct probe *p = calloc(1, sizeof(*p));
		assert_non_null(p);
		timer_init(&p->timer, on_free);
		timer_arm(&p->timer, i);
	}
	clock_advance(2);
	timers_run();
	assert_int_equal(fired_so_far, 3);
}

/* A long idle wheel lags behind the clock: what is armed then must not be early. */
static void arming_long_after_the_last_run(void **state)
{
	struct probe p;
	(void)state;
	timers_run();
	clock_advance(123456789);
	probe_arm(&p, 50);
	clock_advance(49);
	timers_run();
	assert_int_equal(p.times, 0);
	clock_advance(1);
	timers_run();
	assert_int_equal(p.times, 1);
}

static void a_test_may_set_the_clock_back(void **state)
{
	struct probe p, armed_before;
	(void)state;
	timers_run();
	probe_arm(&armed_before, 10);
	clock_freeze(500, 0);
	probe_arm(&p, 10);
	timers_run();
	assert_int_equal(p.times, 0);
	clock_advance(10);
	timers_run();
	assert_int_equal(p.times, 1);
	assert_int_equal(armed_before.times, 0);
	timer_disarm(&armed_before.timer);
}

/* Against the plain rule "fires in the first run at or after due_ms", with all moves mixed. */
static void thousands_of_random_timers(void **state)
{
	enum { COUNT_PROBES = 2000, TURNS = 3000 };
	static struct probe probes[COUNT_PROBES];
	(void)state;
	srand(7);
	for (int i = 0; i < COUNT_PROBES; i++)
		probe_arm(&probes[i], rand() % 300000);
	for (int turn = 0; turn < TURNS; turn++) {
		clock_advance(rand() % 200);
		timers_run();
		for (int i = 0; i < COUNT_PROBES; i++) {
			struct probe *p = &probes[i];
			if (timer_armed(&p->timer))
				assert_true(p->timer.due_ms > clock_ms());
			else if (p->times)
				assert_true(p->fired_ms >= p->timer.due_ms);
		}
		struct probe *p = &probes[rand() % COUNT_PROBES];
		p->times = 0;
		if (rand() % 4)
			timer_arm(&p->timer, rand() % 100000);
		else
			timer_disarm(&p->timer);
	}
	for (int i = 0; i < COUNT_PROBES; i++)
		timer_disarm(&probes[i].timer);
	assert_true(fired_so_far > COUNT_PROBES / 2);
	assert_int_equal(timers_next_ms(), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(fires_once_and_not_early, setup),
		cmocka_unit_test_setup(the_loop_meets_every_due_time_exactly, setup),
		cmocka_unit_test_setup(late_run_fires_all_in_order, setup),
		cmocka_unit_test_setup(disarmed_it_does_not_fire, setup),
		cmocka_unit_test_setup(arming_again_moves_it, setup),
		cmocka_unit_test_setup(any_delay_is_taken, setup),
		cmocka_unit_test_setup(zero_delay_waits_for_the_next_run, setup),
		cmocka_unit_test_setup(a_callback_may_disarm_one_that_is_due_too, setup),
		cmocka_unit_test_setup(a_callback_may_free_its_own_memory, setup),
		cmocka_unit_test_setup(arming_long_after_the_last_run, setup),
		cmocka_unit_test_setup(a_test_may_set_the_clock_back, setup),
		cmocka_unit_test_setup(thousands_of_random_timers, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
