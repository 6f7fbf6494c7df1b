#ifndef TIDEGATE_CORE_KEEPER_H
#define TIDEGATE_CORE_KEEPER_H

#include "gateway/base/span.h"
#include "gateway/core/message.h"
#include "gateway/core/receipt.h"

#include <stdbool.h>
#include <stdint.h>

/* Messages on stable storage: each once, for all who must not lose it.
 *
 * Who must not lose a message *claims* it: the upstream's backlog, the queue of a session that
 * outlives its connection, the QoS 2 exchange in which it came, the retained store, a delayed
 * publication. All claims of one publication are one journal record, whole or not there at all
 * after a crash: so a message can't be in the backlog while the packet id it came under is
 * forgotten. The publisher's receipt is held until the record is on stable storage or all claims
 * have ended, whichever comes first.
 *
 * HELD (in memory, due later) -> WRITING -> SAFE; FAILED while the storage fails, then tried again
 * in order. A message that is SAFE costs 48 octets besides the journal's index: its body, its
 * claims and who made them are known to the journal and the claimants. Loop thread only. */
struct keeper;
struct kept;
struct journal;
struct journal_handler;

enum claim_kind {
	CLAIM_UPSTREAM = 1, /* waits to go up; no owner */
	CLAIM_MAIL,         /* queued for, or on its way to, the session `owner` */
	CLAIM_EXCHANGE,     /* came with QoS 2 from the session `owner`, PUBREL is due */
	CLAIM_RETAINED,     /* the retained message of its topic; no owner */
	CLAIM_DELAYED,      /* to be published at `at_wall_ms`; no owner */
	CLAIM_KINDS
};

/* What one owner must know again after a restart, besides the message. (kind, owner, packet_id)
 * tells the claims of one message apart; this is all that kept_end() and kept_safe() look at. */
struct claim {
	enum claim_kind kind;
	uint16_t packet_id; /* MAIL at QoS 1 and 2, EXCHANGE */
	uint8_t qos;        /* MAIL: of the delivery */
	bool retain;        /* MAIL: the flag to show */
	bool released;      /* MAIL at QoS 2: PUBREC came, only PUBREL is due */
	uint32_t sub_ids;   /* MAIL: see sub_ids.h; who stores it takes a reference */
	uint64_t owner;     /* session_number(); 0: no session */
	uint64_t digest;    /* EXCHANGE: message_digest() */
	int64_t at_wall_ms; /* DELAYED: when it is due, by the wall clock, ... */
	int64_t left_ms;    /* ... and how long that was when it was written */
};

/* Told what becomes of its claims; embedded in whoever claims, one for each or one for all of them.
 * It must stay where it is as long as a claim of its is not safe. None of these may claim, end
 * claims or publish: they note it and act later in the turn. */
struct claimant {
	const struct claimant_ops *ops;
};
struct claimant_ops {
	/* The claim is on stable storage. NULL: no interest. */
	void (*safe)(struct claimant *, struct kept *, const struct claim *);
	/* The storage has failed for KEEPER_REFUSE_MS; told after each further attempt as long as
	 * the claim has not ended. NULL: no interest. */
	void (*failing)(struct claimant *, struct kept *, const struct claim *);
};
#define KEEPER_REFUSE_MS 5000

struct keeper_conf {
	int64_t hold_ms;      /* longest time a claim "later" is only in memory */
	int64_t lazy_ms;      /* longest time a "lazy" one is; 0: it is written at once */
	int64_t memory_bytes; /* bodies kept in memory for SAFE messages besides; the rest is read
				 back when asked for */
};
#define KEEPER_HOLD_MS      1000
#define KEEPER_MEMORY_BYTES (1 << 20)

struct keeper *keeper_new(void); /* ends the program without memory */
void keeper_set_conf(struct keeper *k, const struct keeper_conf *conf);
/* Fills the rows of JR_MESSAGE, JR_CLAIM, JR_DONE for journal_open(). */
void keeper_handlers(struct keeper *k, struct journal_handler *handlers);
/* The journal has been replayed into the keeper. Without this call there is none: memory only. */
void keeper_attach(struct keeper *k, struct journal *j);
bool keeper_has_storage(const struct keeper *k);
struct journal *keeper_journal(const struct keeper *k); /* for marks; NULL: none */
/* What is in the journal stays there. All claimants have ended or left their claims; before
 * journal_close(). */
void keeper_free(struct keeper *k);

/* ---- After a replay ---- */

/* A claim of the last run comes back to its owner, who has it from now on when it returns true;
 * false: of no use any more (session gone, expired), the claim ends. `m` and `c` are valid during
 * the call; the body stays in memory only within memory_bytes or if somebody takes a reference. */
