#include "adapters/mqtt/mq_ws_stream.h"

#include "adapters/mqtt/mq_out.h"
#include "gateway/base/util.h"

#include <errno.h>
#include <stdlib.h>

/* A pong, our close and the head of a frame, or the answer to the request. */
#define AHEAD_MAX (2 * (2 + MQ_WS_CONTROL_MAX) + MQ_WS_OWN_HEAD)
_Static_assert(AHEAD_MAX >= MQ_WS_ANSWER_MAX, "the answer has to fit");

#define IOV_MAX_HERE (1 + MQ_PARTS_PER_SEND) /* our bytes ahead of what a connection writes */

struct request {
	size_t len;
	uint8_t bytes[MQ_WS_REQUEST_MAX];
};

struct mq_ws_stream {
	struct mq_stream stream;
	struct mq_stream *below;         /* owned */
	const struct mq_ws_rules *rules; /* borrowed */
	struct request *request; /* owned; NULL before its first octet and when it is answered */
	struct mq_ws_decoder decoder;
	size_t frame_left; /* payload octets announced to the peer and not yet written */
	ssize_t over;      /* what read() returns from now on */
	uint16_t code;     /* of our Close frame */
	uint8_t pong_len;
	uint16_t ahead_at, ahead_len; /* unsent: [ahead_at, ahead_len), before any payload */
	bool open;                    /* the handshake is done */
	bool refused;                 /* ... and there will be no frames */
	bool pong_due;
	bool at_end;
	uint8_t pong[MQ_WS_CONTROL_MAX]; /* only the last ping needs an answer (5.5.3) */
	uint8_t ahead[AHEAD_MAX];
};

static struct mq_ws_stream *ws_of(struct mq_stream *s)
{
	return container_of(s, struct mq_ws_stream, stream);
}

static size_t ahead_left(const struct mq_ws_stream *w)
{
	return (size_t)w->ahead_len - w->ahead_at;
}

/* Flags that the owner of the socket looks at. */
static void ws_update(struct mq_ws_stream *w)
{
	w->stream.pending = w->at_end || w->below->pending;
	w->stream.read_blocked = w->below->read_blocked;
	w->stream.unsent = ahead_left(w) || (w->pong_due && !w->frame_left) || w->below->unsent;
	if (w->below->why)
		w->stream.why = w->below->why;
}

static struct writer ahead_writer(struct mq_ws_stream *w)
{
	struct writer out = writer_of(w->ahead, sizeof(w->ahead));

	if (!ahead_left(w))
		w->ahead_at = w->ahead_len = 0;
	out.len = w->ahead_len;
	return out;
}

static void ahead_written(struct mq_ws_stream *w, const struct writer *out)
{
	if (!out->bad)
		w->ahead_len = (uint16_t)out->len;
}

/* Input */

static ssize_t ws_broken(struct mq_ws_stream *w, const char *why)
{
	w->stream.why = why;
	w->at_end = true;
	w->over = -EPROTO;
	return w->over;
}

static ssize_t refuse_request(struct mq_ws_stream *w, int status, const char *why)
{
	struct writer out = ahead_writer(w);

	mq_ws_refuse(status, &out);
	ahead_written(w, &out);
	w->refused = true;
	return ws_broken(w, why);
}

static ssize_t answer_request(struct mq_ws_stream *w, size_t size)
{
	struct writer out = ahead_writer(w);

	int status = mq_ws_answer(span_of(w->request->bytes, size), w->rules, &out);
	ahead_written(w, &out);
	free(w->request);
	w->request = NULL;
	w->open = status == 101;
	w->refused = !w->open;
	if (status == 403)
		return ws_broken(w, "WebSocket request of a web page that is not of ws_origins");
	return w->open ? 0 : ws_broken(w, "WebSocket request refused");
}

/* Takes what belongs to the request. 0: it is answered, frames follow; else as read(). */
static ssize_t take_request(struct mq_ws_stream *w, struct span *in)
{
	if (!w->request) {
		if (!mq_ws_request_begins(*in))
			return refuse_request(w, 400, "no WebSocket request");
		w->request = calloc(1, sizeof(*w->request));
		if (!w->request)
			return -ENOMEM;
	}
	struct request *q = w->request;
	size_t old = q->len, n = MIN(in->len, sizeof(q->bytes) - old);
	memcpy(q->bytes + old, in->p, n);
	q->len += n;
	/* What was looked at before holds at most a part of the end. */
	size_t from = old > 3 ? old - 3 : 0;
	size_t end = mq_ws_request_size(span_of(q->bytes + from, q->len - from));
	if (!end && q->len == sizeof(q->bytes))
		return refuse_request(w, 431, "WebSocket request too long");
	if (!end)
		return -EAGAIN;
	size_t size = from + end;
	*in = span_of(in->p + (size - old), in->len - (size - old));
	return answer_request(w, size);
}

