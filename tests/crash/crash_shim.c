/* Preloaded into the daemon: counts what it does to the files below a directory, and at a chosen
 * point ends the process as kill -9 or as a power cut would.
 *
 *   TIDEGATE_CRASH_DIR   the directory, absolute
 *   TIDEGATE_CRASH_LOG   file that gets the number of operations so far, as text
 *   TIDEGATE_CRASH_AT    the operation, counted from 1, that is not done any more; 0: none
 *   TIDEGATE_CRASH_MODE  kill: what was written stays written, as the kernel has it
 *                        cut: all that no completed sync covers is undone
 *                        tear: of that, each sector and each directory entry by chance
 *   TIDEGATE_CRASH_SEED  of that chance
 *
 * A sync is not passed on to the disk: what it would promise is kept in the list of what to undo,
 * and thousands of runs would wear somebody's disk out. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECTOR 512
#define PATH   (PATH_MAX + 64)

enum change { DATA, CREATED, REMOVED, RENAMED };

/* One thing that no sync has covered yet, newest first. */
struct undo {
	struct undo *older;
	enum change change;
	dev_t dev;
	ino_t ino;
	char path[PATH], other[PATH]; /* REMOVED: `other` is a link that keeps the file */
	off_t at, old_size, new_size;
	size_t len; /* of old, the octets from `at` on that were there before */
	uint8_t old[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct undo *newest;
static char dir[PATH_MAX];
static size_t dir_len;
static unsigned long count, crash_at, links;
static int log_fd = -1;
static enum { KILL, CUT, TEAR } mode;
static uint64_t chance;

static int64_t raw_write(int fd, const void *p, size_t len, off_t at)
{
	return syscall(SYS_pwrite64, fd, p, len, at);
}

__attribute__((constructor)) static void start(void)
{
	const char *m = getenv("TIDEGATE_CRASH_MODE"), *at = getenv("TIDEGATE_CRASH_AT");
	const char *seed = getenv("TIDEGATE_CRASH_SEED"), *log = getenv("TIDEGATE_CRASH_LOG");

	snprintf(dir, sizeof(dir), "%s/", getenv("TIDEGATE_CRASH_DIR"));
	dir_len = strlen(dir);
	crash_at = at ? strtoul(at, NULL, 10) : 0;
	mode = m && !strcmp(m, "cut") ? CUT : m && !strcmp(m, "tear") ? TEAR : KILL;
	chance = seed ? strtoull(seed, NULL, 10) * 2 + 1 : 1;
	if (log)
		log_fd = (int)syscall(
			SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}

static bool toss(void)
{
	chance = chance * 6364136223846793005u + 1442695040888963407u;
	return chance >> 63;
}

/* Whether it is ours: below the directory, or the directory itself. */
static bool is_ours(const char *path)
{
	return !strncmp(path, dir, dir_len) ||
	       (strlen(path) == dir_len - 1 && !strncmp(path, dir, dir_len - 1));
}

static bool path_of_fd(int fd, char path[PATH])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH - 1);
	if (n <= 0)
		return false;
	path[n] = 0;
	return is_ours(path);
}

static bool path_at(int dir_fd, const char *name, char path[PATH])
{
	char base[PATH];

	if (name[0] == '/') {
		snprintf(path, PATH, "%s", name);
		return is_ours(path);
	}
	if (dir_fd == AT_FDCWD || !path_of_fd(dir_fd, base))
		return false;
	return snprintf(path, PATH, "%s/%s", base, name) < PATH && is_ours(path);
}

/* ---- The end ---- */

static void undo_data(const struct undo *u, bool all)
{
	struct stat st;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, u->path, O_RDWR | O_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_ino == u->ino) {
		for (size_t i = 0; i < u->len;) {
			size_t n = SECTOR - (size_t)(u->at + (off_t)i) % SECTOR;
			n = n < u->len - i ? n : u->len - i;
			if (all || toss())
				raw_write(fd, u->old + i, n, u->at + (off_t)i);
			i += n;
		}
		if (u->new_size != u->old_size && (all || toss()))
			(void)!syscall(SYS_ftruncate, fd, u->old_size);
	}
	close(fd);
}

