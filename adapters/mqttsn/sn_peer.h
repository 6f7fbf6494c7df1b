#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_PEER_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_PEER_H

#include "adapters/mqttsn/sn_gateway.h"
#include "adapters/mqttsn/sn_hold.h"
#include "adapters/mqttsn/sn_topics.h"
#include "gateway/base/reap.h"
#include "gateway/base/timer.h"
#include "gateway/core/session.h"

#include <stdbool.h>
#include <stdint.h>

/* What the device owes us. One thing at a time (MQTT-SN 1.2, 6.13); what comes behind it stays in
 * the session's queue, so that order is kept. */
enum sn_wait {
	SN_WAIT_NOTHING,
	SN_WAIT_REGACK,
	SN_WAIT_ACK, /* PUBACK at QoS 1, PUBREC at QoS 2 */
	SN_WAIT_PUBCOMP,
	SN_WAIT_PAUSE, /* it reported congestion: nothing until T_WAIT is over */
};

/* What went wrong last, for people who look. */
enum sn_trouble {
	SN_TROUBLE_NONE,
	SN_TROUBLE_SILENT,
	SN_TROUBLE_CONGESTED,
	SN_TROUBLE_ID_UNKNOWN,
	SN_TROUBLE_TOPIC_REFUSED,
	SN_TROUBLE_MESSAGE_REFUSED,
	SN_TROUBLE_IDS_USED_UP,
	SN_TROUBLE_PUBLISH_REFUSED,
};

/* A CONNECT with the will flag, until the will has been asked for (6.3). */
struct sn_dialogue {
	uint16_t duration_s;
	bool clean;
	uint8_t will_qos;
	bool will_retain;
	uint16_t will_topic_len;
	char *will_topic; /* owned; the hub's; NULL: not known yet */
	char client_id[];
};

/* What a device needs while something can be sent to it or be waited for. Most devices sleep most
 * of the time, and have none then. */
struct sn_talk {
	struct sn_peer *with;         /* borrowed: whose it is */
	struct list blocked;          /* gw->blocked */
	struct timer timer;           /* retry, pause, or the end of the dialogue */
	struct sn_dialogue *dialogue; /* owned; in SN_WILL_* only */
	uint16_t msg_id;              /* of what is waited for */
	uint16_t topic_id;            /* with SN_WAIT_REGACK */
	uint8_t waiting;              /* enum sn_wait */
	uint8_t tries;                /* repetitions of what is waited for */
};

/* A device at an address. It comes with its CONNECT and goes when its session is detached. */
struct sn_peer {
	struct link link;
	struct sn_route route;
	union {
		struct {
			struct list node;     /* gw->half_open or gw->clients */
			struct sn_talk *talk; /* owned; NULL in SN_ASLEEP only */
		};
		struct reap reap; /* when it is over */
	};
	uint8_t state;          /* enum sn_state */
	uint8_t trouble;        /* enum sn_trouble */
	uint8_t unknown_ids;    /* in a row: "invalid topic id" for the same message */
	bool half_open;         /* on that list */
	bool holding;           /* see sn_hold.h */
	bool late_will;         /* a repeated WILLTOPIC or WILLMSG is answered with CONNACK */
	uint16_t last_register; /* MsgId of our last REGISTER */
};

static inline struct sn_peer *sn_peer_of(struct link *l)
{
	return container_of(l, struct sn_peer, link);
}

/* The peer at that address, NULL: none. */
struct sn_peer *sn_peer_find(struct sn_gateway *gw, const struct sn_route *route);
/* The peer a session is attached to, NULL: none. */
struct sn_peer *sn_peer_of_session(const struct session *s);
/* NULL: no memory. The address may be none, as after sn_peer_displace(). Half open: when there are
 * too many of them the oldest is forgotten. */
struct sn_peer *sn_peer_new(struct sn_gateway *gw, const struct sn_route *route);
static inline struct sn_gateway *sn_peer_gw(const struct sn_peer *p)
{
	return p->route.socket->group->gw;
}
static inline const struct sn_conf *sn_peer_conf(const struct sn_peer *p)
{
	return sn_route_conf(&p->route);
}

/* With a session only. */
static inline struct scope sn_peer_scope(const struct sn_peer *p)
{
	return sn_route_scope(&p->route, &p->link.session->who);
}

uint64_t sn_route_hash(const struct sn_route *route);
/* The same listener, address and node. */
bool sn_route_equal(const struct sn_route *a, const struct sn_route *b);

/* The device has another address now. 0 or -ENOMEM. */
int sn_peer_move(struct sn_peer *p, const struct sn_route *route);
/* Another one has its address now; where it is itself, a sleeper says with its next PINGREQ. */
void sn_peer_displace(struct sn_peer *p);
/* The one place where the state changes; to be called after a session was attached or detached. */
void sn_peer_set_state(struct sn_peer *p, enum sn_state state);
/* `talk` is there from now on. 0 or -ENOMEM. */
int sn_peer_begin_talk(struct sn_peer *p);
/* The opposite; nothing is waited for any more. */
void sn_peer_end_talk(struct sn_peer *p);
/* Unlinked everywhere and freed when the turn ends. It has no session any more. */
void sn_peer_remove(struct sn_peer *p);
/* Lost for good: the session is detached with its will, the device is told once (6.11). */
void sn_peer_lost(struct sn_peer *p, const char *why);

/* Answers that promise something go through sn_promise(). */
int sn_peer_send(struct sn_peer *p, const struct sn_packet *packet);
/* A message of nothing but its type. */
void sn_peer_send_bare(struct sn_peer *p, enum sn_type type);
void sn_peer_drop_dialogue(struct sn_peer *p);

/* sn_connect.c: the timer fired inside the will dialogue. */
void sn_dialogue_timeout(struct sn_peer *p);

/* sn_deliver.c */
int sn_deliver(struct link *l, struct delivery *d);
int sn_release(struct link *l, struct delivery *d);
void sn_published(
	struct link *l, uint16_t packet_id, uint32_t cookie, uint8_t qos, enum reason reason);
/* T_retry or T_WAIT is over. */
void sn_retry(struct sn_peer *p);
/* What is waited for goes back into the queue, to be sent again later. */
void sn_stop_delivery(struct sn_peer *p);
/* The socket has room again. */
void sn_unblock(struct sn_gateway *gw, const struct sn_socket *socket);

/* sn_sleep.c */
void sn_fall_asleep(struct sn_peer *p);
/* An awake device whose queue is empty gets its PINGRESP and is asleep again. */
void sn_settle(struct sn_peer *p);
/* Silence after which a device is lost that promised a word every `duration_s`; 0: never. */
int64_t sn_silence_ms(const struct sn_conf *conf, uint16_t duration_s);

/* The outcome in MQTT-SN's four words (5.3.10). */
enum sn_return_code sn_return_code(enum reason reason);

#endif
