#include "gateway/upstream/backlog.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/base/timer.h"
#include "gateway/core/keeper.h"
#include "gateway/core/message.h"
#include "gateway/core/receipt.h"
#include "gateway/upstream/topic_set.h"
#include "gateway/upstream/upstream_conf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RETRY_MS       1000 /* after a body could not be read */
#define UNREADABLE_MAX 60   /* times a body is asked for before it is given up */
/* While the upstream answers, QoS 0 passes through; only a stalled link keeps it for long. */
#define QOS0_FACTOR_UP 16

_Static_assert(sizeof(struct entry) <= 40, "one for each message that waits");

/* An entry of which more must be known: QoS 0, retained, or waited for without storage. */
struct large_entry {
	struct entry e;
	struct list age;          /* QoS 0: backlog.qos0, oldest first */
	struct receipt_hold hold; /* without storage */
	uint64_t topic;           /* retained: its hash */
};

struct backlog {
	struct keeper *keeper; /* borrowed; NULL: memory only */
	struct backlog_limits limits;
	bool up;
	struct list queue;     /* struct entry.node: waiting, oldest first */
	struct list in_flight; /* struct entry.node */
	struct list qos0;      /* struct large_entry.age, waiting ones */
	struct claimant now, later;
	struct timer timer; /* something is to be tried again, or refused */
	struct topic_set *retained;
	uint32_t order;
	unsigned unreadable_tries;
	size_t holds;           /* without storage: entries whose receipt is held */
	int64_t claimed_bytes;  /* of QoS 1 and 2 on disk, or on their way there */
	int64_t unstored_bytes; /* without storage: QoS 1 and 2 in memory */
	bool failing;           /* the storage has refused for so long that QoS 1 is */
	void (*more)(void *);
	void *arg;
	struct backlog_status status;
};

static const struct claim claim = { .kind = CLAIM_UPSTREAM };

static struct count dropped_qos0 = COUNT("upstream.dropped.qos0");
static struct count dropped_expired = COUNT("upstream.dropped.expired");
static struct count dropped_unreadable = COUNT("upstream.dropped.unreadable");
static struct count refused_late = COUNT("upstream.refused_late");

static void on_timer(struct timer *t);

static void on_safe(struct backlog *b, const struct kept *kept)
{
	b->status.stored++;
	b->status.disk_bytes += (int64_t)kept_size(kept);
}

static void on_now_safe(struct claimant *c, struct kept *kept, const struct claim *which)
{
	(void)which;
	on_safe(container_of(c, struct backlog, now), kept);
}

static void on_later_safe(struct claimant *c, struct kept *kept, const struct claim *which)
{
	struct backlog *b = container_of(c, struct backlog, later);

	(void)which;
	on_safe(b, kept);
	b->claimed_bytes += (int64_t)kept_size(kept);
}

static void soon(struct backlog *b, int64_t delay_ms)
{
	if (!timer_armed(&b->timer) || b->timer.due_ms > clock_ms() + delay_ms)
		timer_arm(&b->timer, delay_ms);
}

static void note_failing(struct backlog *b)
{
	b->failing = true;
	soon(b, 0);
}

static void on_now_failing(struct claimant *c, struct kept *kept, const struct claim *which)
{
	(void)kept;
	(void)which;
	note_failing(container_of(c, struct backlog, now));
}

static void on_later_failing(struct claimant *c, struct kept *kept, const struct claim *which)
{
	(void)kept;
	(void)which;
	note_failing(container_of(c, struct backlog, later));
}

static const struct claimant_ops now_ops = { .safe = on_now_safe, .failing = on_now_failing };
static const struct claimant_ops later_ops = { .safe = on_later_safe, .failing = on_later_failing };

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
	b->now.ops = &now_ops;
	b->later.ops = &later_ops;
	timer_init(&b->timer, on_timer);
	upstream_limits(conf_section(conf, "upstream"), &b->limits);
	return b;
}

void backlog_on_more(struct backlog *b, void (*more)(void *), void *arg)
{
	b->more = more;
	b->arg = arg;
}

