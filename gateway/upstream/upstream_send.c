#include "gateway/upstream/upstream_priv.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/message.h"
#include "gateway/upstream/stamp.h"

#define QUOTA_PAUSE_MS  1000 /* after the server has said that it is too much */
#define DRAIN_STEP_MS   10   /* at least, between two bursts of a paced backlog */
#define RETRY_PAUSE_MS  100
#define TRIES_MAX       5  /* for a refusal that might be of the moment */
#define PACKET_OVERHEAD 64 /* fixed header, packet id, properties' lengths, expiry */

static struct count lost_qos0 = COUNT("upstream.dropped.lost_qos0");
static struct count retried = COUNT("upstream.retried");
static struct count at_least_once = COUNT("upstream.qos2_at_least_once");
static struct log_limit refusals = LOG_LIMIT(10, 60000);
static struct log_limit lost_sessions = LOG_LIMIT(1, 60000);

/* Credit: never more than the server's Receive Maximum, less a reserve that keeps SUBSCRIBE from
 * having to wait; the library stalls for a second whenever its own limit is reached. */
void upstream_window_open(struct upstream *u)
{
	unsigned most = u->up.receive_maximum;
	unsigned reserve = most > 8 ? 2 : most > 1 ? 1 : 0;

	u->window = MIN((unsigned)u->conf->inflight, most - reserve);
	u->window = MAX(u->window, 1u);
	u->progress_ms = u->tokens_ms = clock_ms();
	u->not_before_ms = 0;
	u->tokens = 0;
}

static void pause_for(struct upstream *u, int64_t ms)
{
	u->not_before_ms = MAX(u->not_before_ms, clock_ms() + ms);
	timer_arm(&u->pace, u->not_before_ms - clock_ms());
}

/* drain_rate, for what was waiting before the link came up. */
static bool may_drain(struct upstream *u)
{
	double rate = (double)u->conf->drain_rate, burst = MAX(rate / 10, 1.0);

	if (u->conf->drain_rate == 0)
		return true;
	u->tokens += rate * (double)(clock_ms() - u->tokens_ms) / 1000;
	u->tokens = MIN(u->tokens, burst);
	u->tokens_ms = clock_ms();
	if (u->tokens >= 1) {
		u->tokens -= 1;
		return true;
	}
	if (!timer_armed(&u->pace))
		timer_arm(&u->pace, MAX((int64_t)(1000 / rate), DRAIN_STEP_MS));
	return false;
}

static void dead_letter(struct upstream *u, struct entry *e, enum reason reason)
{
	struct message *m = entry_message(e);
	struct span topic = message_topic(m);

	u->refused++;
	log_limited(&refusals, LOG_LEVEL_WARN, "upstream: the broker does not take %.*s: %s",
		SPAN_ARGS(topic), reason_name(reason));
	echo_give_up(u->echo, m);
	backlog_lost(u->backlog, e, LOSS_REFUSED, reason);
}

/* Too large for the server: it would end the connection, again and again. */
static bool fits(const struct upstream *u, const struct message *m)
{
	if (u->up.maximum_packet == 0)
		return true;
	size_t size = PACKET_OVERHEAD + m->topic_len + (size_t)m->payload_len + m->props_len;
	return size <= u->up.maximum_packet;
}

static uint32_t expiry_left(const struct message *m)
{
	if (m->expires_ms == 0)
		return 0;
	int64_t left_s = (m->expires_ms - clock_ms() + 999) / 1000;
	return (uint32_t)MIN(MAX(left_s, 1), (int64_t)UINT32_MAX);
}

static uint64_t topic_of(const struct entry *e)
{
	return topic_hash(message_topic(entry_message(e)));
}

static uint16_t *lower_of(struct upstream *u, const struct entry *e)
{
	return &u->lower[topic_of(e) % ARRAY_SIZE(u->lower)];
}

/* A broker passes QoS 2 on at PUBREL, a round trip after it came, and QoS 0 and 1 at once: what
 * follows on the same topic waits, or it would overtake there. QoS 2 waits as well: when the line
 * is lost it stays with the library, which sends it first after the next connect, and what was
 * before it comes back to us. */
static bool would_overtake(struct upstream *u, const struct entry *e)
{
	if (e->qos == 2)
		return u->in_flight > u->in_flight2 && *lower_of(u, e) > 0;
	return u->in_flight2 > 0 && topic_set_has(u->topics2, topic_of(e));
}

static void count_in_flight(struct upstream *u, struct entry *e)
{
	if (u->in_flight++ == 0)
		u->progress_ms = clock_ms();
	e->barred = e->qos == 2 && topic_set_add(u->topics2, topic_of(e)) == 0;
	if (e->barred)
		u->in_flight2++;
	if (e->qos < 2)
		(*lower_of(u, e))++;
}

static void count_landed(struct upstream *u, const struct entry *e)
{
	u->in_flight--;
	if (e->barred) {
		u->in_flight2--;
		topic_set_remove(u->topics2, topic_of(e));
	}
	if (e->qos < 2)
		(*lower_of(u, e))--;
}

/* As it goes out: what has waited says since when, if the server takes it with that. A reference
 * for the caller. */
static struct message *outgoing(const struct upstream *u, const struct entry *e)
{
	struct message *m = entry_message(e);
	struct message *stamped =
		e->old && u->up.version == 5 && u->conf->captured_at ? stamp(m) : NULL;

	if (stamped && fits(u, stamped))
		return stamped;
	message_unref(stamped);
	return message_ref(m);
}

