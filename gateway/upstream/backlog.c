#include "gateway/upstream/backlog.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/base/timer.h"
#include "gateway/core/message.h"
#include "gateway/core/receipt.h"
#include "gateway/store/journal.h"
#include "gateway/upstream/topic_set.h"
#include "gateway/upstream/upstream_conf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RETRY_MS        1000 /* after the journal failed */
#define REFUSE_MS       5000 /* a publisher waits that long for a journal that fails */
#define UNREADABLE_MAX  60   /* times a body is asked for before it is given up */
#define MEMORY_MESSAGES 1000
/* While the upstream answers, QoS 0 passes through; only a stalled link keeps it for long. */
#define QOS0_FACTOR_UP 16

/* Somebody waits for an entry, or it is on its way to the journal: not safe yet. */
struct hold {
	struct list node; /* backlog.held or .retry; on none while the journal writes */
	struct receipt_hold receipt;
	struct journal_wait wait;
	struct backlog *backlog;
	struct entry *entry;
	int64_t since_ms;
	uint32_t bytes; /* of the record being written */
};

struct backlog {
	struct journal *journal; /* borrowed; NULL: memory only */
	struct backlog_limits limits;
	bool up;
	struct list queue;     /* struct entry.node: waiting, oldest first */
	struct list in_flight; /* struct entry.node */
	struct list qos0;      /* struct entry.qos0, waiting ones */
	struct list held;      /* struct hold.node, oldest first: not stored yet */
	struct list retry;     /* struct hold.node: the journal failed */
	struct timer timer;    /* the oldest hold is due, or something is to be tried again */
	struct topic_set *retained;
	uint32_t order;
	unsigned unreadable_tries;
	size_t holds, loaded; /* entries not safe; stored ones with their body in memory */
	void (*more)(void *);
	void *arg;
	struct backlog_status status;
};

static struct count dropped_qos0 = COUNT("upstream.dropped.qos0");
static struct count dropped_expired = COUNT("upstream.dropped.expired");
static struct count dropped_unreadable = COUNT("upstream.dropped.unreadable");
static struct count refused_late = COUNT("upstream.refused_late");
static struct log_limit journal_trouble = LOG_LIMIT(1, 60000);

static void on_timer(struct timer *t);

struct backlog *backlog_new(const struct conf *conf)
{
	struct backlog *b = calloc(1, sizeof(*b));

	if (!b || !(b->retained = topic_set_new())) {
		free(b);
		return NULL;
	}
	list_init(&b->queue);
	list_init(&b->in_flight);
	list_init(&b->qos0);
	list_init(&b->held);
	list_init(&b->retry);
	timer_init(&b->timer, on_timer);
	upstream_limits(conf_section(conf, "upstream"), &b->limits);
	return b;
}

static bool is_stored(const struct entry *e)
{
	return e->qos > 0 && e->seq != 0 && !e->hold;
}

/* Accounts for bodies in memory; every change of entry.msg goes through these two. */
static void body_set(struct backlog *b, struct entry *e, struct message *m)
{
	int64_t size = (int64_t)message_size(m);

	e->msg = m;
	if (e->qos == 0)
		b->status.qos0_bytes += size;
	else
		b->status.memory_bytes += size;
	if (is_stored(e))
		b->loaded++;
}

static void body_drop(struct backlog *b, struct entry *e)
{
	if (!e->msg)
		return;
	int64_t size = (int64_t)message_size(e->msg);
	if (e->qos == 0)
		b->status.qos0_bytes -= size;
	else
		b->status.memory_bytes -= size;
	if (is_stored(e))
		b->loaded--;
	message_unref(e->msg);
	e->msg = NULL;
}

static void hold_free(struct backlog *b, struct hold *h)
{
	journal_wait_cancel(&h->wait);
	list_remove(&h->node);
	h->entry->hold = NULL;
	if (h->entry->seq && h->entry->msg)
		b->loaded++;
	b->holds--;
	free(h);
}

/* The record is none of ours any more; in the journal it lives on. */
static void let_go(struct backlog *b, struct entry *e)
{
	long len = journal_length(b->journal, e->seq);

	if (len > 0)
		b->status.disk_bytes -= len;
	b->status.stored--;
	e->seq = 0;
}

static void forget(struct backlog *b, struct entry *e)
{
	uint64_t seq = e->qos > 0 ? e->seq : 0;

	if (seq == 0)
		return;
	let_go(b, e);
	journal_forget(b->journal, seq);
}

static void entry_free(struct backlog *b, struct entry *e)
{
	assert(e->qos == 0 || !e->hold);
	if (e->qos == 0)
		list_remove(&e->qos0);
	if (e->retained && e->msg)
		topic_set_remove(b->retained, message_topic(e->msg));
	body_drop(b, e);
	forget(b, e);
	list_remove(&e->node);
	if (e->in_flight)
		b->status.in_flight--;
	else
		b->status.queued--;
	free(e);
}

