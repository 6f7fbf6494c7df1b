#include "adapters/mqttsn/sn_handlers.h"

#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/session_store.h"
#include "gateway/core/topic.h"

#include <errno.h>

/* Towards the device: REGISTER where it does not know the id yet, one QoS 1/2 message (or REGISTER)
 * outstanding, repetitions (MQTT-SN 1.2, 6.5, 6.10, 6.13). */

/* Length in three octets, type, flags, topic id, message id. */
#define PUBLISH_HEADER 9

static struct count repeated = COUNT("mqttsn.repeated");
static struct count no_id = COUNT("mqttsn.no_topic_id");

static void wait_for(struct sn_peer *p, enum sn_wait what, uint16_t msg_id)
{
	struct sn_talk *talk = p->talk;
	talk->waiting = (uint8_t)what;
	talk->msg_id = msg_id;
	talk->tries = 0;
	timer_arm(&talk->timer, sn_peer_conf(p)->retry_interval_ms);
}

static void stop_waiting(struct sn_peer *p)
{
	p->talk->waiting = SN_WAIT_NOTHING;
	timer_disarm(&p->talk->timer);
}

static bool waits_for(const struct sn_peer *p, enum sn_wait what, uint16_t msg_id)
{
	return p->talk && p->talk->waiting == what && p->talk->msg_id == msg_id;
}

/* session_pump() follows when the socket has room. */
static int block(struct sn_peer *p)
{
	list_remove(&p->talk->blocked);
	list_append(&sn_peer_gw(p)->blocked, &p->talk->blocked);
	return -EAGAIN;
}

static struct sn_packet register_of(const struct sn_peer *p, const struct sn_topic *t)
{
	return (struct sn_packet){
		.type = SN_REGISTER,
		.topic_id = t->id,
		.msg_id = p->last_register,
		.data = sn_topic_name(t),
	};
}

/* -EAGAIN: the message goes after REGACK. The device may use the id from now on, so that it must
 * not be another name's after a restart. */
static int ask_to_register(struct sn_peer *p, const struct sn_topic *t)
{
	if (!++p->last_register)
		p->last_register = 1;
	struct sn_packet out = register_of(p, t);
	int rc =
		sn_topics_reserve(p->link.session, t) ? sn_promise(p, &out) : sn_peer_send(p, &out);
	if (rc == -EAGAIN)
		return block(p);
	p->talk->topic_id = t->id;
	wait_for(p, SN_WAIT_REGACK, p->last_register);
	return -EAGAIN;
}

/* The name's entry, made where a wildcard brought a new name. NULL: the table is full. */
static struct sn_topic *topic_for(struct sn_peer *p, struct span name)
{
	static struct log_limit limit = LOG_LIMIT(5, 60000);
	struct session *s = p->link.session;
	uint32_t max = (uint32_t)sn_peer_gw(p)->conf.topics_per_client;
	uint32_t n = sn_topics_count(s);
	struct sn_topic *t = sn_topics_add(s, name, SN_FROM_GATEWAY, max);
	if (t && t->id > n)
		sn_topics_note(s, t);
	if (!t) {
		p->trouble = SN_TROUBLE_IDS_USED_UP;
		count_one(&no_id);
		log_limited(&limit, LOG_LEVEL_INFO,
			"%s mqttsn: no topic id left for %.*s, message dropped", s->who.client_id,
			SPAN_ARGS(name));
	}
	return t;
}

static bool goes_predefined(const struct sn_peer *p, const struct sn_topic *t)
{
	if (!t || t->as != SN_AS_PREDEFINED)
		return false;
	/* The file and the rules may have been changed since the device subscribed. */
	const struct scope scope = sn_peer_scope(p);
	uint8_t buf[SCOPE_TEXT_MAX];
	struct span name = sn_predefined_find(
		sn_peer_gw(p)->predefined, scope.who->client_id, t->predefined_id);
	return name.len &&
	       !reason_failed(scope_rewrite(&scope, REWRITE_SUBSCRIBE, name, buf, &name)) &&
	       span_equal(sn_topic_name(t), name);
}

static bool goes_short(const struct sn_topic *t, struct span name)
{
	return name.len == 2 && (!t || t->as == SN_AS_DEFAULT || t->as == SN_AS_SHORT);
}

/* Fills in topic id and type. 0; -EAGAIN: after a REGISTER; -EPERM: the device refused the name. */
static int name_topic(struct sn_peer *p, struct span name, struct sn_packet *out)
{
	struct sn_topic *t = sn_topics_by_name(sn_topics_peek(p->link.session), name);
	if (t && t->refused)
		return -EPERM;
	if (goes_predefined(p, t)) {
		out->topic_type = SN_TOPIC_PREDEFINED;
		out->topic_id = t->predefined_id;
		return 0;
	}
	if (goes_short(t, name)) {
		out->topic_type = SN_TOPIC_SHORT;
		out->topic_id = sn_short_id(name);
		return 0;
	}
	if (!t && !(t = topic_for(p, name)))
		return -EPERM;
	if (!t->announced)
		return ask_to_register(p, t);
	out->topic_type = SN_TOPIC_NORMAL;
	out->topic_id = t->id;
	return 0;
}

