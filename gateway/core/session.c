#include "gateway/core/session.h"

#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/autosub.h"
#include "gateway/core/inbound.h"
#include "gateway/core/outqueue.h"
#include "gateway/core/registry.h"
#include "gateway/core/session_claims.h"
#include "gateway/core/session_store_priv.h"
#include "gateway/core/session_rare.h"
#include "gateway/core/will.h"

#include <stdlib.h>
#include <string.h>

/* A session that has ended keeps its memory until the turn is over; `all` is NULL from then on. */

static struct count drops[DROP_REASONS] = {
	[DROP_QUEUE_FULL] = COUNT("drop.queue_full"),
	[DROP_OUTDATED] = COUNT("drop.outdated"),
	[DROP_EXPIRED] = COUNT("drop.expired"),
	[DROP_TOO_OLD] = COUNT("drop.too_old"),
	[DROP_TOO_LARGE] = COUNT("drop.too_large"),
	[DROP_OFFLINE] = COUNT("drop.offline"),
	[DROP_REFUSED] = COUNT("drop.refused"),
	[DROP_NO_MEMORY] = COUNT("drop.no_memory"),
	[DROP_SESSION_END] = COUNT("drop.session_end"),
	[DROP_UNREADABLE] = COUNT("drop.unreadable"),
};

static struct count expired = COUNT("sessions.expired");

const char *drop_name(enum drop d)
{
	return drops[d].name + strlen("drop.");
}

uint64_t drops_total(enum drop d)
{
	return drops[d].n;
}

struct session_rare *session_rare(struct session *s)
{
	if (s->rare || !(s->rare = calloc(1, sizeof(*s->rare))))
		return s->rare;
	s->rare->session = s;
	return s->rare;
}

void session_drop(struct session *s, enum drop why)
{
	struct session_rare *rare = session_rare(s);
	if (rare)
		rare->dropped[why]++;
	count_one(&drops[why]);
	if (why != DROP_QUEUE_FULL && why != DROP_NO_MEMORY)
		return;
	static struct log_limit limit = LOG_LIMIT(10, 10000);
	log_limited(&limit, LOG_LEVEL_INFO, "%s %s: message dropped, %s", s->who.client_id,
		protocol_name(s->who.protocol),
		why == DROP_QUEUE_FULL ? "queue full" : "no memory");
}

uint64_t session_dropped(const struct session *s, enum drop why)
{
	return s->rare ? s->rare->dropped[why] : 0;
}

static enum reason on_offer(
	struct subscriber *sub, struct message *m, struct offer *o, struct receipt *receipt)
{
	struct session *s = container_of(sub, struct session, sub);
	if (!s->out && !(s->out = outqueue_new(s, sessions_conf(s->all)))) {
		session_drop(s, DROP_NO_MEMORY);
		return R_QUOTA;
	}
	return outqueue_offer(s->out, m, o, receipt);
}

static bool on_room(struct subscriber *sub)
{
	const struct session *s = container_of(sub, struct session, sub);
	return s->out ? outqueue_room(s->out) : s->link != NULL;
}

static bool on_ready(struct subscriber *sub, const struct message *m)
{
	const struct session *s = container_of(sub, struct session, sub);
	return s->out ? outqueue_ready(s->out, m) : s->link != NULL;
}

static const struct subscriber_ops subscriber_ops = {
	.offer = on_offer,
	.room = on_room,
	.ready = on_ready,
};

/* A client that sleeps or is away costs as little as can be. */
static void free_idle(struct session *s)
{
	if (s->out && !outqueue_length(s->out) && !s->out->pumping) {
		outqueue_free(s->out);
		s->out = NULL;
	}
	if (s->in && inbound_idle(s->in)) {
		inbound_free(s->in);
		s->in = NULL;
	}
}

/* The link lets go of the session and the other way round; nobody is told. */
static struct link *unlink_link(struct session *s, struct sessions *all)
{
	struct link *link = s->link;
	if (!link)
		return NULL;
	link->session = NULL;
	s->link = NULL;
	timer_disarm(&s->timer);
	s->queue_policy = NULL;
	sessions_attached(all, s, false);
	return link;
}