typedef bool keeper_restore_fn(
	void *arg, struct kept *kept, const struct claim *c, struct message *m);
/* Called by keeper_restore() for every claim of a kind, in the order in which the messages were
 * stored. A message with a claim of a kind nobody has asked for stays on disk untouched for a
 * later start: its owner may not be configured just now. */
void keeper_on_restore(struct keeper *k, enum claim_kind kind, keeper_restore_fn *fn, void *arg);
/* Sessions, router and backlog are there. Blocking; start-up only. */
void keeper_restore(struct keeper *k);

/* ---- Claiming ---- */

/* What is claimed of `m` between the two goes into one record, together with what is claimed
 * "later" of it and not written yet. Not nested. Done by router_publish(), which ends the claims
 * before keeper_close() when the publication is refused after all. The receipt (may be NULL) is
 * held by the keeper from the first claim on that is not lazy. */
void keeper_open(struct keeper *k, struct message *m, struct receipt *receipt);
void keeper_close(struct keeper *k);

enum claim_when {
	CLAIM_LAZY, /* nobody was promised it: with what the keeper writes next, or after lazy_ms */
	CLAIM_LATER, /* when hold_ms have passed and it has not ended by then */
	CLAIM_NOW,   /* to the journal at the end of this publication */
};
/* Outside of keeper_open()/_close() the claim is a record of its own, or joins the one of the same
 * message, and no receipt is held. What the same publisher published earlier and is HELD goes to
 * the journal first. NULL with *err: -ENOTSUP (no storage: the caller keeps `m` in memory itself),
 * -ENOSPC, -EIO (the storage takes nothing now), -EMSGSIZE, -ENOMEM: the caller may refuse. Once a
 * publication has one claim "now", further ones of it are refused only for -ENOMEM and
 * -EMSGSIZE. `who` NULL: nobody is told. */
struct kept *keeper_claim(struct keeper *k, struct message *m, const struct claim *c,
	struct claimant *who, enum claim_when when, int *err);
/* All claims "later" and "lazy" of this kind are due now; CLAIM_KINDS: of every kind. */
void keeper_secure(struct keeper *k, enum claim_kind kind);
/* The claim changes (but not what tells it apart): written at once; `safe` is told again. */
void kept_change(struct kept *kept, const struct claim *c, struct claimant *who);
/* A claim ends: done, or given up. `reason` goes to the publisher if nobody else holds it up and
 * it was not safe yet. The last one ends the record's life; see journal_mark() for when that is on
 * stable storage. The caller's pointer is void. */
void kept_end(struct kept *kept, const struct claim *c, enum reason reason);
/* The claimant goes away, its claim lives on in the journal (the end of the process). The caller's
 * pointer is void. */
void kept_leave(struct kept *kept, const struct claim *c);

bool kept_safe(const struct kept *kept, const struct claim *c); /* this claim is */
/* The storage has refused this message for KEEPER_REFUSE_MS. */
bool kept_failing(const struct kept *kept);
/* Known without its body in memory: */
size_t kept_size(const struct kept *kept); /* message_size() */
bool kept_expired(const struct kept *kept);
uint64_t kept_record(const struct kept *kept); /* its sequence; 0: not in the journal */
/* A reference for the caller; read back if it must be (one bounded pread). NULL with *err: -EAGAIN
 * (no memory, storage fails now) or another negative errno: it is lost. The body is in memory as
 * long as anybody has a reference; the keeper has one unless it is SAFE and past memory_bytes. */
struct message *kept_message(struct kept *kept, int *err);
struct message *kept_loaded(const struct kept *kept); /* borrowed; NULL: on disk only */
/* The claims on a message that is in memory; NULL: none. */
static inline struct kept *kept_of(const struct message *m)
{
	return m->kept;
}
/* For message_unref(): the body of an uncounted one is freed. */
void kept_lost_body(struct kept *kept);

struct keeper_status {
	uint64_t messages, claims[CLAIM_KINDS]; /* alive */
	uint64_t held, writing, failed;         /* messages */
	int64_t memory_bytes;                   /* bodies the keeper has in memory */
	uint64_t unreadable;                    /* bodies lost, in this run */
	int error; /* 0, or why the journal took nothing the last time */
};
/* No publisher waits and nothing is on its way to the journal. */
bool keeper_quiet(const struct keeper *k);
void keeper_status(const struct keeper *k, struct keeper_status *s);
void keeper_dump(const struct keeper *k); /* to the log */

#endif
