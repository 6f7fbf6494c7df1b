#include "tests/unit/store/journal_fixture.h"

#include <semaphore.h>
#include <sys/wait.h>

#define MB (INT64_C(1) << 20)

/* A disk whose sync waits until the test lets it go on. */
static struct journal_io real_io;
static sem_t entered, go_on;

static int slow_sync(int fd)
{
	sem_post(&entered);
	sem_wait(&go_on);
	return real_io.sync(fd);
}

static int setup(void **state)
{
	(void)state;
	sem_init(&entered, 0, 0);
	sem_init(&go_on, 0, 0);
	real_io = journal_io;
	journal_io.sync = slow_sync;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	journal_io = real_io;
	sem_destroy(&entered);
	sem_destroy(&go_on);
	return 0;
}

static void nothing_is_acknowledged_before_the_sync(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w[2];
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	uint64_t a = append_text(&f, 1, "a", &w[0]);
	journal_turn(f.j);
	sem_wait(&entered); /* written, not synced */
	uint64_t b = append_text(&f, 1, "b", &w[1]);
	for (int i = 0; i < 50; i++)
		fixture_turn(&f, 100);
	assert_int_equal(w[0].fired, 0);
	assert_int_equal(f.j->commits, 1); /* one at a time, however long it takes */
	assert_text(&f, a, "a");
	assert_text(&f, b, "b");
	sem_post(&go_on);
	sem_post(&go_on);
	fixture_settle(&f);
	assert_int_equal(w[0].fired, 1);
	assert_int_equal(w[1].fired, 1);
	assert_int_equal(f.j->commits, 2);
	sem_post(&go_on);
	fixture_destroy(&f);
}

/* The end is bounded in time and tells everybody; here, because the memory stays with the thread,
 * in a child. */
static void child_closes_while_the_disk_hangs(void)
{
	struct fixture f;
	struct waiter w[2];
	fixture_init(&f, 8 * MB);
	log_set_level((enum log_level) - 1);
	fixture_open(&f);
	append_text(&f, 1, "a", &w[0]);
	journal_turn(f.j);
	append_text(&f, 1, "b", &w[1]);
	journal_close(f.j, 50);
	bool told = w[0].fired == 1 && w[0].err == -EIO && w[1].fired == 1 && w[1].err == -EIO;
	fixture_remove(f.dir);
	_exit(told ? 0 : 1);
}

static void a_hanging_disk_does_not_hang_the_end(void **state)
{
	(void)state;
	int status;
	pid_t pid = fork();

	if (pid == 0)
		child_closes_while_the_disk_hangs();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			nothing_is_acknowledged_before_the_sync, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_hanging_disk_does_not_hang_the_end, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
