#include "adapters/mqttsn/sn_handlers.h"

#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/session_store.h"
#include "gateway/core/topic.h"

#include <stdlib.h>
#include <string.h>

/* CONNECT, the will dialogue (MQTT-SN 1.2, 6.3) and will updates (6.4). The session begins when the
 * dialogue is over; until then nothing of the old one is touched. */

static struct count refused = COUNT("mqttsn.takeover_refused");

/* What a client asked for, dialogue included. */
struct opening {
	const char *client_id;
	uint16_t duration_s;
	bool clean;
	bool will; /* replace the stored will; an empty topic: by none */
	uint8_t will_qos;
	bool will_retain;
	struct span will_topic, will_message;
};

/* For a session that is there; see turn_down() and reject(). */
static void accept_peer(struct sn_peer *p)
{
	sn_promise(p, &(struct sn_packet){ .type = SN_CONNACK, .return_code = SN_ACCEPTED });
}

static void turn_down(const struct sn_input *in, enum sn_return_code code)
{
	struct sn_packet out = { .type = SN_CONNACK, .return_code = (uint8_t)code };
	sn_send(in->gw, in->from, &out);
}

/* CONNACK with an error; nothing remains of the peer. */
static void reject(struct sn_peer *p, enum sn_return_code code)
{
	session_detach(&p->link, DETACH_CLEAN);
	sn_peer_send(p, &(struct sn_packet){ .type = SN_CONNACK, .return_code = (uint8_t)code });
	sn_peer_remove(p);
}

bool sn_client_id(struct span data, char id[SN_CLIENT_ID_MAX + 1])
{
	if (data.len == 0 || data.len > SN_CLIENT_ID_MAX || !utf8_valid(data))
		return false;
	memcpy(id, data.p, data.len);
	id[data.len] = '\0';
	return true;
}

bool sn_may_speak_for(const struct session *s, const struct sn_route *from)
{
	const struct sn_peer *p = sn_peer_of_session(s);
	int policy = sn_route_conf(from)->takeover;
	if (p && sn_route_equal(&p->route, from))
		return true;
	if (p) /* of two groups the stricter one decides */
		policy = MIN(policy, sn_peer_conf(p)->takeover);
	if (policy == SN_TAKEOVER_ALLOW)
		return true;
	if (policy == SN_TAKEOVER_REFUSE && s->link)
		return false;
	return addr_same_ip(&s->who.peer, &from->addr);
}

static bool may_connect(
	const struct sn_gateway *gw, const char *client_id, const struct sn_route *from)
{
	static struct log_limit limit = LOG_LIMIT(5, 60000);
	char text[ADDR_TEXT_MAX];
	const struct session *s = sessions_find(gw->env.sessions, PROTO_MQTTSN, client_id);
	if (!s || sn_may_speak_for(s, from))
		return true;
	count_one(&refused);
	log_limited(&limit, LOG_LEVEL_INFO,
		"%s %s mqttsn: CONNECT refused, the client id belongs to another address",
		client_id, addr_text(&from->addr, text));
	return false;
}

/* Its origin is the client's, so that No Local and the like hold for it. */
static enum reason set_will(struct session *s, const struct opening *o)
{
	if (!o->will_topic.len) {
		session_set_will(s, NULL, 0);
		return R_SUCCESS;
	}
	struct message *m = message_new(&(struct message_init){
		.topic = o->will_topic,
		.payload = o->will_message,
		.qos = o->will_qos,
		.retain = o->will_retain,
		.origin = s->who.origin,
	});
	if (!m)
		return R_QUOTA;
	session_set_will(s, m, 0);
	message_unref(m);
	return R_SUCCESS;
}

static enum reason attach(struct sn_peer *p, const struct opening *o)
{
	struct sn_gateway *gw = sn_peer_gw(p);
	const struct session *old = sessions_find(gw->env.sessions, PROTO_MQTTSN, o->client_id);
	struct session_connect c = {
		.client_id = o->client_id,
		.protocol = PROTO_MQTTSN,
		.peer = p->route.addr,
		.link = &p->link,
		/* What began with CleanSession is not resumed by a CONNECT without. */
		.clean_start = o->clean || (old && old->expiry_s == 0),
		.expiry_s = o->clean ? 0 : (uint32_t)(gw->conf.session_expiry_ms / 1000),
		.keepalive_ms = sn_silence_ms(sn_peer_conf(p), o->duration_s),
		.window = 1,
		.datagram = true,
		.stored = true,
		.keep_will = true,
		.mountpoint = p->route.socket->group->mountpoint,
	};
	struct session *s;
	bool present, repeated = old && old->link == &p->link && p->state == SN_ACTIVE;
	enum reason reason = session_connect(gw->env.sessions, &c, &s, &present);
	if (!reason_failed(reason) && o->will)
		reason = set_will(s, o);
	if (reason_failed(reason))
		return reason;
	if (present && sn_topics_peek(s))
		sn_topics_unannounce(sn_topics_peek(s));
	if (!repeated) /* it is to find itself here after a restart, and awake */
		session_changed(s);
	return R_SUCCESS;
}