void session_arm_expiry(struct session *s)
{
	uint32_t most = sessions_conf(s->all)->max_expiry_s;
	uint32_t expiry_s = most ? MIN(s->expiry_s, most) : s->expiry_s;
	if (expiry_s != UINT32_MAX)
		timer_arm(&s->timer, (int64_t)expiry_s * 1000);
}

/* Since when a client is away nobody was promised; but a will must not come again, nor that of a
 * client that said goodbye. */
static void presence_changed(struct session *s)
{
	if (s->will)
		session_changed(s);
	else
		session_changed_lazily(s);
}

static void detach(struct session *s, enum detach how)
{
	unlink_link(s, s->all);
	if (s->out)
		outqueue_detached(s->out);
	free_idle(s);
	if (how == DETACH_LOST)
		will_lost(s, sessions_router(s->all));
	if (!s->expiry_s) {
		session_end(s, R_SUCCESS, false);
		return;
	}
	session_arm_expiry(s);
	presence_changed(s);
}

void session_detach(struct link *l, enum detach how)
{
	if (l->session)
		detach(l->session, how);
}

/* Lazy: packets only note when they came, and the timer looks when it fires. */
static void on_keepalive(struct session *s)
{
	int64_t silence_ms = clock_ms() - s->heard_ms;
	if (silence_ms < s->keepalive_ms) {
		timer_arm(&s->timer, s->keepalive_ms - silence_ms);
		return;
	}
	struct link *link = s->link;
	detach(s, DETACH_LOST);
	link->ops->closed(link, R_KEEP_ALIVE);
}

static void on_expiry(struct session *s)
{
	count_one(&expired);
	session_end(s, R_SUCCESS, false);
}

static void on_timer(struct timer *t)
{
	struct session *s = container_of(t, struct session, timer);
	if (s->link)
		on_keepalive(s);
	else
		on_expiry(s);
}

static void session_free(struct session *s)
{
	outqueue_free(s->out);
	inbound_free(s->in);
	will_free(s);
	session_set_extra(s, NULL);
	free(s->rare);
	free((char *)s->who.username);
	free(s);
}

static void on_reap(struct reap *r)
{
	session_free(container_of(r, struct session, reap));
}

void session_end(struct session *s, enum reason reason, bool publish_will)
{
	struct sessions *all = s->all;
	if (!all)
		return;
	/* In the next process: a will that waits goes on waiting, mail stays. */
	bool goes_on = s->number && sessions_closing(all);
	bool will_due = (will_waiting(s) && !goes_on) || (publish_will && s->link);
	struct link *link = unlink_link(s, all);
	s->all = NULL;
	sessions_remove(all, s);
	timer_disarm(&s->timer);
	will_cancel(s);
	router_leave(sessions_router(all), &s->sub);
	if (goes_on)
		session_claims_leave(s);
	inbound_end(s->in);
	if (s->out && !goes_on)
		outqueue_end(s->out);
	session_store_ended(all, s);
	s->reap = (struct reap){ .free = NULL }; /* in the place of the timer */
	reap_later(&s->reap, on_reap);
	if (will_due)
		will_publish(s, sessions_router(all));
	if (link)
		link->ops->closed(link, reason);
}

bool session_set_username(struct session *s, const char *username)
{
	char *copy = username ? strdup(username) : NULL;
	if (username && !copy)
		return false;
	free((char *)s->who.username);
	s->who.username = copy;
	return true;
}

struct session *session_make(struct sessions *all, enum protocol protocol, const char *client_id)
{
	size_t id_size = strlen(client_id) + 1;
	struct session *s = calloc(1, MAX(sizeof(*s), offsetof(struct session, id) + id_size));
	if (!s)
		return NULL;
	memcpy(s->id, client_id, id_size);
	s->who.client_id = s->id;
	s->who.protocol = protocol;
	s->all = all;
	s->who.origin = identity_new_origin();
	subscriber_init(&s->sub, &subscriber_ops, &s->who);
	s->sub.max_subscriptions = sessions_conf(all)->max_subscriptions;
	timer_init(&s->timer, on_timer);
	if (sessions_add(all, s) < 0) {
		session_free(s);
		return NULL;
	}
	return s;
}

