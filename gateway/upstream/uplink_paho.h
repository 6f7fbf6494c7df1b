#ifndef TIDEGATE_UPSTREAM_UPLINK_PAHO_H
#define TIDEGATE_UPSTREAM_UPLINK_PAHO_H

#include "gateway/base/mailbox.h"
#include "gateway/upstream/uplink.h"

#include <MQTTAsync.h>
#include <pthread.h>

/* Shared by the three files behind uplink_paho_new(). Three kinds of threads meet here:
 *   the loop      uplink_paho.c          posts jobs, runs what comes back
 *   the bridge    uplink_paho_thread.c   the only caller of MQTTAsync_*
 *   Paho's two    uplink_paho_events.c   callbacks: copy, post, return
 * Paho's 1.3.12 holds one mutex over everything while it calls back, resolves names or shakes
 * hands: who called it from the loop would stop the gateway for seconds, and who called it from a
 * callback would release a lock that is not his. Hence also: `paho_door` is taken inside callbacks,
 * so nobody holds it while calling Paho. */

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

/* A Paho client is bound at its creation to a version and to plain or TLS; it is never destroyed
 * (destroying races with Paho's own threads), at most parked for ever. */
struct handle {
	MQTTAsync client; /* NULL: not made yet */
	uint16_t gen;     /* counts those that were parked */
};
#define PAHO_HANDLES 4

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

	/* Bridge only. */
	struct handle handles[PAHO_HANDLES];
	int active; /* index into handles; -1: never connected */

	/* Under the door. */
	enum paho_state state;
	uint16_t attempt;
	uint16_t active_gen;
	int active_kind;
	struct letter up_note, down_note; /* one of each is under way at most */
	struct uplink_up up;
	enum reason down_reason;
	char down_text[UP_NOTE_TEXT];
	char tls_text[UP_NOTE_TEXT]; /* the first complaint of OpenSSL in this attempt */
	enum reason goodbye;         /* from the server's DISCONNECT; R_SUCCESS: none came */
	size_t inbox_bytes;          /* copied, not yet seen by the loop */
	uint64_t overrun;            /* QoS 0 dropped since the loop was told last */
	pthread_cond_t idle;
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
struct paho *paho_find(const void *context); /* door held; NULL: stopped */

/* Door held, all of them: an outcome, told once; later ones of the same use are ignored. */
void paho_slot_done(
	struct paho *p, struct publish_slot *s, enum uplink_outcome outcome, enum reason reason);
void paho_request_answer(struct paho *p, size_t index, uint8_t code);
void paho_request_done(struct paho *p);
void paho_set_down(struct paho *p, enum reason reason, const char *text);

/* uplink_paho_thread.c */
void *paho_bridge(void *arg);
void paho_run_publish(struct paho *p, struct letter *l);
void paho_run_request(struct paho *p, struct letter *l);
void paho_run_disconnect(struct paho *p, struct letter *l);
void paho_run_abandon(struct paho *p, struct letter *l);

struct connect_job {
	struct letter letter;
	struct uplink_target target; /* strings owned */
	char *password;
};
void paho_run_connect(struct paho *p, struct letter *l);
void connect_job_free(struct connect_job *job);

/* uplink_paho_events.c: Paho's callbacks; 5 for MQTT 5 */
struct inbound_letter {
	struct letter letter;
	struct uplink_message msg; /* points into `bytes` */
	size_t size;
	uint8_t bytes[];
};
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
int paho_on_message(void *context, char *topic, int topic_len, MQTTAsync_message *m);
int paho_on_tls_error(const char *text, size_t len, void *context);
void paho_run_message(struct paho *p, struct letter *l);

#endif
