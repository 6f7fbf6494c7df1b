#include "adapters/mqtt/mq_conn.h"

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

/* Table 3.1; what has no code of its own is "unavailable". */
static uint8_t connack_code(enum reason why)
{
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
	count_one(&refused);
	mq_conn_send(c, &(struct mq_packet){ .type = MQ_CONNACK, .code = connack_code(why) });
	mq_conn_close(c, DETACH_LOST, why);
	return R_SUCCESS;
}

/* A client of MQTT 5 understands a CONNACK of MQTT 5 only (MQTT 5.0, 3.1.2.2). */
static enum reason connect_refuse_version(struct mq_conn *c, uint8_t level)
{
	static const uint8_t connack5[] = { MQ_CONNACK << 4, 3, 0, R_VERSION, 0 };

	if (level != MQ_V5)
		return connect_refuse(c, R_VERSION);
	count_one(&refused);
	mq_out_put(&c->out, span_of(connack5, sizeof(connack5)));
	mq_conn_close(c, DETACH_LOST, R_VERSION);
	return R_SUCCESS;
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
	/* [MQTT-3.1.3-7, 3.1.3-8]; MQTT 3.1 has no empty ids. */
	if (!con->clean_start || con->level == MQ_V31)
		return R_CLIENT_ID;
	uint64_t unique[2];
	random_bytes(unique, sizeof(unique));
	snprintf(id, CLIENT_ID_MAX + 1, "auto-%016" PRIx64 "%016" PRIx64, unique[0], unique[1]);
	return R_SUCCESS;
}

static enum reason make_will(const struct mq_connect *con, struct message **will)
{
	*will = NULL;
	if (!con->has_will)
		return R_SUCCESS;
	if (!topic_valid_name(con->will_topic))
		return R_TOPIC_INVALID;
	*will = message_new(&(struct message_init){
		.topic = con->will_topic,
		.payload = con->will_payload,
		.qos = con->will_qos,
		.retain = con->will_retain,
		.origin = ORIGIN_GATEWAY,
	});
	return *will ? R_SUCCESS : R_QUOTA;
}

static enum reason open_session(struct mq_conn *c, const struct mq_connect *con,
	const char *client_id, struct message *will, bool *present)
{
	struct session *s;
	char *username = NULL;

	if (con->has_username) {
		username = strndup((const char *)con->username.p, con->username.len);
		if (!username)
			return R_QUOTA;
	}
	enum reason why = session_connect(c->mqtt->env.sessions,
		&(struct session_connect){
			.client_id = client_id,
			.username = username,
			.password = con->password,
			.protocol = PROTO_MQTT,
			.peer = c->peer,
			.link = &c->link,
			.clean_start = con->clean_start,
			.expiry_s = con->clean_start ? 0 : UINT32_MAX,
			.keepalive_ms = con->keepalive_s * 1500, /* [MQTT-3.1.2-24] */
			.will = will,
		},
		&s, present);
	free(username);
	return why;
}

static void log_connect(const struct mq_conn *c, const struct mq_connect *con)
{
	static struct log_limit limit = LOG_LIMIT(50, 10000);
	char name[MQ_NAME_MAX];

	if (log_level() >= LOG_LEVEL_INFO)
		log_limited(&limit, LOG_LEVEL_INFO,
			"%s mqtt: connected, %s session, keep alive %us", mq_conn_name(c, name),
			con->clean_start ? "clean" : "persistent", con->keepalive_s);
}

static enum reason receive_connect(struct mq_conn *c, const struct mq_packet *p)
{
	const struct mq_connect *con = &p->connect;
	char client_id[CLIENT_ID_MAX + 1];
	struct message *will;
	bool present = false;

	if (c->state != MQ_WAITING) /* [MQTT-3.1.0-2] */
		return R_PROTOCOL_ERROR;
	c->version = con->level;
	enum reason why = choose_client_id(con, client_id);
	if (reason_failed(why))
		return connect_refuse(c, why);
	why = make_will(con, &will);
	if (why == R_TOPIC_INVALID)
		return why;
	if (!reason_failed(why))
		why = open_session(c, con, client_id, will, &present);
	message_unref(will);
	if (reason_failed(why))
		return connect_refuse(c, why);