static enum reason ask_policy(
	struct sessions *all, const struct session_connect *c, const struct session *present)
{
	struct identity who = {
		.client_id = c->client_id,
		.username = c->username,
		.protocol = c->protocol,
		.peer = c->peer,
		.origin = present ? present->who.origin : 0,
	};
	struct policy *policy = router_policy(sessions_router(all));
	return policy->connect(policy, &who, c->password);
}

/* MQTT 5.0, 3.1.3.2.2: the connection that gives way was not closed by its client, so its will is
 * due. A device that speaks from elsewhere has no connection that could have been lost; only a will
 * with a delay is due when its session ends before that is over. */
static bool will_due_on_take_over(const struct session *s, bool session_ends)
{
	return will_has_delay(s) ? session_ends : !s->datagram;
}

/* A clean start ends what was there. */
static void end_present(struct session *s, const struct link *by)
{
	if (s->link != by) {
		session_end(s, R_TAKEN_OVER, will_due_on_take_over(s, true));
		return;
	}
	unlink_link(s, s->all); /* the link that asks is not told that it lost the session */
	session_end(s, R_TAKEN_OVER, false);
}

static void take_over(struct session *s, const struct link *by)
{
	bool other = s->link != by;
	struct link *old = unlink_link(s, s->all);
	if (!old || !other)
		return;
	if (will_due_on_take_over(s, false))
		will_publish(s, sessions_router(s->all));
	old->ops->closed(old, R_TAKEN_OVER);
}

static void attach(struct session *s, const struct session_connect *c)
{
	s->who.peer = c->peer;
	s->expiry_s = c->expiry_s;
	s->datagram = c->datagram;
	s->stored = c->stored;
	s->was_attached = false;
	s->link = c->link;
	c->link->session = s;
	sessions_attached(s->all, s, true);
	timer_disarm(&s->timer);
	will_cancel(s);
	session_set_window(s, c->window);
	if (s->out)
		outqueue_attached(s->out);
	inbound_attached(s->in);
	session_set_keepalive(s, c->keepalive_ms);
}

/* A link that speaks for another client now leaves its old session in peace. */
static void free_link(const struct session_connect *c, const struct session *present)
{
	if (c->link->session && c->link->session != present)
		session_detach(c->link, DETACH_CLEAN);
}

static bool same_name(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : !a && !b;
}

/* Before it is attached: what the client was promised of the session changes with this CONNECT. */
static bool terms_differ(const struct session *s, const struct session_connect *c)
{
	return s->expiry_s != c->expiry_s || s->datagram != c->datagram || s->stored != c->stored ||
	       s->keepalive_ms != c->keepalive_ms || !same_name(s->who.username, c->username) ||
	       (!c->keep_will && !will_same(s, c->will, c->will_delay_s));
}

enum reason session_connect(
	struct sessions *all, const struct session_connect *c, struct session **out, bool *present)
{
	struct session *s = sessions_find(all, c->protocol, c->client_id);
	enum reason reason = ask_policy(all, c, s);
	if (reason_failed(reason))
		return reason;
	free_link(c, s);
	bool replaces = s && s->number && c->clean_start;
	if (s && c->clean_start) {
		end_present(s, c->link);
		s = NULL;
	}
	*present = s != NULL;
	if (!s && (sessions_full(all) || !(s = session_make(all, c->protocol, c->client_id))))
		return R_QUOTA;
	bool differs = !*present || terms_differ(s, c);
	if (!session_set_username(s, c->username)) {
		if (!*present)
			session_end(s, R_QUOTA, false);
		return R_QUOTA;
	}
	take_over(s, c->link);
	attach(s, c);
	if (!c->keep_will)
		session_set_will(s, c->will, c->will_delay_s);
	if (!*present)
		autosub_apply(sessions_autosub(all), s, c->mountpoint);
	if (differs)
		session_changed(s);
	else
		presence_changed(s);
	if (replaces)
		session_store_replaces(s);
	*out = s;
	return R_SUCCESS;
}