/* Whether the mountpoint of its listener can be filled in for it. */
static bool scope_suits(const struct sn_peer *p, const char *client_id)
{
	const struct identity who = { .client_id = client_id, .protocol = PROTO_MQTTSN };
	const struct scope scope = sn_route_scope(&p->route, &who);
	return scope_fits(&scope);
}

/* `o` may point into the dialogue, which ends here. */
static void open_session(struct sn_peer *p, const struct opening *o)
{
	char text[ADDR_TEXT_MAX];
	enum reason reason = R_NOT_AUTHORIZED;
	timer_disarm(&p->talk->timer);
	p->talk->waiting = SN_WAIT_NOTHING; /* the session sends it again */
	p->unknown_ids = 0;
	if (may_connect(sn_peer_gw(p), o->client_id, &p->route) && scope_suits(p, o->client_id))
		reason = attach(p, o);
	log_debug("%s %s mqttsn: connect, %s", o->client_id, addr_text(&p->route.addr, text),
		reason_name(reason));
	if (reason_failed(reason)) {
		reject(p, sn_return_code(reason));
		return;
	}
	p->late_will = p->talk->dialogue != NULL;
	sn_peer_drop_dialogue(p);
	sn_peer_set_state(p, SN_ACTIVE);
	accept_peer(p);
	session_pump(p->link.session);
}

/* Asks for what is missing. A device that rebooted in the middle starts over when the dialogue
 * times out: before the second repetition of its CONNECT. */
static void ask(struct sn_peer *p)
{
	sn_peer_send_bare(p, p->state == SN_WILL_TOPIC ? SN_WILLTOPICREQ : SN_WILLMSGREQ);
}

static void proceed(struct sn_peer *p, enum sn_state state)
{
	sn_peer_set_state(p, state);
	timer_arm(&p->talk->timer, sn_peer_conf(p)->retry_interval_ms * 3 / 2);
	ask(p);
}

static void begin_dialogue(struct sn_peer *p, const struct sn_packet *connect, const char *id)
{
	struct sn_dialogue *d = calloc(1, sizeof(*d) + strlen(id) + 1);
	if (!d) {
		reject(p, SN_CONGESTION);
		return;
	}
	memcpy(d->client_id, id, strlen(id) + 1);
	d->clean = connect->clean;
	d->duration_s = connect->duration_s;
	sn_stop_delivery(p);
	sn_peer_drop_dialogue(p);
	p->talk->dialogue = d;
	proceed(p, SN_WILL_TOPIC);
}

void sn_dialogue_timeout(struct sn_peer *p)
{
	if (p->link.session)
		sn_peer_lost(p, "no will came");
	else
		sn_peer_remove(p);
}

static bool repeats(const struct sn_peer *p, const struct sn_packet *connect, const char *id)
{
	const struct sn_dialogue *d = p->talk->dialogue;
	return d && connect->will && strcmp(d->client_id, id) == 0 && d->clean == connect->clean &&
	       d->duration_s == connect->duration_s;
}

/* Another client at this address: as if the old one had said goodbye. */
static void leave_other(struct sn_peer *p, const char *id)
{
	const struct session *s = p->link.session;
	if (s && strcmp(s->who.client_id, id) != 0) {
		p->talk->waiting = SN_WAIT_NOTHING;
		session_detach(&p->link, DETACH_CLEAN);
		sn_hold_drop(p);
	}
}

/* A CONNECT that is repeated cannot be told from a rebooted device's: it is applied in full. */
static void connect_peer(struct sn_peer *p, const struct sn_packet *connect, const char *id)
{
	if (repeats(p, connect, id)) {
		ask(p);
		return;
	}
	leave_other(p, id);
	if (connect->will) {
		begin_dialogue(p, connect, id);
		return;
	}
	sn_peer_drop_dialogue(p);
	struct opening o = {
		.client_id = id,
		.duration_s = connect->duration_s,
		.clean = connect->clean,
	};
	open_session(p, &o);
}

void sn_on_connect(const struct sn_input *in)
{
	char id[SN_CLIENT_ID_MAX + 1];
	if (in->p->protocol_id != SN_PROTOCOL_ID || !sn_client_id(in->p->data, id)) {
		turn_down(in, SN_NOT_SUPPORTED);
		return;
	}
	if (in->gw->draining) {
		turn_down(in, SN_CONGESTION);
		return;
	}
	if (!may_connect(in->gw, id, in->from)) {
		turn_down(in, SN_NOT_SUPPORTED);
		return;
	}
	struct sn_peer *p = in->peer ? in->peer : sn_peer_new(in->gw, in->from);
	if (p && sn_peer_begin_talk(p) == 0)
		connect_peer(p, in->p, id);
	else
		turn_down(in, SN_CONGESTION);
}

