#include "tests/unit/mqttsn/world.h"

#define FWD   2001 /* a forwarder, and another one of the same address */
#define OTHER 2002

/* What a node says through a forwarder. */
static void node_says_from(struct world *w, struct sn_route forwarder, struct span node,
	uint8_t ctrl, struct sn_packet p)
{
	uint8_t inner[512];
	int n = sn_encode(&p, inner, sizeof(inner));
	assert_true(n > 0);
	struct sn_packet outer = {
		.type = SN_ENCAPSULATED,
		.ctrl = ctrl,
		.data = node,
		.inner = span_of(inner, (size_t)n),
	};
	say_from(w, forwarder, outer);
}

static void node_says(struct world *w, uint16_t port, const char *node, struct sn_packet p)
{
	node_says_from(w, route_of(w, port), TEXT(node), 1, p);
}
#define NODE_SAYS(w, port, node, ...) node_says(w, port, node, (struct sn_packet){ __VA_ARGS__ })

/* The next message of the gateway to that node; it must be encapsulated as the node's own were. */
static struct sn_packet node_hears(struct world *w, uint16_t port, const char *node)
{
	const struct sn_packet *outer = hear(w, port);
	struct sn_packet p = { .type = NOTHING };
	if (outer->type == NOTHING)
		return p;
	assert_int_equal(outer->type, SN_ENCAPSULATED);
	assert_text(outer->data, node);
	assert_int_equal(outer->ctrl, 1);
	assert_int_equal(sn_decode(&p, outer->inner), 0);
	return p;
}
#define assert_node_hears(w, port, node, what)                                                     \
	assert_int_equal(node_hears(w, port, node).type, what)

static void node_connects(
	struct world *w, uint16_t port, const char *node, const char *id, uint8_t code)
{
	NODE_SAYS(w, port, node, .type = SN_CONNECT, .protocol_id = 1, .duration_s = 60,
		.data = TEXT(id));
	struct sn_packet p = node_hears(w, port, node);
	assert_int_equal(p.type, SN_CONNACK);
	assert_int_equal(p.return_code, code);
}

static void node_subscribes(struct world *w, uint16_t port, const char *node, const char *name)
{
	NODE_SAYS(w, port, node, .type = SN_SUBSCRIBE, .qos = 1, .msg_id = 5, .data = TEXT(name));
	assert_node_hears(w, port, node, SN_SUBACK);
}

static struct sn_peer *peer_of(struct world *w, const char *client_id)
{
	struct session *s = sessions_find(w->sessions, PROTO_MQTTSN, client_id);
	return s ? sn_peer_of_session(s) : NULL;
}

static void test_searchgw(void **state)
{
	struct world *w = *state;
	NODE_SAYS(w, FWD, "n", .type = SN_SEARCHGW, .radius = 1);
	assert_node_hears(w, FWD, "n", SN_GWINFO);
	assert_int_equal(w->gw->n_peers, 0);
}

/* Nodes are clients of their own, and the forwarder may be one as well. */
static void test_nodes_are_clients(void **state)
{
	struct world *w = *state;
	node_connects(w, FWD, "a", "dev-a", SN_ACCEPTED);
	node_connects(w, FWD, "b", "dev-b", SN_ACCEPTED);
	connect_as(w, FWD, "forwarder", true);
	assert_int_equal(w->gw->n_peers, 3);
	node_subscribes(w, FWD, "a", "to/a");
	publish(w, "to/a", "hello", 1);
	struct sn_packet p = node_hears(w, FWD, "a");
	assert_int_equal(p.type, SN_PUBLISH);
	assert_text(p.data, "hello");
	assert_silence(w);
	/* An acknowledgement by another node is none. */
	NODE_SAYS(w, FWD, "b", .type = SN_PUBACK, .topic_id = p.topic_id, .msg_id = p.msg_id);
	pass_ms(w, 10000);
	p = node_hears(w, FWD, "a");
	assert_true(p.dup);
	NODE_SAYS(w, FWD, "a", .type = SN_PUBACK, .topic_id = p.topic_id, .msg_id = p.msg_id);
	pass_ms(w, 10000);
	assert_silence(w);
	NODE_SAYS(w, FWD, "a", .type = SN_DISCONNECT);
	assert_node_hears(w, FWD, "a", SN_DISCONNECT);
	assert_int_equal(w->gw->n_peers, 2);
}