/* False: the library takes no more. */
static bool send_entry(struct upstream *u, struct entry *e)
{
	struct message *m = entry_message(e);

	if (!fits(u, m)) {
		dead_letter(u, e, R_TOO_LARGE);
		return true;
	}
	struct message *out = outgoing(u, e);
	struct uplink_publish what = {
		.msg = out,
		.token = (uintptr_t)e, /* entries in flight are never freed */
		.record = entry_record(e),
		.expiry_s = expiry_left(m),
		.qos = MIN(e->qos, u->up.maximum_qos),
		.retain = m->retain && u->up.retain_available,
	};
	int err = u->uplink->ops->publish(u->uplink, &what);
	message_unref(out);
	if (err)
		return false;
	if (u->up.version == 4 && interest_matches(u->interest, message_topic(m)))
		echo_sent(u->echo, m);
	count_in_flight(u, e);
	backlog_sent(u->backlog, e);
	return true;
}

static bool may_send(const struct upstream *u)
{
	if (u->state != UPSTREAM_UP || clock_ms() < u->not_before_ms)
		return false;
	return !u->draining || clock_ms() < u->drain_until_ms;
}

/* Every free credit is used in the turn that frees it. Waiting for half a window would let the
 * line fall silent after each burst, and Nagle at the broker then waits for our delayed ACK (40
 * ms): measured with a window of 64, 3 000 messages a second instead of 30 000. */
void upstream_send(struct upstream *u)
{
	if (!may_send(u))
		return;
	while (u->in_flight < u->window) {
		struct entry *e = backlog_next(u->backlog);
		if (!e || would_overtake(u, e) || (e->old && !may_drain(u)))
			return;
		if (!send_entry(u, e))
			return;
	}
}

/* What the server's word means for the message (MQTT 5.0, 3.4.2.1 and 3.5.2.1). */
static bool refused_for_now(struct upstream *u, struct entry *e, enum reason reason)
{
	switch (reason) {
	case R_QUOTA:
	case R_RATE:
	case R_BUSY:
	case R_PACKET_ID_IN_USE:
		pause_for(u, QUOTA_PAUSE_MS);
		return true;
	case R_NOT_AUTHORIZED:
	case R_TOPIC_INVALID:
	case R_TOO_LARGE:
	case R_PAYLOAD_FORMAT:
		return false;
	default: /* "unspecified", "implementation specific": not for ever, or it blocks the queue
		  */
		pause_for(u, QUOTA_PAUSE_MS);
		return ++e->tries < TRIES_MAX;
	}
}

static void on_refused(struct upstream *u, struct entry *e, enum reason reason)
{
	if (refused_for_now(u, e, reason)) {
		count_one(&retried);
		backlog_requeue(u->backlog, e);
		return;
	}
	dead_letter(u, e, reason);
}

void upstream_on_published(
	void *arg, uint64_t token, enum uplink_outcome outcome, enum reason reason)
{
	struct upstream *u = arg;
	struct entry *e = (struct entry *)(uintptr_t)token;

	count_landed(u, e);
	switch (outcome) {
	case UPLINK_DONE:
		u->sent++;
		u->progress_ms = clock_ms();
		u->strikes = 0;
		backlog_done(u->backlog, e, R_SUCCESS);
		break;
	case UPLINK_REFUSED:
		u->progress_ms = clock_ms();
		u->strikes = 0;
		on_refused(u, e, reason);
		break;
	case UPLINK_RETRY:
		if (u->state == UPSTREAM_UP) /* the news of its end is on the way */
			pause_for(u, RETRY_PAUSE_MS);
		count_one(&retried);
		backlog_requeue(u->backlog, e);
		break;
	case UPLINK_REPEAT:
		count_one(&at_least_once);
		log_limited(&lost_sessions, LOG_LEVEL_WARN,
			"upstream: the session in which QoS 2 messages were under way is lost; "
			"they are sent again and may arrive twice");
		backlog_requeue(u->backlog, e);
		break;
	case UPLINK_LOST:
		count_one(&lost_qos0);
		echo_give_up(u->echo, entry_message(e));
		backlog_done(u->backlog, e, R_SUCCESS);
		break;
	}
}

static void on_pace(struct timer *t)
{
	upstream_send(container_of(t, struct upstream, pace));
}

static void on_more(void *arg)
{
	upstream_send(arg);
}

/* The exchange was begun in an earlier run. False: its message is not here any more, or belongs to
 * a later exchange. */
static bool resume(struct upstream *u, struct exchange *x)
{
	struct entry *e = x->what ? backlog_find(u->backlog, x->what) : NULL;

	if (!e)
		return false;
	struct message *m = entry_message(e);
	struct uplink_publish what = {
		.msg = m,
		.token = (uintptr_t)e,
		.record = x->what,
		.expiry_s = expiry_left(m),
		.qos = 2,
		.retain = m->retain,
	};
	if (u->uplink->ops->hold(u->uplink, &what, x) != 0)
		return false;
	count_in_flight(u, e);
	backlog_sent(u->backlog, e);
	return true;
}

/* The latest first: of two for one message the later one counts, the server of the earlier one has
 * lost its session or was left. That packet id is only released. */
static void resume_all(struct upstream *u)
{
	struct list *all = exchanges_list(u->exchanges), *pos, *before;

	for (pos = all->prev; pos != all; pos = before) {
		struct exchange *x = list_entry(pos, struct exchange, node);
		before = pos->prev;
		if (x->way != EXCHANGE_OUT || resume(u, x))
			continue;
		x->what = 0;
		x->released = true;
		if (u->uplink->ops->hold(u->uplink, NULL, x) != 0)
			exchange_end(x);
	}
}

void upstream_send_init(struct upstream *u)
{
	timer_init(&u->pace, on_pace);
	backlog_on_more(u->backlog, on_more, u);
	resume_all(u);
}
