#ifndef TIDEGATE_BASE_FILE_H
#define TIDEGATE_BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* All return 0 (or what is said) or a negative errno. Blocking: start-up, shutdown, the commit
 * thread and bounded small files only. */

/* Reads a whole file of at most `max` bytes; *out is NUL-terminated (the NUL not counted) and owned
 * by the caller. -EFBIG when larger. */
int file_read(const char *path, size_t max, char **out, size_t *len);
/* Writes a temporary file beside it, fdatasync, rename, directory sync: old or new, never a
 * mixture. */
int file_replace(const char *path, mode_t mode, const void *data, size_t len);
int file_sync_dir(const char *path);
/* Creates the last component with `mode` when absent. -ENOTDIR when it is something else. */
int file_make_dir(const char *path, mode_t mode);
/* Creates and locks `path` (0600) and writes our PID into it. Returns a descriptor to keep, -EAGAIN
 * when another process holds it (its PID in *holder when that is not NULL; 0: unknown). */
int file_lock(const char *path, pid_t *holder);
/* Writes all, through short writes and EINTR. */
int file_write_all(int fd, const void *data, size_t len);

#endif
