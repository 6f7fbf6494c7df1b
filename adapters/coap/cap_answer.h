#ifndef TIDEGATE_ADAPTERS_COAP_CAP_ANSWER_H
#define TIDEGATE_ADAPTERS_COAP_CAP_ANSWER_H

#include "gateway/base/span.h"

#include <coap3/coap.h>

#include <stdbool.h>
#include <stdint.h>

struct message;

#define CAP_ETAG_LEN 4

/* What observers are shown is fresh for no longer (60 s are also what no Max-Age means), however
 * long the value lives: an observation ends with the gateway's process, without a word, and a
 * client whose value is not fresh any more registers again (RFC 7641, 3.3.1). */
#define CAP_OBSERVE_MAX_AGE_S 60

/* A response or notification as values and views, before it becomes options of a PDU. Absent
 * numbers are -1, absent strings have len 0. */
struct cap_answer {
	uint8_t code;
	bool has_etag;
	uint8_t etag[CAP_ETAG_LEN];
	int64_t observe;      /* RFC 7641: 24 bits */
	struct span location; /* a topic: Location-Path "ps" and its levels */
	int format;           /* Content-Format */
	int64_t max_age;
	int64_t block2, block1; /* RFC 7959, 2.2: as in the option */
	int64_t size2, size1;
	struct span echo;
	struct span payload;
};

/* With the Max-Age that belongs to a refusal. */
void cap_answer_init(struct cap_answer *a, uint8_t code);
/* What it takes on the wire, header and token included. */
size_t cap_answer_size(const struct cap_answer *a, size_t token_len);
/* Sets code, options and payload of a PDU that has its token already. False when it does not fit or
 * no memory is left: the PDU is of no use then. */
bool cap_answer_write(const struct cap_answer *a, coap_pdu_t *pdu);
/* What a PDU takes on the wire; its token must be the one it is sent with. */
size_t cap_pdu_size(const coap_pdu_t *pdu);
/* A PDU for a session, NULL when there is no memory. `code` 0 makes an empty message. */
coap_pdu_t *cap_answer_pdu(const struct cap_answer *a, coap_session_t *session,
	coap_pdu_type_t type, uint16_t mid, struct span token);

/* ---- the value of a topic as a representation ---- */

/* The ETag of a representation: the same bytes under the same topic have the same one. */
void cap_etag(const struct message *m, uint8_t etag[CAP_ETAG_LEN]);
/* ETag, Max-Age and Content-Format of a value. a->observe has been set. */
void cap_answer_describe(struct cap_answer *a, const struct message *m);

/* RFC 7959, 2.2. A block option as its parts. */
struct cap_block {
	uint32_t num;
	bool more;
	uint8_t szx;
};
#define CAP_SZX_MAX 6
static inline size_t cap_block_size(uint8_t szx)
{
	return (size_t)16 << szx;
}
/* False for SZX 7, which is for reliable transports. */
bool cap_block_parse(int64_t option, struct cap_block *b);
static inline int64_t cap_block_option(uint32_t num, bool more, uint8_t szx)
{
	return (int64_t)num << 4 | (more ? 8 : 0) | szx;
}
/* Puts block `num` of `body` into the answer; the whole body when it is small enough and `num` is
 * 0. `szx` is the largest size wanted and made smaller when the PDU has no room for it; `room` is
 * what the PDU may take in all. False: there is no such block. */
bool cap_answer_slice(struct cap_answer *a, struct span body, uint32_t num, uint8_t szx,
	bool wanted, size_t token_len, size_t room);

#endif
