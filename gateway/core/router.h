#ifndef TIDEGATE_CORE_ROUTER_H
#define TIDEGATE_CORE_ROUTER_H

#include "gateway/base/list.h"
#include "gateway/base/reason.h"
#include "gateway/base/span.h"
#include "gateway/core/identity.h"
#include "gateway/core/keeper.h"
#include "gateway/core/message.h"
#include "gateway/core/receipt.h"
#include "gateway/core/topictree.h"

#include <stdbool.h>
#include <stdint.h>

/* The hub's switch: who publishes what goes to whom. It routes locally always; the upstream is one
 * more subscriber. Owns the topic tree and the retained messages. */
struct router;
struct subscriber;
struct subscription;

struct sub_opts {                /* MQTT 5.0, 3.8.3.1 */
	uint8_t qos;             /* granted maximum */
	uint8_t retain_handling; /* 0 send retained, 1 only if the subscription is new, 2 never */
	bool no_local;
	bool retain_as_published : 1;
	bool exclusive : 1; /* the router's: made with $exclusive/ */
	uint32_t sub_id;    /* subscription identifier, 0: none */
};

struct offer {
	const struct identity *from; /* who published; valid during the call */
	uint8_t qos;                 /* the lower of published and granted */
	bool retain;                 /* the flag to show to the subscriber */
	bool replay;                 /* a retained message, sent because of a new subscription */
	uint32_t sub_ids; /* see sub_ids.h; valid during the call, who keeps it takes a reference */
	bool withhold;    /* set by a gate: local subscribers get nothing now; the gate will call
			     router_deliver() */
	bool unkept;      /* set by a subscriber that refuses: it should have kept the message over
			     a restart, and the storage takes nothing. The publisher is told */
};

struct subscriber_ops {
	/* Takes a reference if it keeps the message. Returns R_SUCCESS or why it was not taken (it
	 * has counted the drop). `receipt` is NULL at QoS 0 and for a replay. Must not subscribe,
	 * unsubscribe, publish or end sessions: the router asserts it. */
	enum reason (*offer)(
		struct subscriber *, struct message *, struct offer *, struct receipt *);
	/* Room for one more replayed retained message; NULL: always. While false the replay waits.
	 */
	bool (*room)(struct subscriber *);
	/* Could take this message and send it now; NULL: always. Of a shared subscription those
	 * that are not ready are passed over. */
	bool (*ready)(struct subscriber *, const struct message *);
};

/* Embedded in session, cap_observe, upstream. */
struct subscriber {
	const struct subscriber_ops *ops;
	const struct identity *who;         /* borrowed from whoever embeds this */
	struct subscription *subscriptions; /* of the router: the newest; NULL: none */
	uint32_t n_subscriptions;
	uint32_t max_subscriptions; /* 0: no limit */
	/* A gate is asked first, for every topic it has subscribed to. If it refuses a QoS 1/2
	 * message nobody gets it and the publisher is told. It makes the message safe through the
	 * receipt. One gate is the normal case; of several, those asked before the one that refuses
	 * find their hold emptied (receipt_cancel) and keep what they took. */
	bool gate;
	/* The router's, during one publish: the offer this one is to get, and who is next. */
	bool retain;
	uint8_t qos;
	uint32_t sub_ids;
	struct subscriber *touched; /* NULL: not matched so far */
};
void subscriber_init(
	struct subscriber *s, const struct subscriber_ops *ops, const struct identity *who);

/* Told of the first subscription to a filter and the last one's end (gates do not count), and of a
 * rise of the highest granted QoS of a filter (after a fall, which is not told, perhaps once more
 * than needed). For the interest that is propagated upstream; filters below '$' are told as well.
 * Neither may call the router. */
struct router_watcher {
	void (*wanted)(struct router_watcher *, struct span filter, uint8_t qos);
	void (*unwanted)(struct router_watcher *, struct span filter);
	struct list node;
};

/* Which member of a shared subscription gets a message, see share.h. */
enum share_strategy {
	SHARE_ROUND_ROBIN,
	SHARE_RANDOM,
	SHARE_STICKY,        /* one, as long as it can take them */
	SHARE_HASH_CLIENTID, /* by the publisher's client id */
	SHARE_HASH_TOPIC,
};
extern const char *const share_strategies[]; /* their names, NULL-terminated */

