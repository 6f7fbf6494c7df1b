#include "gateway/upstream/upstream_priv.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/core/message.h"
#include "gateway/store/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_SEND_MS 1000 /* new messages are still sent for that long when the gateway ends */
#define STOP_WAIT_MS  1000

/* 3.1.1, and it will come back to us by a subscription of ours. */
static bool will_echo(struct upstream *u, const struct message *m)
{
	return u->state == UPSTREAM_UP && u->up.version == 4 &&
	       interest_matches(u->interest, message_topic(m));
}

/* Held in memory as long as the upstream answers quickly: no disk write in everyday operation. QoS
 * 2, and what would have to wait behind a backlog on disk, goes to the journal at once. */
static bool must_store(struct upstream *u, const struct message *m)
{
	struct backlog_status s;

	if (m->qos == 2 || u->conf->ack_hold_ms == 0 || u->draining || !upstream_healthy(u))
		return true;
	backlog_status(u->backlog, &s);
	return s.stored > 0 && s.queued > u->window;
}

static enum reason on_offer(
	struct subscriber *sub, struct message *m, struct offer *o, struct receipt *receipt)
{
	struct upstream *u = container_of(sub, struct upstream, sub);

	if (m->origin == ORIGIN_UPSTREAM || o->replay)
		return R_SUCCESS;
	if (u->draining && !u->journal)
		return R_SHUTTING_DOWN; /* nothing could keep it */
	bool storing = must_store(u, m);
	enum reason reason = backlog_push(u->backlog, o->from, m, receipt, storing);
	if (reason_failed(reason))
		return reason;
	/* What is stored at once might outlive us before its echo is seen: delivered now. */
	if (!storing && u->conf->echo != ECHO_LOCAL && will_echo(u, m))
		o->withhold = echo_withhold(u->echo, o->from, m);
	return R_SUCCESS;
}

static const struct subscriber_ops gate_ops = { .offer = on_offer };

static void on_wanted(struct router_watcher *w, struct span filter, uint8_t qos)
{
	interest_wanted(container_of(w, struct upstream, watcher)->interest, filter, qos);
}

static void on_unwanted(struct router_watcher *w, struct span filter)
{
	interest_unwanted(container_of(w, struct upstream, watcher)->interest, filter);
}

static bool listed(const struct conf_list *list, const char *item)
{
	for (size_t i = 0; list && i < list->n; i++)
		if (strcmp(list->items[i], item) == 0)
			return true;
	return false;
}

static int set_exports(
	struct upstream *u, const struct conf_list *exports, const struct conf_list *before)
{
	static const struct sub_opts opts = {
		.qos = 2, .retain_handling = 2, .retain_as_published = true
	};

	for (size_t i = 0; i < exports->n; i++) {
		const char *filter = exports->items[i];
		if (listed(before, filter))
			continue;
		enum reason r = router_subscribe(u->router, &u->sub, span_str(filter), &opts);
		if (reason_failed(r)) {
			log_error("upstream: export %s: %s", filter, reason_name(r));
			return -EINVAL;
		}
	}
	for (size_t i = 0; before && i < before->n; i++)
		if (!listed(exports, before->items[i]))
			router_unsubscribe(u->router, &u->sub, span_str(before->items[i]));
	return 0;
}

static void set_limits(struct upstream *u)
{
	struct backlog_limits limits;
	int64_t echo_ms = u->conf->echo_timeout_ms;

	upstream_limits(u->conf, &limits);
	backlog_set_limits(u->backlog, &limits);
	/* What is withheld must have been delivered before it is stored: after a crash nobody would
	 * know that it was not. */
	if (u->journal)
		echo_ms = MIN(echo_ms, u->conf->ack_hold_ms);
	echo_set_timeout(u->echo, echo_ms);
}

static char *make_client_id(const struct upstream_conf *conf, const char *gateway_id)
{
	char *id;

	if (conf->client_id)
		return strdup(conf->client_id);
	return asprintf(&id, "tidegate-%s", gateway_id) < 0 ? NULL : id;
}

static void upstream_free(struct upstream *u)
{
	interest_free(u->interest);
	echo_free(u->echo);
	topic_set_free(u->topics2);
	reconnect_free(u->reconnect);
	free(u->client_id);
	free(u->gap_topic);
	free(u);
}

