#include "adapters/mqtt/mq_conn.h"

#include "adapters/mqtt/mq_group.h"
#include "adapters/mqtt/mq_props.h"
#include "adapters/mqtt/mqtt.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/topic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_ID_MAX 256

static struct count connects = COUNT("mqtt.connects");
static struct count refused = COUNT("mqtt.connects_refused");

/* What was agreed on, for CONNACK and the log. */
struct terms {
	char client_id[CLIENT_ID_MAX + 1];
	char *username; /* owned; NULL: none */
	uint32_t wanted_expiry_s, expiry_s;
	uint16_t keepalive_s;
	bool present;
};

/* Table 3.1; what has no code of its own is "unavailable". */
static uint8_t connack_code(const struct mq_conn *c, enum reason why)
{
	if (c->version >= MQ_V5)
		return mq_code(MQ_CONNACK, why);
	switch (why) {
	case R_SUCCESS:
		return MQ_ACCEPTED;
	case R_VERSION:
		return MQ_BAD_VERSION;
	case R_CLIENT_ID:
		return MQ_BAD_CLIENT_ID;
	case R_BAD_CREDENTIALS:
		return MQ_BAD_LOGIN;
	case R_NOT_AUTHORIZED:
	case R_BANNED:
		return MQ_NOT_AUTHORIZED;
	default:
		return MQ_UNAVAILABLE;
	}
}

/* CONNACK with the reason, then the end [MQTT-3.2.2-4, 3.2.2-5]. */
static enum reason connect_refuse(struct mq_conn *c, enum reason why)
{
	uint8_t buf[MQ_CONNACK_PROPS_MAX];
	struct writer props = writer_of(buf, sizeof(buf));

	count_one(&refused);
	mq_put_reason(c, &props, why);
	mq_conn_send(c, &(struct mq_packet){ .type = MQ_CONNACK,
				.code = connack_code(c, why),
				.props = span_of(buf, props.len) });
	mq_conn_close(c, DETACH_LOST, why);
	return R_SUCCESS;
}

/* A client of MQTT 5 understands a CONNACK of MQTT 5 only (MQTT 5.0, 3.1.2.2); what comes after it
 * is expected to. The highest bit is what mosquitto's bridges add. Before, a malformed CONNECT gets
 * no answer [MQTT-3.1.4-1]. */
enum reason mq_connect_bad(struct mq_conn *c, uint8_t level, enum reason why)
{
	bool v5 = (level & 0x7f) >= MQ_V5;

	if (c->state != MQ_WAITING || (!v5 && why != R_VERSION))
		return why;
	c->version = v5 ? MQ_V5 : MQ_V311;
	return connect_refuse(c, why);
}

/* 3.1.2.11 of MQTT 5.0. False: no memory. */
static bool start_v5(struct mq_conn *c, struct span props)
{
	struct mq_v5 *v = calloc(1, sizeof(*v));
	if (!v)
		return false;
	uint32_t aliases = mq_props_number(props, MQ_PROP_TOPIC_ALIAS_MAXIMUM, 0);

	c->v5 = v;
	v->max_packet = mq_props_number(props, MQ_PROP_MAXIMUM_PACKET_SIZE, UINT32_MAX);
	v->problem_info = mq_props_number(props, MQ_PROP_REQUEST_PROBLEM, 1);
	v->receive_max = c->mqtt->receive_max;
	mq_aliases_init(&v->in, MQ_ALIASES_MAX);
	mq_aliases_init(&v->out, (uint16_t)MIN(aliases, MQ_ALIASES_MAX));
	return true;
}

/* Fills `id`, NUL-terminated. R_CLIENT_ID: it has none that will do. */
static enum reason choose_client_id(const struct mq_connect *con, char id[CLIENT_ID_MAX + 1])
{
	if (con->client_id.len > CLIENT_ID_MAX)
		return R_CLIENT_ID;
	if (con->client_id.len) {
		memcpy(id, con->client_id.p, con->client_id.len);
		id[con->client_id.len] = '\0';
		return R_SUCCESS;
	}
	/* [MQTT-3.1.3-7, 3.1.3-8]; MQTT 3.1 has no empty ids, MQTT 5 has them always. */
	if (con->level < MQ_V5 && (!con->clean_start || con->level == MQ_V31))
		return R_CLIENT_ID;
	uint64_t unique[2];
	random_bytes(unique, sizeof(unique));
	snprintf(id, CLIENT_ID_MAX + 1, "auto-%016" PRIx64 "%016" PRIx64, unique[0], unique[1]);
	return R_SUCCESS;
}

