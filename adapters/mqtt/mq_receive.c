#include "adapters/mqtt/mq_conn.h"

#include "adapters/mqtt/mq_props.h"
#include "adapters/mqtt/mqtt.h"

/* An id we know nothing of (a session that was cleared meanwhile) must not stop the client:
 * it is told to go on, or nothing is due. */
static enum reason receive_puback(struct mq_conn *c, const struct mq_packet *p)
{
	if (reason_failed(p->code))
		session_refused(c->link.session, p->packet_id);
	else
		session_acked(c->link.session, p->packet_id);
	return R_SUCCESS;
}

static enum reason receive_pubrec(struct mq_conn *c, const struct mq_packet *p)
{
	if (reason_failed(p->code)) /* MQTT 5.0, 4.3.3: it is over, without PUBREL */
		session_refused(c->link.session, p->packet_id);
	else if (!session_received(c->link.session, p->packet_id))
		mq_conn_send_reason(c, MQ_PUBREL, p->packet_id, R_PACKET_ID_UNKNOWN);
	return R_SUCCESS;
}

static enum reason receive_pubcomp(struct mq_conn *c, const struct mq_packet *p)
{
	session_completed(c->link.session, p->packet_id);
	return R_SUCCESS;
}

static uint8_t suback_code(const struct mq_conn *c, enum reason why)
{
	if (!c->v5)
		return reason_failed(why) ? MQ_SUBACK_FAILURE : (uint8_t)why;
	return mq_code(MQ_SUBACK, why);
}

static enum reason subscribe(struct mq_conn *c, struct span filter, const struct sub_opts *opts)
{
	const struct scope scope = mq_conn_scope(c);
	uint8_t buf[SCOPE_TEXT_MAX];
	enum reason why = scope_enter(&scope, REWRITE_SUBSCRIBE, filter, buf, &filter);

	return reason_failed(why) ? why : session_subscribe(c->link.session, filter, opts);
}

static enum reason unsubscribe(struct mq_conn *c, struct span filter)
{
	const struct scope scope = mq_conn_scope(c);
	uint8_t buf[SCOPE_TEXT_MAX];
	enum reason why = scope_enter(&scope, REWRITE_SUBSCRIBE, filter, buf, &filter);

	return reason_failed(why) ? why : session_unsubscribe(c->link.session, filter);
}

static enum reason receive_subscribe(struct mq_conn *c, const struct mq_packet *p)
{
	uint32_t sub_id = mq_props_number(p->props, MQ_PROP_SUBSCRIPTION_ID, 0);
	uint8_t codes[MQ_FILTERS_MAX];
	struct reader r = reader_of(p->filters);
	struct mq_filter f;
	size_t n = 0;

	while (mq_next_filter(&r, p->type, &f)) {
		struct sub_opts opts = {
			.qos = f.options & MQ_SUB_QOS,
			.retain_handling = f.options >> MQ_SUB_RETAIN_HANDLING_SHIFT,
			.no_local = f.options & MQ_SUB_NO_LOCAL,
			.retain_as_published = f.options & MQ_SUB_RETAIN_AS_PUBLISHED,
			.sub_id = sub_id,
		};
		enum reason why = subscribe(c, f.filter, &opts);
		codes[n++] = suback_code(c, why);
	}
	mq_conn_send(c,
		&(struct mq_packet){
			.type = MQ_SUBACK, .packet_id = p->packet_id, .codes = span_of(codes, n) });
	return R_SUCCESS;
}

static enum reason receive_unsubscribe(struct mq_conn *c, const struct mq_packet *p)
{
	uint8_t codes[MQ_FILTERS_MAX];
	struct reader r = reader_of(p->filters);
	struct mq_filter f;
	size_t n = 0;

	while (mq_next_filter(&r, p->type, &f))
		codes[n++] = mq_code(MQ_UNSUBACK, unsubscribe(c, f.filter));
	mq_conn_send(c, &(struct mq_packet){ .type = MQ_UNSUBACK,
				.packet_id = p->packet_id,
				.codes = span_of(codes, n) });
	return R_SUCCESS;
}

static enum reason receive_pingreq(struct mq_conn *c, const struct mq_packet *p)
{
	(void)p;
	mq_conn_send(c, &(struct mq_packet){ .type = MQ_PINGRESP });
	return R_SUCCESS;
}

/* MQTT 5.0, 3.14.2.2.2: a session that was to end with the connection stays so. */
static enum reason change_expiry(const struct mq_conn *c, struct span props)
{
	struct session *s = c->link.session;
	uint32_t expiry_s = mq_props_number(props, MQ_PROP_SESSION_EXPIRY, s->expiry_s);

	if (expiry_s && !s->expiry_s)
		return R_PROTOCOL_ERROR;
	session_set_expiry(s, expiry_s);
	return R_SUCCESS;
}

/* [MQTT-3.14.4-3]: the will is discarded, but for a reason that is not "normal". */
static enum reason receive_disconnect(struct mq_conn *c, const struct mq_packet *p)
{
	enum reason why = change_expiry(c, p->props);

	if (!reason_failed(why))
		mq_conn_close(c, p->code == R_SUCCESS ? DETACH_CLEAN : DETACH_LOST, R_SUCCESS);
	return why;
}

/* Only who connected with a method may send it [MQTT-4.12.0-6], and nobody can. */
static enum reason receive_auth(struct mq_conn *c, const struct mq_packet *p)
{
	(void)c;
	(void)p;
	return R_PROTOCOL_ERROR;
}

static enum reason (*const handlers[MQ_TYPES])(struct mq_conn *, const struct mq_packet *) = {
	[MQ_CONNECT] = mq_connect_receive,
	[MQ_PUBLISH] = mq_publish_receive,
	[MQ_PUBACK] = receive_puback,
	[MQ_PUBREC] = receive_pubrec,
	[MQ_PUBREL] = mq_publish_released,
	[MQ_PUBCOMP] = receive_pubcomp,
	[MQ_SUBSCRIBE] = receive_subscribe,
	[MQ_UNSUBSCRIBE] = receive_unsubscribe,
	[MQ_PINGREQ] = receive_pingreq,
	[MQ_DISCONNECT] = receive_disconnect,
	[MQ_AUTH] = receive_auth,
};

enum reason mq_receive(struct mq_conn *c, const struct mq_header *h, struct span body)
{
	struct mq_packet p;

	enum reason why = mq_decode(h, body, MQ_FROM_CLIENT, c->version, &p);
	if (reason_failed(why))
		return h->type == MQ_CONNECT ? mq_connect_bad(c, p.connect.level, why) : why;
	if (c->link.session)
		session_heard(c->link.session);
	/* The codec lets only a client's packets through, and each has its handler. */
	return handlers[h->type](c, &p);
}