/* The parts, all or none. */
static int make_parts(struct upstream *u, uplink_new_fn *new_uplink, struct event_base *base,
	const char *gateway_id)
{
	u->client_id = make_client_id(u->conf, gateway_id);
	u->gateway_id = gateway_id;
	if (asprintf(&u->gap_topic, "tidegate/%s/gaps", gateway_id) < 0)
		return -ENOMEM;
	u->reconnect = reconnect_new(base, &upstream_reconnect_ops, u);
	u->echo = echo_new(u->router);
	u->topics2 = topic_set_new();
	if (!u->client_id || !u->reconnect || !u->echo || !u->topics2)
		return -ENOMEM;
	if (!(u->uplink = new_uplink(base, u->exchanges, &upstream_uplink_events, u)))
		return -ENOMEM;
	if (!(u->interest = interest_new(u->uplink)) ||
		interest_set_imports(u->interest, &u->conf->imports, &u->conf->imports_always) !=
			0 ||
		reconnect_set(u->reconnect, &u->conf->uri, u->conf->connect_timeout_ms) != 0)
		return -ENOMEM;
	return 0;
}

static void warn_of_settings(const struct upstream *u)
{
	for (size_t i = 0; i < u->conf->uri.n && !u->conf->verify; i++) {
		if (strncasecmp(u->conf->uri.items[i], "mqtts:", 6) == 0 ||
			strncasecmp(u->conf->uri.items[i], "ssl:", 4) == 0) {
			log_warn("upstream: verify = no: the broker's certificate is not checked");
			return;
		}
	}
}

int upstream_new_over(uplink_new_fn *new_uplink, struct event_base *base, struct router *router,
	struct journal *journal, struct backlog *backlog, struct exchanges *exchanges,
	const struct conf *conf, const char *gateway_id, struct upstream **out)
{
	struct upstream *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->router = router;
	u->journal = journal;
	u->backlog = backlog;
	u->exchanges = exchanges;
	u->conf = conf_section(conf, "upstream");
	u->who = (struct identity){
		.client_id = "", .protocol = PROTO_UPSTREAM, .origin = ORIGIN_UPSTREAM
	};
	subscriber_init(&u->sub, &gate_ops, &u->who);
	u->sub.gate = true;
	u->watcher.wanted = on_wanted;
	u->watcher.unwanted = on_unwanted;
	list_init(&u->watcher.node);
	upstream_link_init(u);
	upstream_receive_init(u);
	int err = make_parts(u, new_uplink, base, gateway_id);
	if (!err)
		err = set_exports(u, &u->conf->exports, NULL);
	if (err) {
		if (u->uplink)
			u->uplink->ops->stop(u->uplink, STOP_WAIT_MS);
		router_leave(router, &u->sub);
		upstream_free(u);
		return err;
	}
	upstream_send_init(u);
	set_limits(u);
	warn_of_settings(u);
	router_watch(router, &u->watcher);
	reconnect_start(u->reconnect);
	*out = u;
	return 0;
}

int upstream_new(struct event_base *base, struct router *router, struct journal *journal,
	struct backlog *backlog, struct exchanges *exchanges, const struct conf *conf,
	const char *gateway_id, struct upstream **out)
{
	return upstream_new_over(
		uplink_paho_new, base, router, journal, backlog, exchanges, conf, gateway_id, out);
}

void upstream_remember(struct upstream *u, struct interest_memory *memory)
{
	interest_set_memory(u->interest, memory);
}

