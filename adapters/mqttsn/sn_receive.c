#include "adapters/mqttsn/sn_handlers.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"

#include <errno.h>

/* A state table decides what is legal; everything else is dropped or answered with DISCONNECT and
 * never reaches a handler. */

static struct count malformed = COUNT("mqttsn.malformed");
static struct count reserved = COUNT("mqttsn.reserved_type");
static struct count unexpected = COUNT("mqttsn.unexpected");
static struct count strangers = COUNT("mqttsn.strangers");

/* One DISCONNECT tells a device that its session is gone; some more cover lost ones. A peer that
 * answers DISCONNECT with DISCONNECT must not keep us busy. */
#define ANSWERS_PER_PERIOD 4
#define ANSWER_PERIOD_MS   1000

typedef void handler(const struct sn_input *in);

/* clang-format off */
#define DROPPED          NULL /* and counted */
#define IN_ALL_STATES(h) { h, h, h, h, h, h }
/* A stranger is told that it has no session; inside the will dialogue nothing else is acted on. */
#define IN_SESSION(h)    { sn_tell_stranger, DROPPED, DROPPED, h, h, h }

/* What a message gets in each state. Types without a row are dropped in all of them: only gateways
 * send those. */
static handler *const table[256][SN_STATES] = {
	[SN_SEARCHGW]     = IN_ALL_STATES(sn_on_searchgw),
	[SN_CONNECT]      = IN_ALL_STATES(sn_on_connect),

	[SN_WILLTOPIC]    = { [SN_STRANGER]   = DROPPED,
			      [SN_WILL_TOPIC] = sn_on_will_topic,
			      [SN_WILL_MSG]   = sn_on_will_topic,
			      [SN_ACTIVE]     = sn_on_late_will,
			      [SN_ASLEEP]     = DROPPED,
			      [SN_AWAKE]      = DROPPED },
	[SN_WILLMSG]      = { [SN_STRANGER]   = DROPPED,
			      [SN_WILL_TOPIC] = DROPPED,
			      [SN_WILL_MSG]   = sn_on_will_message,
			      [SN_ACTIVE]     = sn_on_late_will,
			      [SN_ASLEEP]     = DROPPED,
			      [SN_AWAKE]      = DROPPED },

	[SN_REGISTER]     = IN_SESSION(sn_on_register),
	[SN_REGACK]       = IN_SESSION(sn_on_regack),
	[SN_PUBLISH]      = { [SN_STRANGER]   = sn_on_publish_without_session,
			      [SN_WILL_TOPIC] = DROPPED,
			      [SN_WILL_MSG]   = DROPPED,
			      [SN_ACTIVE]     = sn_on_publish,
			      [SN_ASLEEP]     = sn_on_publish,
			      [SN_AWAKE]      = sn_on_publish },
	[SN_PUBACK]       = IN_SESSION(sn_on_puback),
	[SN_PUBREC]       = IN_SESSION(sn_on_pubrec),
	[SN_PUBREL]       = IN_SESSION(sn_on_pubrel),
	[SN_PUBCOMP]      = IN_SESSION(sn_on_pubcomp),
	[SN_SUBSCRIBE]    = IN_SESSION(sn_on_subscribe),
	[SN_UNSUBSCRIBE]  = IN_SESSION(sn_on_unsubscribe),
	[SN_WILLTOPICUPD] = IN_SESSION(sn_on_will_topic_update),
	[SN_WILLMSGUPD]   = IN_SESSION(sn_on_will_message_update),

	[SN_PINGREQ]      = { [SN_STRANGER]   = sn_on_pingreq_stranger,
			      [SN_WILL_TOPIC] = DROPPED,
			      [SN_WILL_MSG]   = DROPPED,
			      [SN_ACTIVE]     = sn_on_pingreq,
			      [SN_ASLEEP]     = sn_on_pingreq_asleep,
			      [SN_AWAKE]      = sn_on_pingreq_awake },
	[SN_DISCONNECT]   = { [SN_STRANGER]   = sn_tell_stranger,
			      [SN_WILL_TOPIC] = sn_on_disconnect,
			      [SN_WILL_MSG]   = sn_on_disconnect,
			      [SN_ACTIVE]     = sn_on_disconnect,
			      [SN_ASLEEP]     = sn_on_disconnect,
			      [SN_AWAKE]      = sn_on_disconnect },
};
/* clang-format on */

