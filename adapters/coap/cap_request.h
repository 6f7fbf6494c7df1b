#ifndef TIDEGATE_ADAPTERS_COAP_CAP_REQUEST_H
#define TIDEGATE_ADAPTERS_COAP_CAP_REQUEST_H

#include "adapters/coap/cap_client.h"

#define CAP_ETAGS 8

struct cap_etags {
	unsigned n;
	struct span tag[CAP_ETAGS];
};

/* A request as values and views into its PDU; lives as long as the handler runs. Absent numbers are
 * -1. */
struct cap_request {
	struct cap *cap;
	struct cap_client *client;
	const coap_pdu_t *pdu;
	coap_pdu_t *response; /* libcoap sends it when the handler returns */
	uint8_t method, type;
	uint16_t mid;
	struct span token;
	size_t size; /* on the wire */
	struct cap_path path;
	struct span topic; /* of the hub, for `path`: while a method is served */
	struct cap_query query;
	struct cap_etags etags, if_match;
	bool if_none_match;
	int64_t observe, format, accept, block1, block2, size1;
	struct span echo, request_tag;
	uint64_t query_hash;
	struct span payload;
};

/* Reads all options once. 0, or the code to refuse with. */
uint8_t cap_request_parse(struct cap_request *rq, const coap_pdu_t *pdu);

/* One of the tags is that of `m`; an empty one (If-Match) fits every value. */
bool cap_etags_match(const struct cap_etags *tags, const struct message *m);

static inline struct span cap_request_topic(const struct cap_request *rq)
{
	return rq->topic;
}

/* The ways to end a handler: exactly one is called. */
void cap_reply(struct cap_request *rq, const struct cap_answer *a);
void cap_reply_code(struct cap_request *rq, uint8_t code);
void cap_reply_later(struct cap_request *rq); /* an exchange will, or nobody needs to */
/* 4.01 with an Echo to be sent back (RFC 9175, 2.3). */
void cap_reply_challenge(struct cap_request *rq);

/* The methods. */
void cap_publish(struct cap_request *rq); /* PUT and POST */
void cap_delete(struct cap_request *rq);
void cap_read(struct cap_request *rq); /* GET */
/* The value, when `m` is not NULL, and the Observe option, when `observe` is not -1. */
void cap_reply_value(struct cap_request *rq, struct message *m, int64_t observe);

/* cap_block.c: uploads in blocks (Block1). */
struct cap_upload;
/* Takes the block of the request. 0 and *body (and *upload, to be ended after use; NULL when all
 * came in one) when the body is whole; else the code to answer with, 2.31 included. */
uint8_t cap_upload_receive(struct cap_request *rq, struct span *body, struct cap_upload **upload);
void cap_upload_end(struct cap *cap, struct cap_upload *u); /* NULL is fine */
void cap_uploads_sweep(struct cap *cap);                    /* those nobody goes on with */
void cap_uploads_forget(struct cap *cap, const struct cap_client *c);

#endif
