#ifndef TIDEGATE_TESTS_CRASH_SHIM_H
#define TIDEGATE_TESTS_CRASH_SHIM_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* What the files of the shim share. All of it with the one lock of crash_calls.c held. */

#define SHIM_PATH (PATH_MAX + 64)

enum operation { OP_OPEN, OP_WRITE, OP_RESIZE, OP_SYNC, OP_REMOVE, OP_RENAME };

/* crash_shim.c: the directory that is meant, the number of operations, the end. */

/* Whether it is below the directory, or the directory itself. */
bool shim_is_ours(const char *path);
/* Path of an open file; false: none of ours. */
bool shim_path_of_fd(int fd, char path[SHIM_PATH]);
bool shim_path_at(int dir_fd, const char *name, char path[SHIM_PATH]);
/* A name in the directory for the shim's own use. */
void shim_own_name(char path[SHIM_PATH]);
/* One more operation on our files. Returns 0, or the errno it shall fail with. */
int shim_tick(enum operation op);
int64_t shim_write(int fd, const void *p, size_t len, off_t at);

/* crash_undo.c: what no completed sync covers. Nothing is noted unless undo_wanted. */

extern bool undo_wanted;
/* Of unsynced sectors and names only some are lost, by this chance; 0: all. */
extern uint64_t undo_chance;
/* The octets [at, at + len) of the file are about to change, and its size to what it says; -1: to
 * what a write there makes of it. */
void undo_note_data(int fd, const char *path, off_t at, size_t len, off_t new_size);
void undo_note_created(const char *path);
void undo_note_removed(const char *path);
void undo_note_renamed(const char *from, const char *to);
/* A sync of that file or directory has been completed. */
void undo_settle(const struct stat *st);
/* The data of that file that wait for a sync are gone. */
void undo_lose(const struct stat *st);
/* All of it is gone, as at a power cut. */
void undo_all(void);

/* faults.c: operations that fail. */

void faults_init(const char *control);
/* What the operation of this number shall fail with; 0: with nothing. */
int faults_of(enum operation op, unsigned long number);
/* A sync that fails loses what it should have written. */
bool faults_lose_data(void);
/* How long a sync takes now. Not with the lock held. */
unsigned faults_delay_ms(void);

#endif