static void pong_later(struct mq_ws_stream *w)
{
	memcpy(w->pong, w->decoder.control, w->decoder.control_len);
	w->pong_len = w->decoder.control_len;
	w->pong_due = true;
}

/* Decodes in place. What came before an end is given first. */
static ssize_t take_frames(struct mq_ws_stream *w, struct span in, uint8_t *buf)
{
	uint8_t *out = buf;

	for (;;) {
		enum mq_ws_event event = mq_ws_decode(&w->decoder, &in, &out);
		if (event == MQ_WS_GOT_PING) {
			pong_later(w);
			continue;
		}
		if (event == MQ_WS_MORE)
			break;
		w->code = w->decoder.code;
		w->at_end = true;
		w->over = 0;
		if (event == MQ_WS_GOT_BROKEN)
			ws_broken(w, "broken WebSocket frame");
		break;
	}
	if (out > buf)
		return out - buf;
	return w->at_end ? w->over : -EAGAIN;
}

static ssize_t ws_read(struct mq_stream *s, uint8_t *buf, size_t cap)
{
	struct mq_ws_stream *w = ws_of(s);

	if (w->at_end)
		return w->over;
	ssize_t n = mq_stream_read(w->below, buf, cap);
	if (n > 0) {
		struct span in = span_of(buf, (size_t)n);
		ssize_t e = w->open ? 0 : take_request(w, &in);
		n = e ? e : take_frames(w, in, buf);
	}
	ws_update(w);
	return n;
}

/* Output */

/* Between two frames: a pong first, then the head of what is to be written. */
static void begin_frame(struct mq_ws_stream *w, size_t payload)
{
	struct writer out = ahead_writer(w);

	if (w->pong_due && !ahead_left(w)) {
		mq_ws_put_head(&out, MQ_WS_PONG, w->pong_len);
		wr_bytes(&out, w->pong, w->pong_len);
		w->pong_due = false;
	}
	if (payload) {
		mq_ws_put_head(&out, MQ_WS_BINARY, payload);
		w->frame_left = payload;
	}
	ahead_written(w, &out);
}

static size_t iov_bytes(const struct iovec *iov, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* Our own bytes, then what the frame was announced to hold. */
static size_t gather(const struct mq_ws_stream *w, const struct iovec *iov, size_t n,
	struct iovec out[IOV_MAX_HERE])
{
	size_t left = w->frame_left, count = 0;

	if (ahead_left(w))
		out[count++] = (struct iovec){ (void *)(uintptr_t)(w->ahead + w->ahead_at),
			ahead_left(w) };
	for (size_t i = 0; i < n && left && count < IOV_MAX_HERE; i++) {
		out[count] = iov[i];
		out[count].iov_len = MIN(out[count].iov_len, left);
		left -= out[count++].iov_len;
	}
	return count;
}

/* Returns how many octets of payload were among those written. */
static size_t ws_sent(struct mq_ws_stream *w, size_t n)
{
	size_t own = MIN(n, ahead_left(w));

	w->ahead_at = (uint16_t)(w->ahead_at + own);
	w->frame_left -= n - own;
	return n - own;
}

static ssize_t ws_write(struct mq_stream *s, const struct iovec *iov, size_t n)
{
	struct mq_ws_stream *w = ws_of(s);
	struct iovec out[IOV_MAX_HERE];

	if (w->frame_left == 0)
		begin_frame(w, iov_bytes(iov, n));
	ssize_t sent = mq_stream_write(w->below, out, gather(w, iov, n, out));
	size_t payload = sent > 0 ? ws_sent(w, (size_t)sent) : 0;
	ws_update(w);
	if (sent < 0)
		return sent;
	return payload || (n == 0 && !ahead_left(w)) ? (ssize_t)payload : -EAGAIN;
}

/* 5.5.1; in the middle of a frame nothing else can be said. */
static bool ws_end(struct mq_stream *s)
{
	struct mq_ws_stream *w = ws_of(s);

	if (w->open && !w->frame_left) {
		struct writer out = ahead_writer(w);
		mq_ws_put_close(&out, w->code ? w->code : MQ_WS_NORMAL);
		ahead_written(w, &out);
	}
	if (w->open || w->refused)
		(void)ws_write(s, NULL, 0);
	return mq_stream_end(w->below) || w->open || w->refused;
}

static void ws_free(struct mq_stream *s)
{
	struct mq_ws_stream *w = ws_of(s);

	mq_stream_free(w->below);
	free(w->request);
	free(w);
}

static const struct mq_stream_ops ws_ops = {
	.read = ws_read,
	.write = ws_write,
	.end = ws_end,
	.free = ws_free,
};

struct mq_stream *mq_ws_stream_new(struct mq_stream *below, const struct mq_ws_rules *rules)
{
	struct mq_ws_stream *w = calloc(1, sizeof(*w));

	if (!w) {
		mq_stream_free(below);
		return NULL;
	}
	w->stream.ops = &ws_ops;
	w->below = below;
	w->rules = rules;
	return &w->stream;
}