static struct sn_stranger_slot *slot_of(struct sn_gateway *gw, const struct sn_route *route)
{
	uint64_t who = sn_route_hash(route);
	struct sn_stranger_slot *slot = &gw->strangers[who % SN_STRANGER_SLOTS];
	if (slot->who != who || clock_ms() - slot->since_ms >= ANSWER_PERIOD_MS)
		*slot = (struct sn_stranger_slot){ .who = who, .since_ms = clock_ms() };
	return slot;
}

void sn_tell_stranger(const struct sn_input *in)
{
	struct sn_stranger_slot *slot = slot_of(in->gw, in->from);
	struct sn_packet out = { .type = SN_DISCONNECT };
	count_one(&strangers);
	if (slot->answered++ < ANSWERS_PER_PERIOD)
		sn_send(in->gw, in->from, &out);
}

static void drop(const struct sn_route *from, struct count *why, const char *what, uint8_t type)
{
	static struct log_limit limit = LOG_LIMIT(5, 60000);
	char text[ADDR_TEXT_MAX];
	count_one(why);
	log_limited(&limit, LOG_LEVEL_INFO, "%s mqttsn: %s, type 0x%02x (%s), dropped",
		addr_text(&from->addr, text), what, type, sn_type_name(type));
}

static void dispatch(const struct sn_input *in)
{
	struct sn_peer *peer = in->peer;
	enum sn_state state = peer ? (enum sn_state)peer->state : SN_STRANGER;
	handler *handle = table[in->p->type][state];
	/* What every gateway of a group hears none of them may act upon. */
	if (in->multicast && in->p->type != SN_SEARCHGW)
		handle = NULL;
	/* 6.11: any message is a sign of life. */
	if (peer && peer->link.session)
		session_heard(peer->link.session);
	if (peer && peer->route.node)
		peer->route.node->ctrl = in->from->node->ctrl;
	if (!handle) {
		drop(in->from, &unexpected, "unexpected message", in->p->type);
		return;
	}
	handle(in);
	if (peer)
		sn_settle(peer);
}

static void count_publish(const struct sn_packet *p)
{
	if (p->type != SN_PUBLISH)
		return;
	traffic_one(&sn_traffic, TRAFFIC_PUBLISH_IN);
	traffic_add(&sn_traffic, TRAFFIC_PAYLOAD_IN, p->data.len);
}

/* `in->p` is what sn_decode() made of `message`, and `err` what it said. */
static void receive(struct sn_input *in, struct span message, int err)
{
	uint8_t answer[SN_V2_CONNACK_LEN];
	if (err == 0) {
		count_publish(in->p);
		in->peer = sn_peer_find(in->gw, in->from);
		dispatch(in);
	} else if (!in->multicast && sn_v2_connect(message, answer)) {
		sn_send_bytes(in->gw, in->from, span_of(answer, sizeof(answer)));
	} else if (err == -EOPNOTSUPP) {
		drop(in->from, &reserved, "reserved message", in->p->type);
	} else {
		drop(in->from, &malformed, "malformed message", in->p->type);
	}
}

/* One level only: an encapsulation inside is a message that nobody handles. */
static void receive_forwarded(const struct sn_input *outer)
{
	struct sn_node node;
	struct sn_packet p;
	struct sn_route inside = *outer->from;
	if (!sn_forward_open(outer->from, outer->p, &node))
		return;
	inside.node = &node;
	int err = sn_decode(&p, outer->p->inner);
	struct sn_input in = {
		.gw = outer->gw,
		.from = &inside,
		.p = &p,
		.multicast = outer->multicast,
	};
	receive(&in, outer->p->inner, err);
}

static void take(
	struct sn_gateway *gw, const struct sn_route *from, struct span datagram, bool multicast)
{
	struct sn_packet p;
	int err = sn_decode(&p, datagram);
	traffic_one(&sn_traffic, TRAFFIC_PACKETS_IN);
	traffic_add(&sn_traffic, TRAFFIC_BYTES_IN, datagram.len);
	struct sn_input in = { .gw = gw, .from = from, .p = &p, .multicast = multicast };
	if (err == 0 && p.type == SN_ENCAPSULATED)
		receive_forwarded(&in);
	else
		receive(&in, datagram, err);
}

void sn_receive(struct sn_gateway *gw, const struct sn_route *from, struct span datagram)
{
	take(gw, from, datagram, false);
}

void sn_hear(struct sn_gateway *gw, const struct sn_route *from, struct span datagram)
{
	take(gw, from, datagram, true);
}
