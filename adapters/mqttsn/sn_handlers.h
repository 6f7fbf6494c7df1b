#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_HANDLERS_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_HANDLERS_H

#include "adapters/mqttsn/sn_peer.h"

/* What the state table of sn_receive.c calls: one handler for a message type in the states where
 * it is legal. A handler may remove the peer. */
struct sn_input {
	struct sn_gateway *gw;
	const struct sn_route *from;
	struct sn_peer *peer; /* NULL: no peer at that address */
	const struct sn_packet *p;
	bool multicast; /* it came to a group of gateways, not to us */
};

/* sn_connect.c */
void sn_on_connect(const struct sn_input *in);
void sn_on_will_topic(const struct sn_input *in);
void sn_on_will_message(const struct sn_input *in);
void sn_on_late_will(const struct sn_input *in);
void sn_on_will_topic_update(const struct sn_input *in);
void sn_on_will_message_update(const struct sn_input *in);

/* sn_publish.c */
void sn_on_publish(const struct sn_input *in);
void sn_on_publish_without_session(const struct sn_input *in);
void sn_on_pubrel(const struct sn_input *in);

/* sn_subscribe.c */
void sn_on_register(const struct sn_input *in);
void sn_on_subscribe(const struct sn_input *in);
void sn_on_unsubscribe(const struct sn_input *in);

/* sn_deliver.c */
void sn_on_regack(const struct sn_input *in);
void sn_on_puback(const struct sn_input *in);
void sn_on_pubrec(const struct sn_input *in);
void sn_on_pubcomp(const struct sn_input *in);

/* sn_sleep.c */
void sn_on_pingreq(const struct sn_input *in);
void sn_on_pingreq_asleep(const struct sn_input *in);
void sn_on_pingreq_awake(const struct sn_input *in);
void sn_on_pingreq_stranger(const struct sn_input *in);
void sn_on_disconnect(const struct sn_input *in);

/* sn_receive.c: DISCONNECT to somebody we have no session with (6.3), within a rate. */
void sn_tell_stranger(const struct sn_input *in);

/* sn_connect.c: whether who is there may go on as the session's client (the takeover policy; for
 * nodes it is about the address of the forwarder). A client id alone is no credential. */
bool sn_may_speak_for(const struct session *s, const struct sn_route *from);
/* A client id as it came, as a string. False: empty, too long or no proper UTF-8. */
#define SN_CLIENT_ID_MAX 256
bool sn_client_id(struct span data, char id[SN_CLIENT_ID_MAX + 1]);

/* The name that a topic id of the given type stands for: the one from `topics` (may be NULL), the
 * predefined one, or the two octets of a short name, put into `two`. R_SUCCESS, R_TOPIC_ALIAS (an
 * unknown id) or R_TOPIC_INVALID. sn_publish.c */
enum reason sn_resolve(const struct sn_gateway *gw, const struct sn_topics *topics,
	const char *client_id, const struct sn_packet *p, uint8_t two[2], struct span *name);

#endif