void backlog_set_limits(struct backlog *b, const struct backlog_limits *limits)
{
	b->limits = *limits;
}

/* ---- Entries ---- */

static struct large_entry *large(struct entry *e)
{
	assert(e->large);
	return container_of(e, struct large_entry, e);
}

struct message *entry_message(const struct entry *e)
{
	return e->claimed ? kept_loaded(e->kept) : e->msg;
}

static struct entry *entry_new(struct backlog *b, const struct message *m)
{
	bool is_large = m->qos == 0 || m->retain || !b->keeper;
	struct entry *e = calloc(1, is_large ? sizeof(struct large_entry) : sizeof(*e));

	if (!e)
		return NULL;
	e->qos = m->qos;
	e->large = is_large;
	e->order = ++b->order;
	list_init(&e->node);
	if (!is_large)
		return e;
	struct large_entry *l = large(e);
	list_init(&l->age);
	l->topic = topic_hash(message_topic(m));
	e->retained = m->retain && topic_set_add(b->retained, l->topic) == 0;
	return e;
}

static void unload(struct entry *e)
{
	if (!e->loaded)
		return;
	e->loaded = false;
	message_unref(kept_loaded(e->kept));
}

static void uncount(struct backlog *b, const struct entry *e)
{
	int64_t size = (int64_t)kept_size(e->kept);
	bool safe = kept_safe(e->kept, &claim);

	if (safe) {
		b->status.stored--;
		b->status.disk_bytes -= size;
	}
	if (safe || e->now)
		b->claimed_bytes -= size;
}

static void drop_body(struct backlog *b, struct entry *e)
{
	int64_t size = (int64_t)message_size(e->msg);

	if (e->qos == 0)
		b->status.qos0_bytes -= size;
	else
		b->unstored_bytes -= size;
	message_unref(e->msg);
	e->msg = NULL;
}

static void end_hold(struct backlog *b, struct large_entry *l, enum reason reason)
{
	if (receipt_held(&l->hold)) {
		b->holds--;
		receipt_release(&l->hold, reason);
	}
}

/* The claim or body has gone, or never was. */
static void entry_free(struct backlog *b, struct entry *e)
{
	list_remove(&e->node);
	if (e->large)
		list_remove(&large(e)->age);
	if (e->retained)
		topic_set_remove(b->retained, large(e)->topic);
	free(e);
}

static void dequeue(struct backlog *b, const struct entry *e)
{
	if (e->in_flight)
		b->status.in_flight--;
	else
		b->status.queued--;
}

void backlog_done(struct backlog *b, struct entry *e, enum reason reason)
{
	if (e->claimed) {
		unload(e);
		uncount(b, e);
		kept_end(e->kept, &claim, reason);
	} else {
		end_hold(b, large(e), reason);
		drop_body(b, e);
	}
	dequeue(b, e);
	entry_free(b, e);
}

/* On disk it lives on. */
static void entry_leave(struct backlog *b, struct entry *e)
{
	if (e->claimed) {
		unload(e);
		uncount(b, e);
		kept_leave(e->kept, &claim);
		dequeue(b, e);
		entry_free(b, e);
	} else {
		backlog_done(b, e, R_SHUTTING_DOWN);
	}
}

static void enqueue(struct backlog *b, struct entry *e)
{
	list_append(&b->queue, &e->node);
	if (e->qos == 0)
		list_append(&b->qos0, &large(e)->age);
	b->status.queued++;
}

static bool on_restore(void *arg, struct kept *kept, const struct claim *c, struct message *m)
{
	struct backlog *b = arg;
	struct entry *e;

	(void)c;
	if (message_expired(m)) {
		count_one(&dropped_expired);
		b->status.expired++;
		return false;
	}
	/* Without memory for it at the start there is none for anything. */
	if (m->qos == 0 || !(e = entry_new(b, m)))
		return false;
	e->kept = kept;
	e->claimed = e->now = e->old = true;
	on_safe(b, kept);
	b->claimed_bytes += (int64_t)kept_size(kept);
	enqueue(b, e);
	return true;
}

