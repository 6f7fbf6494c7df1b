#include "adapters/mqtt/mq_conn.h"

#include "adapters/mqtt/mq_group.h"
#include "adapters/mqtt/mq_tls.h"
#include "adapters/mqtt/mq_ws_stream.h"
#include "adapters/mqtt/mqtt.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/session_store.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct count malformed = COUNT("mqtt.closed_for_error");
static struct count timed_out = COUNT("mqtt.connect_timeout");

const char *mq_conn_name(const struct mq_conn *c, char *buf)
{
	char addr[ADDR_TEXT_MAX];
	const struct session *s = c->link.session;

	snprintf(buf, MQ_NAME_MAX, "%s%s%s", s ? s->who.client_id : "", s ? " " : "",
		addr_text(&c->peer, addr));
	return buf;
}

struct scope mq_conn_scope(const struct mq_conn *c)
{
	return (struct scope){
		.rewrite = c->mqtt->env.rewrite,
		.mountpoint = c->group->mountpoint,
		.who = &c->link.session->who,
	};
}

static void conn_watch(struct mq_conn *c);

void mq_conn_mark(struct mq_conn *c)
{
	if (c->waits && c->state != MQ_CLOSING)
		conn_watch(c);
	else if (list_empty(&c->turn))
		list_append(&c->mqtt->turn, &c->turn);
}

void mq_conns_wake(struct mqtt *m)
{
	while (!list_empty(&m->waiting)) {
		struct mq_conn *c = list_first(&m->waiting, struct mq_conn, turn);
		if (!session_reached(m->env.sessions, c->mark))
			break;
		c->waits = false;
		list_remove(&c->turn);
		mq_conn_mark(c);
	}
}

/* CONNACK, SUBACK and UNSUBACK say what will be after a restart as well: they, and what was written
 * behind them, leave when that is on stable storage. True: not yet. */
static bool conn_waits(struct mq_conn *c)
{
	const struct sessions *all = c->mqtt->env.sessions;

	if (!c->promises)
		return false;
	c->promises = false;
	c->mark = c->link.session ? session_mark(c->link.session) : sessions_mark(all);
	c->waits = !session_reached(all, c->mark);
	if (!c->waits)
		return false;
	list_remove(&c->turn);
	list_append(&c->mqtt->waiting, &c->turn);
	return true;
}

/* Ends */

/* The session is detached already, or is so here. */
static void conn_shut(struct mq_conn *c)
{
	c->state = MQ_CLOSING;
	event_del(&c->io);
	timer_disarm(&c->timer);
	mq_publish_clear(c);
	mq_conn_mark(c);
}

static void log_close(const struct mq_conn *c, enum reason why)
{
	static struct log_limit limit = LOG_LIMIT(20, 10000);
	char name[MQ_NAME_MAX];

	if (why == R_SUCCESS || log_level() < LOG_LEVEL_INFO)
		return;
	log_limited(&limit, LOG_LEVEL_INFO, "%s mqtt: closed, %s", mq_conn_name(c, name),
		reason_name(why));
}

/* Before MQTT 5 there is no word for it (DISCONNECT is the client's): the connection ends. */
static void say_why(struct mq_conn *c, enum reason why)
{
	if (c->v5 && c->state == MQ_OPEN && reason_failed(why))
		mq_conn_send_reason(c, MQ_DISCONNECT, 0, why);
}

void mq_conn_close(struct mq_conn *c, enum detach how, enum reason why)
{
	if (c->state == MQ_CLOSING)
		return;
	log_close(c, why);
	if (reason_failed(why))
		count_one(&malformed);
	say_why(c, why);
	conn_shut(c);
	session_detach(&c->link, how);
}

static void on_closed(struct link *l, enum reason why)
{
	struct mq_conn *c = container_of(l, struct mq_conn, link);

	log_close(c, why);
	say_why(c, why);
	conn_shut(c);
}

static const struct link_ops conn_link_ops = {
	.deliver = mq_deliver,
	.release = mq_release,
	.published = mq_publish_done,
	.closed = on_closed,
};

static void conn_free(struct reap *r)
{
	free(container_of(r, struct mq_conn, reap));
}

static void input_free(struct mq_conn *c)
{
	if (c->in.cap > MQ_READ_BYTES) {
		c->mqtt->grown_bytes -= c->in.cap;
		free(c->in.p);
	} else if (c->in.p) {
		mq_pool_put(&c->mqtt->inputs, c->in.p);
	}
	memset(&c->in, 0, sizeof(c->in));
}

static void v5_free(struct mq_v5 *v)
{
	if (!v)
		return;
	mq_aliases_clear(&v->in);
	mq_aliases_clear(&v->out);
	free(v);
}

static void conn_release(struct mq_conn *c)
{
	event_del(&c->io);
	mq_stream_free(c->stream);
	close(c->tcp.fd);
	input_free(c);
	mq_out_clear(&c->out);
	v5_free(c->v5);
	list_remove(&c->turn);
	list_remove(&c->node);
	c->mqtt->n_conns--;
	reap_later(&c->reap, conn_free);
}

