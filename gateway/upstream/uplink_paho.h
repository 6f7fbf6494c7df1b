#ifndef TIDEGATE_UPSTREAM_UPLINK_PAHO_H
#define TIDEGATE_UPSTREAM_UPLINK_PAHO_H

#include "gateway/base/mailbox.h"
#include "gateway/upstream/exchanges.h"
#include "gateway/upstream/uplink.h"

#include <MQTTAsync.h>
#include <MQTTClientPersistence.h>
#include <pthread.h>

/* Shared by the files behind uplink_paho_new(). Three kinds of threads meet here:
 *   the loop      uplink_paho.c           posts jobs, runs what comes back
 *                 uplink_paho_exchange.c  QoS 2 exchanges on stable storage
 *   the bridge    uplink_paho_thread.c    the only caller of MQTTAsync_*
 *                 uplink_paho_handle.c    Paho clients, one for each session at a server
 *   Paho's two    uplink_paho_events.c    callbacks: copy, post, return
 *                 uplink_paho_message.c   messages that come, acknowledged when they are safe
 *                 uplink_paho_keep.c      what Paho calls its persistence
 *                 uplink_paho_socket.c    its socket, of which it tells nothing
 * Paho's 1.3.12 holds one mutex over everything while it calls back, resolves names or shakes
 * hands: who called it from the loop would stop the gateway for seconds, and who called it from a
 * callback would release a lock that is not his. Hence also: `paho_door` is taken inside callbacks,
 * so nobody holds it while calling Paho.
 *
 * Paho waits in three places, with its mutex held, until the loop and the disk have done their
 * part: before PUBLISH of QoS 2, before PUBREL, and (downlink = safe) before PUBACK and PUBREC. The
 * loop never waits for Paho, so nobody waits for ever; `paho_news` wakes all of them. A stop ends
 * the connection under them, so that what is not safe does not leave. */

struct paho;

/* What goes through the mailboxes, both ways. */
struct letter {
	struct mail mail;
	void (*run)(struct paho *, struct letter *);
};

struct publish_slot {
	struct letter letter; /* to the bridge and back again */
	struct list free;     /* loop: on paho.free_slots */
	struct uplink_publish what;
	uint16_t index;
	uint16_t gen; /* door: tells this use of the slot from earlier ones */
	bool owned;   /* door: the library has it; the outcome is due */
	enum uplink_outcome outcome;
	enum reason reason;

	struct paho *paho;
	uint16_t packet_id; /* door; 0: Paho has not said yet */
	int8_t handle;      /* door: which has it; -1: the next one to that session takes it over */
	bool begun;         /* door: sent by Paho, or about to be; before, it is a command of its */

	/* QoS 2. Without a message (what.msg NULL) it only has to be released. */
	struct exchange *x; /* loop; NULL: not stored */
	bool storing;       /* loop: not to be handed over yet */
	uint16_t foreseen;  /* loop: the packet id it was stored with */
	uint64_t session;   /* where its exchange belongs */
	struct letter note; /* to the loop: the packet id is another one, or PUBREC came */
	bool noted;         /* door: `note` is under way */
	bool kept;          /* door: it is stored */
	bool by_id;         /* door: restored, Paho tells no more than the packet id */
	bool safe;          /* door: PUBLISH may leave */
	bool released;      /* door: PUBREC has come, */
	bool release_safe;  /* and PUBREL may leave */
};

struct request { /* the one outstanding SUBSCRIBE or UNSUBSCRIBE */
	struct letter letter;
	bool busy; /* loop */
	bool unsub;
	size_t n;
	struct uplink_filter filters[UPLINK_FILTERS_MAX]; /* strings owned */
	uint16_t gen;                                     /* door */
	bool owned;                                       /* door */
	size_t answered;                                  /* door */
	uint8_t codes[UPLINK_FILTERS_MAX];                /* door */
};

enum paho_state { PAHO_IDLE, PAHO_CONNECTING, PAHO_UP };

/* A Paho client is bound at its creation to a version and to plain or TLS, and by us to a session
 * at a server, because it sends again what it has there. It is never destroyed (destroying races
 * with Paho's own threads), at most parked for ever.
 *
 * Paho 1.3.12 frees the topic and payload of a QoS 1 or 2 message whose write fails, says that it
 * has failed, and keeps it all the same, to read what it has freed when it sends it again. So a
 * client whose write has failed is parked, and another one restores from us what is under way at
 * QoS 2. */
struct handle {
	MQTTAsync client; /* bridge; NULL: not made yet */
	uint16_t gen;     /* door: counts those that were parked */
	bool poisoned;    /* door: a write has failed, or its exchanges were taken from it */
	bool v5, tls;
	uint64_t session;
};
#define PAHO_HANDLES 16 /* fits in four bits of a context */

