#include "adapters/mqtt/mq_ws.h"

#include "gateway/base/util.h"

/* 5.2 */
#define FIN         0x80
#define RSV         0x70
#define OPCODE      0x0f
#define MASKED      0x80
#define LENGTH      0x7f
#define LENGTH_16   126
#define LENGTH_64   127
#define MASK_OCTETS 4

static bool is_control(const struct mq_ws_decoder *d)
{
	return d->head[0] & 0x08;
}

static uint16_t check_opcode(const struct mq_ws_decoder *d)
{
	switch (d->head[0] & OPCODE) {
	case MQ_WS_CONTINUATION:
		return d->in_message ? 0 : MQ_WS_PROTOCOL;
	case MQ_WS_BINARY:
		return d->in_message ? MQ_WS_PROTOCOL : 0;
	case MQ_WS_TEXT: /* [MQTT-6.0.0-1] */
		return MQ_WS_UNSUPPORTED;
	case MQ_WS_CLOSE:
	case MQ_WS_PING:
	case MQ_WS_PONG: /* 5.5: short and whole */
		return (d->head[0] & FIN) && (d->head[1] & LENGTH) <= MQ_WS_CONTROL_MAX
			       ? 0
			       : MQ_WS_PROTOCOL;
	default:
		return MQ_WS_PROTOCOL;
	}
}

/* What the first two octets say. 0, or the status code of what is wrong. */
static uint16_t check_head(const struct mq_ws_decoder *d)
{
	if ((d->head[0] & RSV) || !(d->head[1] & MASKED)) /* 5.1: clients mask */
		return MQ_WS_PROTOCOL;
	return check_opcode(d);
}

static size_t length_octets(const struct mq_ws_decoder *d)
{
	switch (d->head[1] & LENGTH) {
	case LENGTH_16:
		return 2;
	case LENGTH_64:
		return 8;
	default:
		return 0;
	}
}

static size_t head_size(const struct mq_ws_decoder *d)
{
	return d->head_len < 2 ? 2 : 2 + length_octets(d) + MASK_OCTETS;
}

/* False: longer than it may be, or written with more octets than it needs. */
static bool head_length(const struct mq_ws_decoder *d, uint64_t *len)
{
	struct reader r = reader_of(span_of(d->head + 2, length_octets(d)));

	switch (d->head[1] & LENGTH) {
	case LENGTH_16:
		*len = rd_u16(&r);
		return *len >= LENGTH_16;
	case LENGTH_64:
		*len = rd_u64(&r);
		return *len > UINT16_MAX && *len <= INT64_MAX;
	default:
		*len = d->head[1] & LENGTH;
		return true;
	}
}

/* The head is whole. */
static uint16_t begin_frame(struct mq_ws_decoder *d)
{
	if (!head_length(d, &d->left))
		return MQ_WS_PROTOCOL;
	d->in_frame = true;
	d->mask_at = 0;
	if (is_control(d))
		d->control_len = 0;
	else
		d->in_message = !(d->head[0] & FIN);
	return 0;
}

/* 0, or the status code of what is wrong. */
static uint16_t take_head(struct mq_ws_decoder *d, struct span *in)
{
	while (in->len && d->head_len < head_size(d)) {
		d->head[d->head_len++] = *in->p++;
		in->len--;
		uint16_t code = d->head_len == 2 ? check_head(d) : 0;
		if (code)
			return code;
	}
	return d->head_len > 2 && d->head_len == head_size(d) ? begin_frame(d) : 0;
}

static void take_payload(struct mq_ws_decoder *d, struct span *in, uint8_t **out)
{
	const uint8_t *mask = d->head + head_size(d) - MASK_OCTETS;
	size_t n = (size_t)MIN((uint64_t)in->len, d->left);
	/* A control frame is at most as long as its buffer: check_opcode(). */
	uint8_t *to = is_control(d) ? d->control + d->control_len : *out;

	for (size_t i = 0; i < n; i++)
		to[i] = in->p[i] ^ mask[(d->mask_at + i) % MASK_OCTETS];
	d->mask_at = (uint8_t)((d->mask_at + n) % MASK_OCTETS);
	d->left -= n;
	*in = span_of(in->p + n, in->len - n);
	if (is_control(d))
		d->control_len = (uint8_t)(d->control_len + n);
	else
		*out += n;
}

/* 7.4: codes that may stand in a frame. */
static bool valid_code(unsigned code)
{
	return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
	       (code >= 3000 && code <= 4999);
}

static enum mq_ws_event broken(struct mq_ws_decoder *d, uint16_t code)
{
	d->code = code;
	return MQ_WS_GOT_BROKEN;
}

/* 5.5.1: the status code comes back as it is. */
static enum mq_ws_event take_close(struct mq_ws_decoder *d)
{
	struct reader r = reader_of(span_of(d->control, d->control_len));

	d->code = MQ_WS_NORMAL;
	if (d->control_len == 0)
		return MQ_WS_GOT_CLOSE;
	unsigned code = rd_u16(&r);
	if (r.bad || !valid_code(code))
		return broken(d, MQ_WS_PROTOCOL);
	d->code = (uint16_t)code;
	return MQ_WS_GOT_CLOSE;
}

static enum mq_ws_event frame_event(struct mq_ws_decoder *d)
{
	switch (d->head[0] & OPCODE) {
	case MQ_WS_PING:
		return MQ_WS_GOT_PING;
	case MQ_WS_CLOSE:
		return take_close(d);
	default: /* data, or a pong nobody asked for (5.5.3) */
		return MQ_WS_MORE;
	}
}

enum mq_ws_event mq_ws_decode(struct mq_ws_decoder *d, struct span *in, uint8_t **out)
{
	while (in->len) {
		uint16_t code = d->in_frame ? 0 : take_head(d, in);
		if (code)
			return broken(d, code);
		if (!d->in_frame)
			break;
		take_payload(d, in, out);
		if (d->left)
			break;
		enum mq_ws_event event = frame_event(d);
		d->in_frame = false;
		d->head_len = 0;
		if (event != MQ_WS_MORE)
			return event;
	}
	return MQ_WS_MORE;
}

void mq_ws_put_head(struct writer *w, enum mq_ws_opcode opcode, uint64_t len)
{
	wr_u8(w, (uint8_t)(FIN | opcode));
	if (len < LENGTH_16) {
		wr_u8(w, (uint8_t)len);
	} else if (len <= UINT16_MAX) {
		wr_u8(w, LENGTH_16);
		wr_u16(w, (uint16_t)len);
	} else {
		wr_u8(w, LENGTH_64);
		wr_u64(w, len);
	}
}

void mq_ws_put_close(struct writer *w, uint16_t code)
{
	mq_ws_put_head(w, MQ_WS_CLOSE, 2);
	wr_u16(w, code);
}