/* The answer has the control octet of the last message, whatever it was before. */
static void test_ctrl_is_returned(void **state)
{
	struct world *w = *state;
	struct sn_packet ping = { .type = SN_PINGREQ };
	node_connects(w, FWD, "a", "dev-a", SN_ACCEPTED);
	for (unsigned ctrl = 0; ctrl < 4; ctrl++) {
		node_says_from(w, route_of(w, FWD), TEXT("a"), (uint8_t)ctrl, ping);
		assert_int_equal(hear(w, FWD)->ctrl, ctrl);
	}
}

static void test_node_ids(void **state)
{
	struct world *w = *state;
	uint8_t longest[SN_NODE_ID_MAX + 1] = { 1, 2, 3 };
	struct sn_packet search = { .type = SN_SEARCHGW };
	struct sn_route from = route_of(w, FWD);
	uint64_t before = count_value("mqttsn.forward_refused");
	node_says_from(w, from, span_of(longest, SN_NODE_ID_MAX), 0, search);
	const struct sn_packet *p = hear(w, FWD);
	assert_int_equal(p->type, SN_ENCAPSULATED);
	assert_int_equal(p->data.len, SN_NODE_ID_MAX);
	node_says_from(w, from, span_of(longest, SN_NODE_ID_MAX + 1), 0, search);
	node_says_from(w, from, span_of(longest, 0), 0, search);
	assert_silence(w);
	assert_int_equal(count_value("mqttsn.forward_refused"), before + 2);
	/* Octets, not text: one with a NUL in it is another one. */
	assert_false(sn_node_equal(&(struct sn_node){ .id = span_of(longest, 1) },
		&(struct sn_node){ .id = span_of(longest, 2) }));
}

static void test_one_level_only(void **state)
{
	struct world *w = *state;
	uint64_t before = count_value("mqttsn.unexpected");
	NODE_SAYS(w, FWD, "n", .type = SN_ENCAPSULATED, .data = TEXT("m"),
		.inner = span_of("\x03\x01\x00", 3));
	assert_silence(w);
	assert_int_equal(count_value("mqttsn.unexpected"), before + 1);
}

/* Strangers hear DISCONNECT as they would without forwarder, and leave nothing behind. */
static void test_strangers(void **state)
{
	struct world *w = *state;
	NODE_SAYS(w, FWD, "n", .type = SN_SUBSCRIBE, .msg_id = 1, .data = TEXT("x"));
	assert_node_hears(w, FWD, "n", SN_DISCONNECT);
	struct sn_packet outer = { .type = SN_ENCAPSULATED, .data = TEXT("n") };
	static const char *const garbage[] = { "", "\x02", "\x01\x00\x03\x16", "\x03\x16",
		"\x02\xff" };
	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		outer.inner = TEXT(garbage[i]);
		say_from(w, route_of(w, FWD), outer);
	}
	assert_silence(w);
	assert_int_equal(w->gw->n_peers, 0);
}

/* Node ids cost nothing to invent; half-open peers have their limit all the same. */
static void test_half_open_limit(void **state)
{
	struct world *w = *state;
	for (unsigned i = 0; i < 300; i++) {
		uint8_t id[2] = { (uint8_t)(i >> 8), (uint8_t)i };
		struct sn_packet p = {
			.type = SN_CONNECT, .will = true, .protocol_id = 1, .data = TEXT("id")
		};
		node_says_from(w, route_of(w, FWD), span_of(id, 2), 0, p);
	}
	assert_int_equal(w->gw->n_peers, 4);
	assert_int_equal(w->gw->n_half_open, 4);
}

