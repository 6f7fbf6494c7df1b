#include "gateway/base/util.h"
#include "gateway/core/session_rare.h"
#include "gateway/core/session_store_priv.h"
#include "gateway/core/topic.h"
#include "gateway/core/will.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Sessions as items, and back. What comes from the disk is checked like a packet: bounded, never
 * trusted. */

/* SESSION_PRESENCE */
enum { WAS_DETACHED, WAS_ATTACHED, WILL_WAITS };
/* SESSION_TERMS */
enum { TERMS_DATAGRAM = 1, TERMS_STORED = 2 };
/* Options of MQTT 5.0, 3.8.3.1 as they are in its packet. */
enum { OPT_NO_LOCAL = 0x04, OPT_RETAIN_AS_PUBLISHED = 0x08, OPT_RETAIN_HANDLING = 4 };

/* A client that promised no word is given as long to come back. */
#define RETURN_MS 60000

#define TERMS_BYTES    13
#define PRESENCE_BYTES 25

void session_items_put_raw(struct session_items *items, const void *p, size_t len)
{
	if (items->failed || len == 0)
		return;
	if (len > items->cap - items->len) {
		size_t cap = MAX(items->cap * 2, items->len + len + 256);
		uint8_t *grown = realloc(items->p, cap);
		if (!grown) {
			items->failed = true;
			return;
		}
		items->p = grown;
		items->cap = cap;
	}
	memcpy(items->p + items->len, p, len);
	items->len += len;
}

void session_item_put(
	struct session_items *items, uint8_t type, const struct span *parts, unsigned n_parts)
{
	uint8_t head[5];
	struct writer w = writer_of(head, sizeof(head));
	size_t len = 0;

	assert(type > 0 && type <= SESSION_ITEM_MAX);
	for (unsigned i = 0; i < n_parts; i++)
		len += parts[i].len;
	wr_u8(&w, type);
	wr_varint(&w, (uint32_t)MIN(len, (size_t)UINT32_MAX));
	items->failed |= w.bad;
	session_items_put_raw(items, head, w.len);
	for (unsigned i = 0; i < n_parts; i++)
		session_items_put_raw(items, parts[i].p, parts[i].len);
}

bool session_item_next(struct reader *r, struct session_item *item)
{
	if (r->bad || r->left == 0)
		return false;
	item->type = rd_u8(r);
	item->body = rd_span(r, rd_varint(r));
	return !r->bad;
}

bool session_items_valid(struct span items)
{
	struct reader r = reader_of(items);
	struct session_item item;

	while (session_item_next(&r, &item))
		;
	return !r.bad;
}

/* ---- Writing ---- */

static void put_written(struct session_items *items, uint8_t type, const struct writer *w)
{
	struct span part = span_of(w->p, w->len);

	assert(!w->bad);
	session_item_put(items, type, &part, 1);
}

static void put_identity(const struct session *s, struct session_items *items)
{
	struct span id = span_str(s->who.client_id), name = span_str(s->who.username);
	uint8_t head[3], len[2];
	struct writer w = writer_of(head, sizeof(head)), n = writer_of(len, sizeof(len));

	wr_u8(&w, (uint8_t)s->who.protocol);
	wr_u16(&w, (uint16_t)id.len);
	wr_u16(&n, (uint16_t)name.len);
	struct span parts[] = { span_of(head, w.len), id, span_of(len, n.len), name };
	session_item_put(items, SESSION_IDENTITY, parts, s->who.username ? 4 : 2);
}

static void put_terms(const struct session *s, struct session_items *items)
{
	uint8_t bytes[TERMS_BYTES];
	struct writer w = writer_of(bytes, sizeof(bytes));

	wr_u32(&w, s->expiry_s);
	wr_u32(&w, s->keepalive_ms);
	wr_u16(&w, s->window);
	wr_u8(&w, (uint8_t)((s->datagram ? TERMS_DATAGRAM : 0) | (s->stored ? TERMS_STORED : 0)));
	wr_u16(&w, s->last_id);
	put_written(items, SESSION_TERMS, &w);
}

static void put_address(const struct session *s, struct session_items *items)
{
	uint8_t bytes[ADDR_OCTETS_MAX];
	struct writer w = writer_of(bytes, sizeof(bytes));

	if (!s->datagram || !s->who.peer.family)
		return;
	addr_write(&s->who.peer, &w);
	put_written(items, SESSION_ADDRESS, &w);
}

static uint64_t left_ms(const struct timer *t)
{
	return timer_armed(t) ? (uint64_t)MAX(t->due_ms - clock_ms(), 0) : INT64_MAX;
}