static struct opening opening_of(const struct sn_dialogue *d, struct span message)
{
	return (struct opening){
		.client_id = d->client_id,
		.duration_s = d->duration_s,
		.clean = d->clean,
		.will = true,
		.will_qos = d->will_qos,
		.will_retain = d->will_retain,
		.will_topic = span_of(d->will_topic, d->will_topic_len),
		.will_message = message,
	};
}

/* The hub's topic of a will, in `buf` of SCOPE_TEXT_MAX bytes or in *topic itself. A will is a
 * publication like any other: what the client may not publish it may not leave behind. */
static bool enter_will(
	const struct sn_peer *p, const char *client_id, uint8_t *buf, struct span *topic)
{
	struct policy *policy = router_policy(sn_peer_gw(p)->env.router);
	struct identity who = {
		.client_id = client_id,
		.protocol = PROTO_MQTTSN,
		.peer = p->route.addr,
	};
	const struct scope scope = sn_route_scope(&p->route, &who);
	return !reason_failed(scope_enter(&scope, REWRITE_PUBLISH, *topic, buf, topic)) &&
	       topic_valid_name(*topic) && topic->p[0] != '$' &&
	       policy->allows(policy, &who, ACCESS_PUBLISH, *topic);
}

/* There is no QoS -1 for a will. */
static uint8_t will_qos(const struct sn_packet *p)
{
	return p->qos == SN_QOS_MINUS_1 ? 0 : p->qos;
}

static bool keep_topic(struct sn_dialogue *d, const struct sn_packet *p, struct span topic)
{
	char *copy = malloc(topic.len);
	if (!copy)
		return false;
	memcpy(copy, topic.p, topic.len);
	free(d->will_topic);
	d->will_topic = copy;
	d->will_topic_len = (uint16_t)topic.len;
	d->will_qos = will_qos(p);
	d->will_retain = p->retain;
	return true;
}

void sn_on_will_topic(const struct sn_input *in)
{
	struct sn_peer *p = in->peer;
	struct sn_dialogue *d = p->talk->dialogue;
	struct span topic = in->p->data;
	uint8_t buf[SCOPE_TEXT_MAX];
	if (!topic.len) { /* 6.3: the device has no will (any more) */
		free(d->will_topic);
		d->will_topic = NULL;
		d->will_topic_len = 0;
		struct opening o = opening_of(d, span_of(NULL, 0));
		open_session(p, &o);
	} else if (!enter_will(p, d->client_id, buf, &topic)) {
		reject(p, SN_NOT_SUPPORTED);
	} else if (!keep_topic(d, in->p, topic)) {
		reject(p, SN_CONGESTION);
	} else {
		proceed(p, SN_WILL_MSG);
	}
}

void sn_on_will_message(const struct sn_input *in)
{
	struct opening o = opening_of(in->peer->talk->dialogue, in->p->data);
	open_session(in->peer, &o);
}

/* Our CONNACK was lost and the device repeats the last step of the dialogue. */
void sn_on_late_will(const struct sn_input *in)
{
	if (in->peer->late_will)
		accept_peer(in->peer);
}

static enum reason replace_will(
	struct session *s, struct span topic, struct span payload, uint8_t qos, bool retain)
{
	struct opening o = {
		.will_topic = topic,
		.will_message = payload,
		.will_qos = qos,
		.will_retain = retain,
	};
	return set_will(s, &o);
}

static enum reason update_will_topic(struct sn_peer *p, const struct sn_packet *in)
{
	struct session *s = p->link.session;
	struct span payload = s->will ? message_payload(s->will) : span_of(NULL, 0);
	struct span topic = in->data;
	uint8_t buf[SCOPE_TEXT_MAX];
	if (topic.len && !enter_will(p, s->who.client_id, buf, &topic))
		return R_TOPIC_INVALID;
	return replace_will(s, topic, payload, will_qos(in), in->retain);
}

void sn_on_will_topic_update(const struct sn_input *in)
{
	enum reason reason = update_will_topic(in->peer, in->p);
	struct sn_packet out = {
		.type = SN_WILLTOPICRESP,
		.return_code = (uint8_t)sn_return_code(reason),
	};
	sn_promise(in->peer, &out);
}

void sn_on_will_message_update(const struct sn_input *in)
{
	struct session *s = in->peer->link.session;
	enum reason reason = R_TOPIC_INVALID; /* no topic to send it to */
	if (s->will)
		reason = replace_will(
			s, message_topic(s->will), in->p->data, s->will->qos, s->will->retain);
	struct sn_packet out = {
		.type = SN_WILLMSGRESP,
		.return_code = (uint8_t)sn_return_code(reason),
	};
	sn_promise(in->peer, &out);
}