static void test_moves_to_another_forwarder(void **state)
{
	struct world *w = *state;
	node_connects(w, FWD, "a", "dev", SN_ACCEPTED);
	node_subscribes(w, FWD, "a", "to/a");
	node_connects(w, OTHER, "z", "dev", SN_ACCEPTED);
	assert_node_hears(w, FWD, "a", SN_DISCONNECT);
	publish(w, "to/a", "hello", 0);
	struct sn_packet p = node_hears(w, OTHER, "z");
	assert_int_equal(p.type, SN_REGISTER); /* the device may have rebooted */
	NODE_SAYS(w, OTHER, "z", .type = SN_REGACK, .topic_id = p.topic_id, .msg_id = p.msg_id);
	assert_node_hears(w, OTHER, "z", SN_PUBLISH);
	assert_silence(w);
	assert_int_equal(w->gw->n_peers, 1);
}

/* The policy is about the address of the forwarder. */
static void test_moving_needs_permission(void **state)
{
	struct world *w = *state;
	struct sn_route far = { .socket = &w->socket, .addr = addr_at("10.0.0.66", 5) };
	struct sn_packet connect = { .type = SN_CONNECT, .protocol_id = 1, .data = TEXT("dev") };
	node_connects(w, FWD, "a", "dev", SN_ACCEPTED);
	node_says_from(w, far, TEXT("a"), 0, connect);
	const struct sn_packet *p = hear_at(w, far.addr);
	assert_int_equal(p->type, SN_ENCAPSULATED);
	assert_int_equal(p->inner.p[2], SN_NOT_SUPPORTED);
	assert_int_equal(peer_of(w, "dev")->route.addr.port, FWD);
	w->gw->conf.takeover = SN_TAKEOVER_ALLOW;
	node_says_from(w, far, TEXT("a"), 0, connect);
	assert_int_equal(hear_at(w, far.addr)->inner.p[2], SN_ACCEPTED);
	assert_true(addr_equal(&peer_of(w, "dev")->route.addr, &far.addr));
	forget_heard(w);
	/* `refuse` is about the node, too: another one at the same forwarder is somebody else. */
	w->gw->conf.takeover = SN_TAKEOVER_REFUSE;
	node_says_from(w, far, TEXT("b"), 0, connect);
	assert_int_equal(hear_at(w, far.addr)->inner.p[2], SN_NOT_SUPPORTED);
}

static void test_sleeping_node(void **state)
{
	struct world *w = *state;
	node_connects(w, FWD, "a", "dev", SN_ACCEPTED);
	node_subscribes(w, FWD, "a", "to/a");
	NODE_SAYS(w, FWD, "a", .type = SN_DISCONNECT, .present = true, .duration_s = 60);
	assert_node_hears(w, FWD, "a", SN_DISCONNECT);
	publish(w, "to/a", "mail", 0);
	assert_silence(w);
	NODE_SAYS(w, OTHER, "z", .type = SN_PINGREQ, .data = TEXT("dev"));
	assert_node_hears(w, OTHER, "z", SN_PUBLISH);
	assert_node_hears(w, OTHER, "z", SN_PINGRESP);
	assert_silence(w);
}

static void test_only_from_our_forwarders(void **state)
{
	struct world *w = *state;
	static const char *list[] = { "10.0.0.66", "2001:db8::7" };
	struct sn_conf conf = world_conf();
	struct sn_route far = { .socket = &w->socket, .addr = addr_at("10.0.0.66", 5) };
	struct sn_packet search = { .type = SN_SEARCHGW };
	conf.forwarders = (struct conf_list){ ARRAY_SIZE(list), list };
	sn_group_configure(&w->gw->base, &conf);
	NODE_SAYS(w, FWD, "n", .type = SN_SEARCHGW);
	assert_silence(w);
	node_says_from(w, far, TEXT("n"), 0, search);
	assert_int_equal(hear_at(w, far.addr)->type, SN_ENCAPSULATED);
}