/* A restored session whose client has not come back yet is as it was before. */
static void put_presence(const struct session *s, struct session_items *items)
{
	uint8_t bytes[PRESENCE_BYTES];
	struct writer w = writer_of(bytes, sizeof(bytes));
	bool waits = will_waiting(s), attached = s->link != NULL;

	wr_u8(&w, attached ? WAS_ATTACHED : waits ? WILL_WAITS : WAS_DETACHED);
	wr_u64(&w, (uint64_t)clock_stamp_ms());
	wr_u64(&w, attached ? INT64_MAX : left_ms(&s->timer));
	wr_u64(&w, waits ? left_ms(&s->rare->will.delay) : 0);
	put_written(items, SESSION_PRESENCE, &w);
}

static void put_will(const struct session *s, struct session_items *items)
{
	uint8_t terms[12] = { 0 }, scratch[MESSAGE_SCRATCH];
	struct span parts[1 + MESSAGE_PARTS] = { span_of(terms, sizeof(terms)) };
	struct writer w = writer_of(terms, sizeof(terms));

	if (!s->will)
		return;
	wr_u32(&w, s->rare ? s->rare->will.delay_s : 0);
	wr_u64(&w, s->rare ? (uint64_t)s->rare->will.life_ms : 0);
	unsigned n = message_encode(s->will, scratch, parts + 1);
	session_item_put(items, SESSION_WILL, parts, 1 + n);
}

void session_item_subscribed(
	struct session_items *items, struct span filter, const struct sub_opts *opts)
{
	uint8_t head[5];
	struct writer w = writer_of(head, sizeof(head));

	wr_u8(&w, (uint8_t)(opts->qos | (opts->no_local ? OPT_NO_LOCAL : 0) |
			    (opts->retain_as_published ? OPT_RETAIN_AS_PUBLISHED : 0) |
			    opts->retain_handling << OPT_RETAIN_HANDLING));
	wr_u32(&w, opts->sub_id);
	struct span parts[] = { span_of(head, w.len), filter };
	session_item_put(items, SESSION_SUBSCRIBED, parts, 2);
}

static void put_subscription(struct span filter, const struct sub_opts *opts, void *items)
{
	session_item_subscribed(items, filter, opts);
}

void session_image_put(struct session *s, struct session_items *items)
{
	put_identity(s, items);
	put_terms(s, items);
	put_address(s, items);
	put_will(s, items);
	put_presence(s, items); /* of the will, too */
	router_subscriptions(&s->sub, put_subscription, items);
	if (s->extra && s->extra->ops->save)
		s->extra->ops->save(s->extra, items);
	if (s->link && s->link->ops->save)
		s->link->ops->save(s->link, items);
}

/* ---- Reading ---- */

/* As it came in a CONNECT, and short enough for struct session. */
static bool read_client_id(struct reader *r, char *id)
{
	struct span text = rd_span16(r);

	if (r->bad || text.len == 0 || text.len > 256 || !utf8_valid(text))
		return false;
	memcpy(id, text.p, text.len);
	id[text.len] = '\0';
	return true;
}

bool session_image_identity(struct span items, struct saved_identity *id)
{
	struct reader r = reader_of(items), body;
	struct session_item item;

	if (!session_items_valid(items) || !session_item_next(&r, &item) ||
		item.type != SESSION_IDENTITY)
		return false;
	body = reader_of(item.body);
	id->protocol = (enum protocol)rd_u8(&body);
	return (id->protocol == PROTO_MQTT || id->protocol == PROTO_MQTTSN) &&
	       read_client_id(&body, id->client_id);
}

/* The user name; the rest of the identity made the session. */
static bool take_identity(struct session *s, struct reader *r)
{
	rd_u8(r);
	rd_span16(r);
	if (r->left == 0)
		return session_set_username(s, NULL);
	struct span name = rd_span16(r);
	if (r->bad || !utf8_valid(name))
		return false;
	char *copy = strndup((const char *)name.p, name.len);
	bool ok = copy && session_set_username(s, copy);
	free(copy);
	return ok;
}

static bool take_terms(struct session *s, struct reader *r)
{
	uint32_t expiry_s = rd_u32(r), keepalive_ms = rd_u32(r);
	uint16_t window = rd_u16(r);
	uint8_t flags = rd_u8(r);
	uint16_t last_id = rd_u16(r);

	if (r->bad)
		return false;
	s->expiry_s = expiry_s;
	s->keepalive_ms = keepalive_ms;
	session_set_window(s, window);
	s->datagram = flags & TERMS_DATAGRAM;
	s->stored = flags & TERMS_STORED;
	s->last_id = last_id;
	return true;
}

static bool take_address(struct session *s, struct reader *r)
{
	s->who.peer = addr_read(r);
	return !r->bad;
}

static bool take_will(struct session *s, struct reader *r)
{
	if (r->left == 0) {
		will_set(s, NULL, 0);
		return true;
	}
	uint32_t delay_s = rd_u32(r);
	uint64_t life_ms = rd_u64(r);
	struct message *m = r->bad ? NULL : message_decode(rd_rest(r), s->who.origin);
	if (!m)
		return false;
	will_restore(s, m, delay_s, (int64_t)MIN(life_ms, (uint64_t)UINT32_MAX * 1000));
	message_unref(m);
	return true;
}

