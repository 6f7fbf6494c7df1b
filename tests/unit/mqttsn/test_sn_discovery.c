#include "tests/unit/mqttsn/world.h"

#define DEV 1001

/* Further listeners, which note where they send to. */
struct other {
	struct sn_socket socket;
	char to[200];
};

static struct other other[2];
static struct sn_socket *sockets[3];

static int note_send(struct sn_socket *s, const struct addr *to, struct span datagram)
{
	struct other *o = container_of(s, struct other, socket);
	char text[ADDR_TEXT_MAX];
	size_t len = strlen(o->to);
	assert_int_equal(datagram.p[1], SN_ADVERTISE);
	snprintf(o->to + len, sizeof(o->to) - len, "%s ", addr_text(to, text));
	return 0;
}

static void listen_at(struct world *w)
{
	sockets[0] = &w->socket;
	w->gw->sockets = sockets;
	w->gw->n_sockets = 1;
}

static void listen_also_at(struct world *w, const char *ip)
{
	static const struct sn_socket_ops ops = { .send = note_send };
	struct other *o = &other[w->gw->n_sockets - 1];
	*o = (struct other){ .socket = { &ops, &w->gw->base, addr_at(ip, 1884), false } };
	sockets[w->gw->n_sockets++] = &o->socket;
}

static void advertise(struct world *w, size_t n, const char *const *to)
{
	struct sn_conf conf = world_conf();
	const char *items[4];
	for (size_t i = 0; i < n; i++)
		items[i] = to[i];
	conf.advertise = (struct conf_list){ n, items };
	sn_gateway_configure(w->gw, &conf, world_predefined());
}
#define ADVERTISE(w, ...)                                                                          \
	advertise(w, ARRAY_SIZE(((const char *[]){ __VA_ARGS__ })),                                \
		(const char *const[]){ __VA_ARGS__ })

static void assert_advertised(struct world *w, const char *ip, uint16_t port, uint16_t interval_s)
{
	const struct sn_packet *p = hear_at(w, addr_at(ip, port));
	assert_int_equal(p->type, SN_ADVERTISE);
	assert_int_equal(p->gw_id, 7);
	assert_int_equal(p->duration_s, interval_s);
}

static void test_searchgw(void **state)
{
	struct world *w = *state;
	SAY(w, DEV, .type = SN_SEARCHGW, .radius = 1);
	const struct sn_packet *p = hear(w, DEV);
	assert_int_equal(p->type, SN_GWINFO);
	assert_int_equal(p->gw_id, 7);
	assert_int_equal(p->data.len, 0);
	assert_int_equal(w->current->len, 3); /* no larger than the question */
	pass_ms(w, 3600000);
	assert_silence(w); /* nothing by multicast unless it is configured */
}

static void test_not_while_draining(void **state)
{
	struct world *w = *state;
	listen_at(w);
	ADVERTISE(w, "239.1.2.3:1885");
	w->gw->draining = true;
	SAY(w, DEV, .type = SN_SEARCHGW);
	pass_ms(w, 900000);
	assert_silence(w);
}

/* Every T_adv, and the first at once. */
static void test_advertises(void **state)
{
	struct world *w = *state;
	listen_at(w);
	ADVERTISE(w, "239.1.2.3:1885", "10.0.0.255");
	pass_ms(w, 1);
	assert_advertised(w, "239.1.2.3", 1885, 900);
	assert_advertised(w, "10.0.0.255", 1884, 900);
	assert_silence(w);
	pass_ms(w, 899000);
	assert_silence(w);
	pass_ms(w, 1000);
	assert_advertised(w, "239.1.2.3", 1885, 900);
	assert_advertised(w, "10.0.0.255", 1884, 900);
	/* A reload takes them back. */
	advertise(w, 0, NULL);
	pass_ms(w, 3600000);
	assert_silence(w);
}

static void test_interval(void **state)
{
	struct world *w = *state;
	struct sn_conf conf = world_conf();
	static const char *to[] = { "10.0.0.9:5" };
	listen_at(w);
	conf.advertise = (struct conf_list){ 1, to };
	conf.advertise_interval_ms = 1500;
	sn_gateway_configure(w->gw, &conf, world_predefined());
	pass_ms(w, 1);
	assert_advertised(w, "10.0.0.9", 5, 2); /* whole seconds, never too few */
	pass_ms(w, 1500);
	assert_advertised(w, "10.0.0.9", 5, 2);
	conf.advertise_interval_ms = 0;
	sn_gateway_configure(w->gw, &conf, world_predefined());
	pass_ms(w, 3600000);
	assert_silence(w);
}

