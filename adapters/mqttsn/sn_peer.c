#include "adapters/mqttsn/sn_peer.h"

#include "adapters/mqttsn/sn_store.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct traffic sn_traffic = TRAFFIC("mqttsn");

static struct count lost = COUNT("mqttsn.lost");
static struct count unsent = COUNT("mqttsn.no_room");

static void on_closed(struct link *l, enum reason reason);

static const struct link_ops link_ops = {
	.deliver = sn_deliver,
	.release = sn_release,
	.published = sn_published,
	.closed = on_closed,
	.save = sn_peer_save,
};

static uint32_t peer_hash(const void *entry)
{
	const struct sn_peer *p = entry;
	return (uint32_t)(sn_route_hash(&p->route) >> 32);
}

static bool peer_is(const void *entry, const void *key)
{
	const struct sn_peer *p = entry;
	return sn_route_equal(&p->route, key);
}

void sn_gateway_init(struct sn_gateway *gw, const struct env *env, const struct sn_conf *conf,
	struct sn_predefined *predefined)
{
	gw->env = *env;
	gw->base.gw = gw;
	gw->base.conf = &gw->conf;
	list_init(&gw->groups);
	list_init(&gw->ears);
	sn_discovery_init(gw);
	sn_gateway_configure(gw, conf, predefined);
	sn_group_mount(&gw->base, conf);
	gw->anonymous = (struct identity){
		.client_id = "",
		.protocol = PROTO_MQTTSN,
		.origin = identity_new_origin(),
	};
	ptrtable_init(&gw->by_route, peer_hash);
	list_init(&gw->half_open);
	list_init(&gw->clients);
	list_init(&gw->blocked);
	sn_holds_init(gw);
}

void sn_gateway_configure(
	struct sn_gateway *gw, const struct sn_conf *conf, struct sn_predefined *predefined)
{
	sn_predefined_free(gw->predefined);
	gw->predefined = predefined;
	sn_group_configure(&gw->base, conf);
	sn_discovery_configure(gw, conf);
}

static void forget_all(struct list *peers)
{
	while (!list_empty(peers)) {
		struct sn_peer *p = list_first(peers, struct sn_peer, node);
		session_detach(&p->link, DETACH_CLEAN);
		sn_peer_remove(p);
	}
}

void sn_gateway_destroy(struct sn_gateway *gw)
{
	forget_all(&gw->half_open);
	forget_all(&gw->clients);
	sn_discovery_destroy(gw);
	sn_group_clear(&gw->base);
	sn_groups_free(&gw->groups);
	sn_predefined_free(gw->predefined);
	ptrtable_clear(&gw->by_route);
	sn_holds_destroy(gw);
}

struct scope sn_route_scope(const struct sn_route *route, const struct identity *who)
{
	const struct sn_group *group = route->socket->group;

	return (struct scope){ group->gw->env.rewrite, group->mountpoint, who };
}

/* The message stands in gw->scratch, with room for the encapsulation in front of it. */
static int send_scratch(struct sn_gateway *gw, const struct sn_route *to, size_t len)
{
	uint8_t header[SN_FORWARD_MAX];
	size_t head = to->node ? sn_node_header(to->node, header) : 0;
	uint8_t *at = gw->scratch + SN_FORWARD_MAX - head;
	if (head + len > SN_DATAGRAM_MAX)
		return -EMSGSIZE;
	if (!to->addr.family) /* to nowhere, see sn_peer_displace() */
		return 0;
	memcpy(at, header, head);
	int rc = to->socket->ops->send(to->socket, &to->addr, span_of(at, head + len));
	if (rc < 0) {
		count_one(&unsent);
		return rc;
	}
	traffic_one(&sn_traffic, TRAFFIC_PACKETS_OUT);
	traffic_add(&sn_traffic, TRAFFIC_BYTES_OUT, head + len);
	return 0;
}

int sn_send(struct sn_gateway *gw, const struct sn_route *to, const struct sn_packet *p)
{
	int n = sn_encode(p, gw->scratch + SN_FORWARD_MAX, SN_DATAGRAM_MAX);
	int rc = n < 0 ? n : send_scratch(gw, to, (size_t)n);
	if (rc == 0 && p->type == SN_PUBLISH) {
		traffic_one(&sn_traffic, TRAFFIC_PUBLISH_OUT);
		traffic_add(&sn_traffic, TRAFFIC_PAYLOAD_OUT, p->data.len);
	}
	return rc;
}