struct router_limits {
	uint32_t max_retained;         /* messages of others than the gateway; 0: none */
	int64_t max_retained_bytes;    /* 0: none */
	uint32_t max_retained_message; /* payload of one; 0: none */
	uint32_t max_subscriptions;    /* all clients together; 0: none */
	uint32_t max_delayed;          /* messages; 0: they are refused */
	int64_t max_delayed_bytes;     /* 0: none */
	enum share_strategy share_strategy;
};

struct router *router_new(struct policy *policy, const struct router_limits *limits);
void router_set_limits(struct router *r, const struct router_limits *limits);
void router_free(struct router *r); /* everybody has left */
struct policy *router_policy(struct router *r);
/* Who keeps messages on stable storage, retained and delayed ones as well; those of the last run
 * come back with keeper_restore(). Borrowed; NULL: nobody. */
void router_set_keeper(struct router *r, struct keeper *k);
struct keeper *router_keeper(const struct router *r); /* NULL: nobody */
/* What is kept so far because the upstream has it too, or because nobody was promised it, goes to
 * the journal now: the upstream is away, or the gateway ends. */
void router_secure(struct router *r);
/* At once tells of every filter that is wanted already. */
void router_watch(struct router *r, struct router_watcher *w);
void router_unwatch(struct router *r, struct router_watcher *w);

/* `filter` may have the prefix $share/{group}/ (see share.h) or $exclusive/ (one holder of each
 * such filter at a time). Rights are asked, and watchers told, of what follows the prefix.
 * The granted QoS (R_SUCCESS, R_GRANTED_QOS_1/2), or R_FILTER_INVALID, R_NOT_AUTHORIZED, R_QUOTA
 * (also: another client has the exclusive subscription), R_PROTOCOL_ERROR (shared with No Local).
 * Replaces the options of an existing subscription to the same filter. Retained messages follow
 * from router_turn(), after the caller has had the time to write its SUBACK. */
enum reason router_subscribe(
	struct router *r, struct subscriber *s, struct span filter, const struct sub_opts *opts);
/* R_SUCCESS, or R_NO_SUBSCRIPTION_EXISTED. */
enum reason router_unsubscribe(struct router *r, struct subscriber *s, struct span filter);
void router_leave(
	struct router *r, struct subscriber *s); /* all of them; harmless when there are none */
/* With their prefixes, the newest first. */
void router_subscriptions(struct subscriber *s,
	void (*each)(struct span filter, const struct sub_opts *, void *), void *arg);

/* Publishes. A failure (R_TOPIC_INVALID, R_NOT_AUTHORIZED, R_QUOTA...) means nobody got it and
 * `receipt` (may be NULL) will not fire. Else R_SUCCESS or R_NO_MATCHING_SUBSCRIBERS, and the
 * receipt fires later, once. A client may not publish below '$'; the gateway may. One delivery per
 * subscriber, at the highest QoS of its matching filters. What a client publishes to
 * $delayed/{seconds}/{topic} goes its way later, see delay.h. */
enum reason router_publish(
	struct router *r, const struct identity *from, struct message *m, struct receipt *receipt);
/* What the publisher itself must know again after a restart, in one record with the message. */
struct own_claim {
	struct claim claim;
	struct kept *kept; /* set by a publication that succeeds; NULL: there is no storage */
};
enum reason router_publish_claimed(struct router *r, const struct identity *from, struct message *m,
	struct receipt *receipt, struct own_claim *own);
/* Local delivery alone of a message that a gate withheld earlier: retained store and subscribers;
 * no gates, and the publisher's right is not asked again. */
void router_deliver(struct router *r, const struct identity *from, struct message *m);

struct message *router_retained(
	struct router *r, struct span topic); /* borrowed; NULL: none or expired */
void router_retained_match(
	struct router *r, struct span filter, void (*each)(struct message *, void *), void *arg);

/* Goes on with retained replays, a bounded number per call. True when there is more to do without
 * waiting for anybody. (Expired retained messages are dropped by a timer.) */
bool router_turn(struct router *r);

struct router_stats {
	struct topictree_stats tree;
	size_t subscriptions; /* without shared ones */
	size_t shared;        /* members of all groups */
	uint64_t published, delivered, no_subscriber, refused;
};
void router_stats(const struct router *r, struct router_stats *s);

#endif