static struct entry *entry_new(struct backlog *b, uint8_t qos)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->qos = qos;
	e->order = ++b->order;
	list_init(&e->node);
	if (qos == 0)
		list_init(&e->qos0);
	return e;
}

static void enqueue(struct backlog *b, struct entry *e)
{
	list_append(&b->queue, &e->node);
	if (e->qos == 0)
		list_append(&b->qos0, &e->qos0);
	b->status.queued++;
}

static void note_retained(struct backlog *b, struct entry *e, const struct message *m)
{
	e->retained = m->retain && topic_set_add(b->retained, message_topic(m)) == 0;
}

int backlog_replay(void *backlog, uint64_t seq, struct span body)
{
	struct backlog *b = backlog;
	struct message *m = message_decode(body, ORIGIN_GATEWAY);

	if (m && message_expired(m)) {
		message_unref(m);
		count_one(&dropped_expired);
		b->status.expired++;
		return -ESTALE;
	}
	struct entry *e = entry_new(b, m && m->qos == 2 ? 2 : 1);
	if (!e) { /* it stays on disk for the next start */
		message_unref(m);
		return 0;
	}
	e->seq = seq;
	e->old = true;
	if (m) {
		note_retained(b, e, m);
		if (b->loaded < MEMORY_MESSAGES && b->status.memory_bytes < b->limits.memory_bytes)
			body_set(b, e, message_ref(m));
	}
	message_unref(m);
	b->status.disk_bytes += (int64_t)body.len;
	b->status.stored++;
	enqueue(b, e);
	return 0;
}

void backlog_attach(struct backlog *b, struct journal *j, void (*more)(void *), void *arg)
{
	b->journal = j;
	b->more = more;
	b->arg = arg;
}

void backlog_set_limits(struct backlog *b, const struct backlog_limits *limits)
{
	b->limits = *limits;
}

/* Arms for whatever is due first. */
static void arm(struct backlog *b)
{
	int64_t delay = INT64_MAX;

	if (b->journal && !list_empty(&b->held)) {
		const struct hold *h = list_first(&b->held, struct hold, node);
		delay = h->since_ms + b->limits.ack_hold_ms - clock_ms();
	}
	if (!list_empty(&b->retry) || b->unreadable_tries)
		delay = MIN(delay, RETRY_MS);
	if (delay == INT64_MAX)
		timer_disarm(&b->timer);
	else if (!timer_armed(&b->timer) || b->timer.due_ms > clock_ms() + delay)
		timer_arm(&b->timer, delay);
}

static void on_written(struct journal_wait *w, int err)
{
	struct hold *h = container_of(w, struct hold, wait);
	struct backlog *b = h->backlog;
	struct entry *e = h->entry;

	if (err) { /* it is not on disk: nobody is told anything, we try again */
		b->status.disk_bytes -= h->bytes;
		b->status.stored--;
		b->status.error = err;
		e->seq = 0;
		list_append(&b->retry, &h->node);
		log_limited(&journal_trouble, LOG_LEVEL_ERROR,
			"upstream: the journal could not store a message (errno %d), trying again",
			-err);
		arm(b);
		return;
	}
	b->status.error = 0;
	receipt_release(&h->receipt, R_SUCCESS);
	hold_free(b, h);
	if (!e->in_flight &&
		(b->loaded > MEMORY_MESSAGES || b->status.memory_bytes > b->limits.memory_bytes))
		body_drop(b, e);
}

static int store(struct backlog *b, struct hold *h)
{
	struct entry *e = h->entry;
	uint8_t scratch[MESSAGE_SCRATCH];
	struct span parts[MESSAGE_PARTS];
	unsigned n = message_encode(e->msg, scratch, parts);
	size_t bytes = 0;
	int err = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += parts[i].len;
	if (b->status.disk_bytes + (int64_t)bytes > b->limits.disk_bytes) {
		b->status.error = -ENOSPC;
		return -ENOSPC;
	}
	h->wait.done = on_written;
	e->seq = journal_append(b->journal, JR_BACKLOG, parts, n, &h->wait, &err);
	if (e->seq == 0) {
		b->status.error = err;
		return err;
	}
	h->bytes = (uint32_t)bytes;
	list_remove(&h->node);
	b->status.disk_bytes += (int64_t)bytes;
	b->status.stored++;
	return 0;
}

/* Behind what failed before: a smaller one that still finds room must not pass it. */
static void store_or_retry(struct backlog *b, struct hold *h)
{
	if (list_empty(&b->retry) && store(b, h) == 0)
		return;
	list_remove(&h->node);
	list_append(&b->retry, &h->node);
	log_limited(&journal_trouble, LOG_LEVEL_ERROR,
		"upstream: the journal takes nothing (%s); publishers wait for the upstream",
		b->status.error == -ENOSPC ? "full" : "storage error");
}

