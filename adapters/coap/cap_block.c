#include "adapters/coap/cap_request.h"

#include "gateway/base/clock.h"

#include <stdlib.h>

/* A body that arrives in blocks (RFC 7959, 2.5). Nothing is published before the last one. Memory
 * grows with what has arrived, never with what was announced. */
struct cap_upload {
	struct list node; /* in cap.uploads */
	const struct cap_client *client;
	uint64_t key; /* hash of path, query and Request-Tag (RFC 9175, 3.3): two uploads of one
			 client do not mix */
	uint8_t method;
	uint8_t *body; /* owned */
	size_t len, cap;
	int64_t heard_ms;
};

#define UPLOADS_PER_CLIENT 8

static uint64_t key_of(const struct cap_request *rq)
{
	struct span topic = cap_request_topic(rq);
	uint64_t parts[3] = { hash_bytes(topic.p, topic.len), rq->query_hash,
		hash_bytes(rq->request_tag.p, rq->request_tag.len) };

	return hash_bytes(parts, sizeof(parts));
}

static struct cap_upload *upload_find(const struct cap_request *rq, uint64_t key, unsigned *n)
{
	struct list *e;

	*n = 0;
	list_for_each(e, &rq->cap->uploads) {
		struct cap_upload *u = list_entry(e, struct cap_upload, node);

		if (u->client != rq->client)
			continue;
		if (u->key == key && u->method == rq->method)
			return u;
		++*n;
	}
	return NULL;
}

static struct cap_upload *upload_new(struct cap_request *rq, uint64_t key, unsigned n_mine)
{
	struct cap_upload *u;

	if (n_mine >= UPLOADS_PER_CLIENT || rq->cap->n_uploads >= rq->cap->conf.uploads)
		return NULL;
	u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	u->client = rq->client;
	u->key = key;
	u->method = rq->method;
	list_append(&rq->cap->uploads, &u->node);
	rq->cap->n_uploads++;
	return u;
}

void cap_upload_end(struct cap *cap, struct cap_upload *u)
{
	if (!u)
		return;
	list_remove(&u->node);
	cap->n_uploads--;
	free(u->body);
	free(u);
}

void cap_uploads_sweep(struct cap *cap)
{
	struct list *e, *next;

	list_for_each_safe(e, next, &cap->uploads) {
		struct cap_upload *u = list_entry(e, struct cap_upload, node);

		if (clock_ms() - u->heard_ms >= CAP_EXCHANGE_MS)
			cap_upload_end(cap, u);
	}
}

void cap_uploads_forget(struct cap *cap, const struct cap_client *c)
{
	struct list *e, *next;

	list_for_each_safe(e, next, &cap->uploads) {
		struct cap_upload *u = list_entry(e, struct cap_upload, node);

		if (u->client == c)
			cap_upload_end(cap, u);
	}
}

static bool upload_append(struct cap_upload *u, struct span block, size_t max)
{
	if (u->cap - u->len < block.len) {
		size_t cap = MIN(MAX(u->cap * 2, u->len + block.len), max);
		uint8_t *body = realloc(u->body, cap);

		if (!body)
			return false;
		u->body = body;
		u->cap = cap;
	}
	if (block.len)
		memcpy(u->body + u->len, block.p, block.len);
	u->len += block.len;
	u->heard_ms = clock_ms();
	return true;
}

/* The upload this block goes on with, NULL and *code when it cannot. */
static struct cap_upload *upload_of(
	struct cap_request *rq, const struct cap_block *b, uint8_t *code)
{
	uint64_t key = key_of(rq);
	unsigned n_mine;
	struct cap_upload *u = upload_find(rq, key, &n_mine);

	if (b->num == 0) {
		/* RFC 7959, 2.5: block 0 begins anew. */
		cap_upload_end(rq->cap, u);
		u = upload_new(rq, key, n_mine);
		*code = COAP_RESPONSE_CODE(503);
		return u;
	}
	*code = COAP_RESPONSE_CODE(408);
	return u && u->len == (size_t)b->num * cap_block_size(b->szx) ? u : NULL;
}

uint8_t cap_upload_receive(struct cap_request *rq, struct span *body, struct cap_upload **upload)
{
	size_t max = (size_t)rq->cap->conf.max_payload;
	struct cap_upload *u;
	struct cap_block b;
	uint8_t code;

	*upload = NULL;
	*body = rq->payload;
	if (rq->size1 > (int64_t)max || rq->payload.len > max)
		return COAP_RESPONSE_CODE(413);
	if (rq->block1 == -1)
		return 0;
	if (!cap_block_parse(rq->block1, &b) || rq->payload.len > cap_block_size(b.szx) ||
		(b.more && rq->payload.len != cap_block_size(b.szx)))
		return COAP_RESPONSE_CODE(400);
	if (b.num == 0 && !b.more)
		return 0;
	u = upload_of(rq, &b, &code);
	if (!u)
		return code;
	if (rq->payload.len > max - u->len)
		code = COAP_RESPONSE_CODE(413);
	else if (!upload_append(u, rq->payload, max))
		code = COAP_RESPONSE_CODE(503);
	else if (b.more)
		return COAP_RESPONSE_CODE(231);
	else {
		*body = span_of(u->body, u->len);
		*upload = u;
		return 0;
	}
	cap_upload_end(rq->cap, u);
	return code;
}