/* Each destination by a listener that can reach it; groups by all that can. */
static void test_the_right_listener(void **state)
{
	struct world *w = *state;
	listen_at(w);
	listen_also_at(w, "127.0.0.1");
	listen_also_at(w, "2001:db8::1");
	ADVERTISE(w, "239.1.2.3:1", "10.0.0.9:2", "[ff05::1]:3", "2001:db8::9");
	pass_ms(w, 1);
	assert_advertised(w, "239.1.2.3", 1, 900);
	assert_advertised(w, "10.0.0.9", 2, 900);
	assert_silence(w);
	assert_string_equal(other[0].to, "239.1.2.3:1 ");
	assert_string_equal(other[1].to, "[ff05::1]:3 [2001:db8::9]:1884 ");
}

/* Loopback reaches nobody else, and a dual-stack listener reaches both families. */
static void test_loopback_and_dual_stack(void **state)
{
	struct world *w = *state;
	listen_at(w);
	listen_also_at(w, "::");
	other[0].socket.dual_stack = true;
	w->socket.at = addr_at("127.0.0.1", 1884);
	ADVERTISE(w, "10.0.0.9:2", "127.0.0.1:3");
	pass_ms(w, 1);
	assert_advertised(w, "127.0.0.1", 3, 900);
	assert_silence(w);
	assert_string_equal(other[0].to, "10.0.0.9:2 ");
}

static void answer_by_multicast(struct world *w, int64_t delay_ms)
{
	static const char *to[] = { "239.1.2.3:1885", "10.0.0.9:5" };
	struct sn_conf conf = world_conf();
	listen_at(w);
	conf.advertise = (struct conf_list){ 2, to };
	conf.gwinfo_delay_ms = delay_ms;
	sn_gateway_configure(w->gw, &conf, world_predefined());
	pass_ms(w, 1);
	forget_heard(w);
}

/* Once for all who asked, after a random time, and to those who are many only. */
static void test_gwinfo_by_multicast(void **state)
{
	struct world *w = *state;
	answer_by_multicast(w, 2000);
	for (uint16_t i = 0; i < 10; i++) {
		SAY(w, (uint16_t)(DEV + i), .type = SN_SEARCHGW);
		assert_hears(w, (uint16_t)(DEV + i), SN_GWINFO);
	}
	assert_silence(w);
	pass_ms(w, 2000);
	assert_int_equal(hear_at(w, addr_at("239.1.2.3", 1885))->type, SN_GWINFO);
	assert_int_equal(w->current->len, 3);
	assert_silence(w);
	SAY(w, DEV, .type = SN_SEARCHGW);
	forget_heard(w);
	w->gw->draining = true;
	pass_ms(w, 2000);
	assert_silence(w);
}

/* What came to a group is for all gateways: none but SEARCHGW is acted upon. */
static void test_only_searchgw_in_groups(void **state)
{
	struct world *w = *state;
	struct sn_route group = route_of(w, DEV);
	connect_as(w, DEV + 1, "dev", true);
	w->to_group = true;
	say_from(w, group,
		(struct sn_packet){ .type = SN_CONNECT, .protocol_id = 1, .data = TEXT("x") });
	say_from(w, group, (struct sn_packet){ .type = SN_PINGREQ, .data = TEXT("dev") });
	say_from(w, group,
		(struct sn_packet){ .type = SN_PUBLISH,
			.qos = SN_QOS_MINUS_1,
			.topic_type = SN_TOPIC_PREDEFINED,
			.topic_id = 1,
			.data = TEXT("x") });
	say_raw(w, &group, span_of("\x08\x01\x00\x12\x34\x02\x00\x00", 8));
	assert_silence(w);
	assert_int_equal(w->gw->n_peers, 1);
	assert_int_equal(w->spy.n, 0);
	say_from(w, group, (struct sn_packet){ .type = SN_SEARCHGW });
	assert_hears(w, DEV, SN_GWINFO);
	say_from(w, group,
		(struct sn_packet){ .type = SN_ENCAPSULATED,
			.data = TEXT("n"),
			.inner = span_of("\x03\x01\x00", 3) });
	assert_hears(w, DEV, SN_ENCAPSULATED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_searchgw),
		world_test(test_not_while_draining),
		world_test(test_advertises),
		world_test(test_interval),
		world_test(test_the_right_listener),
		world_test(test_loopback_and_dual_stack),
		world_test(test_gwinfo_by_multicast),
		world_test(test_only_searchgw_in_groups),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