void backlog_attach(struct backlog *b, struct keeper *k)
{
	b->keeper = k && keeper_has_storage(k) ? k : NULL;
	if (b->keeper)
		keeper_on_restore(k, CLAIM_UPSTREAM, on_restore, b);
}

/* ---- Arrivals ---- */

/* The oldest of QoS 0 make room for the newest. */
static bool make_room_qos0(struct backlog *b, size_t size)
{
	int64_t max = b->limits.qos0_bytes * (b->up ? QOS0_FACTOR_UP : 1);

	while (b->status.qos0_bytes + (int64_t)size > max && !list_empty(&b->qos0)) {
		backlog_done(b, &list_first(&b->qos0, struct large_entry, age)->e, R_SUCCESS);
		b->status.dropped_qos0++;
		count_one(&dropped_qos0);
	}
	if (b->status.qos0_bytes + (int64_t)size <= max)
		return true;
	b->status.dropped_qos0++;
	count_one(&dropped_qos0);
	return false;
}

static int hold_body(struct backlog *b, struct entry *e, struct message *m, struct receipt *receipt)
{
	int64_t size = (int64_t)message_size(m);

	if (m->qos == 0) {
		b->status.qos0_bytes += size;
	} else {
		if (b->unstored_bytes > b->limits.disk_bytes)
			return -ENOSPC;
		b->unstored_bytes += size;
		/* Memory only: while the link is down it has been taken, no more can be said. */
		if (b->up && receipt) {
			receipt_hold(receipt, &large(e)->hold);
			b->holds++;
		}
	}
	e->msg = message_ref(m);
	return 0;
}

static int claim_it(struct backlog *b, struct entry *e, struct message *m, bool now)
{
	int64_t size = (int64_t)message_size(m);
	int err;

	if (now && b->claimed_bytes + size > b->limits.disk_bytes)
		return b->status.error = -ENOSPC;
	e->kept = keeper_claim(b->keeper, m, &claim, now ? &b->now : &b->later,
		now ? CLAIM_NOW : CLAIM_LATER, &err);
	if (!e->kept)
		return b->status.error = err;
	b->status.error = 0;
	e->claimed = true;
	e->now = now;
	if (now)
		b->claimed_bytes += size;
	return 0;
}

enum reason backlog_push(struct backlog *b, struct message *m, struct receipt *receipt, bool now)
{
	struct entry *e;

	if (m->qos == 0 && !make_room_qos0(b, message_size(m)))
		return R_QUOTA;
	if (!(e = entry_new(b, m)))
		return R_QUOTA;
	int err = m->qos > 0 && b->keeper ? claim_it(b, e, m, now) : hold_body(b, e, m, receipt);
	if (err) {
		entry_free(b, e);
		return R_QUOTA;
	}
	enqueue(b, e);
	return R_SUCCESS;
}

/* ---- The storage fails ---- */

/* It failed only after these were taken, and no broker is there to take them instead: the publisher
 * is told, and will send again. Not at QoS 2: local subscribers have had the message, and exactly
 * once is worth more than an answer. */
static void refuse_late(struct backlog *b)
{
	struct list *pos, *tmp;

	b->failing = false;
	if (b->up)
		return;
	list_for_each_safe(pos, tmp, &b->queue) {
		struct entry *e = list_entry(pos, struct entry, node);
		if (e->qos != 1 || !e->claimed || !kept_failing(e->kept))
			continue;
		count_one(&refused_late);
		backlog_done(b, e, R_QUOTA);
	}
}

static void on_timer(struct timer *t)
{
	struct backlog *b = container_of(t, struct backlog, timer);

	if (b->failing)
		refuse_late(b);
	if (b->unreadable_tries && b->more)
		b->more(b->arg);
	if (b->unreadable_tries)
		soon(b, RETRY_MS);
}

