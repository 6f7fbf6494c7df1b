/* WebSocket over any stream of bytes, cut anywhere: the first octet says how. What is decoded is
 * never longer than what was read, and the same whatever the pieces; and any request gets an answer
 * that fits. */
#include "adapters/mqtt/mq_ws.h"

#include "gateway/base/util.h"

#include <stdlib.h>
#include <string.h>

static void answer(struct span in)
{
	static const char *const origins[] = { "https://panel.example" };
	static const struct mq_ws_rules rules = { "/mqtt", origins, 1 };
	uint8_t text[MQ_WS_ANSWER_MAX];
	struct writer w = writer_of(text, sizeof(text));
	size_t size = mq_ws_request_size(in);

	if (size > in.len)
		abort();
	int status = mq_ws_answer(span_of(in.p, size), &rules, &w);
	if (w.bad || w.len < 20 || status < 101 || (status != 101 && status < 400))
		abort();
}

struct outcome {
	enum mq_ws_event last; /* MORE, or BROKEN with `code` */
	uint16_t code;
	size_t len, pings, closes;
};

static struct outcome decode(struct span in, size_t step, uint8_t *buf)
{
	struct mq_ws_decoder d = { 0 };
	struct outcome o = { .last = MQ_WS_MORE };
	uint8_t *out = buf;

	while (in.len && o.last != MQ_WS_GOT_BROKEN) {
		size_t n = MIN(step, in.len), room = in.len;
		struct span part = span_of(in.p, n);
		uint8_t *before = out;
		o.last = mq_ws_decode(&d, &part, &out);
		if (part.len > n || (size_t)(out - before) > n - part.len ||
			d.control_len > MQ_WS_CONTROL_MAX)
			abort();
		in = span_of(part.p, room - (n - part.len));
		o.pings += o.last == MQ_WS_GOT_PING;
		o.closes += o.last == MQ_WS_GOT_CLOSE;
	}
	o.len = (size_t)(out - buf);
	o.code = o.last == MQ_WS_GOT_BROKEN ? d.code : 0;
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct span in = span_of(data + 1, size - 1);
	uint8_t *pieces = malloc(in.len), *whole = malloc(in.len);

	answer(in);
	/* In place, as a connection does it; and in pieces, beside it. */
	struct outcome a = decode(in, (size_t)data[0] % 16 + 1, pieces);
	memcpy(whole, in.p, in.len);
	struct outcome b = decode(span_of(whole, in.len), in.len, whole);
	if (a.len != b.len || a.pings != b.pings || a.closes != b.closes || a.code != b.code ||
		memcmp(pieces, whole, a.len) != 0)
		abort();
	free(pieces);
	free(whole);
	return 0;
}
