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
	sn_peer_move(p, &b);
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
	assert_true(w->gw->n_buckets >= 500); /* grown */
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
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
