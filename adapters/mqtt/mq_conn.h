#ifndef TIDEGATE_MQTT_MQ_CONN_H
#define TIDEGATE_MQTT_MQ_CONN_H

#include "adapters/mqtt/mq_alias.h"
#include "adapters/mqtt/mq_codec.h"
#include "adapters/mqtt/mq_out.h"
#include "adapters/mqtt/mq_stream.h"
#include "gateway/base/addr.h"
#include "gateway/core/scope.h"
#include "gateway/core/session.h"

#include <event2/event.h>
#include <event2/event_struct.h>

struct mqtt;
struct mq_group;

/* A turn's work for one client is bounded, so that a flat-out sender starves nobody. */
#define MQ_PACKETS_PER_TURN 64
#define MQ_READ_BYTES       8192  /* a read buffer; an unfinished larger packet makes it grow */
#define MQ_READ_MAX_BYTES   65536 /* of a large packet, in one turn */

#define MQ_OUT_MAX_BYTES  65536                  /* unsent output from which deliveries wait */
#define MQ_OUT_LOW_BYTES  32768                  /* ... until it is down to this */
#define MQ_OUT_STOP_BYTES (2 * MQ_OUT_MAX_BYTES) /* answers: a peer that reads none is not read */

enum mq_state {
	MQ_WAITING, /* for CONNECT */
	MQ_OPEN,
	MQ_CLOSING, /* detached; what is in `out` is written once more when the turn ends */
};

#define MQ_ALIASES_MAX       16 /* topic aliases of one connection and direction */
#define MQ_CONNACK_PROPS_MAX 512

/* What only clients of MQTT 5 have. */
struct mq_v5 {
	uint32_t max_packet;  /* octets the client takes */
	uint16_t receive_max; /* as told to it */
	bool problem_info;    /* it wants to read reasons */
	/* Its QoS 1/2 messages that are not finished. Below 0 by PUBRELs of exchanges of an earlier
	 * connection: the client's own count may have grown by them (4.9). */
	int32_t in_flight;
	struct mq_aliases in, out;
};

/* One client's socket. */
struct mq_conn {
	struct link link;
	struct mqtt *mqtt;      /* borrowed */
	struct mq_group *group; /* borrowed: whose listener it came by */
	struct list node;       /* in mqtt->conns */
	struct list turn;       /* in mqtt->turn or mqtt->waiting */
	struct event io;        /* one for both directions: an idle client should cost little */
	struct addr peer;
	struct mq_stream *stream; /* owned; `tcp`, or what stands above it */
	struct mq_tcp tcp;        /* its descriptor is owned */
	uint8_t state;            /* enum mq_state */
	uint8_t version;          /* enum mq_version */
	uint8_t watched;          /* EV_READ, EV_WRITE: what `io` waits for */
	uint8_t doom;             /* enum reason: closed for it when the turn ends; 0: not */
	bool more : 1;            /* whole packets may wait in `in` */
	bool starved : 1;         /* a delivery was put off: session_pump() is owed */
	bool promises : 1;        /* `out` holds an answer that says what the session is */
	bool waits : 1;           /* in mqtt->waiting: nothing leaves before `mark` is reached */
	bool no_memory : 1;       /* the first packet in `in` waits for a message to be allocated */
	struct {
		uint8_t *p;          /* owned; NULL while nothing waits */
		size_t cap, at, end; /* unread: [at, end) */
	} in;
	struct mq_out out;
	uint64_t mark;    /* see session_mark() */
	struct mq_v5 *v5; /* owned; NULL: not MQTT 5 */
	struct list held; /* mq_publish.c: publications refused for now, in their order */
	uint32_t n_held, held_bytes;
	uint32_t unreleased; /* PUBRECs sent whose PUBREL has not come on this connection */
	struct timer timer;  /* the CONNECT is due; then: try `held` again */
	struct reap reap;
};

/* Takes the socket over, to speak TLS and WebSocket on it as asked for. False: no memory, the
 * socket is closed. */
bool mq_conn_new(struct mq_group *g, int fd, const struct addr *peer, bool tls, bool ws);
/* The end of the connection: no packet is taken any more; what was written so far leaves with the
 * turn. `how` says what becomes of the session that is attached. */
void mq_conn_close(struct mq_conn *c, enum detach how, enum reason why);
/* At once, at the adapter's end. */
void mq_conn_abort(struct mq_conn *c);
/* For mqtt->turn: writes, lets the session go on, adjusts what is waited for. */
void mq_conn_turn(struct mq_conn *c);
/* Those whose mark is reached are looked at when the turn ends. */
void mq_conns_wake(struct mqtt *m);
/* This connection is to be looked at when the turn ends. */
void mq_conn_mark(struct mq_conn *c);
/* Takes packets that wait in `in`, as many as a turn may. */
void mq_conn_process(struct mq_conn *c);

/* Between the topics of the client and those of the hub; of an open connection. */
struct scope mq_conn_scope(const struct mq_conn *c);

/* mq_send.c. Packets without a payload; their version is filled in. */
void mq_conn_send(struct mq_conn *c, const struct mq_packet *p);
void mq_conn_send_ack(struct mq_conn *c, enum mq_type type, uint16_t packet_id);
/* With a reason code and, if wanted, text; before MQTT 5 nothing but the packet id is sent. */
void mq_conn_send_reason(struct mq_conn *c, enum mq_type type, uint16_t packet_id, enum reason why);
/* The reason as text, for a failure and a client that asked for it. */
void mq_put_reason(const struct mq_conn *c, struct writer *w, enum reason why);
/* The reason as a code that such a packet may have. */
uint8_t mq_code(enum mq_type type, enum reason why);
/* link_ops */
int mq_deliver(struct link *l, struct delivery *d);
int mq_release(struct link *l, struct delivery *d);

/* "dev-17 10.0.0.9:5321", or the address alone before CONNECT. Returns `buf`. */
#define MQ_NAME_MAX (256 + ADDR_TEXT_MAX + 2)
const char *mq_conn_name(const struct mq_conn *c, char *buf);

/* mq_receive.c: one packet of a client. R_SUCCESS: taken; R_BUSY: it is to be offered again when
 * the timer fires; else the connection must be closed for this reason (it may be closing already).
 */
enum reason mq_receive(struct mq_conn *c, const struct mq_header *h, struct span body);

/* mq_connect.c. The same results. */
enum reason mq_connect_receive(struct mq_conn *c, const struct mq_packet *p);
/* A CONNECT that is malformed or of an unknown version; `level` is 0 when it was not read. */
enum reason mq_connect_bad(struct mq_conn *c, uint8_t level, enum reason why);

/* mq_publish.c: what the client publishes. The same results. */
enum reason mq_publish_receive(struct mq_conn *c, const struct mq_packet *p);
enum reason mq_publish_released(struct mq_conn *c, const struct mq_packet *p); /* PUBREL */
/* Offers what is held to the session again. */
void mq_publish_retry(struct mq_conn *c);
/* More PUBLISH packets can be taken: nothing is held, or only what a PUBREL may set free. */
bool mq_publish_room(const struct mq_conn *c);
void mq_publish_clear(struct mq_conn *c);
/* A message with the properties that travel with it; NULL: no memory. The topic is the hub's. */
struct message *mq_message_new(const struct mq_publish *pub, struct span props, uint64_t origin);
/* MQTT 5.0, 3.3.2.3.2: a payload that is said to be text is text. */
bool mq_payload_well_formed(struct span payload, struct span props);
/* link_ops.published */
void mq_publish_done(
	struct link *l, uint16_t packet_id, uint32_t cookie, uint8_t qos, enum reason reason);

#endif