/* What fits as it is need not fit into an encapsulation. */
static void test_too_long(void **state)
{
	struct world *w = *state;
	static uint8_t bytes[SN_DATAGRAM_MAX - 9];
	node_connects(w, FWD, "a", "dev", SN_ACCEPTED);
	node_subscribes(w, FWD, "a", "to/a");
	publish_bytes(w, "to/a", span_of(bytes, sizeof(bytes)), 1, false);
	assert_silence(w);
	publish_bytes(w, "to/a", span_of(bytes, sizeof(bytes) - 4), 1, false);
	assert_node_hears(w, FWD, "a", SN_PUBLISH);
}

/* Version 2.0 is told so through the forwarder as well. */
static void test_version_2(void **state)
{
	struct world *w = *state;
	struct sn_packet outer = { .type = SN_ENCAPSULATED,
		.data = TEXT("n"),
		.inner = span_of("\x08\x01\x00\x12\x34\x02\x00\x00", 8) };
	say_from(w, route_of(w, FWD), outer);
	const struct sn_packet *p = hear(w, FWD);
	assert_int_equal(p->type, SN_ENCAPSULATED);
	assert_int_equal(p->inner.p[5], 0x84);
}

/* Any octets inside an encapsulation, to a node in any state. */
static void test_any_inside(void **state)
{
	struct world *w = *state;
	uint32_t seed = 1;
	uint8_t bytes[24];
	node_connects(w, FWD, "a", "dev-a", SN_ACCEPTED);
	node_connects(w, FWD, "good", "good", SN_ACCEPTED);
	for (unsigned i = 0; i < 256 * 40; i++) {
		for (size_t k = 0; k < sizeof(bytes); k++) {
			seed = seed * 1664525 + 1013904223;
			bytes[k] = (uint8_t)(seed >> 24);
		}
		bytes[0] = (uint8_t)(i % sizeof(bytes));
		bytes[1] = (uint8_t)i;
		struct sn_packet outer = { .type = SN_ENCAPSULATED,
			.data = TEXT("a"),
			.inner = span_of(bytes, i % 7 ? bytes[0] : i % sizeof(bytes)) };
		say_from(w, route_of(w, FWD), outer);
		forget_heard(w);
	}
	NODE_SAYS(w, FWD, "good", .type = SN_PINGREQ);
	assert_node_hears(w, FWD, "good", SN_PINGRESP);
}

static void test_many_nodes(void **state)
{
	struct world *w = *state;
	uint8_t id[4] = { 0 };
	struct sn_node node = { .id = span_of(id, sizeof(id)) };
	struct sn_route route = { &w->socket, addr_at("10.0.0.1", FWD), &node };
	size_t homes = 0;
	w->gw->conf.half_open = 10000;
	for (uint32_t i = 0; i < 5000; i++) {
		memcpy(id, &i, sizeof(id));
		assert_non_null(sn_peer_new(w->gw, &route));
	}
	const struct ptrtable *t = &w->gw->by_route;
	bool *home = calloc(t->cap, sizeof(*home));
	assert_int_equal(t->n, 5000);
	for (size_t i = 0; i < t->cap; i++) {
		size_t h = t->slots[i] ? ptrtable_home(t, t->hash(t->slots[i])) : 0;
		homes += t->slots[i] && !home[h];
		home[h] = t->slots[i] || home[h];
	}
	free(home);
	/* Even chances would give about two thirds. */
	assert_true(homes > 2500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_searchgw),
		world_test(test_nodes_are_clients),
		world_test(test_ctrl_is_returned),
		world_test(test_node_ids),
		world_test(test_one_level_only),
		world_test(test_strangers),
		world_test(test_half_open_limit),
		world_test(test_moves_to_another_forwarder),
		world_test(test_moving_needs_permission),
		world_test(test_sleeping_node),
		world_test(test_only_from_our_forwarders),
		world_test(test_too_long),
		world_test(test_version_2),
		world_test(test_any_inside),
		world_test(test_many_nodes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