void session_set_keepalive(struct session *s, int64_t keepalive_ms)
{
	s->keepalive_ms = (uint32_t)MIN(keepalive_ms, (int64_t)UINT32_MAX);
	s->heard_ms = clock_ms();
	if (s->link && s->keepalive_ms)
		timer_arm(&s->timer, s->keepalive_ms);
	else if (s->link)
		timer_disarm(&s->timer);
}

void session_set_expiry(struct session *s, uint32_t expiry_s)
{
	if (s->expiry_s == expiry_s)
		return;
	s->expiry_s = expiry_s;
	session_changed(s);
}

void session_set_will(struct session *s, struct message *will, uint32_t delay_s)
{
	if (!will_same(s, will, delay_s))
		session_changed(s);
	will_set(s, will, delay_s);
}

void session_set_extra(struct session *s, struct session_extra *extra)
{
	if (s->extra && s->extra != extra)
		s->extra->ops->free(s->extra);
	s->extra = extra;
}

void session_set_window(struct session *s, uint16_t window)
{
	uint16_t most = MAX(sessions_conf(s->all)->window, 1);
	s->window = window ? MIN(window, most) : most;
}

void session_set_queue_policy(struct session *s, const struct queue_policy *policy)
{
	s->queue_policy = policy;
	if (s->out)
		outqueue_trim(s->out);
	free_idle(s);
}

enum reason session_subscribe(struct session *s, struct span filter, const struct sub_opts *opts)
{
	if (!s->all)
		return R_TAKEN_OVER;
	enum reason reason = router_subscribe(sessions_router(s->all), &s->sub, filter, opts);
	if (!reason_failed(reason))
		session_store_subscribed(s, filter, opts);
	return reason;
}

enum reason session_unsubscribe(struct session *s, struct span filter)
{
	if (!s->all)
		return R_TAKEN_OVER;
	enum reason reason = router_unsubscribe(sessions_router(s->all), &s->sub, filter);
	if (reason == R_SUCCESS)
		session_store_unsubscribed(s, filter);
	return reason;
}

static enum reason publish_qos0(struct session *s, struct message *m)
{
	enum reason reason = router_publish(sessions_router(s->all), &s->who, m, NULL);
	return reason_failed(reason) ? reason : R_SUCCESS;
}

enum reason session_publish(
	struct session *s, struct message *m, uint16_t packet_id, uint32_t cookie)
{
	if (!s->all)
		return R_TAKEN_OVER;
	s->received++;
	if (!m->qos)
		return publish_qos0(s, m);
	if (!s->in)
		s->in = inbound_new(s, sessions_conf(s->all));
	return s->in ? inbound_publish(s->in, m, packet_id, cookie) : R_QUOTA;
}

bool session_released(struct session *s, uint16_t packet_id)
{
	return s->in && inbound_released(s->in, packet_id);
}

bool session_acked(struct session *s, uint16_t packet_id)
{
	return s->out && outqueue_acked(s->out, packet_id);
}

bool session_received(struct session *s, uint16_t packet_id)
{
	return s->out && outqueue_received(s->out, packet_id);
}

bool session_completed(struct session *s, uint16_t packet_id)
{
	return s->out && outqueue_completed(s->out, packet_id);
}

bool session_refused(struct session *s, uint16_t packet_id)
{
	return s->out && outqueue_refused(s->out, packet_id);
}

bool session_requeue(struct session *s, uint16_t packet_id)
{
	return s->out && outqueue_requeue(s->out, packet_id);
}

void session_pump(struct session *s)
{
	if (s->out)
		outqueue_pump(s->out);
}

bool session_idle(const struct session *s)
{
	return session_queued(s) == 0;
}

struct delivery *session_in_flight(struct session *s, uint16_t packet_id)
{
	struct delivery *d = s->out ? outqueue_in_flight(s->out, packet_id) : NULL;
	return d && delivery_load(d) == 0 ? d : NULL;
}

size_t session_queued(const struct session *s)
{
	return s->out ? outqueue_length(s->out) : 0;
}

size_t session_queued_bytes(const struct session *s)
{
	return s->out ? s->out->bytes : 0;
}