void mq_conn_abort(struct mq_conn *c)
{
	mq_conn_close(c, DETACH_LOST, R_SUCCESS);
	(void)mq_stream_end(c->stream);
	conn_release(c);
}

static int out_send(struct mq_conn *c)
{
	size_t before = c->out.bytes;
	int e = mq_out_send(&c->out, c->stream);

	traffic_add(&mq_traffic, TRAFFIC_BYTES_OUT, before - c->out.bytes);
	return e;
}

#define FAREWELL_READS 16

/* Unread input would make close() send a reset, which can overtake a CONNACK that refuses. */
static void conn_farewell(struct mq_conn *c)
{
	bool last_words = c->out.bytes;
	uint8_t rest[4096];

	if (out_send(c) == 0 && (mq_stream_end(c->stream) || last_words)) {
		shutdown(c->tcp.fd, SHUT_WR);
		for (unsigned n = 0; n < FAREWELL_READS; n++)
			if (recv(c->tcp.fd, rest, sizeof(rest), MSG_DONTWAIT) <= 0)
				break;
	}
	conn_release(c);
}

/* Input */

/* False: no memory for more, or the bound of all unfinished packets is reached. A packet's length
 * is only a promise; the buffer doubles when what was promised has come. */
static bool input_grow(struct mq_conn *c)
{
	struct mqtt *m = c->mqtt;
	size_t cap = c->in.cap * 2, old = c->in.cap > MQ_READ_BYTES ? c->in.cap : 0;

	if (m->max_grown_bytes && m->grown_bytes - old + cap > m->max_grown_bytes)
		return false;
	uint8_t *p = malloc(cap);
	if (!p)
		return false;
	memcpy(p, c->in.p, c->in.end);
	size_t end = c->in.end;
	input_free(c);
	c->in.p = p;
	c->in.cap = cap;
	c->in.end = end;
	m->grown_bytes += cap;
	return true;
}

static bool input_room(struct mq_conn *c)
{
	if (!c->in.p) {
		c->in.p = mq_pool_get(&c->mqtt->inputs);
		c->in.cap = c->in.p ? MQ_READ_BYTES : 0;
	}
	if (c->in.at) {
		memmove(c->in.p, c->in.p + c->in.at, c->in.end - c->in.at);
		c->in.end -= c->in.at;
		c->in.at = 0;
	}
	return c->in.p && (c->in.end < c->in.cap || input_grow(c));
}

/* What TLS or WebSocket had to object to. */
static void log_stream(const struct mq_conn *c)
{
	static struct log_limit limit = LOG_LIMIT(20, 10000);
	char name[MQ_NAME_MAX];

	if (c->stream->why && log_level() >= LOG_LEVEL_INFO)
		log_limited(&limit, LOG_LEVEL_INFO, "%s mqtt: %s", mq_conn_name(c, name),
			c->stream->why);
}

static void conn_read(struct mq_conn *c)
{
	if (!input_room(c)) {
		mq_conn_close(c, DETACH_LOST, R_QUOTA);
		return;
	}
	size_t room = MIN(c->in.cap - c->in.end, (size_t)MQ_READ_MAX_BYTES);
	ssize_t n = mq_stream_read(c->stream, c->in.p + c->in.end, room);
	if (n > 0) {
		c->in.end += (size_t)n;
		traffic_add(&mq_traffic, TRAFFIC_BYTES_IN, (uint64_t)n);
	} else if (n != -EAGAIN) {
		log_stream(c);
		mq_conn_close(c, DETACH_LOST, n == -EPROTO ? R_PROTOCOL_ERROR : R_SUCCESS);
	}
}

/* What can be said before the body has come. */
static enum reason header_check(const struct mq_conn *c, const struct mq_header *h)
{
	if (c->state == MQ_WAITING && h->type != MQ_CONNECT) /* [MQTT-3.1.0-1] */
		return R_PROTOCOL_ERROR;
	if (h->size + h->body > mqtt_max_packet(c->mqtt)) /* as CONNACK tells MQTT 5 clients */
		return R_TOO_LARGE;
	return R_SUCCESS;
}

/* True: a packet was taken, there may be another. */
static bool conn_packet(struct mq_conn *c)
{
	struct span left = span_of(c->in.p + c->in.at, c->in.end - c->in.at);
	struct mq_header h;

	int e = mq_header_read(left, &h);
	if (e == -EAGAIN)
		return false;
	enum reason why = e < 0 ? R_MALFORMED : header_check(c, &h);
	if (!reason_failed(why)) {
		if (left.len - h.size < h.body)
			return false;
		why = mq_receive(c, &h, span_of(left.p + h.size, h.body));
	}
	c->no_memory = why == R_BUSY;
	if (c->no_memory)
		return false;
	traffic_one(&mq_traffic, TRAFFIC_PACKETS_IN);
	if (reason_failed(why))
		mq_conn_close(c, DETACH_LOST, why);
	else
		c->in.at += h.size + h.body;
	return true;
}