static void release_holds(struct backlog *b, struct list *entries)
{
	struct list *pos;

	list_for_each(pos, entries) {
		struct entry *e = list_entry(pos, struct entry, node);
		if (e->large)
			end_hold(b, large(e), R_SUCCESS);
	}
}

void backlog_secure(struct backlog *b)
{
	if (b->keeper) {
		keeper_secure(b->keeper, CLAIM_UPSTREAM);
		return;
	}
	release_holds(b, &b->in_flight);
	release_holds(b, &b->queue);
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

/* ---- Departures ---- */

static int load(struct entry *e)
{
	int err;

	if (!e->claimed || e->loaded)
		return 0;
	if (!kept_message(e->kept, &err))
		return err;
	e->loaded = true;
	return 0;
}

/* True when backlog_next() can go on with the next one. */
static bool give_up_unreadable(struct backlog *b, struct entry *e, int err)
{
	if (err == -EAGAIN && ++b->unreadable_tries < UNREADABLE_MAX) {
		soon(b, RETRY_MS);
		return false;
	}
	log_error("upstream: a message of the backlog can't be read back (errno %d), %s", -err,
		err == -EAGAIN ? "left for the next start" : "dropped");
	b->unreadable_tries = 0;
	b->status.unreadable++;
	count_one(&dropped_unreadable);
	if (err == -EAGAIN)
		entry_leave(b, e);
	else
		backlog_done(b, e, R_SUCCESS);
	return true;
}

static bool is_expired(const struct entry *e)
{
	return e->claimed ? kept_expired(e->kept) : message_expired(e->msg);
}

struct entry *backlog_next(struct backlog *b)
{
	while (!list_empty(&b->queue)) {
		struct entry *e = list_first(&b->queue, struct entry, node);
		if (is_expired(e)) {
			count_one(&dropped_expired);
			b->status.expired++;
			backlog_done(b, e, R_SUCCESS);
			continue;
		}
		int err = load(e);
		if (!err) {
			b->unreadable_tries = 0;
			return e;
		}
		if (!give_up_unreadable(b, e, err))
			return NULL;
	}
	return NULL;
}

uint64_t entry_record(const struct entry *e)
{
	return e->claimed ? kept_record(e->kept) : 0;
}

struct entry *backlog_find(struct backlog *b, uint64_t record)
{
	struct list *pos;

	list_for_each(pos, &b->queue) {
		struct entry *e = list_entry(pos, struct entry, node);
		if (entry_record(e) == record)
			return load(e) == 0 ? e : NULL;
	}
	return NULL;
}

void backlog_sent(struct backlog *b, struct entry *e)
{
	assert(!e->in_flight);
	list_remove(&e->node);
	list_append(&b->in_flight, &e->node);
	if (e->large)
		list_remove(&large(e)->age);
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
		list_prepend(&b->qos0, &large(e)->age);
	e->in_flight = false;
	unload(e);
	b->status.queued++;
	b->status.in_flight--;
}

/* ---- Questions ---- */

bool backlog_has_retained(struct backlog *b, struct span topic)
{
	return topic_set_has(b->retained, topic_hash(topic));
}

bool backlog_safe(const struct backlog *b)
{
	return b->holds == 0 && (!b->keeper || keeper_quiet(b->keeper));
}

void backlog_status(const struct backlog *b, struct backlog_status *s)
{
	struct keeper_status k;

	*s = b->status;
	s->memory_bytes = b->unstored_bytes;
	if (!b->keeper)
		return;
	keeper_status(b->keeper, &k);
	s->memory_bytes = k.memory_bytes;
	s->error = k.error ? k.error : s->error;
}

static void leave_all(struct backlog *b, struct list *entries)
{
	while (!list_empty(entries))
		entry_leave(b, list_first(entries, struct entry, node));
}

void backlog_free(struct backlog *b)
{
	if (!b)
		return;
	timer_disarm(&b->timer);
	leave_all(b, &b->in_flight);
	leave_all(b, &b->queue);
	topic_set_free(b->retained);
	free(b);
}
