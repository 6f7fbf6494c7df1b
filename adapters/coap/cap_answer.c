#include "adapters/coap/cap_answer.h"

#include "adapters/coap/cap_map.h"
#include "gateway/base/clock.h"
#include "gateway/base/util.h"
#include "gateway/core/message.h"
#include "gateway/core/topic.h"

#define HEADER_LEN 4 /* RFC 7252, 3 */

void cap_answer_init(struct cap_answer *a, uint8_t code)
{
	uint32_t retry_s = cap_retry_after(code);

	*a = (struct cap_answer){
		.code = code,
		.observe = -1,
		.format = CAP_FORMAT_NONE,
		.max_age = retry_s ? (int64_t)retry_s : -1,
		.block1 = -1,
		.block2 = -1,
		.size1 = -1,
		.size2 = -1,
	};
}

/* Options go out in ascending order, into a PDU or only into a sum. */
struct sink {
	coap_pdu_t *pdu; /* NULL: measure */
	size_t bytes;
	uint16_t last;
	bool bad;
};

static void put(struct sink *s, uint16_t number, const void *value, size_t len)
{
	s->bytes += coap_opt_encode_size((uint16_t)(number - s->last), len);
	s->last = number;
	if (s->pdu && !s->bad && !coap_add_option(s->pdu, number, len, value))
		s->bad = true;
}

static void put_uint(struct sink *s, uint16_t number, int64_t value)
{
	uint8_t buf[4];

	if (value >= 0)
		put(s, number, buf, coap_encode_var_safe(buf, sizeof(buf), (unsigned)value));
}

/* Location-Path takes 255 octets (RFC 7252, 5.10); CoAP has no name for a longer level. */
static bool has_path(struct span topic)
{
	struct span rest = topic, level;
	bool done = false;

	while (topic_next_level(&rest, &done, &level))
		if (level.len > 255)
			return false;
	return topic.len > 0;
}

static void put_location(struct sink *s, struct span topic)
{
	struct span rest = topic, level;
	bool done = false;

	if (!has_path(topic))
		return;
	put(s, COAP_OPTION_LOCATION_PATH, "ps", 2);
	while (topic_next_level(&rest, &done, &level))
		put(s, COAP_OPTION_LOCATION_PATH, level.p, level.len);
}

static void put_options(struct sink *s, const struct cap_answer *a)
{
	if (a->has_etag)
		put(s, COAP_OPTION_ETAG, a->etag, sizeof(a->etag));
	put_uint(s, COAP_OPTION_OBSERVE, a->observe);
	put_location(s, a->location);
	put_uint(s, COAP_OPTION_CONTENT_FORMAT, a->format);
	put_uint(s, COAP_OPTION_MAXAGE, a->max_age);
	put_uint(s, COAP_OPTION_BLOCK2, a->block2);
	put_uint(s, COAP_OPTION_BLOCK1, a->block1);
	put_uint(s, COAP_OPTION_SIZE2, a->size2);
	put_uint(s, COAP_OPTION_SIZE1, a->size1);
	if (a->echo.len)
		put(s, COAP_OPTION_ECHO, a->echo.p, a->echo.len);
}

size_t cap_answer_size(const struct cap_answer *a, size_t token_len)
{
	struct sink s = { .bytes = HEADER_LEN + token_len };

	put_options(&s, a);
	return s.bytes + (a->payload.len ? 1 + a->payload.len : 0);
}

bool cap_answer_write(const struct cap_answer *a, coap_pdu_t *pdu)
{
	struct sink s = { .pdu = pdu };

	coap_pdu_set_code(pdu, (coap_pdu_code_t)a->code);
	put_options(&s, a);
	if (s.bad)
		return false;
	return !a->payload.len || coap_add_data(pdu, a->payload.len, a->payload.p);
}

coap_pdu_t *cap_answer_pdu(const struct cap_answer *a, coap_session_t *session,
	coap_pdu_type_t type, uint16_t mid, struct span token)
{
	coap_pdu_t *pdu = coap_pdu_init(
		type, (coap_pdu_code_t)a->code, mid, coap_session_max_pdu_size(session));

	if (!pdu || !a->code)
		return pdu;
	if (coap_add_token(pdu, token.len, token.p) && cap_answer_write(a, pdu))
		return pdu;
	coap_delete_pdu(pdu);
	return NULL;
}

size_t cap_pdu_size(const coap_pdu_t *pdu)
{
	coap_bin_const_t token = coap_pdu_get_token(pdu);
	const uint8_t *end = token.s + token.length, *payload;
	coap_opt_iterator_t it;
	coap_opt_t *opt;
	size_t len;

	if (coap_get_data(pdu, &len, &payload)) {
		end = payload + len;
	} else {
		coap_option_iterator_init(pdu, &it, COAP_OPT_ALL);
		while ((opt = coap_option_next(&it)))
			end = opt + coap_opt_size(opt);
	}
	return HEADER_LEN + (size_t)(end - token.s);
}

/* ---- representations ---- */

void cap_etag(const struct message *m, uint8_t etag[CAP_ETAG_LEN])
{
	uint64_t digest = message_digest(m);

	for (unsigned i = 0; i < CAP_ETAG_LEN; i++)
		etag[i] = (uint8_t)(digest >> 8 * i);
}

void cap_answer_describe(struct cap_answer *a, const struct message *m)
{
	a->has_etag = true;
	cap_etag(m, a->etag);
	a->format = cap_format_of(message_props(m));
	if (m->expires_ms)
		a->max_age = MIN(MAX((m->expires_ms - clock_ms()) / 1000, 0),
			a->observe == -1 ? UINT32_MAX : CAP_OBSERVE_MAX_AGE_S);
}

bool cap_block_parse(int64_t option, struct cap_block *b)
{
	b->num = (uint32_t)(option >> 4);
	b->more = option & 8;
	b->szx = option & 7;
	return b->szx <= CAP_SZX_MAX;
}

bool cap_answer_slice(struct cap_answer *a, struct span body, uint32_t num, uint8_t szx,
	bool wanted, size_t token_len, size_t room)
{
	size_t from, size;

	/* Block2 and Size2 take at most 4 and 5 octets, the payload marker one. */
	a->payload = span_of(NULL, 0);
	a->block2 = a->size2 = -1;
	room -= MIN(room, cap_answer_size(a, token_len) + 10);
	from = (size_t)num * cap_block_size(szx);
	if (num && from >= body.len)
		return false;
	/* RFC 7959, 2.4: a smaller block may be sent, at the same place in the body. */
	while (szx > 0 && cap_block_size(szx) > room)
		szx--;
	size = cap_block_size(szx);
	num = (uint32_t)(from / size);
	a->payload = span_of(body.p + from, MIN(size, body.len - from));
	if (wanted || body.len > size)
		a->block2 = cap_block_option(num, from + size < body.len, szx);
	if (num == 0 && body.len > size)
		a->size2 = (int64_t)body.len;
	return true;
}
