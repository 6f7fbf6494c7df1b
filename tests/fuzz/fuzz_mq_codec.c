/* The MQTT codec over any stream of bytes, read as a server and as a client does: it stays within
 * its packet, and what it accepts is written back to the same octets. */
#include "adapters/mqtt/mq_codec.h"

#include "adapters/mqtt/mq_props.h"
#include "gateway/base/util.h"

#include <stdlib.h>
#include <string.h>

static void visit_filters(const struct mq_packet *p)
{
	struct reader r = reader_of(p->filters);
	struct mq_filter f;
	size_t n = 0;

	if (p->type != MQ_SUBSCRIBE && p->type != MQ_UNSUBSCRIBE)
		return;
	while (mq_next_filter(&r, p->type, &f))
		n++;
	if (r.bad || n == 0 || n > MQ_FILTERS_MAX)
		abort();
}

/* Properties that were accepted can be stepped through and carried on. */
static void visit_props(struct span props)
{
	struct reader r = reader_of(props);
	struct mq_prop p;
	uint8_t *buf = malloc(props.len + 1);
	struct writer w = writer_of(buf, props.len);

	while (mq_props_next(&r, &p))
		mq_props_number(props, p.id, 0);
	mq_props_travelling(props, &w);
	if (r.bad || w.bad || !mq_props_all_travel(span_of(buf, w.len)))
		abort();
	free(buf);
}

/* Not written back as they came: a padded length, flags of MQTT 3.1 that mean nothing, and what
 * MQTT 5 lets one leave out of packets that end with a reason. */
static bool is_canonical(const struct mq_header *h, const struct mq_packet *p)
{
	if (h->padded)
		return false;
	if (p->type == MQ_CONNECT)
		return p->connect.level != MQ_V31;
	if (p->version == MQ_V5 && mq_code_valid(p->type, p->from, 0) && p->type != MQ_CONNACK &&
		p->type != MQ_SUBACK && p->type != MQ_UNSUBACK)
		return p->props.len > 0;
	return p->type == MQ_PUBLISH || !(h->flags & 0x08);
}

static void write_back(const struct mq_header *h, const struct mq_packet *p, struct span packet)
{
	size_t cap = packet.len + MQ_HEADER_MAX;
	uint8_t *buf = malloc(cap);
	struct writer w = writer_of(buf, cap);

	mq_encode(&w, p);
	if (w.bad)
		abort();
	if (is_canonical(h, p) && (w.len != packet.len || memcmp(buf, packet.p, w.len) != 0))
		abort();
	free(buf);
}

static void read_stream(struct span in, enum mq_side from, enum mq_version version)
{
	struct mq_header h;
	struct mq_packet p;

	while (mq_header_read(in, &h) == 0 && in.len - h.size >= h.body) {
		struct span packet = span_of(in.p, h.size + h.body);
		struct span body = span_of(in.p + h.size, h.body);
		if (mq_decode(&h, body, from, version, &p) == R_SUCCESS) {
			visit_filters(&p);
			visit_props(p.props);
			write_back(&h, &p, packet);
		}
		in = span_of(in.p + packet.len, in.len - packet.len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum mq_version versions[] = { MQ_V31, MQ_V311, MQ_V5 };

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		read_stream(span_of(data, size), MQ_FROM_CLIENT, versions[i]);
		read_stream(span_of(data, size), MQ_FROM_SERVER, versions[i]);
	}
	return 0;
}
