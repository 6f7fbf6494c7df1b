#include "gateway/core/keeper_record.h"

#include "gateway/core/sub_ids.h"

#include <errno.h>

enum { RECORD_VERSION = 1 };
enum { MAIL_QOS = 0x03, MAIL_RETAIN = 0x04, MAIL_RELEASED = 0x08 };
enum { VARINT_MAX = 4, FIXED_MAX = 20 };

void kept_head_encode(struct writer *w, const struct kept_head *h)
{
	wr_u8(w, RECORD_VERSION);
	wr_u8(w, h->flags);
	if (h->record)
		wr_u64(w, h->record);
	wr_varint(w, h->n);
}

int kept_head_decode(struct span body, bool message, struct kept_head *h, struct reader *rest)
{
	*rest = reader_of(body);
	uint8_t version = rd_u8(rest);
	h->flags = rd_u8(rest);
	h->record = message ? 0 : rd_u64(rest);
	h->n = rd_varint(rest);
	if (version > RECORD_VERSION)
		return -EPROTONOSUPPORT;
	return rest->bad || version == 0 || (!message && h->record == 0) ? -EBADMSG : 0;
}

static uint32_t stored_ids(const struct claim *c)
{
	return (uint32_t)MIN(sub_ids_count(c->sub_ids), (size_t)KEPT_IDS_MAX);
}

size_t claim_encoded_max(const struct claim *c)
{
	return 1 + VARINT_MAX + FIXED_MAX + VARINT_MAX * (1u + stored_ids(c));
}

static void encode_mail(struct writer *w, const struct claim *c)
{
	uint32_t n = stored_ids(c);

	wr_u64(w, c->owner);
	wr_u16(w, c->packet_id);
	wr_u8(w, (uint8_t)(c->qos | (c->retain ? MAIL_RETAIN : 0) |
			   (c->released ? MAIL_RELEASED : 0)));
	wr_varint(w, n);
	for (uint32_t i = 0; i < n; i++)
		wr_varint(w, sub_ids_at(c->sub_ids, i));
}

static void encode_fields(struct writer *w, const struct claim *c)
{
	switch (c->kind) {
	case CLAIM_MAIL:
		encode_mail(w, c);
		break;
	case CLAIM_EXCHANGE:
		wr_u64(w, c->owner);
		wr_u16(w, c->packet_id);
		wr_u64(w, c->digest);
		break;
	case CLAIM_DELAYED:
		wr_u64(w, (uint64_t)c->at_wall_ms);
		wr_u64(w, (uint64_t)c->left_ms);
		break;
	default:
		break;
	}
}

void claim_encode(struct writer *w, const struct claim *c)
{
	uint8_t fields[FIXED_MAX + VARINT_MAX * (1 + KEPT_IDS_MAX)];
	struct writer f = writer_of(fields, sizeof(fields));

	encode_fields(&f, c);
	wr_u8(w, (uint8_t)c->kind);
	wr_varint(w, (uint32_t)f.len);
	wr_bytes(w, fields, f.len);
}

static void decode_mail(struct reader *r, struct claim *c)
{
	c->owner = rd_u64(r);
	c->packet_id = rd_u16(r);
	uint8_t flags = rd_u8(r);
	c->qos = flags & MAIL_QOS;
	c->retain = flags & MAIL_RETAIN;
	c->released = flags & MAIL_RELEASED;
	uint32_t n = rd_varint(r);
	if (c->qos == 3 || n > KEPT_IDS_MAX)
		r->bad = true;
	for (uint32_t i = 0; i < n && !r->bad; i++)
		c->sub_ids = sub_ids_add(c->sub_ids, rd_varint(r));
}

int claim_decode(struct reader *r, struct claim *c)
{
	*c = (struct claim){ .kind = (enum claim_kind)rd_u8(r) };
	struct reader f = reader_of(rd_span(r, rd_varint(r)));

	switch (c->kind) {
	case CLAIM_MAIL:
		decode_mail(&f, c);
		break;
	case CLAIM_EXCHANGE:
		c->owner = rd_u64(&f);
		c->packet_id = rd_u16(&f);
		c->digest = rd_u64(&f);
		break;
	case CLAIM_DELAYED:
		c->at_wall_ms = (int64_t)rd_u64(&f);
		c->left_ms = (int64_t)rd_u64(&f);
		break;
	default:
		break;
	}
	if (!r->bad && !f.bad && c->kind != 0)
		return 0;
	sub_ids_unref(c->sub_ids);
	c->sub_ids = 0;
	return -EBADMSG;
}

void claim_end_encode(struct writer *w, const struct claim *c)
{
	wr_u8(w, (uint8_t)c->kind);
	wr_u64(w, c->owner);
	wr_u16(w, c->packet_id);
}

int claim_end_decode(struct reader *r, struct claim *c)
{
	*c = (struct claim){ .kind = (enum claim_kind)rd_u8(r) };
	c->owner = rd_u64(r);
	c->packet_id = rd_u16(r);
	return r->bad || c->kind == 0 ? -EBADMSG : 0;
}

int claim_compare(const struct claim *a, const struct claim *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->owner != b->owner)
		return a->owner < b->owner ? -1 : 1;
	return (a->packet_id > b->packet_id) - (a->packet_id < b->packet_id);
}