/* In order, so that the journal's order is the queue's. Stops at the first that fails again. */
static void retry(struct backlog *b)
{
	while (!list_empty(&b->retry))
		if (store(b, list_first(&b->retry, struct hold, node)) != 0)
			return;
}

/* The journal failed only after these were taken, and no broker is there to take them instead: the
 * publisher is told, and will send again. Not at QoS 2: local subscribers have had the message, and
 * exactly once is worth more than an answer. */
static void refuse_late(struct backlog *b)
{
	struct list *pos, *tmp;

	if (b->up)
		return;
	list_for_each_safe(pos, tmp, &b->retry) {
		struct hold *h = list_entry(pos, struct hold, node);
		struct entry *e = h->entry;
		if (e->qos != 1 || e->in_flight || clock_ms() - h->since_ms < REFUSE_MS)
			continue;
		count_one(&refused_late);
		backlog_done(b, e, R_QUOTA);
	}
}

static void on_timer(struct timer *t)
{
	struct backlog *b = container_of(t, struct backlog, timer);

	retry(b);
	refuse_late(b);
	while (!list_empty(&b->held)) {
		struct hold *h = list_first(&b->held, struct hold, node);
		if (h->since_ms + b->limits.ack_hold_ms > clock_ms())
			break;
		store_or_retry(b, h);
	}
	if (b->unreadable_tries && b->more)
		b->more(b->arg);
	arm(b);
}

void backlog_secure(struct backlog *b)
{
	retry(b);
	while (!list_empty(&b->held)) {
		struct hold *h = list_first(&b->held, struct hold, node);
		if (b->journal) {
			store_or_retry(b, h);
			continue;
		}
		/* Memory only: it has been taken, that is all that can be said. */
		receipt_release(&h->receipt, R_SUCCESS);
		hold_free(b, h);
	}
	arm(b);
}

static void mark_old(struct backlog *b)
{
	struct list *pos;

	list_for_each(pos, &b->queue)
		list_entry(pos, struct entry, node)->old = true;
}

void backlog_set_link(struct backlog *b, bool up)
{
	if (up && !b->up)
		mark_old(b);
	b->up = up;
	if (!up)
		backlog_secure(b);
}

/* The oldest of QoS 0 make room for the newest. */
static bool make_room_qos0(struct backlog *b, size_t size)
{
	int64_t max = b->limits.qos0_bytes * (b->up ? QOS0_FACTOR_UP : 1);

	while (b->status.qos0_bytes + (int64_t)size > max && !list_empty(&b->qos0)) {
		entry_free(b, list_first(&b->qos0, struct entry, qos0));
		b->status.dropped_qos0++;
		count_one(&dropped_qos0);
	}
	if (b->status.qos0_bytes + (int64_t)size <= max)
		return true;
	b->status.dropped_qos0++;
	count_one(&dropped_qos0);
	return false;
}

static enum reason push_qos0(struct backlog *b, struct message *m)
{
	struct entry *e;

	if (!make_room_qos0(b, message_size(m)))
		return R_QUOTA;
	if (!(e = entry_new(b, 0)))
		return R_QUOTA;
	body_set(b, e, message_ref(m));
	note_retained(b, e, m);
	enqueue(b, e);
	return R_SUCCESS;
}

static struct hold *hold_new(struct backlog *b, struct entry *e)
{
	struct hold *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	list_init(&h->node);
	h->backlog = b;
	h->entry = e;
	h->since_ms = clock_ms();
	e->hold = h;
	b->holds++;
	return h;
}

/* After a crash the journal's order is all we have: what the same publisher sent before goes first.
 */
static void store_earlier(struct backlog *b, uint64_t origin)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, &b->held) {
		struct hold *h = list_entry(pos, struct hold, node);
		if (h->entry->msg->origin == origin)
			store_or_retry(b, h);
	}
}

/* 0, or a negative errno: the hold is undone and the entry not to be taken. */
static int secure_new(struct backlog *b, struct entry *e, struct hold *h, bool storing)
{
	if (!b->journal) {
		int64_t used = b->status.memory_bytes;
		if (used > b->limits.disk_bytes)
			return -ENOSPC;
		if (b->up)
			list_append(&b->held, &h->node);
		else
			hold_free(b, h);
		return 0;
	}
	if (storing || b->status.memory_bytes > b->limits.memory_bytes) {
		retry(b);
		if (list_empty(&b->retry))
			store_earlier(b, e->msg->origin);
		return list_empty(&b->retry) ? store(b, h) : -EAGAIN;
	}
	list_append(&b->held, &h->node);
	arm(b);
	return 0;
}

