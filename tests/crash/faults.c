/* Operations that fail as the control file says, which is read at each of them; without one all is
 * well. It holds one line:
 *
 *   FROM COUNT ERROR OPERATIONS [DELAY]
 *
 *   FROM        number of the first operation that may fail; 0: at once
 *   COUNT       so many of them fail; 0: all, until the line says something else
 *   ERROR       ENOSPC, EIO, EROFS; LOST: EIO, and what a failing sync should have written is gone
 *               (as a kernel does that drops pages which it could not write); NONE
 *   OPERATIONS  any, or of open,write,resize,sync,remove,rename
 *   DELAY       milliseconds that each sync takes */
#include "crash_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct fault {
	unsigned long from, count;
	unsigned delay_ms;
	char error[16], operations[64];
};

static const char *control_path;
static unsigned long failed; /* under this line */
static char last_line[160];

void faults_init(const char *control)
{
	control_path = control;
}

static bool read_control(char *text, size_t size)
{
	int fd = control_path ? (int)syscall(SYS_openat, AT_FDCWD, control_path, O_RDONLY) : -1;
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, size - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	return n > 0;
}

static bool load(struct fault *f)
{
	char line[sizeof(last_line)] = "";

	*f = (struct fault){ 0 };
	if (!read_control(line, sizeof(line)))
		return false;
	if (strcmp(line, last_line) != 0) {
		memcpy(last_line, line, sizeof(line));
		failed = 0;
	}
	return sscanf(line, "%lu %lu %15s %63s %u", &f->from, &f->count, f->error, f->operations,
		       &f->delay_ms) >= 4;
}

static int errno_of(const char *name)
{
	static const struct {
		const char *name;
		int value;
	} errors[] = { { "ENOSPC", ENOSPC }, { "EIO", EIO }, { "LOST", EIO }, { "EROFS", EROFS } };

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (!strcmp(errors[i].name, name))
			return errors[i].value;
	return 0;
}

static bool concerns(const struct fault *f, enum operation op)
{
	static const char *const names[] = {
		[OP_OPEN] = "open",
		[OP_WRITE] = "write",
		[OP_RESIZE] = "resize",
		[OP_SYNC] = "sync",
		[OP_REMOVE] = "remove",
		[OP_RENAME] = "rename",
	};
	return !strcmp(f->operations, "any") || strstr(f->operations, names[op]);
}

int faults_of(enum operation op, unsigned long number)
{
	struct fault f;

	if (!load(&f) || number < f.from || !concerns(&f, op))
		return 0;
	if (f.count && failed >= f.count)
		return 0;
	/* A file system that can't be written syncs all the same. */
	if (op == OP_SYNC && !strcmp(f.error, "EROFS"))
		return 0;
	int err = errno_of(f.error);
	failed += err != 0;
	return err;
}

bool faults_lose_data(void)
{
	struct fault f;

	return load(&f) && !strcmp(f.error, "LOST");
}

unsigned faults_delay_ms(void)
{
	struct fault f;

	return load(&f) ? f.delay_ms : 0;
}
