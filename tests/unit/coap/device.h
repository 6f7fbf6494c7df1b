#ifndef TIDEGATE_TESTS_UNIT_COAP_DEVICE_H
#define TIDEGATE_TESTS_UNIT_COAP_DEVICE_H

/* A CoAP device of its own making, so that the adapter is not tested against libcoap's idea of the
 * protocol: octets are written here as RFC 7252, 3 draws them, and a running adapter with a real
 * router around it. */

#include "adapters/adapter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { CON, NON, ACK, RST };
enum { GET = 1, POST, PUT, DELETE, FETCH };
enum {
	OPT_IF_MATCH = 1,
	OPT_ETAG = 4,
	OPT_IF_NONE_MATCH = 5,
	OPT_OBSERVE = 6,
	OPT_LOCATION_PATH = 8,
	OPT_URI_PATH = 11,
	OPT_CONTENT_FORMAT = 12,
	OPT_MAX_AGE = 14,
	OPT_URI_QUERY = 15,
	OPT_ACCEPT = 17,
	OPT_BLOCK2 = 23,
	OPT_BLOCK1 = 27,
	OPT_SIZE2 = 28,
	OPT_SIZE1 = 60,
	OPT_ECHO = 252,
	OPT_NO_RESPONSE = 258,
	OPT_REQUEST_TAG = 292
};
#define CODE(n) ((n) / 100 << 5 | (n) % 100)

/* ---- packets ---- */

struct packet {
	uint8_t bytes[2048];
	size_t len;
	unsigned last; /* option number */
};

static inline void packet_init(
	struct packet *p, unsigned type, unsigned code, uint16_t mid, const char *token)
{
	size_t tkl = strlen(token);

	p->bytes[0] = (uint8_t)(0x40 | type << 4 | tkl);
	p->bytes[1] = (uint8_t)code;
	p->bytes[2] = (uint8_t)(mid >> 8);
	p->bytes[3] = (uint8_t)mid;
	memcpy(p->bytes + 4, token, tkl);
	p->len = 4 + tkl;
	p->last = 0;
}

static inline unsigned nibble(size_t v)
{
	return v < 13 ? (unsigned)v : v < 269 ? 13 : 14;
}

static inline void packet_extend(struct packet *p, size_t v)
{
	if (v >= 269) {
		p->bytes[p->len++] = (uint8_t)((v - 269) >> 8);
		p->bytes[p->len++] = (uint8_t)(v - 269);
	} else if (v >= 13) {
		p->bytes[p->len++] = (uint8_t)(v - 13);
	}
}

static inline void packet_option(struct packet *p, unsigned number, const void *v, size_t len)
{
	unsigned delta = number - p->last;

	p->bytes[p->len++] = (uint8_t)(nibble(delta) << 4 | nibble(len));
	packet_extend(p, delta);
	packet_extend(p, len);
	if (len)
		memcpy(p->bytes + p->len, v, len);
	p->len += len;
	p->last = number;
}

static inline void packet_uint(struct packet *p, unsigned number, uint32_t v)
{
	uint8_t b[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };
	unsigned skip = v >> 24 ? 0 : v >> 16 ? 1 : v >> 8 ? 2 : v ? 3 : 4;

	packet_option(p, number, b + skip, 4 - skip);
}

/* "/ps/a/b?qos=1": the segments and the queries; options between them are not possible here. */
static inline void packet_path(struct packet *p, const char *uri)
{
	while (*uri == '/') {
		size_t len = strcspn(++uri, "/?");

		packet_option(p, OPT_URI_PATH, uri, len);
		uri += len;
	}
}

static inline void packet_query(struct packet *p, const char *query)
{
	packet_option(p, OPT_URI_QUERY, query, strlen(query));
}

static inline void packet_payload(struct packet *p, const void *data, size_t len)
{
	if (!len)
		return;
	p->bytes[p->len++] = 0xff;
	memcpy(p->bytes + p->len, data, len);
	p->len += len;
}

/* ---- answers ---- */

struct answer {
	uint8_t bytes[2048];
	size_t len;
	unsigned type, code;
	uint16_t mid;
	char token[9];
	struct {
		unsigned number;
		const uint8_t *value;
		size_t len;
	} options[40];
	unsigned n_options;
	const uint8_t *payload;
	size_t payload_len;
};

static inline size_t answer_extended(const struct answer *a, size_t *at, size_t v)
{
	if (v == 13)
		return 13u + a->bytes[(*at)++];
	if (v == 14) {
		*at += 2;
		return 269u + ((size_t)a->bytes[*at - 2] << 8 | a->bytes[*at - 1]);
	}
	return v;
}

static inline void answer_parse(struct answer *a)
{
	size_t tkl = a->bytes[0] & 15, at = 4 + tkl;
	unsigned number = 0;

	assert_true(a->len >= 4);
	assert_int_equal(a->bytes[0] >> 6, 1);
	assert_true(tkl <= 8);
	a->type = a->bytes[0] >> 4 & 3;
	a->code = a->bytes[1];
	a->mid = (uint16_t)(a->bytes[2] << 8 | a->bytes[3]);
	memset(a->token, 0, sizeof(a->token));
	memcpy(a->token, a->bytes + 4, tkl);
	a->n_options = 0;
	while (at < a->len && a->bytes[at] != 0xff) {
		uint8_t head = a->bytes[at++];
		size_t delta = answer_extended(a, &at, head >> 4);
		size_t len = answer_extended(a, &at, head & 15);

		number += (unsigned)delta;
		assert_true(a->n_options < 40 && at + len <= a->len);
		a->options[a->n_options].number = number;
		a->options[a->n_options].value = a->bytes + at;
		a->options[a->n_options++].len = len;
		at += len;
	}
	a->payload = at < a->len ? a->bytes + at + 1 : NULL;
	a->payload_len = at < a->len ? a->len - at - 1 : 0;
}

/* -1: the option is not there. */
static inline int64_t answer_uint(const struct answer *a, unsigned number)
{
	for (unsigned i = 0; i < a->n_options; i++) {
		int64_t v = 0;

		if (a->options[i].number != number)
			continue;
		for (size_t k = 0; k < a->options[i].len; k++)
			v = v << 8 | a->options[i].value[k];
		return v;
	}
	return -1;
}

static inline struct span answer_option(const struct answer *a, unsigned number)
{
	for (unsigned i = 0; i < a->n_options; i++)
		if (a->options[i].number == number)
			return span_of(a->options[i].value, a->options[i].len);
	return span_of(NULL, 0);
}

#define assert_payload(a, text)                                                                    \
	do {                                                                                       \
		assert_int_equal((a)->payload_len, strlen(text));                                  \
		assert_memory_equal((a)->payload, (text), strlen(text));                           \
	} while (0)

#endif
