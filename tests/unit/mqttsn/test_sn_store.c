#include "adapters/mqttsn/sn_store.h"
#include "gateway/base/log.h"
#include "gateway/core/session_store_priv.h"
#include "world.h"

/* The gateway is the same one before and after: what its sessions say is kept, they end, and are
 * made anew from it. */

struct image {
	enum protocol protocol;
	char id[257];
	uint8_t *bytes;
	size_t len;
	uint64_t record;
};

static struct memory {
	struct image images[8];
	size_t n;
} memory;

static struct sn_socket *sockets[1];

static int setup(void **state)
{
	static char listen[] = "udp://10.0.0.99:1884";
	log_set_level(LOG_LEVEL_ERROR);
	world_setup(state);
	struct world *w = *state;
	sockets[0] = &w->socket;
	w->socket.listen = listen;
	w->gw->sockets = sockets;
	w->gw->n_sockets = 1;
	return 0;
}

static void remember(struct session *s, void *arg)
{
	struct session_items items = { .p = NULL };
	struct image *image = &memory.images[memory.n++];
	(void)arg;
	session_image_put(s, &items);
	assert_false(items.failed);
	*image = (struct image){ s->who.protocol, "", items.p, items.len, s->record };
	strcpy(image->id, s->who.client_id);
}

static struct session *find(struct world *w, const char *id)
{
	return sessions_find(w->sessions, PROTO_MQTTSN, id);
}

/* Says nothing to anybody: the process is gone. */
static void forget_sessions(struct world *w)
{
	w->gw->env.stored = true;
	for (size_t i = 0; i < memory.n; i++)
		session_end(find(w, memory.images[i].id), R_SHUTTING_DOWN, false);
	w->gw->env.stored = false;
	reap();
	assert_silence(w);
	assert_int_equal(w->gw->n_peers, 0);
}

static struct session *bring_back(struct world *w, const struct image *image)
{
	struct session *s = session_make(w->sessions, image->protocol, image->id);
	assert_non_null(s);
	assert_int_equal(session_image_apply(s, span_of(image->bytes, image->len)), 0);
	s->record = image->record;
	return s;
}

static void end(struct world *w)
{
	memory.n = 0;
	sessions_each(w->sessions, remember, NULL);
	forget_sessions(w);
}

static void come_back(struct world *w)
{
	for (size_t i = 0; i < memory.n; i++) {
		bring_back(w, &memory.images[i]);
		free(memory.images[i].bytes);
	}
	sn_revive_peers(w->gw);
}

static void restart(struct world *w)
{
	end(w);
	come_back(w);
}

static void topics_are_the_same(void **state)
{
	struct world *w = *state;
	connect_as(w, 1, "dev", true);
	uint16_t up = register_name(w, 1, "up"), down = subscribe_to(w, 1, "down", 1);
	SAY(w, 1, .type = SN_SUBSCRIBE, .topic_type = SN_TOPIC_PREDEFINED, .topic_id = 2,
		.msg_id = 3);
	assert_hears(w, 1, SN_SUBACK);
	restart(w);
	const struct sn_topics *t = sn_topics_peek(find(w, "dev"));
	assert_int_equal(t->n, 3);
	assert_text(sn_topic_name(sn_topics_by_id(t, up)), "up");
	assert_text(sn_topic_name(sn_topics_by_id(t, down)), "down");
	assert_true(sn_topics_by_id(t, up)->announced);
	assert_int_equal(sn_topics_by_id(t, up)->origin, SN_FROM_REGISTER);
	assert_int_equal(sn_topics_by_name(t, TEXT("pre/two"))->as, SN_AS_PREDEFINED);
	assert_int_equal(sn_topics_by_name(t, TEXT("pre/two"))->predefined_id, 2);
	SAY(w, 1, .type = SN_PUBLISH, .qos = 1, .topic_id = up, .msg_id = 9, .data = TEXT("x"));
	assert_code(w, 1, SN_PUBACK, SN_ACCEPTED);
	assert_spied(w, 1, "up", "x");
	publish(w, "pre/two", "y", 0);
	const struct sn_packet *p = hear(w, 1);
	assert_int_equal(p->type, SN_PUBLISH);
	assert_int_equal(p->topic_type, SN_TOPIC_PREDEFINED);
	assert_int_equal(register_name(w, 1, "next"), 4);
}

static void reserved_ids_are_not_given_again(void **state)
{
	struct world *w = *state;
	connect_as(w, 1, "dev", true);
	subscribe_to(w, 1, "many/#", 0);
	publish(w, "many/1", "x", 0);
	uint16_t id = accept_register(w, 1, "many/1");
	assert_hears(w, 1, SN_PUBLISH);
	restart(w);
	uint16_t next = register_name(w, 1, "next");
	assert_true(next > id + 16); /* what was given out after the last write */
	restart(w);
	assert_int_equal(register_name(w, 1, "another"), next + 1);
	assert_int_equal(register_name(w, 1, "next"), next);
	/* Names that never were do not count against the limit of eight. */
	for (unsigned i = 0; i < 5; i++) {
		char name[] = { 'n', (char)('0' + i), 'x', '\0' };
		register_name(w, 1, name);
	}
	SAY(w, 1, .type = SN_REGISTER, .msg_id = 77, .data = TEXT("one too many"));
	assert_code(w, 1, SN_REGACK, SN_CONGESTION);
}

