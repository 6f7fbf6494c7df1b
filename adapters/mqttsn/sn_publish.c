#include "adapters/mqttsn/sn_handlers.h"

#include "gateway/base/count.h"
#include "gateway/core/topic.h"

/* What devices publish (MQTT-SN 1.2, 6.6 to 6.8). */

static struct count minus_one = COUNT("mqttsn.qos_minus_one");
static struct count minus_one_refused = COUNT("mqttsn.qos_minus_one_refused");

/* The one table from outcomes to return codes: "not now" is congestion, so that the device tries
 * again; what can never work is not supported. */
enum sn_return_code sn_return_code(enum reason reason)
{
	if (!reason_failed(reason))
		return SN_ACCEPTED;
	switch (reason) {
	case R_TOPIC_ALIAS:
		return SN_INVALID_TOPIC_ID;
	case R_UNSPECIFIED:
	case R_IMPLEMENTATION:
	case R_SERVER_UNAVAILABLE:
	case R_BUSY:
	case R_SHUTTING_DOWN:
	case R_PACKET_ID_IN_USE:
	case R_RECEIVE_MAXIMUM:
	case R_RATE:
	case R_QUOTA:
	case R_USE_ANOTHER_SERVER:
	case R_CONNECTION_RATE:
	case R_TAKEN_OVER:
		return SN_CONGESTION;
	default:
		return SN_NOT_SUPPORTED;
	}
}

static enum reason resolve_short(uint16_t id, uint8_t two[2], struct span *name)
{
	two[0] = (uint8_t)(id >> 8);
	two[1] = (uint8_t)id;
	*name = span_of(two, 2);
	return topic_valid_name(*name) ? R_SUCCESS : R_TOPIC_INVALID;
}

enum reason sn_resolve(const struct sn_gateway *gw, const struct sn_topics *topics,
	const char *client_id, const struct sn_packet *p, uint8_t two[2], struct span *name)
{
	struct sn_topic *t;
	switch (p->topic_type) {
	case SN_TOPIC_NORMAL:
		t = sn_topics_by_id(topics, p->topic_id);
		*name = t ? sn_topic_name(t) : span_of(NULL, 0);
		break;
	case SN_TOPIC_PREDEFINED:
		*name = sn_predefined_find(gw->predefined, client_id, p->topic_id);
		break;
	default:
		return resolve_short(p->topic_id, two, name);
	}
	return name->len ? R_SUCCESS : R_TOPIC_ALIAS;
}

/* What an answer needs and session_publish() hands back. */
static uint32_t cookie_of(const struct sn_packet *p)
{
	return (uint32_t)p->topic_type << 16 | p->topic_id;
}

static void send_puback(struct sn_peer *p, uint16_t topic_id, uint16_t msg_id, enum reason reason)
{
	struct sn_packet out = {
		.type = SN_PUBACK,
		.topic_id = topic_id,
		.msg_id = msg_id,
		.return_code = (uint8_t)sn_return_code(reason),
	};
	if (out.return_code)
		p->trouble = SN_TROUBLE_PUBLISH_REFUSED;
	sn_peer_send(p, &out);
}

void sn_published(
	struct link *l, uint16_t packet_id, uint32_t cookie, uint8_t qos, enum reason reason)
{
	struct sn_peer *p = sn_peer_of(l);
	struct sn_packet pubrec = { .type = SN_PUBREC, .msg_id = packet_id };
	if (qos == 2 && !reason_failed(reason))
		sn_peer_send(p, &pubrec);
	else
		send_puback(p, (uint16_t)cookie, packet_id, reason);
}

static struct message *message_of(const struct sn_packet *p, struct span topic, uint64_t origin)
{
	return message_new(&(struct message_init){
		.topic = topic,
		.payload = p->data,
		.qos = p->qos == SN_QOS_MINUS_1 ? 0 : p->qos,
		.retain = p->retain,
		.dup = p->dup,
		.origin = origin,
	});
}

static enum reason publish(const struct sn_input *in, struct span topic)
{
	const struct scope scope = sn_peer_scope(in->peer);
	struct session *s = in->peer->link.session;
	const struct sn_packet *p = in->p;
	uint8_t buf[SCOPE_TEXT_MAX];

	if (p->qos && !p->msg_id)
		return R_PROTOCOL_ERROR; /* cannot be acknowledged */
	enum reason reason = scope_enter(&scope, REWRITE_PUBLISH, topic, buf, &topic);
	if (reason_failed(reason))
		return reason;
	struct message *m = message_of(p, topic, s->who.origin);
	if (!m)
		return R_QUOTA;
	reason = session_publish(s, m, p->msg_id, cookie_of(p));
	message_unref(m);
	return reason;
}

void sn_on_publish(const struct sn_input *in)
{
	struct session *s = in->peer->link.session;
	uint8_t two[2];
	struct span topic;
	if (in->p->qos == SN_QOS_MINUS_1) {
		sn_on_publish_without_session(in);
		return;
	}
	enum reason reason =
		sn_resolve(in->gw, sn_topics_peek(s), s->who.client_id, in->p, two, &topic);
	if (!reason_failed(reason))
		reason = publish(in, topic);
	/* QoS 0 too: a device must learn that its id is unknown (6.10). */
	if (reason_failed(reason))
		send_puback(in->peer, in->p->topic_id, in->p->msg_id, reason);
}

static bool minus_one_allowed(const struct sn_conf *conf, const struct sn_packet *p)
{
	if (p->topic_type == SN_TOPIC_PREDEFINED)
		return conf->qos_minus_one != SN_MINUS_ONE_OFF;
	return p->topic_type == SN_TOPIC_SHORT && conf->qos_minus_one == SN_MINUS_ONE_ALL;
}

/* By whoever it is: the client at this address, or nobody in particular. */
static enum reason publish_minus_one(const struct sn_input *in)
{
	struct sn_gateway *gw = in->gw;
	struct identity *who = &gw->anonymous;
	uint8_t two[2], buf[SCOPE_TEXT_MAX];
	struct span topic;
	if (!minus_one_allowed(sn_route_conf(in->from), in->p))
		return R_NOT_AUTHORIZED;
	if (in->peer)
		who = &in->peer->link.session->who;
	else
		who->peer = in->from->addr;
	enum reason reason =
		sn_resolve(gw, NULL, in->peer ? who->client_id : NULL, in->p, two, &topic);
	const struct scope scope = sn_route_scope(in->from, who);
	if (!reason_failed(reason))
		reason = scope_enter(&scope, REWRITE_PUBLISH, topic, buf, &topic);
	if (reason_failed(reason))
		return reason;
	struct message *m = message_of(in->p, topic, who->origin);
	if (!m)
		return R_QUOTA;
	reason = router_publish(gw->env.router, who, m, NULL);
	message_unref(m);
	return reason;
}

/* QoS -1 (6.8) is never answered. Any other PUBLISH of a stranger is. */
void sn_on_publish_without_session(const struct sn_input *in)
{
	if (in->p->qos != SN_QOS_MINUS_1)
		sn_tell_stranger(in);
	else
		count_one(reason_failed(publish_minus_one(in)) ? &minus_one_refused : &minus_one);
}

void sn_on_pubrel(const struct sn_input *in)
{
	struct sn_packet out = { .type = SN_PUBCOMP, .msg_id = in->p->msg_id };
	session_released(in->peer->link.session, in->p->msg_id);
	sn_peer_send(in->peer, &out);
}
