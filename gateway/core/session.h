#ifndef TIDEGATE_CORE_SESSION_H
#define TIDEGATE_CORE_SESSION_H

#include "gateway/base/clock.h"
#include "gateway/base/reap.h"
#include "gateway/base/timer.h"
#include "gateway/core/delivery.h"
#include "gateway/core/identity.h"
#include "gateway/core/message.h"
#include "gateway/core/queue_policy.h"
#include "gateway/core/router.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;
struct sessions;
struct outqueue;
struct inbound;
struct session_items;
struct session_rare;

/* Why something was dropped by policy; counted by session and in all. */
enum drop {
	DROP_QUEUE_FULL, /* the message that came, or the one that gave way to it */
	DROP_OUTDATED,   /* gave way to a newer one of its topic */
	DROP_EXPIRED,
	DROP_TOO_OLD,   /* waited longer than its queue's policy allows */
	DROP_TOO_LARGE, /* can never be sent to this peer */
	DROP_OFFLINE,   /* QoS 0 for a client that is away */
	DROP_REFUSED,   /* the peer refused it */
	DROP_NO_MEMORY,
	DROP_SESSION_END, /* still queued when the session ended */
	DROP_UNREADABLE,  /* its body on disk is damaged */
	DROP_REASONS
};
const char *drop_name(enum drop d);

/* The way to a client while it is connected; embedded in sn_peer and mq_conn. `deliver` and
 * `release` write into the link's output buffer; the socket is written when the turn ends. None of
 * them may call back into the session. */
struct link {
	const struct link_ops *ops;
	struct session *session; /* borrowed; NULL: detached */
};

struct link_ops {
	/* Sends a PUBLISH. 0: taken. -EAGAIN: not now (asleep, full, a REGISTER first): the link
	 * will call session_pump(). -EMSGSIZE: this peer can never get it: dropped and counted.
	 * -EPERM: this peer has refused such messages: the same. A delivery with qos > 0 stays
	 * valid until it is acknowledged or the session detaches; with qos 0 only during the call.
	 */
	int (*deliver)(struct link *, struct delivery *);
	/* Sends PUBREL for d->packet_id. 0 or -EAGAIN. */
	int (*release)(struct link *, struct delivery *);
	/* The answer to a session_publish() of QoS 1 or 2: PUBACK or PUBREC may leave now, or an
	 * error. */
	void (*published)(
		struct link *, uint16_t packet_id, uint32_t cookie, uint8_t qos, enum reason);
	/* The session has let go of the link (R_TAKEN_OVER, R_KEEP_ALIVE, R_ADMINISTRATIVE,
	 * R_SHUTTING_DOWN, ...); it is detached already. The link says goodbye and goes. */
	void (*closed)(struct link *, enum reason);
	/* What must be known of the link after a restart (an address) joins a record of the whole
	 * session, see session_store.h. NULL: nothing. */
	void (*save)(const struct link *, struct session_items *);
};

/* What an adapter keeps for a session beyond a connection (MQTT-SN topic ids). Owned by the session
 * once set. */
struct session_extra {
	const struct session_extra_ops *ops;
};
struct session_extra_ops {
	void (*free)(struct session_extra *);
	/* As link_ops.save. NULL: nothing of it is stored. */
	void (*save)(const struct session_extra *, struct session_items *);
};

