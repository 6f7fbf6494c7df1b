#include "gateway/core/message.h"

#include "gateway/base/clock.h"
#include "gateway/base/util.h"
#include "gateway/base/wire.h"
#include "gateway/core/keeper.h"
#include "gateway/core/props.h"
#include "gateway/core/topic.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

static size_t alive, alive_bytes, alive_payload_bytes;
static size_t budget_bytes; /* 0: none */

size_t messages_bytes(void)
{
	return alive_bytes;
}

size_t messages_count(void)
{
	return alive;
}

size_t messages_payload_bytes(void)
{
	return alive_payload_bytes;
}

void messages_set_budget(size_t bytes)
{
	budget_bytes = bytes;
}

static bool fits_budget(size_t size)
{
	return budget_bytes == 0 || (size <= budget_bytes && alive_bytes <= budget_bytes - size);
}

static struct message *make(const struct message_init *init, bool within_budget)
{
	if (init->topic.len > UINT16_MAX || init->payload.len > UINT32_MAX / 4 ||
		init->props.len > UINT32_MAX / 4)
		return NULL;
	size_t body = 2 + init->topic.len + init->payload.len + init->props.len;
	if (within_budget && !fits_budget(sizeof(struct message) + body))
		return NULL;
	struct message *m = malloc(sizeof(*m) + body);
	if (!m)
		return NULL;

	*m = (struct message){
		.refs = 1,
		.payload_len = (uint32_t)init->payload.len,
		.props_len = (uint32_t)init->props.len,
		.topic_len = (uint16_t)init->topic.len,
		.qos = init->qos,
		.retain = init->retain,
		.dup = init->dup,
		.origin = init->origin,
		.expires_ms = init->expires_ms,
		.synced = clock_synced(),
		.received_wall_ms = clock_wall_ms(),
	};
	struct writer w = writer_of(m->body, body);
	wr_span16(&w, init->topic);
	wr_span(&w, init->payload);
	wr_span(&w, init->props);
	assert(!w.bad && w.len == body);
	alive++;
	alive_bytes += message_size(m);
	alive_payload_bytes += m->payload_len;
	return m;
}

struct message *message_new(const struct message_init *init)
{
	return make(init, true);
}

struct message *message_ref(struct message *m)
{
	assert(m->refs > 0 && m->refs < UINT32_MAX);
	m->refs++;
	return m;
}

void message_unref(struct message *m)
{
	if (!m)
		return;
	assert(m->refs > 0);
	if (--m->refs > 0)
		return;
	if (m->kept)
		kept_lost_body(m->kept);
	alive--;
	alive_bytes -= message_size(m);
	alive_payload_bytes -= m->payload_len;
	free(m);
}

bool message_expired(const struct message *m)
{
	return m->expires_ms != 0 && m->expires_ms <= clock_ms();
}

static uint64_t digest_mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 29;
}

/* Without a seed, unlike hash_bytes(): it is compared across restarts. A client that aims for a
 * collision loses only its own message. */
uint64_t message_digest(const struct message *m)
{
	size_t len = 2u + m->topic_len + m->payload_len, i = 0;
	uint64_t h = digest_mix(len, m->retain ? 2 : 1);
	uint64_t word;

	for (; len - i >= sizeof(word); i += sizeof(word)) {
		memcpy(&word, m->body + i, sizeof(word));
		h = digest_mix(h, le64toh(word));
	}
	word = 0;
	memcpy(&word, m->body + i, len - i);
	return digest_mix(digest_mix(h, le64toh(word)), 0);
}

/* The stored form: a head of HEAD_BYTES, then `body` as it is in memory.
 *   version 1 | flags (bits 0-1 qos, bit 2 retain, bit 3 expires, bit 4 synced) | payload length 4
 * | props length 4 | remaining life in ms 8 | stamp when encoded 8 | wall clock of arrival 8
 */
enum { FORM_VERSION = 1, HEAD_BYTES = 34 };
enum { FLAG_QOS = 0x03, FLAG_RETAIN = 0x04, FLAG_EXPIRES = 0x08, FLAG_SYNCED = 0x10 };
enum { FLAGS = 0x1f };
_Static_assert(HEAD_BYTES <= MESSAGE_SCRATCH, "the head is built in the scratch");

/* MQTT 5.0, 3.3.2.3.3: the interval has 32 bits of seconds. */
#define LIFE_MAX_MS ((uint64_t)UINT32_MAX * 1000)

static uint64_t life_left_ms(const struct message *m)
{
	int64_t left = m->expires_ms ? m->expires_ms - clock_ms() : 0;

	return left < 0 ? 0 : MIN((uint64_t)left, LIFE_MAX_MS);
}

static uint8_t form_flags(const struct message *m)
{
	return (uint8_t)(m->qos | (m->retain ? FLAG_RETAIN : 0) |
			 (m->expires_ms ? FLAG_EXPIRES : 0) | (m->synced ? FLAG_SYNCED : 0));
}

unsigned message_encode(
	const struct message *m, uint8_t scratch[MESSAGE_SCRATCH], struct span parts[MESSAGE_PARTS])
{
	struct writer w = writer_of(scratch, MESSAGE_SCRATCH);

	wr_u8(&w, FORM_VERSION);
	wr_u8(&w, form_flags(m));
	wr_u32(&w, m->payload_len);
	wr_u32(&w, m->props_len);
	wr_u64(&w, life_left_ms(m));
	wr_u64(&w, (uint64_t)clock_stamp_ms());
	wr_u64(&w, (uint64_t)m->received_wall_ms);
	assert(!w.bad && w.len == HEAD_BYTES);
	parts[0] = span_of(scratch, w.len);
	parts[1] = span_of(m->body, message_size(m) - sizeof(*m));
	return 2;
}

/* Life goes on while the gateway is down, as far as the wall clock can tell. */
static int64_t expiry_after_rest(uint64_t left_ms, int64_t encoded_wall_ms)
{
	uint64_t passed = (uint64_t)clock_stamp_passed(encoded_wall_ms);

	return passed >= left_ms ? clock_ms() : clock_ms() + (int64_t)(left_ms - passed);
}

struct message *message_decode(struct span bytes, uint64_t origin)
{
	struct reader r = reader_of(bytes);
	uint8_t version = rd_u8(&r);
	uint8_t flags = rd_u8(&r);
	uint32_t payload_len = rd_u32(&r);
	uint32_t props_len = rd_u32(&r);
	uint64_t left_ms = rd_u64(&r);
	int64_t encoded_wall_ms = (int64_t)rd_u64(&r);
	int64_t received_wall_ms = (int64_t)rd_u64(&r);
	struct message_init init = {
		.topic = rd_span16(&r),
		.payload = rd_span(&r, payload_len),
		.props = rd_span(&r, props_len),
		.qos = flags & FLAG_QOS,
		.retain = flags & FLAG_RETAIN,
		.origin = origin,
	};

	if (r.bad || r.left || version != FORM_VERSION || left_ms > LIFE_MAX_MS)
		return NULL;
	if (init.qos > 2 || (flags & ~FLAGS))
		return NULL;
	if (!topic_valid_name(init.topic) || !props_valid(init.props))
		return NULL;
	if (flags & FLAG_EXPIRES)
		init.expires_ms = expiry_after_rest(left_ms, encoded_wall_ms);
	else if (left_ms)
		return NULL;
	struct message *m = make(&init, false);
	if (m) {
		m->received_wall_ms = received_wall_ms;
		m->synced = flags & FLAG_SYNCED;
	}
	return m;
}
