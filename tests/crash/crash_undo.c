/* What no completed sync covers, and how it is undone. */
#include "crash_shim.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECTOR 512

enum change { DATA, CREATED, REMOVED, RENAMED };

struct undo {
	struct undo *older;
	enum change change;
	dev_t dev;
	ino_t ino;
	char path[SHIM_PATH], other[SHIM_PATH]; /* REMOVED: `other` is a link that keeps the file */
	off_t at, old_size, new_size;
	size_t len; /* of old, the octets from `at` on that were there before */
	uint8_t old[];
};

bool undo_wanted;
uint64_t undo_chance;
static struct undo *newest;

/* ---- Undoing ---- */

static bool is_kept(void)
{
	if (!undo_chance)
		return false;
	undo_chance = undo_chance * 6364136223846793005u + 1442695040888963407u;
	return undo_chance >> 63;
}

static void undo_data(const struct undo *u)
{
	struct stat st;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, u->path, O_RDWR | O_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_ino == u->ino) {
		for (size_t i = 0; i < u->len;) {
			size_t n = SECTOR - (size_t)(u->at + (off_t)i) % SECTOR;
			n = n < u->len - i ? n : u->len - i;
			if (!is_kept())
				shim_write(fd, u->old + i, n, u->at + (off_t)i);
			i += n;
		}
		if (u->new_size != u->old_size && !is_kept())
			(void)!syscall(SYS_ftruncate, fd, u->old_size);
	}
	close(fd);
}

static void undo_one(const struct undo *u)
{
	if (u->change == DATA)
		undo_data(u);
	else if (is_kept())
		return;
	else if (u->change == CREATED)
		syscall(SYS_unlinkat, AT_FDCWD, u->path, 0);
	else
		syscall(SYS_renameat2, AT_FDCWD, u->other, AT_FDCWD, u->path, 0);
}

void undo_all(void)
{
	for (const struct undo *u = newest; u; u = u->older)
		undo_one(u);
}

static bool is_data_of(const struct undo *u, const struct stat *st)
{
	return u->change == DATA && u->dev == st->st_dev && u->ino == st->st_ino;
}

static void drop(struct undo **at)
{
	struct undo *u = *at;

	*at = u->older;
	free(u);
}

void undo_lose(const struct stat *st)
{
	for (struct undo **at = &newest; *at;) {
		if (!is_data_of(*at, st)) {
			at = &(*at)->older;
			continue;
		}
		undo_data(*at);
		drop(at);
	}
}

void undo_settle(const struct stat *st)
{
	bool is_dir = S_ISDIR(st->st_mode);

	for (struct undo **at = &newest; *at;) {
		const struct undo *u = *at;
		if (is_dir ? u->change == DATA : !is_data_of(u, st)) {
			at = &(*at)->older;
			continue;
		}
		if (u->change == REMOVED)
			syscall(SYS_unlinkat, AT_FDCWD, u->other, 0);
		drop(at);
	}
}

/* ---- Noting ---- */

static struct undo *note(enum change change, const char *path, size_t len)
{
	struct undo *u = calloc(1, sizeof(*u) + len);

	if (!u)
		abort();
	u->change = change;
	u->len = len;
	snprintf(u->path, SHIM_PATH, "%s", path);
	u->older = newest;
	newest = u;
	return u;
}

void undo_note_data(int fd, const char *path, off_t at, size_t len, off_t new_size)
{
	struct stat st;

	if (!undo_wanted || fstat(fd, &st) != 0)
		return;
	size_t there = at < st.st_size ? (size_t)(st.st_size - at) : 0;
	off_t end = at + (off_t)len;
	struct undo *u = note(DATA, path, there < len ? there : len);
	u->dev = st.st_dev;
	u->ino = st.st_ino;
	u->at = at;
	u->old_size = st.st_size;
	u->new_size = new_size >= 0 ? new_size : st.st_size > end ? st.st_size : end;
	int in = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (in < 0 || pread(in, u->old, u->len, at) != (ssize_t)u->len)
		abort();
	close(in);
}

void undo_note_created(const char *path)
{
	if (undo_wanted)
		note(CREATED, path, 0);
}

void undo_note_removed(const char *path)
{
	if (!undo_wanted)
		return;
	struct undo *u = note(REMOVED, path, 0);
	shim_own_name(u->other);
	syscall(SYS_linkat, AT_FDCWD, u->path, AT_FDCWD, u->other, 0);
}

void undo_note_renamed(const char *from, const char *to)
{
	if (undo_wanted)
		snprintf(note(RENAMED, from, 0)->other, SHIM_PATH, "%s", to);
}