/* 10 000 of them sleep most of the time: what only some sessions need is made when it is needed. */
struct session {
	struct identity who;  /* username is owned */
	struct sessions *all; /* borrowed; NULL: over */
	struct subscriber sub;
	struct link *link;           /* borrowed; NULL while detached */
	struct session_extra *extra; /* owned; NULL */
	struct outqueue *out;        /* owned: queue and in-flight window; NULL: both are empty */
	struct inbound *in; /* owned: open QoS 1/2 exchanges of the client's own publishes; NULL */
	struct message *will;      /* counted; NULL: none. Kept after it was published or the client
				      left: MQTT-SN 1.2, 6.3 lets a resumed session go on with it */
	struct session_rare *rare; /* owned; NULL: nothing of it */
	const struct queue_policy *queue_policy; /* borrowed; NULL: the limits of all */
	int64_t heard_ms;
	union {
		struct timer timer; /* keep alive while attached (lazy), expiry while detached */
		struct reap reap;   /* when it is over */
	};
	uint64_t number;         /* of session_store.c: session_number() */
	uint64_t record;         /* the same: sequence of its last whole record; 0: none */
	uint32_t keepalive_ms;   /* silence after which the client is lost; 0: never */
	uint32_t expiry_s;       /* after a detach; 0: ends with the link; UINT32_MAX: never */
	uint32_t received, sent; /* messages, for people who look: they wrap around */
	uint16_t window;         /* QoS 1/2 messages in flight to the client */
	uint16_t last_id;        /* packet id given last */
	union {                  /* session_store.c: */
		uint32_t place;  /* with `changed`: among those to be written */
		uint32_t mark;   /* low half of the mark of what was written last */
	};
	bool datagram : 1; /* late copies are possible: remember finished QoS 2 ids for a while */
	bool stored : 1;   /* the adapter wants it on stable storage, whatever its expiry */
	bool changed : 1, changed_lazily : 1;
	bool was_attached : 1; /* when the gateway ended; until it is attached again */
	char id[];             /* who.client_id; begins in what would be padding */
};
_Static_assert(offsetof(struct session, id) <= 256, "10 000 sleepers fit into 5 MiB");

struct session_connect {
	const char *client_id;  /* valid (utf8_valid, 1..256 octets); copied */
	const char *username;   /* copied; NULL: none */
	enum protocol protocol; /* sessions are told apart by protocol and client id */
	struct addr peer;
	struct link *link; /* becomes attached */
	bool clean_start;  /* an existing session is ended first */
	uint32_t expiry_s;
	int64_t keepalive_ms; /* counts as UINT32_MAX, seven weeks, when it is more */
	uint16_t window;      /* QoS 1/2 messages in flight to the client: 1 for MQTT-SN; 0: the
				 configured default, which is also the upper limit */
	bool datagram;
	bool stored;          /* survives a restart of the gateway, whatever its expiry */
	bool keep_will;       /* leave the will of a resumed session as it is; `will` is ignored */
	struct message *will; /* a reference is taken; NULL: none */
	uint32_t will_delay_s;
	struct span password;
	const char *mountpoint; /* of the listener, for automatic subscriptions; NULL: none */
};

/* Finds or makes the session and attaches the link: a link attached so far is told
 * closed(R_TAKEN_OVER), and its will is due (MQTT 5.0, 3.1.3.2.2), not that of a device. *present
 * says whether state was resumed. Fails with R_QUOTA (too many sessions or no memory),
 * R_NOT_AUTHORIZED, R_BAD_CREDENTIALS. In-flight messages are sent again by the first
 * session_pump(), in their old order, with DUP: the caller writes its CONNACK, then pumps. */
enum reason session_connect(
	struct sessions *all, const struct session_connect *c, struct session **out, bool *present);

enum detach { DETACH_CLEAN /* no will */, DETACH_LOST /* will */ };
/* The link goes (its `closed` is not called). Harmless when the link has no session. */
void session_detach(struct link *l, enum detach how);
/* The session is over whatever its expiry: link closed with `reason`, subscriptions, queue and
 * extra freed at the turn's end. */
void session_end(struct session *s, enum reason reason, bool publish_will);

static inline void session_heard(struct session *s)
{
	s->heard_ms = clock_ms();
}
void session_set_keepalive(struct session *s, int64_t keepalive_ms); /* counts from now */
void session_set_expiry(struct session *s, uint32_t expiry_s);       /* for the detach that comes */
void session_set_will(struct session *s, struct message *will,
	uint32_t delay_s); /* takes a reference; NULL: none */
