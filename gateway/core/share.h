#ifndef TIDEGATE_CORE_SHARE_H
#define TIDEGATE_CORE_SHARE_H

#include "gateway/core/router_parts.h"

/* Shared subscriptions (MQTT 5.0, 4.8.2): each message goes to one member of a group. A group has a
 * name and a filter; the same name with another filter is another group. To the topic tree it is
 * one subscriber, so a client with an own subscription as well gets both deliveries.
 *
 * The strategy names the member; if its client is away, or its queue is full, the next one that can
 * take the message now gets it, and only when there is none a client that is away with its session
 * kept. What a member was given stays its own, even if its session ends before the acknowledgement:
 * it is counted as dropped then ("session_end"). It may have been worked on already, and a queue
 * entry has no room for the group it came through. */

/* To be called by router_subscribe(): `text` is "$share/{group}/{filter}", valid and allowed. */
enum reason share_subscribe(struct router *r, struct subscriber *s, struct span text,
	struct span filter, const struct sub_opts *opts);
/* The membership of `s`, or NULL. */
struct subscription *share_find(struct router *r, struct subscriber *s, struct span text);
/* Is this one a membership, with no leaf in the tree? */
static inline bool share_is_member(const struct subscription *sub)
{
	return sub->leaf.at == NULL;
}
/* "$share/{group}/{filter}" of a membership. */
struct span share_text(const struct subscription *member);
/* Ends a membership; the last one ends the group. */
void share_leave(struct router *r, struct subscription *member);

void shares_init(struct router *r);
void shares_close(struct router *r);

#endif
