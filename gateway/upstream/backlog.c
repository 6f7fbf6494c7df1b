#include "gateway/upstream/backlog.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/identity.h"
#include "gateway/core/record.h"
#include "gateway/store/journal.h"
#include "gateway/upstream/backlog_priv.h"
#include "gateway/upstream/upstream_conf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RETRY_MS       1000 /* after a body could not be read */
#define UNREADABLE_MAX 60   /* times a body is asked for before it is given up */

_Static_assert(sizeof(struct entry) <= 40, "one for each message that waits");

static void on_timer(struct timer *t);

void backlog_soon(struct backlog *b, int64_t delay_ms)
{
	if (!timer_armed(&b->timer) || b->timer.due_ms > clock_ms() + delay_ms)
		timer_arm(&b->timer, delay_ms);
}

struct backlog *backlog_new(const struct conf *conf)
{
	struct backlog *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	for (int lane = 0; lane < LANES; lane++)
		list_init(&b->waiting[lane]);
	list_init(&b->in_flight);
	list_init(&b->qos0);
	list_init(&b->droppable);
	keep_init(b);
	timer_init(&b->timer, on_timer);
	upstream_limits(conf_section(conf, "upstream"), &b->limits);
	b->retained = topic_set_new();
	b->ledger = ledger_new();
	b->gaps = b->ledger ? gaps_new(b->ledger) : NULL;
	if (!b->retained || !b->gaps || policy_init(b, conf) < 0) {
		backlog_free(b);
		return NULL;
	}
	return b;
}

void backlog_handlers(struct backlog *b, struct journal_handler *handlers)
{
	handlers[JR_GAP] = (struct journal_handler){ gaps_replay, b->gaps };
}

struct ledger *backlog_ledger(struct backlog *b)
{
	return b->ledger;
}

void backlog_on_more(struct backlog *b, void (*more)(void *), void *arg)
{
	b->more = more;
	b->arg = arg;
}

void backlog_set_limits(struct backlog *b, const struct backlog_limits *limits)
{
	b->limits = *limits;
	backlog_soon(b, 0);
}

/* ---- Entries ---- */

static struct entry *entry_new(struct backlog *b, const struct message *m, bool own)
{
	struct entry_policy p;

	policy_of(b, m, &p);
	bool large = m->qos == 0 || m->retain || p.droppable || p.latest || !b->keeper;
	struct entry *e = calloc(1, large ? sizeof(struct large_entry) : sizeof(*e));

	if (!e)
		return NULL;
	e->qos = m->qos;
	e->large = large;
	e->priority = p.priority || own;
	e->droppable = p.droppable;
	e->latest = p.latest;
	e->order = ++b->order;
	e->born_s = (int32_t)(clock_ms() / 1000);
	list_init(&e->node);
	if (!large)
		return e;
	struct large_entry *l = entry_large(e);
	list_init(&l->age);
	l->topic = topic_hash(message_topic(m));
	e->retained = m->retain && topic_set_add(b->retained, l->topic) == 0;
	return e;
}

/* The claim or body has gone, or never was. */
static void entry_free(struct backlog *b, struct entry *e)
{
	list_remove(&e->node);
	if (e->retained)
		topic_set_remove(b->retained, entry_large(e)->topic);
	if (e->client)
		ledger_release(b->ledger, e->client);
	free(e);
}

static void dequeue(struct backlog *b, struct entry *e)
{
	policy_left(b, e);
	if (e->in_flight)
		b->status.in_flight--;
	else
		b->status.queued--;
}

void backlog_done(struct backlog *b, struct entry *e, enum reason reason)
{
	keep_end(b, e, reason);
	dequeue(b, e);
	entry_free(b, e);
}

/* On disk it lives on. */
static void entry_leave(struct backlog *b, struct entry *e)
{
	keep_leave(b, e);
	dequeue(b, e);
	entry_free(b, e);
}

void backlog_lost(struct backlog *b, struct entry *e, enum loss why, enum reason reason)
{
	int64_t age_ms = (clock_ms() / 1000 - e->born_s) * 1000;
	int64_t wall_ms = clock_wall_ms() - age_ms;

	ledger_enter(b->ledger, e->client, why, 1, wall_ms, wall_ms);
	backlog_done(b, e, reason);
}

static struct list *lane_of(struct backlog *b, const struct entry *e)
{
	return &b->waiting[e->priority ? LANE_PRIORITY : LANE_REST];
}

static void enqueue(struct backlog *b, struct entry *e)
{
	list_append(lane_of(b, e), &e->node);
	b->status.queued++;
	policy_waits(b, e);
}

static bool on_restore(void *arg, struct kept *kept, const struct claim *c, struct message *m)
{
	struct backlog *b = arg;
	struct entry *e;
	int64_t rested_ms = clock_stamp_passed(m->received_wall_ms);

	(void)c;
	if (message_expired(m)) {
		ledger_enter(
			b->ledger, 0, LOSS_EXPIRED, 1, m->received_wall_ms, m->received_wall_ms);
		return false;
	}
	/* Without memory for it at the start there is none for anything. */
	if (m->qos == 0 || !(e = entry_new(b, m, false)))
		return false;
	keep_restored(b, e, kept);
	e->old = true;
	e->born_s = (int32_t)((clock_ms() - rested_ms) / 1000);
	enqueue(b, e);
	return true;
}