/* What the client may call its will is what it could publish. */
static enum reason make_will(
	const struct scope *scope, const struct mq_connect *con, struct message **will)
{
	uint8_t buf[SCOPE_TEXT_MAX];

	*will = NULL;
	if (!con->has_will)
		return R_SUCCESS;
	if (!topic_valid_name(con->will_topic))
		return R_TOPIC_INVALID;
	if (!mq_payload_well_formed(con->will_payload, con->will_props))
		return R_PAYLOAD_FORMAT;
	struct mq_publish pub = {
		.topic = con->will_topic,
		.payload = con->will_payload,
		.qos = con->will_qos,
		.retain = con->will_retain,
	};
	enum reason why = scope_enter(scope, REWRITE_PUBLISH, pub.topic, buf, &pub.topic);
	if (reason_failed(why))
		return why;
	*will = mq_message_new(&pub, con->will_props, ORIGIN_GATEWAY);
	return *will ? R_SUCCESS : R_QUOTA;
}

/* Fills `t` but for the client id. */
static void agree(const struct mq_conn *c, const struct mq_packet *p, struct terms *t)
{
	const struct mqtt *m = c->mqtt;
	const struct mq_connect *con = &p->connect;
	uint16_t most = c->group->max_keepalive_s;

	t->keepalive_s = con->keepalive_s;
	t->wanted_expiry_s = t->expiry_s = con->clean_start ? 0 : UINT32_MAX;
	if (!c->v5)
		return;
	t->wanted_expiry_s = mq_props_number(p->props, MQ_PROP_SESSION_EXPIRY, 0);
	t->expiry_s =
		m->max_expiry_s ? MIN(t->wanted_expiry_s, m->max_expiry_s) : t->wanted_expiry_s;
	if (most && (!t->keepalive_s || t->keepalive_s > most))
		t->keepalive_s = most;
}

static enum reason open_session(
	struct mq_conn *c, const struct mq_packet *p, struct message *will, struct terms *t)
{
	const struct mq_connect *con = &p->connect;
	struct session *s;

	return session_connect(c->mqtt->env.sessions,
		&(struct session_connect){
			.client_id = t->client_id,
			.username = t->username,
			.password = con->password,
			.protocol = PROTO_MQTT,
			.peer = c->peer,
			.link = &c->link,
			.clean_start = con->clean_start,
			.expiry_s = t->expiry_s,
			.keepalive_ms = t->keepalive_s * 1500, /* [MQTT-3.1.2-24] */
			.window = (uint16_t)mq_props_number(
				p->props, MQ_PROP_RECEIVE_MAXIMUM, c->v5 ? UINT16_MAX : 0),
			.will = will,
			.will_delay_s = mq_props_number(con->will_props, MQ_PROP_WILL_DELAY, 0),
			.mountpoint = c->group->mountpoint,
		},
		&s, &t->present);
}

/* MQTT 5.0, 3.2.2.3: what differs from what was asked for, and from what may be assumed. */
static struct span connack_props(
	const struct mq_conn *c, const struct mq_packet *p, const struct terms *t, struct writer *w)
{
	if (!c->v5)
		return span_of(NULL, 0);
	if (t->expiry_s != t->wanted_expiry_s)
		mq_put_number(w, MQ_PROP_SESSION_EXPIRY, t->expiry_s);
	mq_put_number(w, MQ_PROP_RECEIVE_MAXIMUM, c->v5->receive_max);
	mq_put_number(w, MQ_PROP_MAXIMUM_PACKET_SIZE, mqtt_max_packet(c->mqtt));
	if (p->connect.client_id.len == 0)
		mq_put_string(w, MQ_PROP_ASSIGNED_CLIENT_ID, span_str(t->client_id));
	mq_put_number(w, MQ_PROP_TOPIC_ALIAS_MAXIMUM, c->v5->in.max);
	if (t->keepalive_s != p->connect.keepalive_s)
		mq_put_number(w, MQ_PROP_SERVER_KEEP_ALIVE, t->keepalive_s);
	return span_of(w->p, w->len);
}

