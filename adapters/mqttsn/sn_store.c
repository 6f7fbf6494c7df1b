#include "adapters/mqttsn/sn_store.h"

#include "adapters/mqttsn/sn_peer.h"
#include "gateway/base/log.h"

#include <string.h>

/* {section 16-bit length, listener as configured likewise, flags 1, and with PEER_NODE the node:
 * ctrl 1, id}. The address is the session's. */
enum {
	PEER_ASLEEP = 1,
	PEER_LATE_WILL = 2,
	PEER_NODE = 4,
	PEER_DISPLACED = 8, /* the address is another's */
};

static struct span length_of(uint8_t len[2], struct span text)
{
	struct writer w = writer_of(len, 2);
	wr_u16(&w, (uint16_t)text.len);
	return span_of(len, 2);
}

static uint8_t flags_of(const struct sn_peer *p)
{
	bool asleep = p->state == SN_ASLEEP || p->state == SN_AWAKE;
	return (uint8_t)((asleep ? PEER_ASLEEP : 0) | (p->late_will ? PEER_LATE_WILL : 0) |
			 (p->route.node ? PEER_NODE : 0) |
			 (p->route.addr.family ? 0 : PEER_DISPLACED));
}

void sn_peer_save(const struct link *l, struct session_items *items)
{
	const struct sn_peer *p = container_of(l, const struct sn_peer, link);
	const struct sn_route *route = &p->route;
	struct span section = span_str(route->socket->group->name);
	struct span listen = span_str(route->socket->listen);
	uint8_t lens[2][2], rest[2];
	struct writer w = writer_of(rest, sizeof(rest));

	wr_u8(&w, flags_of(p));
	if (route->node)
		wr_u8(&w, route->node->ctrl);
	struct span parts[] = {
		length_of(lens[0], section),
		section,
		length_of(lens[1], listen),
		listen,
		span_of(rest, w.len),
		route->node ? route->node->id : span_of(NULL, 0),
	};
	session_item_put(items, SN_ITEM_PEER, parts, ARRAY_SIZE(parts));
}

/* ---- After a restart ---- */

struct saved_peer {
	struct span section, listen; /* section: empty for [mqttsn] */
	uint8_t flags;
	struct sn_node node; /* with PEER_NODE */
};

static bool read_peer(struct span body, struct saved_peer *sp)
{
	struct reader r = reader_of(body);
	sp->section = rd_span16(&r);
	sp->listen = rd_span16(&r);
	sp->flags = rd_u8(&r);
	if (!(sp->flags & PEER_NODE))
		return !r.bad;
	sp->node.ctrl = rd_u8(&r);
	sp->node.id = rd_rest(&r);
	return !r.bad && sp->node.id.len > 0 && sp->node.id.len <= SN_NODE_ID_MAX;
}

/* The last one said counts. */
static bool find_peer(const struct session *s, struct saved_peer *sp)
{
	struct reader r = reader_of(session_saved(s));
	struct session_item item;
	bool found = false;
	while (session_item_next(&r, &item)) {
		if (item.type == SN_ITEM_PEER)
			found = read_peer(item.body, sp);
	}
	return found;
}

static bool is_listener(
	const struct sn_socket *socket, const struct saved_peer *sp, const struct addr *at)
{
	struct span section = span_str(socket->group->name);
	return span_equal(section, sp->section) && socket->listen &&
	       span_is(sp->listen, socket->listen) &&
	       (!(sp->flags & PEER_NODE) || sn_group_forwards(socket->group, at));
}

static struct sn_socket *find_listener(
	const struct sn_gateway *gw, const struct saved_peer *sp, const struct addr *at)
{
	for (size_t i = 0; i < gw->n_sockets; i++) {
		if (is_listener(gw->sockets[i], sp, at))
			return gw->sockets[i];
	}
	return NULL;
}

/* Two devices that were at one address, one of them before it roamed: whose record is the newer one
 * is there. The other has no address until it speaks. */
static void settle_address(struct sn_gateway *gw, const struct session *s, struct sn_route *route)
{
	struct sn_peer *other = route->addr.family ? sn_peer_find(gw, route) : NULL;
	if (!other)
		return;
	if (other->link.session->record < s->record)
		sn_peer_displace(other);
	else
		*route = (struct sn_route){ .socket = route->socket };
}

static struct sn_peer *make_peer(struct sn_gateway *gw, const struct session *s)
{
	struct saved_peer sp;
	struct sn_route route;
	if (!session_was_attached(s) || !find_peer(s, &sp))
		return NULL;
	route.socket = find_listener(gw, &sp, &s->who.peer);
	route.addr = s->who.peer;
	route.node = sp.flags & PEER_NODE ? &sp.node : NULL;
	if (!route.socket)
		return NULL;
	if (sp.flags & PEER_DISPLACED)
		route = (struct sn_route){ .socket = route.socket };
	settle_address(gw, s, &route);
	struct sn_peer *p = sn_peer_new(gw, &route);
	if (!p)
		return NULL;
	p->late_will = sp.flags & PEER_LATE_WILL;
	p->state = sp.flags & PEER_ASLEEP ? SN_ASLEEP : SN_ACTIVE;
	/* A late REGACK must not be taken for one of now. */
	random_bytes(&p->last_register, sizeof(p->last_register));
	return p;
}

static void go_on(struct sn_peer *p, struct session *s)
{
	bool asleep = p->state == SN_ASLEEP;
	session_resume(s, &p->link, &s->who.peer);
	sn_peer_set_state(p, SN_ACTIVE);
	if (asleep)
		sn_fall_asleep(p);
	else
		session_pump(s);
}

struct revival {
	struct sn_gateway *gw;
	size_t n, n_detached;
};

static void revive(struct session *s, void *arg)
{
	struct revival *rev = arg;
	if (s->who.protocol != PROTO_MQTTSN)
		return;
	struct sn_peer *p = make_peer(rev->gw, s);
	sn_topics_restore(s);
	if (p)
		go_on(p, s);
	rev->n += p != NULL;
	rev->n_detached += p == NULL;
}

void sn_revive_peers(struct sn_gateway *gw)
{
	struct revival rev = { .gw = gw };
	sessions_each(gw->env.sessions, revive, &rev);
	if (rev.n || rev.n_detached)
		log_notice("mqttsn: %zu clients go on where they were, %zu more have a session",
			rev.n, rev.n_detached);
}
