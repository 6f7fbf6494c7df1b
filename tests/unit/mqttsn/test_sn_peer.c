#include "tests/unit/mqttsn/world.h"

#define DEV 1001

static void test_find(void **state)
{
	struct world *w = *state;
	struct sn_socket other_socket = { .ops = &world_socket_ops };
	struct sn_route a = route_of(w, DEV), b = route_of(w, DEV + 1), c = a;
	struct sn_peer *p = sn_peer_new(w->gw, &a);
	c.socket = &other_socket;
	assert_ptr_equal(sn_peer_find(w->gw, &a), p);
	assert_null(sn_peer_find(w->gw, &b));
	assert_null(sn_peer_find(w->gw, &c)); /* the same address at another socket */
	assert_int_equal(sn_peer_move(p, &b), 0);
	assert_null(sn_peer_find(w->gw, &a));
	assert_ptr_equal(sn_peer_find(w->gw, &b), p);
	sn_peer_remove(p);
	assert_null(sn_peer_find(w->gw, &b));
	assert_int_equal(w->gw->n_peers, 0);
	assert_int_equal(w->gw->n_half_open, 0);
}

static void test_many(void **state)
{
	struct world *w = *state;
	w->gw->conf.half_open = 1000;
	for (uint16_t i = 0; i < 500; i++) {
		struct sn_route r = route_of(w, (uint16_t)(DEV + i));
		assert_non_null(sn_peer_new(w->gw, &r));
	}
	for (uint16_t i = 0; i < 500; i++)
		assert_non_null(peer_at(w, (uint16_t)(DEV + i)));
	assert_int_equal(w->gw->n_half_open, 500);
}

static void test_of_session(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", false);
	struct session *s = sessions_find(w->sessions, PROTO_MQTTSN, "dev");
	assert_ptr_equal(sn_peer_of_session(s), peer_at(w, DEV));
	SAY(w, DEV, .type = SN_DISCONNECT);
	assert_null(sn_peer_of_session(s));
}

static void test_send(void **state)
{
	struct world *w = *state;
	struct sn_route r = route_of(w, DEV);
	struct sn_packet p = { .type = SN_PINGRESP };
	uint64_t before = count_value("mqttsn.no_room");
	assert_int_equal(sn_send(w->gw, &r, &p), 0);
	assert_hears(w, DEV, SN_PINGRESP);
	w->full = true;
	assert_int_equal(sn_send(w->gw, &r, &p), -EAGAIN);
	assert_int_equal(count_value("mqttsn.no_room"), before + 1);
	w->full = false;
}

static void sleep_as(struct world *w, uint16_t port, const char *id)
{
	connect_as(w, port, id, false);
	subscribe_to(w, port, id, 0);
	SAY(w, port, .type = SN_DISCONNECT, .present = true, .duration_s = 60);
	assert_hears(w, port, SN_DISCONNECT);
	publish(w, id, id, 0);
	assert_silence(w);
}

static void assert_collects(struct world *w, uint16_t port, const char *id)
{
	SAY(w, port, .type = SN_PINGREQ, .data = TEXT(id));
	const struct sn_packet *p = hear(w, port);
	assert_int_equal(p->type, SN_PUBLISH);
	assert_text(p->data, id);
	assert_hears(w, port, SN_PINGRESP);
	assert_silence(w);
}

/* Two sleepers whose NAT has changed their ports: each gets its own mail. */
static void test_changed_places(void **state)
{
	struct world *w = *state;
	sleep_as(w, DEV, "dev-a");
	sleep_as(w, DEV + 1, "dev-b");
	assert_collects(w, DEV + 1, "dev-a");
	/* Nobody is at its old address until it says so: not the one who was displaced either. */
	assert_null(peer_at(w, DEV));
	SAY(w, DEV, .type = SN_PINGREQ);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_collects(w, DEV, "dev-b");
	assert_string_equal(peer_at(w, DEV)->link.session->who.client_id, "dev-b");
	assert_string_equal(peer_at(w, DEV + 1)->link.session->who.client_id, "dev-a");
}