int sn_send_bytes(struct sn_gateway *gw, const struct sn_route *to, struct span message)
{
	if (message.len > SN_DATAGRAM_MAX)
		return -EMSGSIZE;
	memcpy(gw->scratch + SN_FORWARD_MAX, message.p, message.len);
	return send_scratch(gw, to, message.len);
}

int sn_peer_send(struct sn_peer *p, const struct sn_packet *packet)
{
	/* A last word does not wait. */
	if (!p->holding || !p->link.session)
		return sn_send(sn_peer_gw(p), &p->route, packet);
	sn_hold_behind(p, packet);
	return 0;
}

void sn_peer_send_bare(struct sn_peer *p, enum sn_type type)
{
	sn_peer_send(p, &(struct sn_packet){ .type = (uint8_t)type });
}

uint64_t sn_route_hash(const struct sn_route *route)
{
	uint64_t h = addr_hash(&route->addr) ^ (uintptr_t)route->socket >> 4;
	if (route->node)
		h = h * UINT64_C(0x9E3779B97F4A7C15) ^
		    hash_bytes(route->node->id.p, route->node->id.len);
	return h;
}

bool sn_route_equal(const struct sn_route *a, const struct sn_route *b)
{
	return a->socket == b->socket && addr_equal(&a->addr, &b->addr) &&
	       sn_node_equal(a->node, b->node);
}

struct sn_peer *sn_peer_find(struct sn_gateway *gw, const struct sn_route *route)
{
	uint32_t hash = (uint32_t)(sn_route_hash(route) >> 32);
	return ptrtable_find(&gw->by_route, hash, peer_is, route);
}

struct sn_peer *sn_peer_of_session(const struct session *s)
{
	return s->link && s->link->ops == &link_ops ? sn_peer_of(s->link) : NULL;
}

/* One timer for all that a peer waits for: its state says what. */
static void on_timer(struct timer *t)
{
	struct sn_peer *p = container_of(t, struct sn_talk, timer)->with;
	if (p->state == SN_WILL_TOPIC || p->state == SN_WILL_MSG)
		sn_dialogue_timeout(p);
	else
		sn_retry(p);
}

/* The oldest of those without a session gives way, so that strangers cannot lock devices out. */
static void make_way(struct sn_gateway *gw)
{
	if (gw->n_half_open >= (size_t)gw->conf.half_open)
		sn_peer_remove(list_first(&gw->half_open, struct sn_peer, node));
}

/* The peer's own copy of a route. 0 or -ENOMEM. */
static int keep_route(struct sn_peer *p, const struct sn_route *route)
{
	struct sn_node *node = route->node ? sn_node_copy(route->node) : NULL;
	if (route->node && !node)
		return -ENOMEM;
	free(p->route.node);
	p->route = (struct sn_route){ route->socket, route->addr, node };
	return 0;
}

int sn_peer_begin_talk(struct sn_peer *p)
{
	if (p->talk)
		return 0;
	p->talk = calloc(1, sizeof(*p->talk));
	if (!p->talk)
		return -ENOMEM;
	p->talk->with = p;
	timer_init(&p->talk->timer, on_timer);
	list_init(&p->talk->blocked);
	return 0;
}

void sn_peer_end_talk(struct sn_peer *p)
{
	if (!p->talk)
		return;
	sn_peer_drop_dialogue(p);
	timer_disarm(&p->talk->timer);
	list_remove(&p->talk->blocked);
	free(p->talk);
	p->talk = NULL;
}

static void peer_free(struct sn_peer *p)
{
	free(p->route.node);
	free(p);
}

static struct sn_peer *set_up(
	struct sn_gateway *gw, struct sn_peer *p, const struct sn_route *route)
{
	if (keep_route(p, route) == 0 && sn_peer_begin_talk(p) == 0 &&
		(!route->addr.family || ptrtable_add(&gw->by_route, p) == 0))
		return p;
	sn_peer_end_talk(p);
	peer_free(p);
	return NULL;
}

/* Found by its address no more; harmless when it has none. */
static void unlist(struct sn_peer *p)
{
	if (p->route.addr.family)
		ptrtable_remove(&sn_peer_gw(p)->by_route, p);
}

