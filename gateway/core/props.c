#include "gateway/core/props.h"

#include "gateway/core/topic.h"

/* MQTT 5.0, 2.2.2.2: the identifier tells the type of what follows. */
bool props_next(struct reader *r, struct prop *p)
{
	if (r->bad || r->left == 0)
		return false;
	*p = (struct prop){ .id = rd_u8(r) };
	switch (p->id) {
	case PROP_PAYLOAD_FORMAT:
		p->byte = rd_u8(r);
		break;
	case PROP_USER:
		p->name = rd_span16(r);
		p->value = rd_span16(r);
		break;
	case PROP_CONTENT_TYPE:
	case PROP_RESPONSE_TOPIC:
	case PROP_CORRELATION_DATA:
		p->value = rd_span16(r);
		break;
	default:
		r->bad = true;
	}
	return !r->bad;
}

bool props_find(struct span props, enum prop_id id, struct prop *out)
{
	struct reader r = reader_of(props);

	while (props_next(&r, out)) {
		if (out->id == id)
			return true;
	}
	return false;
}

void props_write(struct writer *w, const struct prop *p)
{
	wr_u8(w, (uint8_t)p->id);
	switch (p->id) {
	case PROP_PAYLOAD_FORMAT:
		wr_u8(w, p->byte);
		break;
	case PROP_USER:
		wr_span16(w, p->name);
		wr_span16(w, p->value);
		break;
	case PROP_CONTENT_TYPE:
	case PROP_RESPONSE_TOPIC:
	case PROP_CORRELATION_DATA:
		wr_span16(w, p->value);
		break;
	}
}

static bool prop_valid(const struct prop *p)
{
	switch (p->id) {
	case PROP_PAYLOAD_FORMAT:
		return p->byte <= 1;
	case PROP_CONTENT_TYPE:
		return utf8_valid(p->value);
	case PROP_RESPONSE_TOPIC: /* 3.3.2.3.5: a topic name, so no wildcards */
		return p->value.len && utf8_valid(p->value) && !topic_has_wildcard(p->value);
	case PROP_USER:
		return utf8_valid(p->name) && utf8_valid(p->value);
	case PROP_CORRELATION_DATA:
		return true;
	}
	return false;
}

bool props_valid(struct span props)
{
	struct reader r = reader_of(props);
	struct prop p;
	uint64_t seen = 0; /* bits by identifier; all are below 64 */

	while (props_next(&r, &p)) {
		uint64_t bit = (uint64_t)1 << p.id;

		if (!prop_valid(&p) || (p.id != PROP_USER && (seen & bit)))
			return false;
		seen |= bit;
	}
	return !r.bad;
}