/* Who has no address any more is sent nothing, and can come back by CONNECT as well. */
static void test_displaced(void **state)
{
	struct world *w = *state;
	sleep_as(w, DEV, "dev-a");
	sleep_as(w, DEV + 1, "dev-b");
	assert_collects(w, DEV + 1, "dev-a");
	struct session *b = sessions_find(w->sessions, PROTO_MQTTSN, "dev-b");
	for (uint16_t i = 0; i < 200; i++) { /* the table of addresses grows */
		struct sn_route r = route_of(w, (uint16_t)(3000 + i));
		w->gw->conf.half_open = 1000;
		sn_peer_new(w->gw, &r);
	}
	connect_as(w, DEV, "dev-b", false);
	assert_ptr_equal(sn_peer_of_session(b), peer_at(w, DEV));
	assert_hears(w, DEV, SN_REGISTER); /* its mail comes at once */
	assert_silence(w);
}

static void test_displaced_and_lost(void **state)
{
	struct world *w = *state;
	sleep_as(w, DEV, "dev-a");
	sleep_as(w, DEV + 1, "dev-b");
	assert_collects(w, DEV + 1, "dev-a");
	pass_ms(w, 60000);
	SAY(w, DEV + 1, .type = SN_PINGREQ, .data = TEXT("dev-a"));
	assert_hears(w, DEV + 1, SN_PINGRESP);
	pass_ms(w, 60000); /* dev-b is lost, and nobody hears of it */
	assert_silence(w);
	assert_int_equal(w->gw->n_peers, 1);
}

/* An address belongs to who is connected there: a sleeper that comes to it connects. */
static void test_not_in_place_of_an_active_one(void **state)
{
	struct world *w = *state;
	sleep_as(w, DEV, "dev-a");
	connect_as(w, DEV + 1, "dev-b", true);
	SAY(w, DEV + 1, .type = SN_PINGREQ, .data = TEXT("dev-a"));
	assert_hears(w, DEV + 1, SN_DISCONNECT);
	assert_string_equal(peer_at(w, DEV + 1)->link.session->who.client_id, "dev-b");
	SAY(w, DEV + 1, .type = SN_PINGREQ, .data = TEXT("nobody"));
	assert_hears(w, DEV + 1, SN_DISCONNECT);
	assert_silence(w);
}

/* A message must fit with what goes in front of it. */
static void test_send_bytes(void **state)
{
	struct world *w = *state;
	static uint8_t bytes[SN_DATAGRAM_MAX + 1];
	struct sn_route r = route_of(w, DEV);
	assert_int_equal(sn_send_bytes(w->gw, &r, span_of("\x02\x17", 2)), 0);
	assert_hears(w, DEV, SN_PINGRESP);
	assert_int_equal(sn_send_bytes(w->gw, &r, span_of(bytes, sizeof(bytes))), -EMSGSIZE);
	assert_int_equal(sn_send_bytes(w->gw, &r, span_of(bytes, sizeof(bytes) - 1)), 0);
	struct sn_node node = { .id = TEXT("node") };
	r.node = &node;
	assert_int_equal(sn_send_bytes(w->gw, &r, span_of(bytes, sizeof(bytes) - 7)), -EMSGSIZE);
	assert_int_equal(sn_send_bytes(w->gw, &r, span_of(bytes, sizeof(bytes) - 8)), 0);
	r.addr.family = 0;
	forget_heard(w);
	assert_int_equal(sn_send_bytes(w->gw, &r, span_of(bytes, 2)), 0);
	assert_silence(w);
}

/* What goes with the adapter: clients are detached, half-open ones forgotten. */
static void test_destroy(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", false);
	SAY(w, DEV + 1, .type = SN_CONNECT, .will = true, .protocol_id = 1, .data = TEXT("new"));
	assert_int_equal(w->gw->n_peers, 2);
	struct session *s = sessions_find(w->sessions, PROTO_MQTTSN, "dev");
	assert_non_null(s->link);
	sn_gateway_destroy(w->gw);
	assert_null(s->link);
	assert_int_equal(w->gw->n_peers, 0);
	memset(w->gw, 0, sizeof(*w->gw));
	struct sn_conf conf = world_conf();
	struct env env = { .router = w->router, .sessions = w->sessions };
	sn_gateway_init(w->gw, &env, &conf, world_predefined());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_find),
		world_test(test_many),
		world_test(test_of_session),
		world_test(test_send),
		world_test(test_destroy),
		world_test(test_changed_places),
		world_test(test_displaced),
		world_test(test_displaced_and_lost),
		world_test(test_not_in_place_of_an_active_one),
		world_test(test_send_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