static void forget_route(struct sn_peer *p)
{
	free(p->route.node);
	p->route = (struct sn_route){ .socket = p->route.socket };
}

struct sn_peer *sn_peer_new(struct sn_gateway *gw, const struct sn_route *route)
{
	make_way(gw);
	struct sn_peer *p = calloc(1, sizeof(*p));
	if (!p || !set_up(gw, p, route))
		return NULL;
	p->link.ops = &link_ops;
	list_append(&gw->half_open, &p->node);
	p->half_open = true;
	gw->n_peers++;
	gw->n_half_open++;
	return p;
}

int sn_peer_move(struct sn_peer *p, const struct sn_route *route)
{
	unlist(p);
	int rc = keep_route(p, route);
	/* There is room again for one that was taken out. */
	if (p->route.addr.family && ptrtable_add(&sn_peer_gw(p)->by_route, p) < 0) {
		forget_route(p);
		return -ENOMEM;
	}
	if (rc == 0 && p->link.session) {
		p->link.session->who.peer = route->addr;
		session_changed_lazily(p->link.session);
	}
	return rc;
}

void sn_peer_displace(struct sn_peer *p)
{
	unlist(p);
	forget_route(p);
	if (p->link.session)
		session_changed_lazily(p->link.session);
}

/* Half open are those without a session; their number has a limit of its own. */
static void sort_in(struct sn_peer *p)
{
	bool half_open = !p->link.session;
	if (half_open == p->half_open)
		return;
	p->half_open = half_open;
	list_remove(&p->node);
	list_append(half_open ? &sn_peer_gw(p)->half_open : &sn_peer_gw(p)->clients, &p->node);
	if (half_open)
		sn_peer_gw(p)->n_half_open++;
	else
		sn_peer_gw(p)->n_half_open--;
}

void sn_peer_set_state(struct sn_peer *p, enum sn_state state)
{
	p->state = (uint8_t)state;
	sort_in(p);
}

void sn_peer_drop_dialogue(struct sn_peer *p)
{
	struct sn_talk *talk = p->talk;
	if (!talk || !talk->dialogue)
		return;
	free(talk->dialogue->will_topic);
	free(talk->dialogue);
	talk->dialogue = NULL;
}

static void on_reap(struct reap *r)
{
	peer_free(container_of(r, struct sn_peer, reap));
}

void sn_peer_remove(struct sn_peer *p)
{
	struct sn_gateway *gw = sn_peer_gw(p);
	p->state = SN_STRANGER;
	sn_hold_drop(p);
	sn_peer_end_talk(p);
	list_remove(&p->node);
	unlist(p);
	gw->n_peers--;
	if (p->half_open)
		gw->n_half_open--;
	p->reap = (struct reap){ .free = NULL }; /* in the place of what has ended just now */
	reap_later(&p->reap, on_reap);
}

/* The last word to a device whose session has gone: it learns that it must connect again. */
static void dismiss(struct sn_peer *p)
{
	sn_peer_send_bare(p, SN_DISCONNECT);
	sn_peer_remove(p);
}

static void note_lost(const struct sn_peer *p, const char *client_id, const char *why)
{
	static struct log_limit limit = LOG_LIMIT(10, 10000);
	char text[ADDR_TEXT_MAX];
	count_one(&lost);
	log_limited(&limit, LOG_LEVEL_INFO, "%s %s mqttsn: lost, %s", client_id,
		addr_text(&p->route.addr, text), why);
}

/* The session has let go already: its name is not known here any more. */
static void on_closed(struct link *l, enum reason reason)
{
	struct sn_peer *p = sn_peer_of(l);
	char text[ADDR_TEXT_MAX];
	if (reason == R_KEEP_ALIVE)
		note_lost(p, "-", "silent for too long");
	else
		log_debug("%s mqttsn: session ended, %s", addr_text(&p->route.addr, text),
			reason_name(reason));
	/* Where sessions are stored the gateway ends and comes back unnoticed. */
	if (reason == R_SHUTTING_DOWN && sn_peer_gw(p)->env.stored)
		sn_peer_remove(p);
	else
		dismiss(p);
}

void sn_peer_lost(struct sn_peer *p, const char *why)
{
	const struct session *s = p->link.session;
	note_lost(p, s ? s->who.client_id : "-", why);
	session_detach(&p->link, DETACH_LOST);
	dismiss(p);
}
