#include "adapters/mqttsn/sn_handlers.h"

#include "gateway/core/topic.h"

/* REGISTER, SUBSCRIBE and UNSUBSCRIBE of devices (MQTT-SN 1.2, 6.5, 6.9). */

/* The entry of a name the device knows by now. NULL: no room. */
static struct sn_topic *take_up(const struct sn_peer *p, struct span name, enum sn_origin origin)
{
	uint32_t max = (uint32_t)sn_peer_gw(p)->conf.topics_per_client;
	struct sn_topic *t = sn_topics_add(p->link.session, name, origin, max);
	if (!t)
		return NULL;
	t->refused = false;
	return t;
}

static enum reason register_name(const struct sn_input *in, uint16_t *topic_id)
{
	if (!topic_valid_name(in->p->data))
		return R_TOPIC_INVALID;
	struct sn_topic *t = take_up(in->peer, in->p->data, SN_FROM_REGISTER);
	if (!t)
		return R_QUOTA;
	if (!t->announced) {
		t->announced = true;
		sn_topics_promise(in->peer->link.session, t);
	}
	*topic_id = t->id;
	return R_SUCCESS;
}

void sn_on_register(const struct sn_input *in)
{
	struct sn_packet out = { .type = SN_REGACK, .msg_id = in->p->msg_id };
	out.return_code = (uint8_t)sn_return_code(register_name(in, &out.topic_id));
	sn_promise(in->peer, &out);
}

/* Where a filter may lie that is not in the message. */
struct filter_space {
	uint8_t two[2];
	uint8_t rewritten[SCOPE_TEXT_MAX];
};

static enum reason written_filter(
	const struct sn_input *in, struct filter_space *space, struct span *filter)
{
	if (in->p->topic_type != SN_TOPIC_NORMAL)
		return sn_resolve(in->gw, NULL, in->peer->link.session->who.client_id, in->p,
			space->two, filter);
	*filter = in->p->data;
	return topic_valid_filter(*filter) ? R_SUCCESS : R_FILTER_INVALID;
}

/* The filter that the message speaks of, by the rules of [rewrite]: names that match this one are
 * what the device is told of, so its topic ids are theirs. */
static enum reason filter_of(
	const struct sn_input *in, struct filter_space *space, struct span *filter)
{
	const struct scope scope = sn_peer_scope(in->peer);
	enum reason reason = written_filter(in, space, filter);
	if (reason_failed(reason))
		return reason;
	return scope_rewrite(&scope, REWRITE_SUBSCRIBE, *filter, space->rewritten, filter);
}

static enum sn_as subscribed_as(const struct sn_packet *p)
{
	switch (p->topic_type) {
	case SN_TOPIC_PREDEFINED:
		return SN_AS_PREDEFINED;
	case SN_TOPIC_SHORT:
		return SN_AS_SHORT;
	default:
		return SN_AS_NAME;
	}
}

static enum reason subscribe(const struct sn_input *in, struct span filter)
{
	const struct scope scope = sn_peer_scope(in->peer);
	uint8_t buf[SCOPE_TEXT_MAX];
	struct sub_opts opts = {
		.qos = in->p->qos == SN_QOS_MINUS_1 ? 0 : in->p->qos,
		/* A repetition: the retained messages have been sent. */
		.retain_handling = in->p->dup ? 1 : 0,
	};
	enum reason reason = scope_mount(&scope, REWRITE_SUBSCRIBE, filter, buf, &filter);
	if (reason_failed(reason))
		return reason;
	return session_subscribe(in->peer->link.session, filter, &opts);
}

/* How messages of this one name are to go to the device, and the id that SUBACK tells it. */
static void note_name(const struct sn_input *in, struct sn_topic *t, struct sn_packet *suback)
{
	const struct sn_topic before = *t;
	t->as = (uint8_t)subscribed_as(in->p);
	if (t->as == SN_AS_PREDEFINED)
		suback->topic_id = t->predefined_id = in->p->topic_id;
	if (t->as == SN_AS_NAME) {
		t->announced = true;
		suback->topic_id = t->id;
	}
	if (t->as != before.as || t->predefined_id != before.predefined_id ||
		t->announced != before.announced)
		sn_topics_promise(in->peer->link.session, t);
}

static enum reason subscribe_peer(const struct sn_input *in, struct sn_packet *suback)
{
	struct filter_space space;
	struct span filter;
	struct sn_topic *t = NULL;
	enum reason reason = filter_of(in, &space, &filter);
	if (reason_failed(reason))
		return reason;
	bool one_name = !topic_has_wildcard(filter);
	if (one_name && !(t = take_up(in->peer, filter, SN_FROM_SUBSCRIBE)))
		return R_QUOTA;
	reason = subscribe(in, filter);
	if (reason_failed(reason))
		return reason;
	suback->qos = (uint8_t)reason; /* R_SUCCESS, R_GRANTED_QOS_1, R_GRANTED_QOS_2 */
	if (t)
		note_name(in, t, suback);
	return reason;
}

void sn_on_subscribe(const struct sn_input *in)
{
	struct sn_packet out = { .type = SN_SUBACK, .msg_id = in->p->msg_id };
	out.return_code = (uint8_t)sn_return_code(subscribe_peer(in, &out));
	sn_promise(in->peer, &out);
}

static void unsubscribe(const struct sn_input *in)
{
	const struct scope scope = sn_peer_scope(in->peer);
	struct session *s = in->peer->link.session;
	struct filter_space space;
	uint8_t mounted[SCOPE_TEXT_MAX];
	struct span filter, hubs;
	if (reason_failed(filter_of(in, &space, &filter)) ||
		reason_failed(scope_mount(&scope, REWRITE_SUBSCRIBE, filter, mounted, &hubs)))
		return;
	session_unsubscribe(s, hubs);
	struct sn_topic *t = sn_topics_by_name(sn_topics_peek(s), filter);
	if (!t || t->as == SN_AS_DEFAULT)
		return;
	t->as = SN_AS_DEFAULT;
	sn_topics_note(s, t);
}

/* UNSUBACK has no return code: the device is answered in any case. */
void sn_on_unsubscribe(const struct sn_input *in)
{
	struct sn_packet out = { .type = SN_UNSUBACK, .msg_id = in->p->msg_id };
	unsubscribe(in);
	sn_promise(in->peer, &out);
}