void upstream_turn(struct upstream *u)
{
	interest_turn(u->interest);
	upstream_send(u);
	exchanges_turn(u->exchanges);
	backlog_turn(u->backlog);
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_list(const struct conf_list *a, const struct conf_list *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	return true;
}

/* Whether the connection itself has to be a new one. Files are read at the next connect anyhow. */
static bool same_link(const struct upstream_conf *a, const struct upstream_conf *b)
{
	return same_list(&a->uri, &b->uri) && same(a->username, b->username) &&
	       same(a->username_file, b->username_file) &&
	       same(a->password_file, b->password_file) && same(a->ca_file, b->ca_file) &&
	       same(a->cert_file, b->cert_file) && same(a->key_file, b->key_file) &&
	       a->verify == b->verify && a->keepalive_ms == b->keepalive_ms &&
	       a->downlink == b->downlink;
}

int upstream_reload(struct upstream *u, const struct conf *conf)
{
	const struct upstream_conf *now = conf_section(conf, "upstream"), *before = u->conf;

	int err = set_exports(u, &now->exports, &before->exports);
	if (err)
		return err;
	if ((err = interest_set_imports(u->interest, &now->imports, &now->imports_always)) != 0)
		return err;
	bool new_link = !same_link(now, before);
	u->conf = now;
	set_limits(u);
	if (new_link)
		upstream_link_reload(u);
	return 0;
}

bool upstream_drain(struct upstream *u)
{
	struct backlog_status s;

	if (!u->draining) {
		u->draining = true;
		u->drain_until_ms = clock_ms() + DRAIN_SEND_MS;
		timer_arm(&u->pace, DRAIN_SEND_MS);
		echo_flush(u->echo);
		reconnect_stop(u->reconnect);
	}
	if (u->journal) {
		backlog_secure(u->backlog);
		journal_hurry(u->journal);
	}
	if (!reconnect_quiet(u->reconnect))
		return false;
	backlog_status(u->backlog, &s);
	if (u->state != UPSTREAM_UP)
		return backlog_safe(u->backlog);
	return backlog_safe(u->backlog) && s.in_flight == 0 &&
	       (s.queued == 0 || clock_ms() >= u->drain_until_ms);
}

void upstream_stop(struct upstream *u)
{
	reconnect_stop(u->reconnect);
	timer_disarm(&u->watch);
	timer_disarm(&u->pace);
	router_unwatch(u->router, &u->watcher);
	router_leave(u->router, &u->sub);
	u->uplink->ops->stop(u->uplink, STOP_WAIT_MS);
	upstream_receive_stop(u);
	backlog_on_more(u->backlog, NULL, NULL);
	upstream_free(u);
}

bool upstream_is_up(const struct upstream *u)
{
	return u->state == UPSTREAM_UP;
}

void upstream_status(const struct upstream *u, struct upstream_status *s)
{
	struct backlog_status b;
	const struct server *server = reconnect_server(u->reconnect);

	backlog_status(u->backlog, &b);
	*s = (struct upstream_status){
		.state = u->state,
		.version = u->state == UPSTREAM_UP ? u->up.version : 0,
		.since_ms = u->since_ms,
		.queued = b.queued,
		.in_flight = b.in_flight,
		.journaled = b.stored,
		.journaled_bytes = b.disk_bytes,
		.sent = u->sent,
		.received = u->received,
		.refused = u->refused,
		.dropped_qos0 = b.dropped_qos0,
		.expired = b.expired,
		.connects = u->connects,
		.window = u->window,
		.storage_error = b.error,
	};
	interest_count(u->interest, &s->interests);
	snprintf(s->uri, sizeof(s->uri), "%s://%s:%u", server->uri.scheme, server->uri.host,
		server->uri.port);
	snprintf(s->last_error, sizeof(s->last_error), "%s", u->last_error);
}

struct ledger *upstream_ledger(struct upstream *u)
{
	return backlog_ledger(u->backlog);
}

const char *upstream_state_name(enum upstream_state s)
{
	static const char *const names[] = { "waiting", "connecting", "up", "closing" };

	return names[s];
}

static bool dump_loss(const struct ledger_line *line, void *arg)
{
	(void)arg;
	log_info("upstream: dropped %llu of %s: %s", (unsigned long long)line->total,
		line->client_id[0] ? line->client_id : "(not known)", loss_name(line->why));
	return false;
}

void upstream_dump(struct upstream *u)
{
	struct upstream_status s;

	upstream_status(u, &s);
	log_info("upstream: %s is %s for %lld s%s%s", s.uri, upstream_state_name(s.state),
		(long long)(clock_ms() - s.since_ms) / 1000,
		s.last_error[0] ? ", last trouble: " : "", s.last_error);
	log_info(
		"upstream: %llu queued, %llu in flight (window %u), %llu in the journal with %lld "
		"bytes, %llu sent, %llu refused, %llu received, %u subscriptions, %llu connections",
		(unsigned long long)s.queued, (unsigned long long)s.in_flight, s.window,
		(unsigned long long)s.journaled, (long long)s.journaled_bytes,
		(unsigned long long)s.sent, (unsigned long long)s.refused,
		(unsigned long long)s.received, s.interests, (unsigned long long)s.connects);
	ledger_each(upstream_ledger(u), dump_loss, NULL);
}
