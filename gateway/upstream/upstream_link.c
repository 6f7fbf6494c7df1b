#include "gateway/upstream/upstream_priv.h"

#include "gateway/base/clock.h"
#include "gateway/base/file.h"
#include "gateway/base/log.h"
#include "gateway/core/topic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_MAX       4096
#define WATCH_MS         1000
#define ATTEMPT_SPARE_MS 10000 /* past the library's own time-out, which it checks every 3 s */
#define GAPS_MS          60000 /* while it is there: what is dropped then is told as often */
#define CLOSING_MS       5000
#define SILENT_CLOSES    2 /* then MQTT 3.1.1 is tried: old brokers just hang up */

void upstream_set_error(struct upstream *u, const char *text)
{
	if (strcmp(u->last_error, text) == 0)
		return;
	snprintf(u->last_error, sizeof(u->last_error), "%s", text);
	u->told = false;
}

/* A warning for each new trouble, not for each attempt. */
static void log_failure(struct upstream *u, const struct server *s, const char *text)
{
	upstream_set_error(u, text);
	log_line(u->told ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, "upstream: %s:%u: %s", s->uri.host,
		s->uri.port, text);
	u->told = true;
}

static int64_t stuck_ms(const struct upstream *u)
{
	return u->keepalive_ms * 5 / 2 + u->conf->connect_timeout_ms;
}

bool upstream_healthy(const struct upstream *u)
{
	if (u->state != UPSTREAM_UP || clock_ms() < u->not_before_ms)
		return false;
	return u->in_flight == 0 || clock_ms() - u->progress_ms <= u->conf->ack_hold_ms;
}

/* The first line of a file; secrets are kept no longer than the call to connect. */
static char *read_line(const char *path, size_t *len)
{
	char *text;

	int err = file_read(path, SECRET_MAX, &text, len);
	if (err) {
		log_error("upstream: %s: %s", path, strerror(-err));
		return NULL;
	}
	*len = strcspn(text, "\r\n");
	text[*len] = '\0';
	return text;
}

struct credentials {
	char *username, *password;
	size_t username_len, password_len;
};

static void credentials_free(struct credentials *c)
{
	if (c->password)
		explicit_bzero(c->password, c->password_len);
	free(c->username);
	free(c->password);
}

static int credentials_read(const struct upstream_conf *conf, struct credentials *c)
{
	memset(c, 0, sizeof(*c));
	if (conf->username_file &&
		!(c->username = read_line(conf->username_file, &c->username_len)))
		return -EINVAL;
	if (conf->password_file &&
		!(c->password = read_line(conf->password_file, &c->password_len))) {
		credentials_free(c);
		return -EINVAL;
	}
	return 0;
}

static unsigned choose_version(const struct upstream *u, const struct server *s)
{
	if (u->conf->version == VERSION_AUTO)
		return s->only_311 ? 4 : 5;
	return u->conf->version == VERSION_5 ? 5 : 4;
}

static int connect_to(struct upstream *u, const struct server *s, const char *address)
{
	const struct upstream_conf *conf = u->conf;
	struct credentials c;

	if (credentials_read(conf, &c) != 0)
		return -EINVAL;
	struct uplink_target t = {
		.host = s->uri.host,
		.address = address,
		.port = s->uri.port,
		.tls = s->tls,
		.verify = conf->verify,
		.version = choose_version(u, s),
		.client_id = u->client_id,
		.username = c.username ? c.username : conf->username,
		.password = span_of(c.password, c.password_len),
		.ca_file = conf->ca_file,
		.cert_file = conf->cert_file,
		.key_file = conf->key_file,
		.keepalive_s = (int)((u->keepalive_ms + 999) / 1000),
		.connect_timeout_s = (int)((conf->connect_timeout_ms + 999) / 1000),
		.session_expiry_s = (uint32_t)(conf->session_expiry_ms / 1000),
		.ask = conf->downlink == DOWNLINK_SAFE,
	};
	int err = u->uplink->ops->connect(u->uplink, &t);
	credentials_free(&c);
	return err;
}

static void set_state(struct upstream *u, enum upstream_state state)
{
	if ((u->state == UPSTREAM_UP) != (state == UPSTREAM_UP))
		u->since_ms = clock_ms();
	u->state = state;
}

