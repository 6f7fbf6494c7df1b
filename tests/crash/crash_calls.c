/* The calls of the C library that are looked at. */
#include "crash_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Whether the call may be made; else errno says why not. */
static bool allowed(int err)
{
	if (err)
		errno = err;
	return !err;
}

static bool before_write(int fd, off_t at, size_t len)
{
	char path[SHIM_PATH];

	if (!shim_path_of_fd(fd, path))
		return true;
	pthread_mutex_lock(&lock);
	int err = shim_tick(OP_WRITE);
	if (!err)
		undo_note_data(fd, path, at < 0 ? lseek(fd, 0, SEEK_CUR) : at, len, -1);
	pthread_mutex_unlock(&lock);
	return allowed(err);
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
	return before_write(fd, -1, len) ? syscall(SYS_write, fd, p, len) : -1;
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	return before_write(fd, -1, total(v, n)) ? syscall(SYS_writev, fd, v, n) : -1;
}

ssize_t pwrite(int fd, const void *p, size_t len, off_t at)
{
	return before_write(fd, at, len) ? shim_write(fd, p, len, at) : -1;
}

ssize_t pwrite64(int fd, const void *p, size_t len, off64_t at)
{
	return pwrite(fd, p, len, at);
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	return before_write(fd, at, total(v, n)) ? syscall(SYS_pwritev, fd, v, n, at, 0L) : -1;
}

ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at)
{
	return pwritev(fd, v, n, at);
}

static bool before_resize(int fd, off_t size, bool shrinks)
{
	char path[SHIM_PATH];
	struct stat st;

	if (!shim_path_of_fd(fd, path) || fstat(fd, &st) != 0)
		return true;
	pthread_mutex_lock(&lock);
	int err = shim_tick(OP_RESIZE);
	if (!err && shrinks && st.st_size > size)
		undo_note_data(fd, path, size, (size_t)(st.st_size - size), size);
	else if (!err && st.st_size < size)
		undo_note_data(fd, path, st.st_size, 0, size);
	pthread_mutex_unlock(&lock);
	return allowed(err);
}

int ftruncate(int fd, off_t size)
{
	return before_resize(fd, size, true) ? (int)syscall(SYS_ftruncate, fd, size) : -1;
}

int ftruncate64(int fd, off64_t size)
{
	return ftruncate(fd, size);
}

int fallocate(int fd, int how, off_t at, off_t len)
{
	if (!before_resize(fd, at + len, false))
		return -1;
	return (int)syscall(SYS_fallocate, fd, how, at, len);
}

int fallocate64(int fd, int how, off64_t at, off64_t len)
{
	return fallocate(fd, how, at, len);
}

static void rest(unsigned ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (ms && nanosleep(&t, &t) != 0)
		continue;
}

/* Complete when it returns: so the crash comes before, or not here. */
static int sync_file(int fd, long call)
{
	char path[SHIM_PATH];
	struct stat st;

	if (!shim_path_of_fd(fd, path) || fstat(fd, &st) != 0)
		return (int)syscall(call, fd);
	pthread_mutex_lock(&lock);
	int err = shim_tick(OP_SYNC);
	if (!err)
		undo_settle(&st);
	else if (faults_lose_data())
		undo_lose(&st);
	unsigned delay_ms = faults_delay_ms();
	pthread_mutex_unlock(&lock);
	rest(delay_ms);
	return allowed(err) ? 0 : -1;
}

int fdatasync(int fd)
{
	return sync_file(fd, SYS_fdatasync);
}

int fsync(int fd)
{
	return sync_file(fd, SYS_fsync);
}

int unlinkat(int dir_fd, const char *name, int how)
{
	char path[SHIM_PATH];

	if (shim_path_at(dir_fd, name, path)) {
		pthread_mutex_lock(&lock);
		int err = shim_tick(OP_REMOVE);
		if (!err && !(how & AT_REMOVEDIR))
			undo_note_removed(path);
		pthread_mutex_unlock(&lock);
		if (!allowed(err))
			return -1;
	}
	return (int)syscall(SYS_unlinkat, dir_fd, name, how);
}

int unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	char path[SHIM_PATH], target[SHIM_PATH];

	if (shim_path_at(from_dir, from, path) && shim_path_at(to_dir, to, target)) {
		pthread_mutex_lock(&lock);
		int err = shim_tick(OP_RENAME);
		if (!err && access(target, F_OK) == 0)
			undo_note_removed(target);
		if (!err)
			undo_note_renamed(path, target);
		pthread_mutex_unlock(&lock);
		if (!allowed(err))
			return -1;
	}
	return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static int open_file(int dir_fd, const char *name, int how, mode_t rights)
{
	char path[SHIM_PATH];

	if ((how & O_CREAT) && shim_path_at(dir_fd, name, path) && access(path, F_OK) != 0) {
		pthread_mutex_lock(&lock);
		int err = shim_tick(OP_OPEN);
		if (!err)
			undo_note_created(path);
		pthread_mutex_unlock(&lock);
		if (!allowed(err))
			return -1;
	}
	return (int)syscall(SYS_openat, dir_fd, name, how, rights);
}

static mode_t rights_of(int how, va_list ap)
{
	return how & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

int openat(int dir_fd, const char *name, int how, ...)
{
	va_list ap;

	va_start(ap, how);
	mode_t rights = rights_of(how, ap);
	va_end(ap);
	return open_file(dir_fd, name, how, rights);
}

int openat64(int dir_fd, const char *name, int how, ...)
{
	va_list ap;

	va_start(ap, how);
	mode_t rights = rights_of(how, ap);
	va_end(ap);
	return open_file(dir_fd, name, how, rights);
}

int open(const char *name, int how, ...)
{
	va_list ap;

	va_start(ap, how);
	mode_t rights = rights_of(how, ap);
	va_end(ap);
	return open_file(AT_FDCWD, name, how, rights);
}
