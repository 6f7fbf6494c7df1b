#ifndef TIDEGATE_CORE_KEEPER_PRIV_H
#define TIDEGATE_CORE_KEEPER_PRIV_H

/* The inside of the keeper, for keeper.c (claims and what becomes of them), keeper_write.c and
 * keeper_ends.c (the way to the journal) and keeper_restore.c (the way back) alone. */
#include "gateway/base/pool.h"
#include "gateway/base/timer.h"
#include "gateway/core/keeper.h"
#include "gateway/store/forget_later.h"

/* A claim that is not on stable storage, or not in its present form. */
struct pending {
	struct claim c;       /* kind 0: it has ended; counts sub_ids */
	struct claimant *who; /* borrowed; NULL: it has left */
	uint8_t when;         /* enum claim_when */
	bool written;         /* in a record that is being written */
	bool stored;          /* an older form of it is in a record */
};

/* A further record of a message: claims that came later, or ends. */
struct extra {
	uint64_t seq;
	uint32_t ends; /* how many; 0: it holds claims */
};

enum more_state {
	MORE_IDLE,    /* nothing to be written */
	MORE_OPEN,    /* its publication is under way */
	MORE_LAZY,    /* in keeper.lazy */
	MORE_HELD,    /* in keeper.held */
	MORE_WRITING, /* the journal has a record of it */
	MORE_FAILED,  /* in keeper.failed */
};

/* What only a message needs that is not SAFE or has further records. */
struct more {
	struct list node; /* by state */
	struct kept *kept;
	struct receipt_hold receipt;
	struct journal_wait wait;
	struct pending *v; /* owned */
	uint32_t n, cap, hint;
	uint32_t alive;      /* of these, not ended */
	uint32_t owed;       /* of these, not lazy: the receipt is held for them */
	uint32_t waiting[3]; /* alive and not written, by enum claim_when */
	uint8_t state;
	bool chain;      /* the last record was KEPT_GOES_ON */
	bool continued;  /* the one being written is KEPT_CONTINUES */
	uint64_t origin; /* the message's */
	int64_t since_ms;
	struct extra *extras; /* owned; in order of their sequences */
	uint32_t n_extras, cap_extras;
	struct list ending; /* in keeper.ending while `ends` can't be written */
	struct claim *ends; /* owned; ended, and no record says so */
	uint32_t n_ends, cap_ends;
};

struct kept {
	struct keeper *keeper; /* borrowed */
	struct message
		*msg;      /* counted if `counted`, else borrowed; NULL: nobody has it in memory */
	struct more *more; /* owned; NULL: SAFE, one record */
	uint64_t seq;      /* of JR_MESSAGE; 0: none */
	int64_t expires_ms;
	uint32_t size; /* message_size() */
	uint32_t claims : 30;
	bool counted : 1; /* the keeper has a reference */
	bool left : 1;    /* a claim of it lives on in the journal alone */
};

struct found { /* by the replay */
	uint64_t seq;
	struct extra *extras; /* owned */
	uint32_t n_extras, cap_extras;
	bool foreign; /* of a later version: not touched */
};

struct keeper {
	struct pool pool;        /* of struct kept */
	struct journal *journal; /* borrowed; NULL: none */
	struct keeper_conf conf;
	struct message *open; /* borrowed; the publication under way */
	struct receipt *open_receipt;
	struct list lazy, held, failed; /* of more.node, oldest first */
	struct list ending;             /* of more.ending */
	struct forget_later stale;      /* records of ends that others stand for */
	uint32_t held_by_origin[256];   /* of keeper.held, by the low octet */
	struct timer timer;
	int64_t lazy_after_ms; /* not before, the storage failed */
	uint32_t securing;     /* 1 << kind: lazy ones that are due */
	uint8_t *buf;          /* owned; claims on their way into a record */
	size_t buf_cap;
	struct {
		keeper_restore_fn *fn;
		void *arg;
	} owners[CLAIM_KINDS];
	struct found *found; /* owned; from replay to restore */
	size_t n_found, cap_found;
	struct kept **orphans; /* owned; with claims of nobody here */
	size_t n_orphans;
	struct keeper_status status;
};

/* keeper.c */
struct kept *kept_new(struct keeper *k, struct message *m); /* NULL: no memory */
struct more *kept_more(struct kept *kept);                  /* made if need be; NULL: no memory */
/* Nothing is pending any more: gives back what is not needed. */
void kept_settle(struct kept *kept);
void kept_free(struct kept *kept); /* the records stay */
/* Whether the keeper itself keeps the body in memory. */
void kept_hold_body(struct kept *kept, bool hold);

/* keeper_write.c */
void keeper_write_init(struct keeper *k);
/* 0, or -EMSGSIZE: there is no record that could hold the claim. */
int keeper_fits(const struct keeper *k, const struct message *m, const struct claim *c);
/* Room for a claim "now" on `m`: what failed before and what its publisher sent before goes first.
 * 0 or a negative errno. */
int keeper_make_way(struct keeper *k, const struct message *m);
/* Puts it where its pending claims belong: into the journal, on a list, or nowhere. */
void kept_place(struct kept *kept);
void kept_unlist(struct more *m);
/* The timer, for whatever is due first. */
void keeper_arm(struct keeper *k);
/* keeper.buf has `cap` octets. 0 or -ENOMEM. */
int keeper_reserve(struct keeper *k, size_t cap);

/* keeper_ends.c */
void keeper_ends_init(struct keeper *k);
void keeper_ends_free(struct keeper *k);
void keeper_retry_ends(struct keeper *k);
bool keeper_ends_due(const struct keeper *k); /* something is to be tried again */
/* The end of a claim that is in a record. */
void kept_write_end(struct kept *kept, const struct claim *c);
/* Forgets all records. */
void kept_forget(struct kept *kept);
/* 0 or -ENOMEM. */
int extra_add(struct extra **v, uint32_t *n, uint32_t *cap, const struct extra *e);

/* keeper_restore.c */
void keeper_restore_free(struct keeper *k);

#endif