/* The topic as the device knows it. False: it is outside of its mountpoint. */
static bool show_topic(const struct sn_peer *p, const struct delivery *d, struct span *name)
{
	const struct scope scope = sn_peer_scope(p);
	return scope_leave(&scope, message_topic(d->msg), name);
}

static int send_publish(struct sn_peer *p, const struct delivery *d, bool dup)
{
	struct span name;
	struct sn_packet out = {
		.type = SN_PUBLISH,
		.dup = dup,
		.qos = d->qos,
		.retain = d->retain,
		.msg_id = d->packet_id,
		.data = message_payload(d->msg),
	};
	if (!show_topic(p, d, &name))
		return -EPERM;
	int rc = name_topic(p, name, &out);
	return rc < 0 ? rc : sn_peer_send(p, &out);
}

/* Behind an answer that waits for stable storage they stay in the queue: sn_hold.c pumps it then.
 */
static bool takes_messages(const struct sn_peer *p)
{
	return (p->state == SN_ACTIVE || p->state == SN_AWAKE) && !p->holding;
}

int sn_deliver(struct link *l, struct delivery *d)
{
	struct sn_peer *p = sn_peer_of(l);
	if (!takes_messages(p) || p->talk->waiting)
		return -EAGAIN;
	if (message_payload(d->msg).len > SN_DATAGRAM_MAX - PUBLISH_HEADER)
		return -EMSGSIZE;
	int rc = send_publish(p, d, d->dup);
	if (rc == -EAGAIN && !p->talk->waiting)
		return block(p);
	if (rc == 0 && d->qos)
		wait_for(p, SN_WAIT_ACK, d->packet_id);
	return rc;
}

int sn_release(struct link *l, struct delivery *d)
{
	struct sn_peer *p = sn_peer_of(l);
	bool again = waits_for(p, SN_WAIT_PUBCOMP, d->packet_id);
	if (!takes_messages(p) || (p->talk->waiting && !again))
		return -EAGAIN;
	struct sn_packet out = { .type = SN_PUBREL, .msg_id = d->packet_id };
	if (sn_peer_send(p, &out) < 0)
		return block(p);
	if (!again)
		wait_for(p, SN_WAIT_PUBCOMP, d->packet_id);
	return 0;
}

void sn_stop_delivery(struct sn_peer *p)
{
	const struct sn_talk *talk = p->talk;
	if (!talk)
		return;
	bool in_flight = talk->waiting == SN_WAIT_ACK || talk->waiting == SN_WAIT_PUBCOMP;
	stop_waiting(p);
	if (in_flight && p->link.session)
		session_requeue(p->link.session, talk->msg_id);
}

void sn_unblock(struct sn_gateway *gw, const struct sn_socket *socket)
{
	struct list waiting;
	list_init(&waiting);
	list_splice(&waiting, &gw->blocked);
	while (!list_empty(&waiting)) {
		struct sn_talk *talk = list_first(&waiting, struct sn_talk, blocked);
		struct sn_peer *p = talk->with;
		list_remove(&talk->blocked);
		if (p->route.socket != socket) {
			list_append(&gw->blocked, &talk->blocked);
			continue;
		}
		if (!p->link.session)
			continue;
		session_pump(p->link.session);
		sn_settle(p);
	}
}

static void repeat_publish(struct sn_peer *p)
{
	struct session *s = p->link.session;
	const struct delivery *d = session_in_flight(s, p->talk->msg_id);
	if (!d) {
		stop_waiting(p);
		session_pump(s);
		return;
	}
	send_publish(p, d, true);
	/* The device has forgotten the id meanwhile: the message comes again behind REGISTER. */
	if (p->talk->waiting == SN_WAIT_REGACK)
		session_requeue(s, d->packet_id);
}

static void repeat(struct sn_peer *p)
{
	const struct sn_topic *t;
	timer_arm(&p->talk->timer, sn_peer_conf(p)->retry_interval_ms);
	if (p->holding)
		return;
	count_one(&repeated);
	switch ((enum sn_wait)p->talk->waiting) {
	case SN_WAIT_REGACK:
		t = sn_topics_by_id(sn_topics_peek(p->link.session), p->talk->topic_id);
		if (t) {
			struct sn_packet out = register_of(p, t);
			sn_peer_send(p, &out);
		}
		break;
	case SN_WAIT_ACK:
		repeat_publish(p);
		break;
	case SN_WAIT_PUBCOMP:
		sn_peer_send(
			p, &(struct sn_packet){ .type = SN_PUBREL, .msg_id = p->talk->msg_id });
		break;
	case SN_WAIT_NOTHING:
	case SN_WAIT_PAUSE:
		break;
	}
}

/* N_retry is used up (6.13, 6.14): an active device is lost, an awake one must have gone back to
 * sleep. */
static void give_up(struct sn_peer *p)
{
	p->trouble = SN_TROUBLE_SILENT;
	if (p->state == SN_AWAKE)
		sn_fall_asleep(p);
	else
		sn_peer_lost(p, "no answer");
}