void mq_conn_process(struct mq_conn *c)
{
	unsigned n = 0;

	c->more = false;
	while (c->state != MQ_CLOSING && c->in.at < c->in.end && mq_publish_room(c)) {
		if (n++ == MQ_PACKETS_PER_TURN) {
			c->more = true;
			break;
		}
		if (!conn_packet(c))
			break;
	}
	if (c->in.p && c->in.at == c->in.end)
		input_free(c);
}

/* Events */

static void on_io(evutil_socket_t fd, short what, void *arg)
{
	struct mq_conn *c = arg;
	(void)fd;

	clock_tick();
	if (((what & EV_READ) || c->stream->read_blocked) && c->state != MQ_CLOSING) {
		if (!c->more)
			conn_read(c);
		mq_conn_process(c);
	}
	mq_conn_mark(c);
}

static void on_timer(struct timer *t)
{
	struct mq_conn *c = container_of(t, struct mq_conn, timer);

	if (c->state == MQ_WAITING) {
		count_one(&timed_out);
		mq_conn_close(c, DETACH_LOST, R_MAX_CONNECT_TIME);
		return;
	}
	mq_publish_retry(c);
	mq_conn_process(c);
	mq_conn_mark(c);
}

static bool conn_may_read(const struct mq_conn *c)
{
	return !c->no_memory && mq_publish_room(c) && c->out.copied < MQ_OUT_STOP_BYTES;
}

/* Waits for input only while it can be taken: a peer that is not read stops sending. */
static void conn_watch(struct mq_conn *c)
{
	bool read = conn_may_read(c);
	bool unsent = (c->out.bytes || c->stream->unsent) && !c->waits;
	bool write = unsent || (read && c->stream->read_blocked);
	uint8_t want = (uint8_t)((read ? EV_READ : 0) | (write ? EV_WRITE : 0));

	if (want != c->watched) {
		event_del(&c->io);
		event_assign(
			&c->io, c->mqtt->env.base, c->tcp.fd, (short)(want | EV_PERSIST), on_io, c);
		if (want)
			event_add(&c->io, NULL);
		c->watched = want;
	}
	/* What is in the buffer already wakes nobody: the next turn must come without waiting. */
	if (read && (c->more || c->stream->pending))
		event_active(&c->io, EV_READ, 0);
}

/* As mq_out_send(); what the stream itself has to say goes as well. */
static int conn_write(struct mq_conn *c)
{
	int e = out_send(c);

	return e == 0 && c->stream->unsent ? (int)mq_stream_write(c->stream, NULL, 0) : e;
}

void mq_conn_turn(struct mq_conn *c)
{
	if (c->doom)
		mq_conn_close(c, DETACH_LOST, c->doom);
	if (conn_waits(c)) {
		mq_conn_mark(c); /* for what it may read */
		return;
	}
	if (c->state == MQ_CLOSING) {
		conn_farewell(c);
		return;
	}
	int e = conn_write(c);
	if (c->out.failed || (e < 0 && e != -EAGAIN)) {
		mq_conn_close(c, DETACH_LOST, c->out.failed ? R_QUOTA : R_SUCCESS);
		conn_release(c);
		return;
	}
	if (c->starved && c->out.bytes <= MQ_OUT_LOW_BYTES) {
		c->starved = false;
		session_pump(c->link.session);
	}
	conn_watch(c);
	list_remove(&c->turn);
}

/* False: no memory. */
static bool conn_open_stream(struct mq_conn *c, int fd, bool tls, bool ws)
{
	struct mqtt *m = c->mqtt;

	mq_tcp_init(&c->tcp, fd);
	c->stream = tls ? mq_tls_stream_new(c->group->tls, fd, &m->handshakes) : &c->tcp.stream;
	if (c->stream && ws)
		c->stream = mq_ws_stream_new(c->stream, &c->group->ws);
	return c->stream;
}

bool mq_conn_new(struct mq_group *g, int fd, const struct addr *peer, bool tls, bool ws)
{
	struct mqtt *m = g->mqtt;
	struct mq_conn *c = calloc(1, sizeof(*c));

	if (c) {
		c->mqtt = m;
		c->group = g;
	}
	if (!c || !conn_open_stream(c, fd, tls, ws)) {
		free(c);
		close(fd);
		return false;
	}
	c->link.ops = &conn_link_ops;
	c->peer = *peer;
	c->version = MQ_V311;
	list_init(&c->turn);
	list_init(&c->held);
	mq_out_init(&c->out, &m->outputs);
	event_assign(&c->io, m->env.base, fd, EV_PERSIST, on_io, c); /* conn_watch() adds it */
	timer_init(&c->timer, on_timer);
	timer_arm(&c->timer, g->connect_timeout_ms);
	list_append(&m->conns, &c->node);
	m->n_conns++;
	mq_conn_mark(c);
	return true;
}
