#include "gateway/base/file.h"

#include "gateway/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Fills `buf` up to `size`; returns what was read, or a negative errno. */
static ssize_t read_fully(int fd, char *buf, size_t size)
{
	size_t len = 0;
	while (len < size) {
		ssize_t n = read(fd, buf + len, size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

/* The size a file claims is only where the buffer begins: /proc and pipes claim none. */
static int read_growing(int fd, size_t max, char **out, size_t *len)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	size_t cap = st.st_size > 0 && (size_t)st.st_size <= max ? (size_t)st.st_size + 1 : 4096;
	char *buf = NULL;
	*len = 0;
	for (;;) {
		cap = MIN(cap, max + 1);
		char *bigger = realloc(buf, cap + 1);
		ssize_t n = bigger ? read_fully(fd, bigger + *len, cap - *len) : -ENOMEM;
		if (bigger)
			buf = bigger;
		if (n >= 0)
			*len += (size_t)n;
		if (n < 0 || *len > max) {
			free(buf);
			return n < 0 ? (int)n : -EFBIG;
		}
		if (*len < cap)
			break;
		cap *= 2;
	}
	buf[*len] = '\0';
	*out = buf;
	return 0;
}

int file_read(const char *path, size_t max, char **out, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int rc = read_growing(fd, max, out, len);
	close(fd);
	return rc;
}

int file_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int rc = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

static int sync_parent(const char *path)
{
	char copy[PATH_MAX];
	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return -ENAMETOOLONG;
	return file_sync_dir(dirname(copy));
}

static int fill_file(int fd, mode_t mode, const void *data, size_t len)
{
	if (fchmod(fd, mode) < 0)
		return -errno;
	int rc = file_write_all(fd, data, len);
	if (rc == 0 && fdatasync(fd) < 0)
		rc = -errno;
	return rc;
}

int file_replace(const char *path, mode_t mode, const void *data, size_t len)
{
	char temp[PATH_MAX];
	if (snprintf(temp, sizeof(temp), "%s.XXXXXX", path) >= (int)sizeof(temp))
		return -ENAMETOOLONG;
	int fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int rc = fill_file(fd, mode, data, len);
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && rename(temp, path) < 0)
		rc = -errno;
	if (rc < 0) {
		unlink(temp);
		return rc;
	}
	return sync_parent(path);
}

int file_make_dir(const char *path, mode_t mode)
{
	struct stat st;
	if (mkdir(path, mode) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static pid_t read_holder(int fd)
{
	char text[24] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	long pid = n > 0 ? strtol(text, NULL, 10) : 0;
	return pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

int file_lock(const char *path, pid_t *holder)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* flock, not fcntl: it survives another descriptor of the same file being closed. */
	int rc = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
	if (rc == -EWOULDBLOCK) {
		if (holder)
			*holder = read_holder(fd);
		rc = -EAGAIN;
	}
	if (rc == 0 && (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0))
		rc = -errno;
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}