/* Time goes on while the gateway is down, as far as the wall clock can tell. */
static int64_t left_after(uint64_t left, int64_t passed)
{
	return left > (uint64_t)passed ? (int64_t)MIN(left, (uint64_t)INT64_MAX) - passed : 0;
}

/* What was left of expiry and delay; a client that was connected was lost with the gateway, and
 * its will waits until it had the time to come back. */
static bool take_presence(struct session *s, struct reader *r)
{
	uint8_t was = rd_u8(r);
	int64_t passed = clock_stamp_passed((int64_t)rd_u64(r));
	uint64_t expiry = rd_u64(r), delay = rd_u64(r);

	if (r->bad || was > WILL_WAITS)
		return false;
	s->was_attached = was == WAS_ATTACHED;
	int64_t keepalive = s->keepalive_ms ? s->keepalive_ms : RETURN_MS;
	timer_disarm(&s->timer);
	will_cancel(s);
	if (was == WAS_ATTACHED) {
		session_arm_expiry(s);
		will_wait(s, MAX(will_delay_ms(s), keepalive));
		return true;
	}
	if (expiry < INT64_MAX)
		timer_arm(&s->timer, left_after(expiry, passed));
	if (was == WILL_WAITS)
		will_wait(s, left_after(delay, passed));
	return true;
}

static bool take_subscription(struct session *s, struct reader *r)
{
	uint8_t options = rd_u8(r);
	const struct sub_opts opts = {
		.qos = options & 3,
		.no_local = options & OPT_NO_LOCAL,
		.retain_as_published = options & OPT_RETAIN_AS_PUBLISHED,
		.retain_handling = 2, /* it got them when it subscribed */
		.sub_id = rd_u32(r),
	};

	return !r->bad && opts.qos <= 2 && opts.sub_id < 1u << 28 &&
	       !reason_failed(
		       router_subscribe(sessions_router(s->all), &s->sub, rd_rest(r), &opts));
}

static bool take_unsubscription(struct session *s, struct reader *r)
{
	router_unsubscribe(sessions_router(s->all), &s->sub, rd_rest(r));
	return true;
}

static void saved_free(struct session_extra *e)
{
	free(container_of(e, struct saved_extra, extra));
}

static void saved_save(const struct session_extra *e, struct session_items *items)
{
	const struct saved_extra *saved = container_of(e, struct saved_extra, extra);
	session_items_put_raw(items, saved->bytes, saved->len);
}

static const struct session_extra_ops saved_ops = { .free = saved_free, .save = saved_save };

struct span session_saved(const struct session *s)
{
	if (!s->extra || s->extra->ops != &saved_ops)
		return (struct span){ NULL, 0 };
	const struct saved_extra *saved = container_of(s->extra, struct saved_extra, extra);
	return span_of(saved->bytes, saved->len);
}

/* `whole` is the item with its head. */
static bool keep_for_adapter(struct session *s, struct span whole)
{
	struct span before = session_saved(s);
	struct saved_extra *old =
		s->extra ? container_of(s->extra, struct saved_extra, extra) : NULL;
	struct saved_extra *e = realloc(old, sizeof(*e) + before.len + whole.len);

	if (!e)
		return false;
	e->extra.ops = &saved_ops;
	memcpy(e->bytes + before.len, whole.p, whole.len);
	e->len = before.len + whole.len;
	s->extra = &e->extra;
	return true;
}

static bool take(struct session *s, const struct session_item *item, struct span whole)
{
	static bool (*const takes[])(struct session *, struct reader *) = {
		[SESSION_IDENTITY] = take_identity,
		[SESSION_TERMS] = take_terms,
		[SESSION_PRESENCE] = take_presence,
		[SESSION_WILL] = take_will,
		[SESSION_SUBSCRIBED] = take_subscription,
		[SESSION_UNSUBSCRIBED] = take_unsubscription,
		[SESSION_ADDRESS] = take_address,
	};
	struct reader r = reader_of(item->body);

	if (item->type >= SESSION_ADAPTER)
		return item->type > SESSION_ITEM_MAX || keep_for_adapter(s, whole);
	return item->type >= ARRAY_SIZE(takes) || !takes[item->type] || takes[item->type](s, &r);
}

unsigned session_image_apply(struct session *s, struct span items)
{
	struct reader r = reader_of(items);
	struct session_item item;
	const uint8_t *at = items.p;
	unsigned bad = 0;

	for (; session_item_next(&r, &item); at = r.p)
		bad += !take(s, &item, span_of(at, (size_t)(r.p - at)));
	return bad;
}
