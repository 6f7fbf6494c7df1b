#include "adapters/mqttsn/sn_handlers.h"

#include "gateway/base/log.h"
#include "gateway/core/session_store.h"

/* Keep alive, PINGREQ, DISCONNECT and sleeping clients (MQTT-SN 1.2, 6.11, 6.12, 6.14). */

int64_t sn_silence_ms(const struct sn_conf *conf, uint16_t duration_s)
{
	int64_t ms = duration_s * INT64_C(1000), max = conf->keepalive_max_ms;
	if (max && (!ms || ms > max))
		ms = max;
	/* 7.2: 10 % beyond the interval, 50 % where it is a minute or less. */
	return ms <= 60000 ? ms * 3 / 2 : ms * 11 / 10;
}

void sn_fall_asleep(struct sn_peer *p)
{
	sn_stop_delivery(p);
	sn_peer_set_state(p, SN_ASLEEP);
	sn_peer_end_talk(p);
	/* Holds while it is awake as well; its next CONNECT ends it. */
	session_set_queue_policy(p->link.session, &sn_peer_conf(p)->mail);
}

void sn_settle(struct sn_peer *p)
{
	if (p->state != SN_AWAKE || !session_idle(p->link.session))
		return;
	sn_peer_send_bare(p, SN_PINGRESP);
	sn_fall_asleep(p);
}

static void wake(struct sn_peer *p)
{
	if (sn_peer_begin_talk(p) < 0)
		return; /* it asks again */
	sn_peer_set_state(p, SN_AWAKE);
	session_pump(p->link.session);
	sn_settle(p);
}

/* Without a client id, or with the one that belongs to this address. */
static bool speaks_for_itself(const struct sn_input *in)
{
	struct span id = in->p->data;
	return !id.len || span_is(id, in->peer->link.session->who.client_id);
}

void sn_on_pingreq(const struct sn_input *in)
{
	if (speaks_for_itself(in))
		sn_peer_send_bare(in->peer, SN_PINGRESP);
	else
		sn_tell_stranger(in);
}

/* The sleeper that asks for its mail by name, or NULL: none, or not from here. A sleeper may come
 * back from another address (NAT forgets a port in seconds), but its mail is not for everybody who
 * knows its name. */
static struct sn_peer *named_sleeper(const struct sn_input *in)
{
	char id[SN_CLIENT_ID_MAX + 1];
	struct session *s = NULL;
	if (sn_client_id(in->p->data, id))
		s = sessions_find(in->gw->env.sessions, PROTO_MQTTSN, id);
	struct sn_peer *p = s ? sn_peer_of_session(s) : NULL;
	if (!p || (p->state != SN_ASLEEP && p->state != SN_AWAKE) || !sn_may_speak_for(s, in->from))
		return NULL;
	return p;
}

/* It is at that address from now on. */
static void come_back(struct sn_peer *p, const struct sn_input *in)
{
	if (sn_peer_move(p, in->from) < 0)
		return; /* it asks again */
	session_heard(p->link.session);
	if (p->state == SN_ASLEEP)
		wake(p);
}

/* Both may have moved, each to where the other was. */
static void change_places(const struct sn_input *in)
{
	struct sn_peer *p = named_sleeper(in);
	if (!p) {
		sn_tell_stranger(in);
		return;
	}
	sn_peer_displace(in->peer);
	come_back(p, in);
}

void sn_on_pingreq_asleep(const struct sn_input *in)
{
	if (!speaks_for_itself(in))
		change_places(in);
	else if (in->p->data.len)
		wake(in->peer);
	else /* a sign of life that asks for nothing */
		sn_peer_send_bare(in->peer, SN_PINGRESP);
}

/* Repeated in the middle of the flush: PINGRESP comes at its end. */
void sn_on_pingreq_awake(const struct sn_input *in)
{
	if (!speaks_for_itself(in))
		sn_tell_stranger(in);
}

void sn_on_pingreq_stranger(const struct sn_input *in)
{
	struct sn_peer *p = named_sleeper(in);
	if (p)
		come_back(p, in);
	else
		sn_tell_stranger(in);
}

void sn_on_disconnect(const struct sn_input *in)
{
	struct sn_peer *p = in->peer;
	bool connected = p->state >= SN_ACTIVE;
	if (connected && in->p->duration_s) {
		sn_peer_send_bare(p, SN_DISCONNECT);
		log_debug("%s mqttsn: asleep for %u s", p->link.session->who.client_id,
			in->p->duration_s);
		sn_fall_asleep(p);
		session_set_keepalive(
			p->link.session, sn_silence_ms(sn_peer_conf(p), in->p->duration_s));
		/* After a crash nothing may be sent to it, and its silence is no loss. */
		session_changed(p->link.session);
		return;
	}
	session_detach(&p->link, DETACH_CLEAN);
	sn_peer_send_bare(p, SN_DISCONNECT);
	sn_peer_remove(p);
}