	count_one(&connects);
	timer_disarm(&c->timer);
	c->state = MQ_OPEN;
	mq_conn_send(c, &(struct mq_packet){ .type = MQ_CONNACK,
				.session_present = present && con->level >= MQ_V311 });
	log_connect(c, con);
	session_pump(c->link.session);
	return R_SUCCESS;
}

/* An id we know nothing of (a session that was cleared meanwhile) must not stop the client:
 * it is told to go on, or nothing is due. */
static enum reason receive_puback(struct mq_conn *c, const struct mq_packet *p)
{
	session_acked(c->link.session, p->packet_id);
	return R_SUCCESS;
}

static enum reason receive_pubrec(struct mq_conn *c, const struct mq_packet *p)
{
	if (!session_received(c->link.session, p->packet_id))
		mq_conn_send_ack(c, MQ_PUBREL, p->packet_id);
	return R_SUCCESS;
}

static enum reason receive_pubcomp(struct mq_conn *c, const struct mq_packet *p)
{
	session_completed(c->link.session, p->packet_id);
	return R_SUCCESS;
}

static enum reason receive_subscribe(struct mq_conn *c, const struct mq_packet *p)
{
	uint8_t codes[MQ_FILTERS_MAX];
	struct reader r = reader_of(p->filters);
	struct mq_filter f;
	size_t n = 0;

	while (mq_next_filter(&r, p->type, &f)) {
		struct sub_opts opts = { .qos = f.options };
		enum reason why = session_subscribe(c->link.session, f.filter, &opts);
		codes[n++] = reason_failed(why) ? MQ_SUBACK_FAILURE : (uint8_t)why;
	}
	mq_conn_send(c,
		&(struct mq_packet){
			.type = MQ_SUBACK, .packet_id = p->packet_id, .codes = span_of(codes, n) });
	return R_SUCCESS;
}

static enum reason receive_unsubscribe(struct mq_conn *c, const struct mq_packet *p)
{
	struct reader r = reader_of(p->filters);
	struct mq_filter f;

	while (mq_next_filter(&r, p->type, &f))
		session_unsubscribe(c->link.session, f.filter);
	mq_conn_send_ack(c, MQ_UNSUBACK, p->packet_id);
	return R_SUCCESS;
}

static enum reason receive_pingreq(struct mq_conn *c, const struct mq_packet *p)
{
	(void)p;
	mq_conn_send(c, &(struct mq_packet){ .type = MQ_PINGRESP });
	return R_SUCCESS;
}

static enum reason receive_disconnect(struct mq_conn *c, const struct mq_packet *p)
{
	(void)p;
	mq_conn_close(c, DETACH_CLEAN, R_SUCCESS); /* [MQTT-3.14.4-3]: the will is discarded */
	return R_SUCCESS;
}

static enum reason (*const handlers[MQ_TYPES])(struct mq_conn *, const struct mq_packet *) = {
	[MQ_CONNECT] = receive_connect,
	[MQ_PUBLISH] = mq_publish_receive,
	[MQ_PUBACK] = receive_puback,
	[MQ_PUBREC] = receive_pubrec,
	[MQ_PUBREL] = mq_publish_released,
	[MQ_PUBCOMP] = receive_pubcomp,
	[MQ_SUBSCRIBE] = receive_subscribe,
	[MQ_UNSUBSCRIBE] = receive_unsubscribe,
	[MQ_PINGREQ] = receive_pingreq,
	[MQ_DISCONNECT] = receive_disconnect,
};

enum reason mq_receive(struct mq_conn *c, const struct mq_header *h, struct span body)
{
	struct mq_packet p;

	enum reason why = mq_decode(h, body, MQ_FROM_CLIENT, c->version, &p);
	if (why == R_VERSION && c->state == MQ_WAITING)
		return connect_refuse_version(c, p.connect.level);
	if (reason_failed(why))
		return why;
	if (c->link.session)
		session_heard(c->link.session);
	/* The codec lets only a client's packets through, and each has its handler. */
	return handlers[h->type](c, &p);
}
