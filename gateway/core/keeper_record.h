#ifndef TIDEGATE_CORE_KEEPER_RECORD_H
#define TIDEGATE_CORE_KEEPER_RECORD_H

#include "gateway/base/wire.h"
#include "gateway/core/keeper.h"

/* The keeper's records as bytes; numbers are big-endian, "n" and "length" variable byte integers.
 *
 *   JR_MESSAGE  version 8 | flags 8 | n | claims | the message (message_encode())
 *   JR_CLAIM    version 8 | flags 8 | record 64 | n | claims
 *   JR_DONE     version 8 | flags 8 | record 64 | n | ends
 *   claim       kind 8 | length | MAIL: owner 64, packet id 16, flags 8, n, identifiers
 *                               | EXCHANGE: owner 64, packet id 16, digest 64
 *                               | DELAYED: due 64, left 64
 *   end         kind 8 | owner 64 | packet id 16
 *
 * "record" is the sequence of the message. Fields may be added at the end of a claim and kinds of
 * claims may be added: what is not known is skipped, a claim of an unknown kind comes out with its
 * number. */
#define KEPT_GOES_ON   0x01 /* the claims of the publication go on in a further record */
#define KEPT_CONTINUES 0x02 /* JR_CLAIM: such a record */

#define KEPT_HEAD_MAX 16 /* octets in front of the claims or ends */
#define KEPT_END_SIZE 11
#define KEPT_IDS_MAX  1024 /* subscription identifiers stored with a claim */

struct kept_head {
	uint8_t flags;
	uint64_t record; /* 0 in JR_MESSAGE */
	uint32_t n;
};

void kept_head_encode(struct writer *w, const struct kept_head *h);
/* -EPROTONOSUPPORT: of a later version; -EBADMSG. `rest` is at the first claim or end. */
int kept_head_decode(struct span body, bool message, struct kept_head *h, struct reader *rest);

size_t claim_encoded_max(const struct claim *c); /* octets, an upper bound */
void claim_encode(struct writer *w, const struct claim *c);
/* 0 or -EBADMSG. The caller has a reference to c->sub_ids. */
int claim_decode(struct reader *r, struct claim *c);

/* Only what tells a claim apart. */
void claim_end_encode(struct writer *w, const struct claim *c);
int claim_end_decode(struct reader *r, struct claim *c);

/* Order of (kind, owner, packet id). */
int claim_compare(const struct claim *a, const struct claim *b);

#endif