#define UP_NOTE_TEXT 160

struct paho {
	struct uplink uplink;
	const struct uplink_events *events; /* NULL: stopping, nobody is told */
	void *arg;
	unsigned index; /* in the table of paho_find() */
	struct mailbox *inbox;
	struct workqueue jobs;
	pthread_t thread;
	bool busy; /* loop: connect() accepted, down() not told yet */
	struct list free_slots;
	struct request request;
	struct publish_slot *slots; /* UPLINK_WINDOW_MAX */

	/* Loop only. */
	struct exchanges *exchanges; /* borrowed */
	struct list waiting;         /* letters to the bridge, behind one that is not safe yet */
	uint64_t session;            /* of the last connect() */
	unsigned version;            /* of the last up() */
	uint16_t next_id;            /* the packet id Paho will choose next, as far as we know */

	/* Bridge only. */
	struct handle handles[PAHO_HANDLES]; /* with parts under the door */
	int active;                          /* index into handles; -1: never connected */
	struct publish_slot *sending;        /* in a call to Paho at this moment */
	const struct connect_job *restoring; /* as the last */

	/* Under the door. */
	enum paho_state state;
	uint16_t attempt;
	uint16_t active_gen;
	int active_handle;
	uint16_t last_id; /* the packet id Paho has chosen last */
	bool stopping;
	bool ask;        /* before messages are acknowledged */
	uint16_t port;   /* of the server */
	int fd;          /* Paho\'s socket while it is up, if it is plain TCP; else -1 */
	size_t by_id;    /* slots of that kind */
	uint32_t ticket; /* of the message that waits, or waited last, for its answer */
	enum { ANSWER_DUE, ANSWER_KEPT, ANSWER_REFUSED } answer;
	struct letter up_note, down_note; /* one of each is under way at most */
	struct uplink_up up;
	enum reason down_reason;
	char down_text[UP_NOTE_TEXT];
	char tls_text[UP_NOTE_TEXT]; /* the first complaint of OpenSSL in this attempt */
	enum reason goodbye;         /* from the server's DISCONNECT; R_SUCCESS: none came */
	size_t inbox_bytes;          /* copied, not yet seen by the loop */
	uint64_t overrun;            /* QoS 0 dropped since the loop was told last */
	pthread_cond_t idle;         /* of the monotonic clock: `state` or `ended` has changed */
	bool ended;                  /* the bridge thread is about to return */
};

/* Contexts are numbers, never pointers to memory that may be gone: generation, uplink, index. They
 * fit into the 32-bit pointers of small routers. */
#define PAHO_UPLINKS 16
static inline void *paho_context(unsigned uplink, uint16_t gen, unsigned index)
{
	return (void *)(uintptr_t)((uint32_t)gen << 16 | uplink << 12 | index);
}
static inline uint16_t context_gen(const void *context)
{
	return (uint16_t)((uintptr_t)context >> 16);
}
static inline unsigned context_uplink(const void *context)
{
	return (unsigned)(uintptr_t)context >> 12 & 0xf;
}
static inline unsigned context_index(const void *context)
{
	return (unsigned)(uintptr_t)context & 0xfff;
}

extern pthread_mutex_t paho_door;
extern pthread_cond_t paho_news;             /* something has become safe, was answered, or ends */
struct paho *paho_find(const void *context); /* door held; NULL: stopped */

/* Door held, all of them: an outcome, told once; later ones of the same use are ignored. */
void paho_slot_done(
	struct paho *p, struct publish_slot *s, enum uplink_outcome outcome, enum reason reason);
void paho_request_answer(struct paho *p, size_t index, uint8_t code);
void paho_request_done(struct paho *p);
void paho_set_down(struct paho *p, enum reason reason, const char *text);
/* What the handle has at QoS 1 comes back; QoS 2 waits for the next handle to its session. */
void paho_take_back(struct paho *p, int handle);
/* `active_handle` is up: what the server does not know any more, and what other sessions have at
 * QoS 2, comes back. */
void paho_sort_out(struct paho *p, bool session_present);
/* Of what `active_handle` has, something is still a command: Paho will send it after the next
 * connect, even when the session is lost and what was before it comes back to us. */
bool paho_has_commands(const struct paho *p);

/* uplink_paho_exchange.c; loop */
void paho_post(struct paho *p, struct letter *l, void (*run)(struct paho *, struct letter *));
/* A new handle gives packet ids from 1 on again, and Paho sends what it has restored in their
 * order, as it will after the next crash. So nothing new is begun before that is done. */
bool paho_restored_first(struct paho *p);
void paho_reserve(struct paho *p, struct publish_slot *s);
void paho_count_ids(struct paho *p, size_t n); /* of a request */
void paho_set_next_id(struct paho *p, uint16_t last_id);
/* After the message's own end. */
void paho_end_exchange(
	struct paho *p, struct exchange *x, uint64_t session, enum uplink_outcome outcome);