static void on_attempt(void *arg, struct server *s, const char *address)
{
	struct upstream *u = arg;
	int err = connect_to(u, s, address);

	log_debug("upstream: %s:%u answers at %s, connecting", s->uri.host, s->uri.port, address);
	set_state(u, UPSTREAM_CONNECTING);
	u->attempt_ms = clock_ms();
	if (err) {
		log_failure(
			u, s, err == -EINVAL ? "its credentials can't be read" : strerror(-err));
		set_state(u, UPSTREAM_WAITING);
	}
	/* On failure the watch reports it: not from inside this call. */
	timer_arm(&u->watch, err ? 0 : u->conf->connect_timeout_ms + ATTEMPT_SPARE_MS);
}

static void on_unreachable(void *arg, const struct server *s, const char *why)
{
	log_failure(arg, s, why);
}

void upstream_link_close(struct upstream *u)
{
	if (u->state != UPSTREAM_UP)
		return;
	set_state(u, UPSTREAM_CLOSING);
	timer_arm(&u->watch, CLOSING_MS);
	u->uplink->ops->disconnect(u->uplink);
}

static void on_preferred(void *arg)
{
	struct upstream *u = arg;
	struct backlog_status s;

	backlog_status(u->backlog, &s);
	if (u->state != UPSTREAM_UP || s.queued + s.in_flight > 0)
		return;
	log_notice("upstream: the preferred server answers again, going back to it");
	upstream_link_close(u);
}

const struct reconnect_ops upstream_reconnect_ops = {
	.attempt = on_attempt,
	.unreachable = on_unreachable,
	.preferred = on_preferred,
};

/* The servers of the new configuration, as soon as nothing of the old ones is under way. */
static void take_servers(struct upstream *u)
{
	u->servers_changed = false;
	u->keepalive_ms = u->conf->keepalive_ms;
	reconnect_stop(u->reconnect);
	if (reconnect_set(u->reconnect, &u->conf->uri, u->conf->connect_timeout_ms) != 0)
		log_error("upstream: no memory for the new servers, the old ones stay");
	reconnect_start(u->reconnect);
}

void upstream_link_reload(struct upstream *u)
{
	u->servers_changed = true;
	if (u->state == UPSTREAM_WAITING)
		take_servers(u);
	else
		upstream_link_close(u);
}

static void tell_gaps(struct upstream *u)
{
	const char *topic = u->conf->gap_topic ? u->conf->gap_topic : u->gap_topic;

	u->told_ms = clock_ms();
	if (topic_valid_name(span_str(topic)))
		backlog_tell_gaps(u->backlog, topic, u->gateway_id);
}

static void on_up(void *arg, const struct uplink_up *up)
{
	struct upstream *u = arg;
	struct server *s = reconnect_server(u->reconnect);

	u->up = *up;
	s->takes_5 = s->takes_5 || up->version == 5;
	u->silent_closes = 0;
	u->connects++;
	set_state(u, UPSTREAM_UP);
	if (!up->session_present)
		upstream_forget_received(u);
	upstream_window_open(u);
	reconnect_up(u->reconnect, u->conf->fail_back == FAIL_BACK_IDLE);
	backlog_set_link(u->backlog, true);
	tell_gaps(u);
	interest_up(u->interest, up->session_present);
	upstream_set_error(u, "");
	timer_arm(&u->watch, WATCH_MS);
	log_notice("upstream: connected to %s://%s:%u (MQTT %s, session %s, window %u)",
		s->uri.scheme, s->uri.host, s->uri.port, up->version == 5 ? "5" : "3.1.1",
		up->session_present ? "resumed" : "new", u->window);
	if (up->keepalive_s && (int64_t)up->keepalive_s * 1000 < u->keepalive_ms) {
		log_info("upstream: the broker wants a ping every %us, connecting again",
			up->keepalive_s);
		u->keepalive_ms = (int64_t)up->keepalive_s * 1000;
		upstream_link_close(u);
	} else if (u->servers_changed) {
		upstream_link_close(u);
	}
}

/* An attempt with MQTT 5 failed: is it the version? A broker says so (3.1.1: code 1), or an old one
 * closes the connection without a word. One that has taken MQTT 5 before, or that is only slow,
 * gets MQTT 5 again: going down would cost us the session, and with it exactly-once. */