void backlog_attach(struct backlog *b, struct keeper *k)
{
	b->keeper = k && keeper_has_storage(k) ? k : NULL;
	if (!b->keeper)
		return;
	keeper_on_restore(k, CLAIM_UPSTREAM, on_restore, b);
	gaps_attach(b->gaps, keeper_journal(k));
}

/* ---- Arrivals ---- */

/* What is held in memory counts when it goes to disk. */
static bool has_room(struct backlog *b, const struct message *m, bool now)
{
	if ((m->qos > 0 && b->keeper && !now) || policy_room(b, m))
		return true;
	if (m->qos > 0 && b->keeper)
		b->status.error = -ENOSPC;
	return false;
}

enum reason backlog_push(struct backlog *b, const struct identity *from, struct message *m,
	struct receipt *receipt, bool now)
{
	uint16_t client = from ? ledger_client(b->ledger, from->client_id) : 0;
	/* Our own are few, and tell of what had to give way. */
	struct entry *e = !from || has_room(b, m, now) ? entry_new(b, m, !from) : NULL;
	int err = e ? 0 : -ENOSPC;

	if (e)
		err = keep_take(b, e, m, receipt, now);
	if (!err) {
		e->client = client;
		enqueue(b, e);
		return R_SUCCESS;
	}
	if (m->qos == 0)
		ledger_enter(b->ledger, client, LOSS_QOS0, 1, clock_wall_ms(), clock_wall_ms());
	if (client)
		ledger_release(b->ledger, client);
	if (e)
		entry_free(b, e);
	return R_QUOTA;
}

static void on_timer(struct timer *t)
{
	struct backlog *b = container_of(t, struct backlog, timer);

	if (b->failing)
		keep_refuse(b);
	int64_t next_ms = policy_age(b);
	if (next_ms >= 0)
		backlog_soon(b, next_ms);
	if (b->unreadable_tries && b->more)
		b->more(b->arg);
	if (b->unreadable_tries)
		backlog_soon(b, RETRY_MS);
}

static void mark_old(struct backlog *b)
{
	struct list *pos;

	for (int lane = 0; lane < LANES; lane++)
		list_for_each(pos, &b->waiting[lane])
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

/* True when backlog_next() can go on with the next one. */
static bool give_up_unreadable(struct backlog *b, struct entry *e, int err)
{
	if (err == -EAGAIN && ++b->unreadable_tries < UNREADABLE_MAX) {
		backlog_soon(b, RETRY_MS);
		return false;
	}
	log_error("upstream: a message of the backlog can't be read back (errno %d), %s", -err,
		err == -EAGAIN ? "left for the next start" : "dropped");
	b->unreadable_tries = 0;
	b->status.unreadable++;
	if (err == -EAGAIN)
		entry_leave(b, e);
	else
		backlog_lost(b, e, LOSS_UNREADABLE, R_SUCCESS);
	return true;
}

static bool is_expired(const struct entry *e)
{
	return e->claimed ? kept_expired(e->kept) : message_expired(e->msg);
}

static struct entry *first(struct backlog *b)
{
	for (int lane = 0; lane < LANES; lane++)
		if (!list_empty(&b->waiting[lane]))
			return list_first(&b->waiting[lane], struct entry, node);
	return NULL;
}

struct entry *backlog_next(struct backlog *b)
{
	struct entry *e;

	policy_age(b);
	while ((e = first(b))) {
		if (is_expired(e)) {
			backlog_lost(b, e, LOSS_EXPIRED, R_SUCCESS);
			continue;
		}
		int err = keep_load(e);
		if (!err) {
			b->unreadable_tries = 0;
			return e;
		}
		if (!give_up_unreadable(b, e, err))
			return NULL;
	}
	return NULL;
}

struct entry *backlog_find(struct backlog *b, uint64_t record)
{
	struct list *pos;

	for (int lane = 0; lane < LANES; lane++) {
		list_for_each(pos, &b->waiting[lane]) {
			struct entry *e = list_entry(pos, struct entry, node);
			if (entry_record(e) == record)
				return keep_load(e) == 0 ? e : NULL;
		}
	}
	return NULL;
}

void backlog_sent(struct backlog *b, struct entry *e)
{
	assert(!e->in_flight);
	list_remove(&e->node);
	list_append(&b->in_flight, &e->node);
	policy_left(b, e);
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
	list_for_each(pos, lane_of(b, e)) {
		const struct entry *other = list_entry(pos, struct entry, node);
		if ((int32_t)(other->order - e->order) > 0)
			break;
	}
	list_insert_before(pos, &e->node);
	e->in_flight = false;
	keep_unload(e);
	b->status.queued++;
	b->status.in_flight--;
	policy_waits(b, e);
}

/* ---- What is missing ---- */

static bool push_gap(void *arg, struct message *m)
{
	return backlog_push(arg, NULL, m, NULL, true) == R_SUCCESS;
}

void backlog_tell_gaps(struct backlog *b, const char *topic, const char *gateway_id)
{
	gaps_tell(b->gaps, topic, gateway_id, push_gap, b);
}

void backlog_turn(struct backlog *b)
{
	if (gaps_turn(b->gaps))
		backlog_soon(b, RETRY_MS);
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
	s->dropped_qos0 = ledger_total(b->ledger, LOSS_QOS0);
	s->expired = ledger_total(b->ledger, LOSS_EXPIRED);
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
	for (int lane = 0; lane < LANES; lane++)
		leave_all(b, &b->waiting[lane]);
	policy_close(b);
	gaps_free(b->gaps);
	ledger_free(b->ledger);
	topic_set_free(b->retained);
	free(b);
}
