#include "gateway/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char dir[64];

static const char *at(const char *name)
{
	static char path[2][128];
	static int turn;
	turn = !turn;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/tidegate-test-file-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static void assert_content(const char *path, const char *expected)
{
	char *text;
	size_t len;
	assert_int_equal(file_read(path, 1000, &text, &len), 0);
	assert_int_equal(len, strlen(expected));
	assert_string_equal(text, expected);
	free(text);
}

static void replace_is_whole_and_leaves_nothing_behind(void **state)
{
	struct stat st;
	(void)state;
	assert_int_equal(file_replace(at("f"), 0640, "one", 3), 0);
	assert_content(at("f"), "one");
	assert_int_equal(file_replace(at("f"), 0600, "two longer", 10), 0);
	assert_content(at("f"), "two longer");
	assert_int_equal(stat(at("f"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(unlink(at("f")), 0);
	assert_int_equal(rmdir(dir), 0); /* empty: no temporary file is left */
}

static void replace_that_fails_keeps_the_old(void **state)
{
	(void)state;
	assert_int_equal(file_replace(at("none/f"), 0600, "x", 1), -ENOENT);
	assert_int_equal(mkdir(at("d"), 0700), 0);
	assert_int_equal(file_replace(at("d"), 0600, "x", 1), -EISDIR);
	assert_int_equal(rmdir(at("d")), 0);
	assert_int_equal(rmdir(dir), 0); /* the temporary file is gone */
}

static void read_bounds(void **state)
{
	char *text;
	size_t len;
	(void)state;
	assert_int_equal(file_replace(at("f"), 0600, "12345", 5), 0);
	assert_int_equal(file_read(at("f"), 5, &text, &len), 0);
	assert_int_equal(len, 5);
	free(text);
	assert_int_equal(file_read(at("f"), 4, &text, &len), -EFBIG);
	assert_int_equal(file_read(at("absent"), 4, &text, &len), -ENOENT);
	assert_int_equal(file_read(dir, 4, &text, &len), -EISDIR);
	assert_int_equal(file_replace(at("empty"), 0600, "", 0), 0);
	assert_content(at("empty"), "");
}

/* Files that claim no size, longer than the first buffer. */
static void read_of_endless_and_sizeless_files(void **state)
{
	char *text;
	size_t len;
	(void)state;
	assert_int_equal(file_read("/dev/zero", 100000, &text, &len), -EFBIG);
	assert_int_equal(file_read("/dev/null", 100, &text, &len), 0);
	assert_int_equal(len, 0);
	free(text);
	assert_int_equal(file_read("/proc/self/status", 100000, &text, &len), 0);
	assert_non_null(strstr(text, "Name:"));
	assert_int_equal(strlen(text), len);
	free(text);
}

static void directories(void **state)
{
	struct stat st;
	(void)state;
	assert_int_equal(file_make_dir(at("d"), 0700), 0);
	assert_int_equal(stat(at("d"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(file_make_dir(at("d"), 0700), 0);
	assert_int_equal(file_sync_dir(at("d")), 0);
	assert_int_equal(file_make_dir(at("no/d"), 0700), -ENOENT);
	assert_int_equal(file_replace(at("f"), 0600, "x", 1), 0);
	assert_int_equal(file_make_dir(at("f"), 0700), -ENOTDIR);
	assert_int_equal(file_sync_dir(at("f")), -ENOTDIR);
	assert_int_equal(file_sync_dir(at("absent")), -ENOENT);
}

static void one_holder_of_the_lock(void **state)
{
	pid_t holder = -1;
	struct stat st;
	(void)state;
	int fd = file_lock(at("lock"), NULL);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(file_lock(at("lock"), &holder), -EAGAIN);
	assert_int_equal(holder, getpid());
	assert_int_equal(file_lock(at("lock"), NULL), -EAGAIN);
	close(fd);
	fd = file_lock(at("lock"), &holder);
	assert_true(fd >= 0);
	close(fd);
}

static void the_lock_goes_with_its_process(void **state)
{
	int status;
	(void)state;
	pid_t child = fork();
	if (child == 0)
		_exit(file_lock(at("lock"), NULL) >= 0 ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	int fd = file_lock(at("lock"), NULL);
	assert_true(fd >= 0);
	close(fd);
	char pid[16];
	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	assert_content(at("lock"), pid); /* nothing of the child's is left behind it */
}

/* A pipe holds 64 KB: the writer must go on after short writes while a child reads. */
static void write_all_goes_on_after_short_writes(void **state)
{
	enum { BYTES = 300000 };
	static char data[BYTES];
	int fds[2], status;
	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid_t child = fork();
	if (child == 0) {
		char buf[1000];
		size_t got = 0;
		close(fds[1]);
		for (ssize_t n; (n = read(fds[0], buf, sizeof(buf))) > 0;)
			got += (size_t)n;
		_exit(got == BYTES ? 0 : 1);
	}
	close(fds[0]);
	assert_int_equal(file_write_all(fds[1], data, BYTES), 0);
	close(fds[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(file_write_all(-1, data, 1), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(replace_is_whole_and_leaves_nothing_behind, setup),
		cmocka_unit_test_setup(replace_that_fails_keeps_the_old, setup),
		cmocka_unit_test_setup_teardown(read_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(
			read_of_endless_and_sizeless_files, setup, teardown),
		cmocka_unit_test_setup_teardown(directories, setup, teardown),
		cmocka_unit_test_setup_teardown(one_holder_of_the_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(the_lock_goes_with_its_process, setup, teardown),
		cmocka_unit_test_setup_teardown(
			write_all_goes_on_after_short_writes, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