static bool fall_back(struct upstream *u, struct server *s, enum reason reason)
{
	bool at_once = clock_ms() - u->attempt_ms < u->conf->connect_timeout_ms / 2;

	if (u->conf->version != VERSION_AUTO || s->only_311)
		return false;
	if (reason == R_UNSPECIFIED && !s->takes_5 && !s->tls && at_once)
		u->silent_closes++;
	if (reason != R_VERSION && u->silent_closes < SILENT_CLOSES)
		return false;
	u->silent_closes = 0;
	s->only_311 = true;
	log_info("upstream: %s:%u does not take MQTT 5, trying 3.1.1", s->uri.host, s->uri.port);
	return true;
}

static void attempt_failed(struct upstream *u, enum reason reason, const char *text)
{
	struct server *s = reconnect_server(u->reconnect);

	if (u->servers_changed) {
		take_servers(u);
		return;
	}
	if (fall_back(u, s, reason)) {
		reconnect_again(u->reconnect);
		return;
	}
	log_failure(u, s, text);
	/* What was only guessed from silence is not held against a server for ever. */
	if (reason == R_UNSPECIFIED)
		s->only_311 = false;
	/* A broker that came and went meanwhile is no reason for the long pauses of a refusal; a
	 * handshake that fails will fail again. */
	if (reason == R_UNSPECIFIED && !s->tls)
		reconnect_failed(u->reconnect);
	else
		reconnect_refused(u->reconnect);
}

/* Another client with our id, too many messages, no right any more: not to be repeated at once. */
static bool dismissed(enum reason reason)
{
	return reason_failed(reason) && reason != R_UNSPECIFIED && reason != R_SHUTTING_DOWN;
}

static void on_down(void *arg, enum reason reason, const char *text)
{
	struct upstream *u = arg;
	const struct server *s = reconnect_server(u->reconnect);
	enum upstream_state was = u->state;

	set_state(u, UPSTREAM_WAITING);
	timer_disarm(&u->watch);
	backlog_set_link(u->backlog, false);
	router_secure(u->router); /* the broker had the retained values as well */
	interest_down(u->interest);
	echo_flush(u->echo);
	if (was == UPSTREAM_CONNECTING) {
		attempt_failed(u, reason, text);
		return;
	}
	if (was == UPSTREAM_UP) {
		log_failure(u, s, text);
	} else {
		log_info("upstream: %s:%u: %s", s->uri.host, s->uri.port, text);
	}
	if (u->servers_changed)
		take_servers(u);
	else if (was == UPSTREAM_CLOSING && u->strikes == 0)
		reconnect_start(u->reconnect);
	else
		reconnect_lost(u->reconnect, dismissed(reason));
}

static void on_granted(void *arg, const uint8_t *codes, size_t n)
{
	struct upstream *u = arg;

	interest_granted(u->interest, codes, n);
}

const struct uplink_events upstream_uplink_events = {
	.up = on_up,
	.down = on_down,
	.published = upstream_on_published,
	.granted = on_granted,
	.message = upstream_on_message,
	.released = upstream_on_released,
	.overrun = upstream_on_overrun,
};

/* The library itself notices a dead peer after 2.5 keepalives; this is for a peer that answers
 * pings and nothing else, and for a library that lost count. */
static void watch_window(struct upstream *u)
{
	if (clock_ms() - u->told_ms >= GAPS_MS)
		tell_gaps(u);
	if (u->in_flight == 0 || clock_ms() - u->progress_ms < stuck_ms(u)) {
		timer_arm(&u->watch, WATCH_MS);
		return;
	}
	u->strikes++;
	u->progress_ms = clock_ms();
	log_warn("upstream: nothing was acknowledged for %lld s, connecting again",
		(long long)(stuck_ms(u) / 1000));
	if (u->strikes == 1) {
		upstream_link_close(u);
		return;
	}
	set_state(u, UPSTREAM_CLOSING);
	timer_arm(&u->watch, CLOSING_MS);
	u->uplink->ops->abandon(u->uplink);
}

static void on_watch(struct timer *t)
{
	struct upstream *u = container_of(t, struct upstream, watch);

	switch (u->state) {
	case UPSTREAM_WAITING: /* the attempt could not even be asked for */
		reconnect_refused(u->reconnect);
		break;
	case UPSTREAM_CONNECTING:
	case UPSTREAM_CLOSING: /* the library should have told us long ago */
		timer_arm(t, CLOSING_MS);
		u->uplink->ops->abandon(u->uplink);
		break;
	case UPSTREAM_UP:
		watch_window(u);
		break;
	}
}

void upstream_link_init(struct upstream *u)
{
	timer_init(&u->watch, on_watch);
	u->keepalive_ms = u->conf->keepalive_ms;
	u->since_ms = clock_ms();
}