enum reason backlog_push(
	struct backlog *b, struct message *m, struct receipt *receipt, bool storing)
{
	struct hold *h;
	struct entry *e;

	if (m->qos == 0)
		return push_qos0(b, m);
	if (!(e = entry_new(b, m->qos)))
		return R_QUOTA;
	if (!(h = hold_new(b, e))) {
		free(e);
		return R_QUOTA;
	}
	body_set(b, e, message_ref(m));
	if (secure_new(b, e, h, storing) != 0) {
		hold_free(b, h);
		body_drop(b, e);
		free(e);
		return R_QUOTA;
	}
	if (e->hold)
		receipt_hold(receipt, &h->receipt);
	note_retained(b, e, m);
	enqueue(b, e);
	return R_SUCCESS;
}

/* 0, -EAGAIN: later, or another negative errno: never. */
static int load(struct backlog *b, struct entry *e)
{
	long len = journal_length(b->journal, e->seq);
	uint8_t *buf;

	if (len < 0)
		return -ENOENT;
	if (!(buf = malloc((size_t)len + 1)))
		return -EAGAIN;
	long got = journal_read(b->journal, e->seq, buf, (size_t)len);
	struct message *m =
		got >= 0 ? message_decode(span_of(buf, (size_t)got), ORIGIN_GATEWAY) : NULL;
	free(buf);
	/* A failing disk, or no memory: worth another try. */
	if (!m)
		return got == -ENOENT || got == -EBADMSG ? (int)got : -EAGAIN;
	body_set(b, e, m);
	return 0;
}

/* True when backlog_next() can go on with the next one. */
static bool give_up_unreadable(struct backlog *b, struct entry *e, int err)
{
	if (err == -EAGAIN && ++b->unreadable_tries < UNREADABLE_MAX) {
		arm(b);
		return false;
	}
	log_error("upstream: a message of the backlog can't be read back (errno %d), %s", -err,
		err == -EAGAIN ? "left for the next start" : "dropped");
	if (err == -EAGAIN)
		let_go(b, e);
	b->unreadable_tries = 0;
	b->status.unreadable++;
	count_one(&dropped_unreadable);
	entry_free(b, e);
	return true;
}

struct entry *backlog_next(struct backlog *b)
{
	while (!list_empty(&b->queue)) {
		struct entry *e = list_first(&b->queue, struct entry, node);
		int err = e->msg ? 0 : load(b, e);
		if (err) {
			if (!give_up_unreadable(b, e, err))
				return NULL;
			continue;
		}
		b->unreadable_tries = 0;
		if (!message_expired(e->msg))
			return e;
		count_one(&dropped_expired);
		b->status.expired++;
		backlog_done(b, e, R_SUCCESS);
	}
	return NULL;
}

void backlog_sent(struct backlog *b, struct entry *e)
{
	assert(!e->in_flight);
	list_remove(&e->node);
	list_append(&b->in_flight, &e->node);
	if (e->qos == 0)
		list_remove(&e->qos0);
	e->in_flight = true;
	b->status.queued--;
	b->status.in_flight++;
}

void backlog_requeue(struct backlog *b, struct entry *e)
{
	struct list *pos;

	assert(e->in_flight);
	list_remove(&e->node);
	/* What was in flight is older than what never was, so this ends soon. */
	list_for_each(pos, &b->queue) {
		const struct entry *other = list_entry(pos, struct entry, node);
		if ((int32_t)(other->order - e->order) > 0)
			break;
	}
	list_insert_before(pos, &e->node);
	if (e->qos == 0)
		list_prepend(&b->qos0, &e->qos0);
	e->in_flight = false;
	b->status.queued++;
	b->status.in_flight--;
}

void backlog_done(struct backlog *b, struct entry *e, enum reason reason)
{
	if (e->qos > 0 && e->hold) {
		receipt_release(&e->hold->receipt, reason);
		hold_free(b, e->hold);
	}
	entry_free(b, e);
}

bool backlog_has_retained(struct backlog *b, struct span topic)
{
	return topic_set_has(b->retained, topic);
}

bool backlog_safe(const struct backlog *b)
{
	return b->holds == 0;
}

void backlog_status(const struct backlog *b, struct backlog_status *s)
{
	*s = b->status;
}

static void free_list(struct backlog *b, struct list *entries)
{
	while (!list_empty(entries)) {
		struct entry *e = list_first(entries, struct entry, node);
		if (e->qos > 0) {
			if (e->hold)
				hold_free(b, e->hold);
			e->seq = 0; /* stays in the journal */
		}
		entry_free(b, e);
	}
}

void backlog_free(struct backlog *b)
{
	if (!b)
		return;
	timer_disarm(&b->timer);
	free_list(b, &b->in_flight);
	free_list(b, &b->queue);
	topic_set_free(b->retained);
	free(b);
}
