#ifndef TIDEGATE_BASE_WIRE_H
#define TIDEGATE_BASE_WIRE_H

#include "gateway/base/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Bounded reader and writer with a sticky error: the first short read or full buffer poisons all
 * that follows, so a codec reads straight through and asks `bad` once at the end. Integers are
 * big-endian as in MQTT and MQTT-SN. */
struct reader {
	const uint8_t *p;
	size_t left;
	bool bad;
};

static inline struct reader reader_of(struct span s)
{
	return (struct reader){ s.p, s.len, false };
}

static inline struct span rd_span(struct reader *r, size_t len)
{
	if (r->bad || len > r->left) {
		r->bad = true;
		return (struct span){ NULL, 0 };
	}
	struct span s = { r->p, len };
	r->p += len;
	r->left -= len;
	return s;
}

static inline struct span rd_rest(struct reader *r)
{
	return rd_span(r, r->left);
}

static inline uint8_t rd_u8(struct reader *r)
{
	struct span s = rd_span(r, 1);
	return s.len ? s.p[0] : 0;
}

static inline uint16_t rd_u16(struct reader *r)
{
	struct span s = rd_span(r, 2);
	return (uint16_t)(s.len ? s.p[0] << 8 | s.p[1] : 0);
}

static inline uint32_t rd_u32(struct reader *r)
{
	uint32_t hi = rd_u16(r);
	return hi << 16 | rd_u16(r);
}

static inline uint64_t rd_u64(struct reader *r)
{
	uint64_t hi = rd_u32(r);
	return hi << 32 | rd_u32(r);
}

/* A string or binary with a 16-bit length in front (MQTT 5.0, 1.5.4 and 1.5.6). */
static inline struct span rd_span16(struct reader *r)
{
	size_t len = rd_u16(r);
	return rd_span(r, len);
}

/* Variable byte integer (MQTT 5.0, 1.5.5): at most four octets; a fifth, or an encoding longer than
 * needed, is bad. */
static inline uint32_t rd_varint(struct reader *r)
{
	uint32_t v = 0;
	for (unsigned shift = 0; shift < 28; shift += 7) {
		uint8_t b = rd_u8(r);
		if (r->bad)
			return 0;
		v |= (uint32_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			if (b == 0 && shift > 0)
				r->bad = true;
			return v;
		}
	}
	r->bad = true;
	return 0;
}

struct writer {
	uint8_t *p; /* start of the buffer */
	size_t cap, len;
	bool bad;
};

static inline struct writer writer_of(void *p, size_t cap)
{
	return (struct writer){ p, cap, 0, false };
}

static inline void wr_bytes(struct writer *w, const void *p, size_t len)
{
	if (w->bad || len > w->cap - w->len) {
		w->bad = true;
		return;
	}
	if (len)
		memcpy(w->p + w->len, p, len);
	w->len += len;
}

static inline void wr_span(struct writer *w, struct span s)
{
	wr_bytes(w, s.p, s.len);
}

static inline void wr_u8(struct writer *w, uint8_t v)
{
	wr_bytes(w, &v, 1);
}

static inline void wr_u16(struct writer *w, uint16_t v)
{
	uint8_t b[2] = { (uint8_t)(v >> 8), (uint8_t)v };
	wr_bytes(w, b, 2);
}

static inline void wr_u32(struct writer *w, uint32_t v)
{
	wr_u16(w, (uint16_t)(v >> 16));
	wr_u16(w, (uint16_t)v);
}

static inline void wr_u64(struct writer *w, uint64_t v)
{
	wr_u32(w, (uint32_t)(v >> 32));
	wr_u32(w, (uint32_t)v);
}

static inline void wr_span16(struct writer *w, struct span s)
{
	if (s.len > UINT16_MAX) {
		w->bad = true;
		return;
	}
	wr_u16(w, (uint16_t)s.len);
	wr_span(w, s);
}

static inline void wr_varint(struct writer *w, uint32_t v)
{
	if (v >= (uint32_t)1 << 28) {
		w->bad = true;
		return;
	}
	do {
		uint8_t b = v & 0x7f;
		v >>= 7;
		wr_u8(w, (uint8_t)(v ? b | 0x80 : b));
	} while (v);
}

#endif
