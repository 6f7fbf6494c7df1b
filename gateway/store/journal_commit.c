#include "gateway/store/journal_commit.h"

#include "gateway/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/* Not posix_fallocate(): where the file system knows no preallocation that writes every block. */
static int reserve(int fd, off_t size)
{
	if (fallocate(fd, 0, 0, size) == 0)
		return 0;
	return errno == EOPNOTSUPP || errno == ENOSYS ? ftruncate(fd, size) : -1;
}

struct journal_io journal_io = {
	.write_at = pwrite,
	.sync = fdatasync,
	.reserve = reserve,
	.unlink_at = unlinkat,
};

/* The wait for the thread's end is cut into pieces: of a time in which the whole process stood
 * still only one piece counts. */
#define WAIT_STEP_MS 50

static void *thread_main(void *arg)
{
	struct commit *c = arg;
	struct list letters;

	while (workqueue_take(&c->queue, &letters, -1)) {
		while (!list_empty(&letters)) {
			struct job *job = list_first(&letters, struct job, mail.node);
			list_remove(&job->mail.node);
			job->err = job->run(c, job);
			mailbox_post(c->mailbox, &job->mail);
		}
	}
	pthread_mutex_lock(&c->lock);
	c->ended = true;
	pthread_cond_signal(&c->has_ended);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static void receive(struct mail *m, void *arg)
{
	struct job *job = container_of(m, struct job, mail);

	job->done(arg, job);
}

static void init_end(struct commit *c)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->has_ended, &attr);
	pthread_condattr_destroy(&attr);
}

static void destroy(struct commit *c)
{
	workqueue_destroy(&c->queue);
	pthread_cond_destroy(&c->has_ended);
	pthread_mutex_destroy(&c->lock);
	mailbox_free(c->mailbox);
}

int commit_start(struct commit *c, struct event_base *base, int dir_fd, void *arg)
{
	*c = (struct commit){ .dir_fd = dir_fd, .fd = -1 };
	c->mailbox = mailbox_new(base, receive, arg);
	if (!c->mailbox)
		return -ENOMEM;
	workqueue_init(&c->queue);
	init_end(c);
	int err = thread_start(&c->thread, "tg-journal", thread_main, c);
	if (err < 0)
		destroy(c);
	return err;
}

void commit_post(struct commit *c, struct job *job)
{
	workqueue_post(&c->queue, &job->mail);
}

static void wait_a_step(struct commit *c)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	int64_t ns = until.tv_nsec + (int64_t)WAIT_STEP_MS * 1000000;
	until.tv_sec += (time_t)(ns / 1000000000);
	until.tv_nsec = (long)(ns % 1000000000);
	pthread_cond_timedwait(&c->has_ended, &c->lock, &until);
}

static bool wait_for_end(struct commit *c, int wait_ms)
{
	pthread_mutex_lock(&c->lock);
	for (int waited = 0; !c->ended && waited < wait_ms; waited += WAIT_STEP_MS)
		wait_a_step(c);
	bool ended = c->ended;
	pthread_mutex_unlock(&c->lock);
	return ended;
}

int commit_stop(struct commit *c, int wait_ms)
{
	workqueue_stop(&c->queue);
	if (!wait_for_end(c, wait_ms)) {
		pthread_detach(c->thread);
		return -ETIMEDOUT;
	}
	pthread_join(c->thread, NULL);
	destroy(c);
	if (c->fd >= 0)
		close(c->fd);
	return 0;
}

static int sync_retrying(int (*call)(int), int fd)
{
	int r;

	do
		r = call(fd);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int sync_file(struct commit *c)
{
	int err = c->fd >= 0 && c->dirty ? sync_retrying(journal_io.sync, c->fd) : 0;

	if (err == 0)
		c->dirty = false;
	return err;
}

static int sync_dir(struct commit *c)
{
	int err = c->dir_dirty ? sync_retrying(fsync, c->dir_fd) : 0;

	if (err == 0)
		c->dir_dirty = false;
	return err;
}

static void close_file(struct commit *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->dirty = false;
}

static int create_file(struct commit *c, const struct chunk *k)
{
	char name[SEGMENT_NAME_MAX];

	segment_name(k->id, name);
	c->fd = openat(c->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->fd < 0)
		return -errno;
	c->number = k->id.number;
	c->dir_dirty = true;
	return journal_io.reserve(c->fd, k->file_size) < 0 ? -errno : 0;
}

/* Turns to the file of a chunk. The one before is full and gets its last sync. */
static int select_file(struct commit *c, const struct chunk *k)
{
	if (!k->create)
		return c->fd >= 0 && c->number == k->id.number ? 0 : -EIO;

	int err = sync_file(c);
	close_file(c);
	return err < 0 ? err : create_file(c, k);
}

static int write_chunk(struct commit *c, const struct chunk *k)
{
	int err = select_file(c, k);

	for (uint32_t done = 0; err == 0 && done < k->len;) {
		ssize_t n = journal_io.write_at(
			c->fd, k->bytes + done, k->len - done, (off_t)k->offset + done);
		if (n > 0)
			done += (uint32_t)n;
		else if (n == 0 || errno != EINTR)
			err = n == 0 ? -EIO : -errno;
		c->dirty = true;
	}
	return err;
}

int commit_write(struct commit *c, struct list *chunks, bool sync)
{
	struct list *pos;
	int err = 0;

	list_for_each(pos, chunks) {
		err = write_chunk(c, list_entry(pos, struct chunk, node));
		if (err < 0)
			break;
	}
	if (err == 0 && sync)
		err = sync_file(c);
	if (err == 0 && sync)
		err = sync_dir(c);
	/* Without a descriptor nothing more goes into this segment, whoever asks. */
	if (err < 0)
		close_file(c);
	return err;
}

int commit_unlink(struct commit *c, struct segment_id id)
{
	char name[SEGMENT_NAME_MAX];

	if (journal_io.unlink_at(c->dir_fd, segment_name(id, name), 0) < 0 && errno != ENOENT)
		return -errno;
	/* Or the file might be back after a power cut when the forget records for it are not. */
	c->dir_dirty = true;
	return sync_dir(c);
}