static void sleeper_sleeps_on(void **state)
{
	struct world *w = *state;
	connect_as(w, 1, "dev", false);
	subscribe_to(w, 1, "down", 1);
	SAY(w, 1, .type = SN_DISCONNECT, .present = true, .duration_s = 600);
	assert_hears(w, 1, SN_DISCONNECT);
	restart(w);
	assert_int_equal(state_at(w, 1), SN_ASLEEP);
	assert_null(peer_at(w, 1)->talk);
	assert_ptr_equal(find(w, "dev")->queue_policy, &w->gw->conf.mail);
	publish(w, "down", "mail", 1);
	assert_silence(w);
	pass_ms(w, 600000);
	assert_int_equal(state_at(w, 1), SN_ASLEEP);
	SAY(w, 1, .type = SN_PINGREQ, .data = TEXT("dev"));
	const struct sn_packet *p = hear(w, 1);
	assert_int_equal(p->type, SN_PUBLISH);
	SAY(w, 1, .type = SN_PUBACK, .topic_id = p->topic_id, .msg_id = p->msg_id);
	assert_hears(w, 1, SN_PINGRESP);
	pass_ms(w, 661000);
	assert_hears(w, 1, SN_DISCONNECT); /* its time is over */
}

static void node_stays_behind_its_forwarder(void **state)
{
	struct world *w = *state;
	uint8_t id[] = { 1, 0, 255 };
	struct sn_node node = { .id = span_of(id, sizeof(id)), .ctrl = 3 };
	struct sn_route route = route_of(w, 1);
	connect_as(w, 1, "forwarder", true);
	route.node = &node;
	struct sn_packet connect = { .type = SN_CONNECT,
		.clean = true,
		.protocol_id = 1,
		.duration_s = 60,
		.data = TEXT("node") };
	uint8_t inner[64], outer[SN_FORWARD_MAX + 64];
	int n = sn_encode(&connect, inner, sizeof(inner));
	size_t head = sn_node_header(&node, outer);
	memcpy(outer + head, inner, (size_t)n);
	struct sn_route from = route_of(w, 1);
	say_raw(w, &from, span_of(outer, head + (size_t)n));
	assert_hears(w, 1, SN_ENCAPSULATED);
	restart(w);
	const struct sn_peer *p = sn_peer_find(w->gw, &route);
	assert_non_null(p);
	assert_string_equal(p->link.session->who.client_id, "node");
	assert_int_equal(p->route.node->ctrl, 3);
	assert_string_equal(peer_at(w, 1)->link.session->who.client_id, "forwarder");
}

/* Both records name the same address: whose is the newer one is there. */
static void one_address_two_devices(void **state)
{
	struct world *w = *state;
	for (unsigned newer = 0; newer < 2; newer++) {
		connect_as(w, 1, "a", false);
		connect_as(w, 2, "b", false);
		for (uint16_t port = 1; port <= 2; port++) {
			SAY(w, port, .type = SN_DISCONNECT, .present = true, .duration_s = 600);
			assert_hears(w, port, SN_DISCONNECT);
		}
		find(w, "b")->who.peer = find(w, "a")->who.peer;
		find(w, "a")->record = 5 + newer;
		find(w, "b")->record = 6 - newer;
		restart(w);
		assert_string_equal(peer_at(w, 1)->link.session->who.client_id, newer ? "a" : "b");
		assert_int_equal(w->gw->n_peers, 2);
		/* The other one says where it is. */
		SAY(w, 3, .type = SN_PINGREQ, .data = TEXT(newer ? "b" : "a"));
		assert_hears(w, 3, SN_PINGRESP);
		session_end(find(w, "a"), R_SUCCESS, false);
		session_end(find(w, "b"), R_SUCCESS, false);
		reap();
		forget_heard(w);
	}
}

static void another_listener_is_no_place(void **state)
{
	struct world *w = *state;
	static char elsewhere[] = "udp://10.0.0.99:1885";
	connect_as(w, 1, "dev", false);
	uint16_t id = register_name(w, 1, "t");
	end(w);
	w->socket.listen = elsewhere;
	come_back(w);
	assert_null(peer_at(w, 1));
	assert_int_equal(sessions_count(w->sessions, true), 0);
	SAY(w, 1, .type = SN_PUBLISH, .qos = 1, .topic_id = id, .msg_id = 9, .data = TEXT("x"));
	assert_hears(w, 1, SN_DISCONNECT);
	connect_as(w, 1, "dev", false);
	assert_int_equal(register_name(w, 1, "t"), id);
}

/* Whatever the octets are: nothing is read beyond them, nothing large is made of them. */
static void hostile_octets(void **state)
{
	struct world *w = *state;
	connect_as(w, 1, "dev", true);
	register_name(w, 1, "some/name");
	subscribe_to(w, 1, "many/#", 0);
	publish(w, "many/1", "x", 0);
	accept_register(w, 1, "many/1");
	forget_heard(w);
	end(w);
	struct image *image = &memory.images[0];
	uint32_t dice = 1;
	for (unsigned round = 0; round < 5000; round++) {
		uint8_t *copy = malloc(image->len);
		memcpy(copy, image->bytes, image->len);
		for (unsigned k = 0; k < 1 + round % 4; k++) {
			dice = dice * 1664525 + 1013904223;
			copy[(dice >> 8) % image->len] = (uint8_t)(dice >> 24);
		}
		struct session *s = session_make(w->sessions, PROTO_MQTTSN, "dev");
		session_image_apply(s, span_of(copy, image->len - round % 7));
		free(copy);
		sn_revive_peers(w->gw);
		const struct sn_topics *t = sn_topics_peek(s);
		assert_true(!t || t->n <= 3 * 65);
		session_end(s, R_SUCCESS, false);
		turn(w);
		forget_heard(w);
	}
	free(image->bytes);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(topics_are_the_same),
		T(reserved_ids_are_not_given_again),
		T(sleeper_sleeps_on),
		T(node_stays_behind_its_forwarder),
		T(one_address_two_devices),
		T(another_listener_is_no_place),
		T(hostile_octets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