static void undo_one(const struct undo *u, bool all)
{
	if (u->change == DATA)
		undo_data(u, all);
	else if (!all && toss())
		return;
	else if (u->change == CREATED)
		syscall(SYS_unlinkat, AT_FDCWD, u->path, 0);
	else if (u->change == REMOVED)
		syscall(SYS_renameat2, AT_FDCWD, u->other, AT_FDCWD, u->path, 0);
	else
		syscall(SYS_renameat2, AT_FDCWD, u->other, AT_FDCWD, u->path, 0);
}

static void crash(void)
{
	for (struct undo *u = newest; mode != KILL && u; u = u->older)
		undo_one(u, mode == CUT);
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

/* Every operation on the files comes through here, with the lock held. */
static void tick(void)
{
	char text[32];

	count++;
	if (log_fd >= 0)
		raw_write(log_fd, text, (size_t)snprintf(text, sizeof(text), "%lu\n", count), 0);
	if (crash_at && count >= crash_at)
		crash();
}

/* ---- What is to be undone ---- */

static struct undo *note(enum change change, const char *path, size_t len)
{
	struct undo *u = calloc(1, sizeof(*u) + len);

	if (!u)
		abort();
	u->change = change;
	u->len = len;
	snprintf(u->path, PATH, "%s", path);
	u->older = newest;
	newest = u;
	return u;
}

/* The octets [at, at + len) of the file are about to change, and its size to what it says. */
static void note_data(int fd, const char *path, off_t at, size_t len, off_t new_size)
{
	struct stat st;

	if (mode == KILL || fstat(fd, &st) != 0)
		return;
	size_t there = at < st.st_size ? (size_t)(st.st_size - at) : 0;
	struct undo *u = note(DATA, path, there < len ? there : len);
	u->dev = st.st_dev;
	u->ino = st.st_ino;
	u->at = at;
	u->old_size = st.st_size;
	u->new_size = new_size < 0 ? (st.st_size > at + (off_t)len ? st.st_size : at + (off_t)len)
				   : new_size;
	int in = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (in < 0 || pread(in, u->old, u->len, at) != (ssize_t)u->len)
		abort();
	close(in);
}

static void settle(const struct stat *st)
{
	bool is_dir = S_ISDIR(st->st_mode);

	for (struct undo **at = &newest; *at;) {
		struct undo *u = *at;
		bool same = u->dev == st->st_dev && u->ino == st->st_ino;
		if (is_dir ? u->change == DATA : u->change != DATA || !same) {
			at = &u->older;
			continue;
		}
		if (u->change == REMOVED)
			syscall(SYS_unlinkat, AT_FDCWD, u->other, 0);
		*at = u->older;
		free(u);
	}
}

/* ---- The calls ---- */

static bool before_write(int fd, off_t at, size_t len)
{
	char path[PATH];

	if (fd == log_fd || !path_of_fd(fd, path))
		return false;
	pthread_mutex_lock(&lock);
	tick();
	note_data(fd, path, at < 0 ? lseek(fd, 0, SEEK_CUR) : at, len, -1);
	pthread_mutex_unlock(&lock);
	return true;
}

static size_t total(const struct iovec *v, int n)
{
	size_t len = 0;

	for (int i = 0; i < n; i++)
		len += v[i].iov_len;
	return len;
}

ssize_t write(int fd, const void *p, size_t len)
{
	before_write(fd, -1, len);
	return syscall(SYS_write, fd, p, len);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	before_write(fd, -1, total(v, n));
	return syscall(SYS_writev, fd, v, n);
}

ssize_t pwrite(int fd, const void *p, size_t len, off_t at)
{
	before_write(fd, at, len);
	return raw_write(fd, p, len, at);
}

ssize_t pwrite64(int fd, const void *p, size_t len, off64_t at)
{
	return pwrite(fd, p, len, at);
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	before_write(fd, at, total(v, n));
	return syscall(SYS_pwritev, fd, v, n, at, 0L);
}

ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at)
{
	return pwritev(fd, v, n, at);
}

