#include "adapters/mqttsn/sn_hold.h"

#include "adapters/mqttsn/sn_peer.h"
#include "gateway/base/count.h"
#include "gateway/core/session_store.h"

#include <stdlib.h>
#include <string.h>

/* Most devices wait for nothing most of the time: what waits is found by its peer in a table, and a
 * peer has one bit that says so. */

static struct count lost = COUNT("mqttsn.hold_full");

/* Octets behind which nothing more is taken for one device: it repeats what is not answered. */
#define HOLD_MAX 16384
#define HOLD_MIN 64

struct sn_hold {
	struct list node;     /* gw->holds_new: to be asked for; or gw->holds: waiting for `mark` */
	struct sn_peer *peer; /* borrowed */
	uint64_t mark;
	uint32_t marked;   /* of `used`: may leave when `mark` is reached */
	uint32_t promised; /* of `used`: up to the last promise */
	uint32_t used, cap;
	uint8_t *bytes; /* owned: {length 2, message}, one after the other */
};

static uint32_t peer_hash(const struct sn_peer *p)
{
	return (uint32_t)(((uintptr_t)p >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 32);
}

static uint32_t hold_hash(const void *entry)
{
	const struct sn_hold *h = entry;
	return peer_hash(h->peer);
}

static bool hold_is(const void *entry, const void *key)
{
	const struct sn_hold *h = entry;
	return h->peer == key;
}

void sn_holds_init(struct sn_gateway *gw)
{
	ptrtable_init(&gw->holds_by_peer, hold_hash);
	list_init(&gw->holds_new);
	list_init(&gw->holds);
}

void sn_holds_destroy(struct sn_gateway *gw)
{
	ptrtable_clear(&gw->holds_by_peer);
}

static struct sn_hold *hold_of(struct sn_peer *p)
{
	if (!p->holding)
		return NULL;
	return ptrtable_find(&sn_peer_gw(p)->holds_by_peer, peer_hash(p), hold_is, p);
}

static struct sn_hold *hold_new(struct sn_peer *p)
{
	struct sn_gateway *gw = sn_peer_gw(p);
	struct sn_hold *h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->peer = p;
	if (ptrtable_add(&gw->holds_by_peer, h) < 0) {
		free(h);
		return NULL;
	}
	list_append(&gw->holds_new, &h->node);
	p->holding = true;
	return h;
}

static void hold_free(struct sn_hold *h)
{
	ptrtable_remove(&sn_peer_gw(h->peer)->holds_by_peer, h);
	list_remove(&h->node);
	h->peer->holding = false;
	free(h->bytes);
	free(h);
}

void sn_hold_drop(struct sn_peer *p)
{
	struct sn_hold *h = hold_of(p);
	if (h)
		hold_free(h);
}

static bool make_room(struct sn_hold *h, size_t len)
{
	if (len <= h->cap - h->used)
		return true;
	if (h->used > HOLD_MAX)
		return false;
	size_t cap = MAX(h->used + len, HOLD_MIN);
	uint8_t *bytes = realloc(h->bytes, cap);
	if (!bytes)
		return false;
	h->bytes = bytes;
	h->cap = (uint32_t)cap;
	return true;
}

static bool append(struct sn_hold *h, const struct sn_packet *packet)
{
	uint8_t *message = sn_peer_gw(h->peer)->scratch;
	int n = sn_encode(packet, message, SN_DATAGRAM_MAX);
	if (n < 0 || !make_room(h, 2 + (size_t)n)) {
		count_one(&lost);
		return false;
	}
	struct writer w = writer_of(h->bytes + h->used, 2 + (size_t)n);
	wr_span16(&w, span_of(message, (size_t)n));
	h->used += (uint32_t)w.len;
	return true;
}

int sn_promise(struct sn_peer *p, const struct sn_packet *packet)
{
	if (!sn_peer_gw(p)->env.stored || !p->link.session)
		return sn_peer_send(p, packet);
	struct sn_hold *h = hold_of(p);
	if (!h)
		h = hold_new(p);
	if (!h)
		count_one(&lost);
	else if (append(h, packet))
		h->promised = h->used;
	return 0;
}

void sn_hold_behind(struct sn_peer *p, const struct sn_packet *packet)
{
	append(hold_of(p), packet);
}

/* ---- The end of a turn ---- */

static void ask(struct sn_gateway *gw, struct sn_hold *h)
{
	struct session *s = h->peer->link.session;
	h->mark = s ? session_mark(s) : 0;
	h->marked = h->used;
	list_remove(&h->node);
	list_append(&gw->holds, &h->node);
}

static void send_first(struct sn_gateway *gw, struct sn_hold *h, uint32_t octets)
{
	struct reader r = reader_of(span_of(h->bytes, octets));
	while (r.left)
		sn_send_bytes(gw, &h->peer->route, rd_span16(&r));
	h->used -= octets;
	h->promised -= MIN(h->promised, octets);
	memmove(h->bytes, h->bytes + octets, h->used);
}

/* What came behind the last promise goes with it; a promise since then waits for its own mark. */
static void leave(struct sn_gateway *gw, struct sn_hold *h)
{
	struct sn_peer *p = h->peer;
	if (h->promised > h->marked) {
		send_first(gw, h, h->marked);
		ask(gw, h);
		return;
	}
	send_first(gw, h, h->used);
	hold_free(h);
	if (!p->link.session)
		return;
	session_pump(p->link.session);
	sn_settle(p);
}

static bool reached(const struct sn_gateway *gw, const struct sn_hold *h)
{
	return !h->mark || session_reached(gw->env.sessions, h->mark);
}

static void ask_for_new(struct sn_gateway *gw)
{
	while (!list_empty(&gw->holds_new)) {
		struct sn_hold *h = list_first(&gw->holds_new, struct sn_hold, node);
		ask(gw, h);
		if (reached(gw, h))
			leave(gw, h);
	}
}

/* Marks grow: the first that is not reached is followed by none that is. */
void sn_holds_flush(struct sn_gateway *gw)
{
	ask_for_new(gw);
	while (!list_empty(&gw->holds)) {
		struct sn_hold *h = list_first(&gw->holds, struct sn_hold, node);
		if (!reached(gw, h))
			break;
		leave(gw, h);
		ask_for_new(gw); /* a message of the queue came behind a REGISTER */
	}
}

bool sn_holds_pending(const struct sn_gateway *gw)
{
	return gw->holds_by_peer.n > 0;
}
