#ifndef TIDEGATE_CORE_ROUTER_PARTS_H
#define TIDEGATE_CORE_ROUTER_PARTS_H

/* The inside of the router, for router.c, subscription.c, share.c, retain.c, replay.c and
 * delay.c alone. */
#include "gateway/base/pool.h"
#include "gateway/base/timer.h"
#include "gateway/core/ptrtable.h"
#include "gateway/core/router.h"

struct subscription {
	struct topicleaf leaf;     /* at its filter; see subscription.c for the order there. In no
				      tree: a member of a shared subscription, see share.h */
	struct subscription *next; /* of subscriber.subscriptions */
	struct subscriber *who;    /* borrowed */
	struct sub_opts opts;
};
_Static_assert(sizeof(struct subscription) <= 48, "one for each filter of each client");

struct router {
	struct topictree *tree;    /* owned */
	struct policy *policy;     /* borrowed */
	struct pool subscriptions; /* memory of those that are in the tree */
	struct keeper *keeper;     /* borrowed; NULL: nobody keeps anything */
	struct router_limits limits;
	struct list watchers;           /* of router_watcher.node; borrowed */
	struct list replays;            /* of replay.node: owned, in turn */
	struct ptrtable replays_by_sub; /* the same by their subscription */
	size_t replay_refs;             /* messages that all replays hold together */
	struct ptrtable shares;         /* groups of shared subscriptions, by text */
	/* Of $SYS: no limit holds for them. */
	size_t own_retained, own_retained_bytes;
	struct timer sweep; /* armed while retained messages can expire */
	size_t sweep_cursor;
	bool sweep_again; /* this round saw a message that can expire */
	/* retain_claim.c's: */
	struct claimant retained;
	struct list clears;     /* publishers that wait until a value is gone for good */
	struct ptrtable heirs;  /* values that are not on disk while those before them are */
	struct list heirs_safe; /* of these, those that have come there */
	struct list delayed;    /* of delayed.node: owned */
	size_t delayed_bytes;
	uint32_t n_delayed;
	uint32_t n_subscriptions;
	uint32_t n_members; /* of these, in groups of shared subscriptions */
	unsigned offering;  /* > 0: inside a subscriber's offer */
	uint64_t published, delivered, no_subscriber, refused;
};

/* Asks the policy, but not about the gateway itself and the upstream. */
bool router_allows(
	struct router *r, const struct identity *who, enum access access, struct span topic);
enum reason router_offer(struct router *r, struct subscriber *s, struct message *m,
	struct offer *offer, struct receipt *receipt);

/* Whether it may be published, other than below $delayed/. */
enum reason router_admit(struct router *r, const struct identity *from, const struct message *m);
/* Publishes what was admitted earlier. */
enum reason router_route(struct router *r, const struct identity *from, struct message *m,
	struct receipt *receipt, struct own_claim *own);
/* Brackets all claims of one publication (keeper_open()); nothing for what needs none. */
void router_claims_open(struct router *r, struct message *m, struct receipt *receipt);
void router_claims_close(struct router *r, const struct message *m);
/* In between. `own` may be NULL. R_SUCCESS or R_QUOTA. */
enum reason router_claim_own(struct router *r, struct message *m, struct own_claim *own);
void router_unclaim_own(struct own_claim *own, enum reason reason);
/* Some gate would be offered a message of this topic. */
bool router_has_gate(struct router *r, struct span topic);

/* subscription.c: for share.c. */

/* Adds, or sets the options of, the subscription of `s` to a plain filter; no rights are asked.
 * The granted QoS or R_QUOTA. */
enum reason subscription_set(
	struct router *r, struct subscriber *s, struct span filter, const struct sub_opts *opts);
/* Neither the subscriber's limit nor that of all is reached. */
bool subscription_quota_left(const struct router *r, const struct subscriber *s);
/* Among those of `s`, and counted; and the opposite. */
void subscription_link(struct router *r, struct subscriber *s, struct subscription *sub);
void subscription_unlink(struct router *r, struct subscription *sub);

/* retain.c: what is kept. */

/* Whether the limits let this message be retained: R_SUCCESS, R_QUOTA, or R_TOO_LARGE for ever. */
enum reason retain_admits(const struct router *r, const struct message *m);
/* Whether clearing or storing at QoS 1 or 2 can be promised at present. */
bool retain_possible(const struct router *r, const struct message *m);
/* Stores, or clears if the payload is empty. What the limits do not let in is counted, and that is
 * no failure. `elsewhere`: the upstream keeps it, so that a crash of ours does not lose it.
 * R_QUOTA: it cannot be kept as was promised by its QoS, and is not retained. */
enum reason retain_store(
	struct router *r, struct message *m, struct receipt *receipt, bool elsewhere);
void retain_init(struct router *r);
/* There is a keeper: asks for what it has. */
void retain_restore(struct router *r);
void retain_close(struct router *r);

/* retain_claim.c: what is kept over a restart. */

void retain_claims_init(struct router *r);
/* Claims what is about to be retained. R_QUOTA: it cannot be kept as was promised. */
enum reason retain_claim(struct router *r, struct message *m, bool elsewhere);
/* It is not retained any more (NULL: there was nothing), but `heir` (NULL: nothing). */
void retain_unclaim(struct router *r, struct message *m, struct message *heir);
/* It stays in the storage: the process ends. */
void retain_leave(struct router *r, struct message *m);
/* A value of the topic of `m` (may be NULL) is on disk, and has to be cleared there. */
bool retain_is_stored(const struct router *r, const struct message *m);
/* The publisher waits until what is cleared now can't come back. 0 or -ENOMEM. */
int retain_wait(struct router *r, struct receipt *receipt);
/* Goes on with those that waited. */
void retain_turn(struct router *r);
void retain_claims_close(struct router *r);

/* replay.c: retained messages for new subscriptions. */

void replays_init(struct router *r);
/* Retained messages for a subscription, from the next router_turn() on; starts again if it is
 * under way. 0, or -ENOMEM. */
int replay_start(struct router *r, struct subscription *sub);
void replay_cancel(struct router *r, struct subscription *sub); /* harmless when there is none */
void replays_close(struct router *r);
bool replay_turn(struct router *r);

#endif
