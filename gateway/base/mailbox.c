#include "gateway/base/mailbox.h"

#include "gateway/base/clock.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct mailbox {
	pthread_mutex_t lock;
	struct list posted; /* struct mail.node, under the lock */
	struct list taken;  /* struct mail.node, the loop's own */
	int fd;
	struct event *wake;
	void (*receive)(struct mail *, void *);
	void *arg;
};

static void mailbox_wake(struct mailbox *mb)
{
	/* The counter cannot overflow: one wake per change to non-empty, read before each drain. */
	while (eventfd_write(mb->fd, 1) < 0 && errno == EINTR)
		;
}

/* Returns false when there is nothing more to receive. */
static bool mailbox_drain(struct mailbox *mb, int most)
{
	pthread_mutex_lock(&mb->lock);
	list_splice(&mb->taken, &mb->posted);
	pthread_mutex_unlock(&mb->lock);
	while (most-- > 0 && !list_empty(&mb->taken)) {
		struct mail *m = list_first(&mb->taken, struct mail, node);
		list_remove(&m->node);
		mb->receive(m, mb->arg);
	}
	return !list_empty(&mb->taken);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct mailbox *mb = arg;
	eventfd_t n;
	(void)what;
	clock_tick();
	/* Before the drain: a letter posted after it wakes us again. */
	if (eventfd_read(fd, &n) < 0 && errno != EAGAIN)
		return;
	if (mailbox_drain(mb, MAILBOX_BATCH))
		mailbox_wake(mb); /* the rest in the next turn */
}

struct mailbox *mailbox_new(
	struct event_base *base, void (*receive)(struct mail *, void *), void *arg)
{
	struct mailbox *mb = calloc(1, sizeof(*mb));
	if (!mb)
		return NULL;
	mb->receive = receive;
	mb->arg = arg;
	list_init(&mb->posted);
	list_init(&mb->taken);
	pthread_mutex_init(&mb->lock, NULL);
	mb->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (mb->fd < 0)
		goto no_fd;
	mb->wake = event_new(base, mb->fd, EV_READ | EV_PERSIST, on_wake, mb);
	if (!mb->wake || event_add(mb->wake, NULL) < 0)
		goto no_event;
	return mb;

no_event:
	if (mb->wake)
		event_free(mb->wake);
	close(mb->fd);
no_fd:
	pthread_mutex_destroy(&mb->lock);
	free(mb);
	return NULL;
}

void mailbox_post(struct mailbox *mb, struct mail *m)
{
	pthread_mutex_lock(&mb->lock);
	bool was_empty = list_empty(&mb->posted);
	list_append(&mb->posted, &m->node);
	pthread_mutex_unlock(&mb->lock);
	if (was_empty)
		mailbox_wake(mb);
}

void mailbox_free(struct mailbox *mb)
{
	if (!mb)
		return;
	bool more;
	do {
		more = !list_empty(&mb->posted);
		more = mailbox_drain(mb, INT_MAX) || more;
	} while (more);
	event_free(mb->wake);
	close(mb->fd);
	pthread_mutex_destroy(&mb->lock);
	free(mb);
}

void workqueue_init(struct workqueue *q)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->wake, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&q->lock, NULL);
	list_init(&q->letters);
	q->stopped = false;
}

void workqueue_post(struct workqueue *q, struct mail *m)
{
	pthread_mutex_lock(&q->lock);
	bool was_empty = list_empty(&q->letters);
	list_append(&q->letters, &m->node);
	pthread_mutex_unlock(&q->lock);
	if (was_empty)
		pthread_cond_signal(&q->wake);
}

static struct timespec monotonic_after(int ms)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += ms % 1000 * 1000000L;
	if (ts.tv_nsec >= 1000000000L) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000L;
	}
	return ts;
}

bool workqueue_take(struct workqueue *q, struct list *out, int timeout_ms)
{
	struct timespec until = monotonic_after(MAX(timeout_ms, 0));
	int waited = 0;
	list_init(out);
	pthread_mutex_lock(&q->lock);
	while (list_empty(&q->letters) && !q->stopped && waited != ETIMEDOUT) {
		if (timeout_ms < 0)
			pthread_cond_wait(&q->wake, &q->lock);
		else
			waited = pthread_cond_timedwait(&q->wake, &q->lock, &until);
	}
	list_splice(out, &q->letters);
	bool ended = q->stopped && list_empty(out);
	pthread_mutex_unlock(&q->lock);
	return !ended;
}

void workqueue_stop(struct workqueue *q)
{
	pthread_mutex_lock(&q->lock);
	q->stopped = true;
	pthread_mutex_unlock(&q->lock);
	pthread_cond_broadcast(&q->wake);
}

void workqueue_destroy(struct workqueue *q)
{
	pthread_cond_destroy(&q->wake);
	pthread_mutex_destroy(&q->lock);
}

int thread_start(pthread_t *t, const char *name, void *(*run)(void *), void *arg)
{
	/* A thread inherits the mask: blocked here, no signal ever lands in it. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(t, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		return -rc;
	pthread_setname_np(*t, name);
	return 0;
}