static int resize(int fd, off_t size, bool shrinks)
{
	char path[PATH];
	struct stat st;

	if (!path_of_fd(fd, path) || fstat(fd, &st) != 0)
		return 0;
	pthread_mutex_lock(&lock);
	tick();
	if (shrinks && st.st_size > size)
		note_data(fd, path, size, (size_t)(st.st_size - size), size);
	else if (st.st_size < size)
		note_data(fd, path, st.st_size, 0, size);
	pthread_mutex_unlock(&lock);
	return 0;
}

int ftruncate(int fd, off_t size)
{
	resize(fd, size, true);
	return (int)syscall(SYS_ftruncate, fd, size);
}

int ftruncate64(int fd, off64_t size)
{
	return ftruncate(fd, size);
}

int fallocate(int fd, int how, off_t at, off_t len)
{
	resize(fd, at + len, false);
	return (int)syscall(SYS_fallocate, fd, how, at, len);
}

int fallocate64(int fd, int how, off64_t at, off64_t len)
{
	return fallocate(fd, how, at, len);
}

/* Complete when it returns: so the crash comes before, or not here. */
static int sync_file(int fd, long call)
{
	char path[PATH];
	struct stat st;

	if (!path_of_fd(fd, path) || fstat(fd, &st) != 0)
		return (int)syscall(call, fd);
	pthread_mutex_lock(&lock);
	tick();
	settle(&st);
	pthread_mutex_unlock(&lock);
	return 0;
}

int fdatasync(int fd)
{
	return sync_file(fd, SYS_fdatasync);
}

int fsync(int fd)
{
	return sync_file(fd, SYS_fsync);
}

static void keep_link(struct undo *u)
{
	snprintf(u->other, PATH, "%.*s.removed-%lu", (int)(dir_len - 1), dir, ++links);
	syscall(SYS_linkat, AT_FDCWD, u->path, AT_FDCWD, u->other, 0);
}

int unlinkat(int dir_fd, const char *name, int how)
{
	char path[PATH];

	if (path_at(dir_fd, name, path)) {
		pthread_mutex_lock(&lock);
		tick();
		if (mode != KILL && !(how & AT_REMOVEDIR))
			keep_link(note(REMOVED, path, 0));
		pthread_mutex_unlock(&lock);
	}
	return (int)syscall(SYS_unlinkat, dir_fd, name, how);
}

int unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	char path[PATH], target[PATH];

	if (path_at(from_dir, from, path) && path_at(to_dir, to, target)) {
		pthread_mutex_lock(&lock);
		tick();
		if (mode != KILL && access(target, F_OK) == 0)
			keep_link(note(REMOVED, target, 0));
		if (mode != KILL)
			snprintf(note(RENAMED, path, 0)->other, PATH, "%s", target);
		pthread_mutex_unlock(&lock);
	}
	return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int openat(int dir_fd, const char *name, int how, ...)
{
	char path[PATH];
	mode_t rights = 0;

	if (how & (O_CREAT | O_TMPFILE)) {
		va_list ap;
		va_start(ap, how);
		rights = va_arg(ap, mode_t);
		va_end(ap);
	}
	if ((how & O_CREAT) && path_at(dir_fd, name, path) && access(path, F_OK) != 0) {
		pthread_mutex_lock(&lock);
		tick();
		if (mode != KILL)
			note(CREATED, path, 0);
		pthread_mutex_unlock(&lock);
	}
	return (int)syscall(SYS_openat, dir_fd, name, how, rights);
}

int openat64(int dir_fd, const char *name, int how, ...)
{
	mode_t rights = 0;

	if (how & (O_CREAT | O_TMPFILE)) {
		va_list ap;
		va_start(ap, how);
		rights = va_arg(ap, mode_t);
		va_end(ap);
	}
	return openat(dir_fd, name, how, rights);
}

int open(const char *name, int how, ...)
{
	mode_t rights = 0;

	if (how & (O_CREAT | O_TMPFILE)) {
		va_list ap;
		va_start(ap, how);
		rights = va_arg(ap, mode_t);
		va_end(ap);
	}
	return openat(AT_FDCWD, name, how, rights);
}