/* R_TOO_LARGE: the client takes no packets of that size, so that there is no way to speak to it. */
static enum reason accept_client(
	struct mq_conn *c, const struct mq_packet *p, const struct terms *t)
{
	uint8_t buf[MQ_CONNACK_PROPS_MAX];
	struct writer w = writer_of(buf, sizeof(buf));

	mq_conn_send(c, &(struct mq_packet){ .type = MQ_CONNACK,
				.session_present = t->present && c->version >= MQ_V311,
				.props = connack_props(c, p, t, &w) });
	if (c->doom)
		return c->doom;
	count_one(&connects);
	timer_disarm(&c->timer);
	c->state = MQ_OPEN;
	return R_SUCCESS;
}

static void log_connect(const struct mq_conn *c, const struct terms *t)
{
	static struct log_limit limit = LOG_LIMIT(50, 10000);
	char name[MQ_NAME_MAX];

	if (log_level() >= LOG_LEVEL_INFO)
		log_limited(&limit, LOG_LEVEL_INFO,
			"%s mqtt: connected, %s session, keep alive %us", mq_conn_name(c, name),
			t->expiry_s ? "persistent" : "clean", t->keepalive_s);
}

static enum reason keep_username(const struct mq_connect *con, struct terms *t)
{
	if (!con->has_username)
		return R_SUCCESS;
	t->username = strndup((const char *)con->username.p, con->username.len);
	return t->username ? R_SUCCESS : R_QUOTA;
}

/* There is no session yet that could say who it is. R_NOT_AUTHORIZED: not behind this mountpoint.
 */
static enum reason enter_scope(const struct mq_conn *c, const struct mq_connect *con,
	const struct terms *t, struct message **will)
{
	const struct identity who = {
		.client_id = t->client_id,
		.username = t->username,
		.protocol = PROTO_MQTT,
		.peer = c->peer,
	};
	const struct scope scope = { c->mqtt->env.rewrite, c->group->mountpoint, &who };

	return scope_fits(&scope) ? make_will(&scope, con, will) : R_NOT_AUTHORIZED;
}

static enum reason check_connect(
	struct mq_conn *c, const struct mq_packet *p, struct terms *t, struct message **will)
{
	if (c->version >= MQ_V5 && !start_v5(c, p->props))
		return R_QUOTA;
	/* MQTT 5.0, 4.12: a method the server does not have */
	struct mq_prop auth;
	if (mq_props_find(p->props, MQ_PROP_AUTH_METHOD, &auth))
		return R_BAD_AUTH_METHOD;
	enum reason why = choose_client_id(&p->connect, t->client_id);
	if (!reason_failed(why))
		why = keep_username(&p->connect, t);
	return reason_failed(why) ? why : enter_scope(c, &p->connect, t, will);
}

enum reason mq_connect_receive(struct mq_conn *c, const struct mq_packet *p)
{
	struct terms terms = { .present = false };
	struct message *will = NULL;

	if (c->state != MQ_WAITING) /* [MQTT-3.1.0-2] */
		return R_PROTOCOL_ERROR;
	c->version = p->version;
	enum reason why = check_connect(c, p, &terms, &will);
	if (why == R_TOPIC_INVALID && !c->v5) {
		free(terms.username);
		return why;
	}
	agree(c, p, &terms);
	if (!reason_failed(why))
		why = open_session(c, p, will, &terms);
	free(terms.username);
	message_unref(will);
	if (reason_failed(why))
		return connect_refuse(c, why);

	why = accept_client(c, p, &terms);
	if (reason_failed(why))
		return why;
	log_connect(c, &terms);
	session_pump(c->link.session);
	return R_SUCCESS;
}
