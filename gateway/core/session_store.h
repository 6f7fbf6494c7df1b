#ifndef TIDEGATE_CORE_SESSION_STORE_H
#define TIDEGATE_CORE_SESSION_STORE_H

#include "gateway/base/span.h"
#include "gateway/base/wire.h"
#include "gateway/core/session.h"

#include <stdbool.h>
#include <stdint.h>

struct journal;
struct journal_handler;

/* Sessions on stable storage: those that outlive their connection (expiry > 0), and those whose
 * adapter asks for it (session_connect.stored).
 *
 * A session is a record of items, each a statement: it subscribes to that, it is gone since then.
 * What a later statement says of the same thing counts. A change is written with the turn in which
 * it happened: as the whole session anew while that is short, else as a delta record that holds
 * the statement alone, until the deltas outweigh the whole. State nobody was promised (last packet
 * id, since when it is detached) goes with the session's next record, or when lazy_interval is
 * over, or at the end.
 *
 * Without storage all of this does nothing. Loop thread only. */

/* ---- Items ---- */

/* {type 1, length as in MQTT 5.0, 1.5.5, body}. Unknown types are skipped. Numbers are for ever. */
enum session_item_type {
	SESSION_IDENTITY = 1, /* protocol 1, client id 16-bit length, username likewise; or none */
	SESSION_TERMS,        /* expiry 4, keep alive in ms 4, window 2, flags 1, last id 2 */
	SESSION_PRESENCE,     /* connected or not 1, wall clock 8, and ms left then of the expiry 8
				 and of the delay of the will 8 */
	SESSION_WILL,         /* delay 4, life in ms 8, message_encode() form; empty: none */
	SESSION_SUBSCRIBED,   /* options 1, identifier 4, filter with its prefix */
	SESSION_UNSUBSCRIBED, /* filter with its prefix */
	SESSION_ADDRESS,      /* addr_write() form; of devices, who are known by it */
	SESSION_ADAPTER = 64, /* up to 127: what they mean only the session's adapter knows */
	SESSION_ITEM_MAX = 127,
};

/* Items being written, see session_extra_ops.save and link_ops.save. */
struct session_items;
/* Puts one; its body is the parts one after the other. */
void session_item_put(
	struct session_items *items, uint8_t type, const struct span *parts, unsigned n_parts);

struct session_item {
	uint8_t type;
	struct span body;
};
/* Steps through saved items; false at the end, or at bytes that are none (then r->bad). */
bool session_item_next(struct reader *r, struct session_item *item);

/* ---- For those who have a session ---- */

/* The sequence of its first record, never used again for another; 0: it is not stored (yet: the
 * storage fails, or is full). */
static inline uint64_t session_number(const struct session *s)
{
	return s->number;
}

/* A statement of the adapter that was promised to the client, with which the next whole record
 * would agree (link_ops.save and session_extra_ops.save come to the same): a topic id was given
 * out. `type` from SESSION_ADAPTER on. */
void session_note(struct session *s, uint8_t type, const struct span *parts, unsigned n_parts);
/* Something that no statement can say has changed: whole, with this turn. */
void session_changed(struct session *s);
/* The same, but nobody was promised it. */
void session_changed_lazily(struct session *s);

/* What the client was told, or is about to be told, of its session is on stable storage when
 * session_reached() says so; 0: nothing to wait for. Also after an older session of that client
 * was ended by a clean start, whether or not the new one is stored. What has changed in this turn
 * is written by the call, so it is best asked for in the adapter's flush(), once for many answers.
 */
uint64_t session_mark(struct session *s);
/* The same for all that was written of any session so far; for those who do not know it any more.
 */
uint64_t sessions_mark(const struct sessions *all);
/* While the storage fails nobody waits: true. A turn of the loop follows whenever this changes. */
bool session_reached(const struct sessions *all, uint64_t mark);

/* ---- After a restart ----
 *
 * Sessions are there again before adapters start: detached, with their subscriptions, their will
 * and their mail. Those of a connected client count as lost: the will comes when its delay and one
 * and a half times its keep alive are over. */

/* What the adapter had saved of a restored session, in the order of writing: the items of the
 * whole record, then the statements since. Good until session_set_extra() or the session's end;
 * kept (and written again) when nobody asks for it. Empty: nothing. */
struct span session_saved(const struct session *s);
/* Attaches a link to a detached session without a CONNECT: its terms and its will are those it
 * had, keep alive runs afresh. Then session_pump() as after session_connect(). */
void session_resume(struct session *s, struct link *l, const struct addr *peer);
/* It was connected when the gateway ended. True until it is attached. */
bool session_was_attached(const struct session *s);
/* Of a restored session; only until session_store_restored(). NULL: ended. */
struct session *sessions_by_number(const struct sessions *all, uint64_t number);

/* ---- For the process ---- */

struct session_store;
/* `all` has no sessions yet and outlives the store. */
struct session_store *session_store_new(struct sessions *all);
/* Fills the rows of JR_SESSION and JR_SESSION_DELTA for journal_open(). */
void session_store_handlers(struct session_store *st, struct journal_handler *handlers);
/* The journal has been replayed: sessions whose time ran out while the gateway was down end, the
 * others run. From here on sessions are stored; without this call there is no storage. */
void session_store_attach(struct session_store *st, struct journal *j, int64_t lazy_interval_ms);
void session_store_set_interval(struct session_store *st, int64_t lazy_interval_ms);
/* The claims on messages have found their sessions. */
void session_store_restored(struct session_store *st);
/* Before journal_turn(): what has changed becomes records. */
void session_store_turn(struct session_store *st);
/* Something happened since that wants another turn at once. */
bool session_store_due(const struct session_store *st);
/* A graceful end: the lazy part is written. Sessions that end from here on (sessions_free()) keep
 * their records. */
void session_store_close(struct session_store *st);
/* After sessions_free(); before journal_close(). */
void session_store_free(struct session_store *st);

/* The process ends and its sessions go on in the next one: who keeps something for them in the
 * journal leaves it there, and no client whose protocol can do without is told goodbye. */
bool sessions_closing(const struct sessions *all);

struct session_store_status {
	uint64_t sessions, records; /* in the journal */
	uint64_t restored, broken;  /* at the start */
	uint64_t changed;           /* not in the journal yet; for long only if it fails */
};
void session_store_status(const struct session_store *st, struct session_store_status *status);

#endif