void session_set_extra(struct session *s, struct session_extra *extra);
void session_set_window(struct session *s, uint16_t window);
/* Other limits for the queue, at once and until the link changes: a device falls asleep. `policy`
 * is borrowed; NULL: the limits of all sessions again. Also gives back what an empty queue holds.
 */
void session_set_queue_policy(struct session *s, const struct queue_policy *policy);

enum reason session_subscribe(struct session *s, struct span filter, const struct sub_opts *opts);
enum reason session_unsubscribe(struct session *s, struct span filter);

/* A PUBLISH of the client. A failure is to be answered by the adapter; no exchange is kept. With
 * qos 1/2 and R_SUCCESS the answer follows through link_ops.published, with `cookie` as given:
 * later when the message is new or still on its way to safety (a repetition is recognised by packet
 * id and digest and not published again), never from inside this call. At QoS 0 R_SUCCESS is all.
 */
enum reason session_publish(
	struct session *s, struct message *m, uint16_t packet_id, uint32_t cookie);
/* PUBREL. True when the exchange was known; PUBCOMP is due in any case. */
bool session_released(struct session *s, uint16_t packet_id);

/* Acknowledgements of the client for what was delivered to it. False: no such packet id in that
 * state. Each goes on with the queue. */
bool session_acked(struct session *s, uint16_t packet_id);    /* PUBACK */
bool session_received(struct session *s, uint16_t packet_id); /* PUBREC: link_ops.release follows */
bool session_completed(struct session *s, uint16_t packet_id); /* PUBCOMP */
/* The client refused this one for good (reason >= 0x80): dropped and counted. */
bool session_refused(struct session *s, uint16_t packet_id);
/* The delivery goes back to QUEUED, ahead of the queue and in its old order, with its packet id and
 * DUP: it will be delivered again by session_pump() (a device that forgot a topic id, went back to
 * sleep, was congested); after PUBREC only its PUBREL. A late acknowledgement is still good. */
bool session_requeue(struct session *s, uint16_t packet_id);
/* Sends what can be sent. */
void session_pump(struct session *s);
/* Nothing queued and nothing in flight. */
bool session_idle(const struct session *s);
/* Has a packet id and is not acknowledged (requeued ones too); NULL: none. */
struct delivery *session_in_flight(struct session *s, uint16_t packet_id);
size_t session_queued(const struct session *s); /* messages, in flight included */
size_t session_queued_bytes(const struct session *s);
void session_drop(struct session *s, enum drop why); /* counts one */
uint64_t session_dropped(const struct session *s, enum drop why);

/* sessions.c: the registry. */
struct sessions_conf {
	uint32_t max_sessions, max_subscriptions, queue_messages;
	/* Open exchanges of one client: QoS 1 and QoS 2 each over a stream, QoS 2 of a datagram
	 * session. */
	uint32_t max_inbound, max_inbound_qos2;
	int64_t queue_bytes;
	uint16_t window; /* default in-flight window */
	uint32_t max_expiry_s;
};
/* Told when a session gets or loses its link. Must not change sessions or publish. */
struct sessions_watcher {
	void (*changed)(struct sessions_watcher *, const struct session *, bool attached);
	struct list node;
};
void sessions_watch(struct sessions *all, struct sessions_watcher *w);
void sessions_unwatch(struct sessions_watcher *w);

struct autosub;
struct sessions *sessions_new(struct router *router, const struct sessions_conf *conf);
void sessions_set_conf(struct sessions *all, const struct sessions_conf *conf);
/* What new sessions are subscribed to; borrowed, NULL: nothing. */
void sessions_set_autosub(struct sessions *all, const struct autosub *autosub);
void sessions_free(struct sessions *all); /* ends them all; links are told R_SHUTTING_DOWN */
struct session *sessions_find(struct sessions *all, enum protocol p, const char *client_id);
/* In no order. `each` must neither make nor end sessions. */
void sessions_each(struct sessions *all, void (*each)(struct session *, void *), void *arg);
struct router *sessions_router(struct sessions *all);
size_t sessions_count(const struct sessions *all, bool attached_only);
uint64_t drops_total(enum drop d);

#endif