void paho_drop_waiting(struct paho *p);
int paho_hold(struct paho *p, const struct uplink_publish *what, struct exchange *x);
/* Door held, any thread. */
void paho_note(struct paho *p, struct publish_slot *s);
struct publish_slot *paho_slot_by_id(struct paho *p, int handle, uint16_t packet_id);

/* uplink_paho.c; loop */
void paho_run_published(struct paho *p, struct letter *l);
void paho_run_granted(struct paho *p, struct letter *l);

/* uplink_paho_thread.c */
void *paho_bridge(void *arg);
/* Until over() or `wait_ms` have passed, whatever is done to the wall clock; what over() says.
 * Takes the door. */
bool paho_await(struct paho *p, bool (*over)(const struct paho *), int wait_ms);
void paho_run_publish(struct paho *p, struct letter *l);
void paho_run_request(struct paho *p, struct letter *l);
void paho_run_disconnect(struct paho *p, struct letter *l);
void paho_run_abandon(struct paho *p, struct letter *l);

struct connect_job {
	struct letter letter;
	struct uplink_target target; /* strings owned */
	char *password;
	uint64_t session;
	uint16_t *received; /* packet ids of QoS 2 messages that were delivered, PUBREL is due */
	size_t n_received;
};
void paho_run_connect(struct paho *p, struct letter *l);
void connect_job_free(struct connect_job *job);

/* uplink_paho_handle.c; bridge */
/* The handle for a target, made if there is none, as p->active. 0 or Paho's code. */
int paho_use_handle(struct paho *p, const struct connect_job *job);
void paho_park(struct paho *p, int handle); /* door held */
static inline struct handle *paho_active(struct paho *p)
{
	return p->active >= 0 ? &p->handles[p->active] : NULL;
}

/* uplink_paho_keep.c */
/* For the handle of that context. It belongs to Paho for good. NULL: no memory. */
MQTTClient_persistence *paho_keep(void *context);

/* uplink_paho_message.c */
struct inbound_letter {
	struct letter letter;
	struct uplink_message msg; /* points into `bytes` */
	size_t size;
	uint8_t bytes[];
};
int paho_on_message(void *context, char *topic, int topic_len, MQTTAsync_message *m);
/* A PUBLISH of QoS 2 as it was read: fixed header, then the rest. Told here and not by Paho's
 * callback, which comes only at PUBREL with MQTT 3.1.1, and not at all after a restart. */
void paho_on_publish2(void *context, bool v5, uint8_t header, struct span rest);
void paho_on_pubrel(void *context, uint16_t packet_id);

/* uplink_paho_socket.c */
int paho_socket(uint16_t port); /* -1: not found */
/* Ends the connection from inside a callback, where Paho can't be called: the acknowledgement that
 * Paho sends when the callback returns must not leave. */
void paho_shut(uint16_t port);
/* The PUBRECs that have arrived in a plain connection and that Paho has not read yet. It reads one
 * packet after the other and nothing ahead, so what is there begins with a packet. */
size_t paho_peek_pubrecs(int fd, uint16_t ids[], size_t max);

/* uplink_paho_events.c: Paho's callbacks; 5 for MQTT 5 */
void paho_on_connected(void *context, MQTTAsync_successData *data);
void paho_on_connected5(void *context, MQTTAsync_successData5 *data);
void paho_on_refused(void *context, MQTTAsync_failureData *data);
void paho_on_refused5(void *context, MQTTAsync_failureData5 *data);
void paho_on_disconnected(void *context, MQTTAsync_successData *data);
void paho_on_disconnected5(void *context, MQTTAsync_successData5 *data);
void paho_on_lost(void *context, char *cause);
void paho_on_goodbye(void *context, MQTTProperties *props, enum MQTTReasonCodes code);
void paho_on_published(void *context, MQTTAsync_successData *data);
void paho_on_published5(void *context, MQTTAsync_successData5 *data);
void paho_on_unpublished(void *context, MQTTAsync_failureData *data);
void paho_on_unpublished5(void *context, MQTTAsync_failureData5 *data);
void paho_on_granted(void *context, MQTTAsync_successData *data);
void paho_on_granted5(void *context, MQTTAsync_successData5 *data);
void paho_on_ungranted(void *context, MQTTAsync_failureData *data);
void paho_on_ungranted5(void *context, MQTTAsync_failureData5 *data);
void paho_on_delivered(void *context, MQTTAsync_token token);
int paho_on_tls_error(const char *text, size_t len, void *context);
void paho_run_message(struct paho *p, struct letter *l);

#endif
