#ifndef TIDEGATE_ADAPTERS_COAP_CAP_CLIENT_H
#define TIDEGATE_ADAPTERS_COAP_CAP_CLIENT_H

#include "adapters/coap/cap.h"
#include "adapters/coap/cap_answer.h"
#include "adapters/coap/cap_map.h"
#include "gateway/base/reap.h"
#include "gateway/core/receipt.h"
#include "gateway/core/scope.h"

struct cap_observe;
struct cap_answered;

#define CAP_TOKEN_MAX    8
#define CAP_ECHO_LEN     8
#define CAP_BODIES       4   /* bodies a client may be fetching at a time */
#define CAP_EXCHANGES    256 /* publishes of a client that wait for their receipt */
#define CAP_ANSWERED_MAX 256
#define CAP_EMPTY_ACK_MS 500
#define CAP_EXCHANGE_MS  247000 /* EXCHANGE_LIFETIME, RFC 7252, 4.8.2 */
#define CAP_BODY_MS      CAP_EXCHANGE_MS
#define CAP_NOTE_CON_RUN 5 /* every so many notifications is confirmable */
#define CAP_NOTE_CON_MS  (24 * 3600 * 1000)

/* A body whose first block was sent: the others are cut from the same bytes, whatever is published
 * meanwhile and whether it is retained or not. */
struct cap_body {
	uint64_t path;           /* hash of path */
	struct message *message; /* counted; NULL: free slot */
	int64_t since_ms;
};

/* A peer: an address at one of our listeners. What must outlive a single request lives here:
 * observations, message ids already answered, the queue of notifications. */
struct cap_client {
	struct cap *cap;                     /* borrowed */
	const struct cap_listener *listener; /* borrowed */
	coap_session_t *session;             /* counted by libcoap */
	struct identity who;                 /* client_id and username are owned */
	char *client_id, *username;          /* owned; NULL: none */
	uint64_t credentials; /* hash of those that were accepted; 0: none asked yet */
	struct list chain, age;
	int64_t heard_ms;
	bool proven;     /* the peer can receive at its address */
	bool challenged; /* `echo` was sent */
	uint8_t echo[CAP_ECHO_LEN];

	struct list observes; /* of cap_observe.node */
	uint32_t n_observes;
	struct list exchanges; /* of cap_exchange.node */
	uint32_t n_exchanges;
	struct cap_answered *answered; /* owned ring */
	uint16_t answered_cap, answered_next;
	struct cap_body bodies[CAP_BODIES];

	struct list ready; /* in cap.ready while there is something to send */
	struct list queue; /* of cap_note.node */
	uint32_t n_queue;  /* notifications in it */
	bool in_flight;    /* one confirmable message of ours waits for its acknowledgement */
	uint16_t in_flight_mid;
	struct cap_observe *in_flight_observe; /* borrowed; NULL: a separate answer, or ended */
	struct reap reap;
};

/* The client of a session, made when it is new; an idle one has to go when there are too many.
 * NULL: no room. */
struct cap_client *cap_client_get(struct cap_listener *l, coap_session_t *session);
struct cap_client *cap_client_find(const struct cap_listener *l, const struct addr *peer);
void cap_client_heard(struct cap_client *c);
/* Ends observations, exchanges and queue. */
void cap_client_end(struct cap_client *c);
/* Those silent for session_timeout that observe nothing and wait for nothing. */
void cap_clients_sweep(struct cap *cap);

/* Between the topics of the client and those of the hub. */
static inline struct scope cap_client_scope(const struct cap_client *c)
{
	return (struct scope){ c->cap->env.rewrite, c->cap->mountpoint, &c->who };
}

/* Asks the policy once per set of credentials; without any in the request those accepted before go
 * on. */
enum reason cap_client_admit(struct cap_client *c, const struct cap_query *q);

/* RFC 9175, 2.3. True when `echo` is what we asked for; the peer is proven from now on. */
bool cap_client_prove(struct cap_client *c, struct span echo);
struct span cap_client_challenge(struct cap_client *c);

/* RFC 7252, 4.5: what was answered to this message id. 0: nothing yet. Only requests that change
 * something are remembered; the others are simply served again. */
uint8_t cap_client_answered(const struct cap_client *c, uint16_t mid, int64_t *block1);
void cap_client_remember(struct cap_client *c, uint16_t mid, uint8_t code, int64_t block1);

/* The body being fetched under this path (NULL: none), and its replacement. */
struct message *cap_client_body(struct cap_client *c, struct span path);
void cap_client_keep_body(struct cap_client *c, struct span path, struct message *m);

/* ---- cap_exchange.c: publishes that wait to be safe ---- */

struct cap_exchange {
	struct list node; /* in cap_client.exchanges */
	struct cap_client *client;
	struct receipt receipt;
	struct timer empty_ack; /* armed while a CON request has had no acknowledgement at all */
	int64_t block1;
	uint16_t mid;
	uint8_t type, code, no_response, token_len;
	bool acknowledged;
	uint8_t token[CAP_TOKEN_MAX];
	struct reap reap;
};

/* NULL: too many are open, or no memory. `code` is what success will be answered with. */
struct cap_exchange *cap_exchange_new(
	struct cap_client *c, const coap_pdu_t *request, uint8_t code, int64_t block1);
void cap_exchange_end(struct cap_exchange *x);
struct cap_exchange *cap_exchange_find(struct cap_client *c, uint16_t mid);
/* The request came again before its answer. */
void cap_exchange_repeated(struct cap_exchange *x);

/* ---- cap_outbox.c: one confirmable message in flight per device, the rest in order ---- */

struct cap_note {
	struct list node;
	struct cap_observe *observe; /* borrowed; NULL: `pdu` */
	struct message *message;     /* counted */
	coap_pdu_t *pdu;             /* owned: a separate answer */
	uint8_t qos;
};
/* False when there is no memory. A full queue loses its oldest notification. */
bool cap_outbox_notify(struct cap_client *c, struct cap_observe *o, struct message *m, uint8_t qos);
bool cap_outbox_answer(struct cap_client *c, coap_pdu_t *pdu); /* takes it over in any case */
void cap_outbox_forget(struct cap_client *c, const struct cap_observe *o); /* it has ended */
void cap_outbox_clear(struct cap_client *c);
/* At the end of a turn. */
void cap_outbox_flush(struct cap *cap);
void cap_outbox_acknowledged(struct cap_client *c, uint16_t mid);
void cap_outbox_reset(struct cap_client *c, uint16_t mid); /* RST: the peer wants no more of it */
void cap_outbox_lost(struct cap_client *c, uint16_t mid);  /* the last retransmission too */

#endif