void sn_retry(struct sn_peer *p)
{
	if (p->talk->waiting == SN_WAIT_PAUSE) {
		stop_waiting(p);
		session_pump(p->link.session);
		sn_settle(p);
	} else if (p->talk->waiting && p->talk->tries < sn_peer_conf(p)->retry_count) {
		p->talk->tries++;
		repeat(p);
	} else if (p->talk->waiting) {
		give_up(p);
	}
}

/* The device is congested: nothing for T_WAIT. One that is awake may as well sleep. */
static void pause_delivery(struct sn_peer *p)
{
	p->trouble = SN_TROUBLE_CONGESTED;
	if (p->state == SN_AWAKE) {
		sn_peer_send_bare(p, SN_PINGRESP);
		sn_fall_asleep(p);
	} else if (p->state == SN_ACTIVE) {
		p->talk->waiting = SN_WAIT_PAUSE;
		timer_arm(&p->talk->timer, sn_peer_conf(p)->wait_interval_ms);
	}
}

void sn_on_regack(const struct sn_input *in)
{
	struct sn_peer *p = in->peer;
	if (!waits_for(p, SN_WAIT_REGACK, in->p->msg_id))
		return;
	struct sn_topic *t = sn_topics_by_id(sn_topics_peek(p->link.session), p->talk->topic_id);
	stop_waiting(p);
	if (in->p->return_code == SN_CONGESTION) {
		pause_delivery(p);
		return;
	}
	/* A device that wants no such topic is not asked again (6.10 leaves open what follows). */
	if (t && in->p->return_code == SN_ACCEPTED) {
		t->announced = true;
	} else if (t) {
		t->refused = true;
		p->trouble = SN_TROUBLE_TOPIC_REFUSED;
	}
	/* Lost with a crash: it is only told again. */
	session_changed_lazily(p->link.session);
	session_pump(p->link.session);
}

/* The device does not know the id: REGISTER (or an id of its own for a predefined or short name)
 * precedes the next message of that name. */
static void forget_id(struct sn_peer *p, const struct delivery *d, uint16_t topic_id)
{
	struct sn_topics *topics = sn_topics_peek(p->link.session);
	struct span name;
	if (d && !show_topic(p, d, &name))
		return;
	struct sn_topic *t = d ? topic_for(p, name) : sn_topics_by_id(topics, topic_id);
	if (!t)
		return;
	t->announced = false;
	if (d)
		t->as = SN_AS_NAME;
	session_changed_lazily(p->link.session);
}

/* MQTT-SN 1.2, 6.10: forget the id, register anew, send again; but not for ever. */
static void on_unknown_id(struct sn_peer *p, uint16_t msg_id, uint16_t topic_id)
{
	struct session *s = p->link.session;
	const struct delivery *d = msg_id ? session_in_flight(s, msg_id) : NULL;
	p->trouble = SN_TROUBLE_ID_UNKNOWN;
	forget_id(p, d, topic_id);
	if (!d)
		return;
	if (p->unknown_ids++ >= MAX(sn_peer_conf(p)->retry_count, 1)) {
		p->unknown_ids = 0;
		session_refused(s, msg_id);
		return;
	}
	session_requeue(s, msg_id);
	session_pump(s);
}

void sn_on_puback(const struct sn_input *in)
{
	struct sn_peer *p = in->peer;
	struct session *s = p->link.session;
	uint16_t id = in->p->msg_id;
	const struct delivery *d = session_in_flight(s, id);
	if (d && (d->state == DELIVERY_RELEASED || (d->qos == 2 && !in->p->return_code)))
		return; /* no answer to that step of QoS 2 */
	if (waits_for(p, SN_WAIT_ACK, id))
		stop_waiting(p);
	switch (in->p->return_code) {
	case SN_ACCEPTED:
		p->unknown_ids = 0;
		session_acked(s, id);
		break;
	case SN_CONGESTION:
		if (session_requeue(s, id))
			pause_delivery(p);
		break;
	case SN_INVALID_TOPIC_ID:
		on_unknown_id(p, id, in->p->topic_id);
		break;
	default:
		p->trouble = SN_TROUBLE_MESSAGE_REFUSED;
		session_refused(s, id);
		break;
	}
}

void sn_on_pubrec(const struct sn_input *in)
{
	struct sn_peer *p = in->peer;
	uint16_t id = in->p->msg_id;
	if (waits_for(p, SN_WAIT_ACK, id))
		stop_waiting(p);
	p->unknown_ids = 0;
	/* An exchange that is over here must end there as well. */
	if (!session_received(p->link.session, id))
		sn_peer_send(p, &(struct sn_packet){ .type = SN_PUBREL, .msg_id = id });
}

void sn_on_pubcomp(const struct sn_input *in)
{
	struct sn_peer *p = in->peer;
	if (waits_for(p, SN_WAIT_PUBCOMP, in->p->msg_id))
		stop_waiting(p);
	session_completed(p->link.session, in->p->msg_id);
}
