/* Preloaded into the daemon: counts what it does to the files below a directory, and at a chosen
 * point ends the process as kill -9 or as a power cut would. Also lets operations fail (faults.c).
 *
 *   TIDEGATE_CRASH_DIR    the directory, absolute
 *   TIDEGATE_CRASH_LOG    file that gets the number of operations so far, as text
 *   TIDEGATE_CRASH_AT     the operation, counted from 1, that is not done any more; 0: none
 *   TIDEGATE_CRASH_MODE   kill: what was written stays written, as the kernel has it
 *                         cut: all that no completed sync covers is undone
 *                         tear: of that, each sector and each directory entry by chance
 *   TIDEGATE_CRASH_SEED   of that chance
 *   TIDEGATE_CRASH_FAULTS the control file of what fails
 *
 * A sync is not passed on to the disk: what it would promise is kept in the list of what to undo,
 * and thousands of runs would wear somebody's disk out. */
#include "crash_shim.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char dir[PATH_MAX];
static size_t dir_len;
static unsigned long count, crash_at, names;
static int log_fd = -1;
static bool power_cut;

int64_t shim_write(int fd, const void *p, size_t len, off_t at)
{
	return syscall(SYS_pwrite64, fd, p, len, at);
}

__attribute__((constructor)) static void start(void)
{
	const char *mode = getenv("TIDEGATE_CRASH_MODE"), *at = getenv("TIDEGATE_CRASH_AT");
	const char *seed = getenv("TIDEGATE_CRASH_SEED"), *log = getenv("TIDEGATE_CRASH_LOG");
	const char *faults = getenv("TIDEGATE_CRASH_FAULTS"), *where = getenv("TIDEGATE_CRASH_DIR");

	snprintf(dir, sizeof(dir), "%s/", where ? where : "");
	dir_len = strlen(dir);
	crash_at = at ? strtoul(at, NULL, 10) : 0;
	power_cut = mode && strcmp(mode, "kill") != 0;
	undo_wanted = power_cut || faults;
	if (mode && !strcmp(mode, "tear"))
		undo_chance = seed ? strtoull(seed, NULL, 10) * 2 + 1 : 1;
	if (log)
		log_fd = (int)syscall(
			SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	faults_init(faults);
}

bool shim_is_ours(const char *path)
{
	return !strncmp(path, dir, dir_len) ||
	       (strlen(path) == dir_len - 1 && !strncmp(path, dir, dir_len - 1));
}

bool shim_path_of_fd(int fd, char path[SHIM_PATH])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, SHIM_PATH - 1);
	if (n <= 0)
		return false;
	path[n] = 0;
	return shim_is_ours(path);
}

bool shim_path_at(int dir_fd, const char *name, char path[SHIM_PATH])
{
	char base[SHIM_PATH];

	if (name[0] == '/') {
		snprintf(path, SHIM_PATH, "%s", name);
		return shim_is_ours(path);
	}
	if (dir_fd == AT_FDCWD || !shim_path_of_fd(dir_fd, base))
		return false;
	return snprintf(path, SHIM_PATH, "%s/%s", base, name) < SHIM_PATH && shim_is_ours(path);
}

void shim_own_name(char path[SHIM_PATH])
{
	snprintf(path, SHIM_PATH, "%.*s.removed-%lu", (int)(dir_len - 1), dir, ++names);
}

static void crash(void)
{
	if (power_cut)
		undo_all();
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

int shim_tick(enum operation op)
{
	char text[32];

	count++;
	if (log_fd >= 0)
		shim_write(log_fd, text, (size_t)snprintf(text, sizeof(text), "%lu\n", count), 0);
	if (crash_at && count >= crash_at)
		crash();
	return faults_of(op, count);
}
