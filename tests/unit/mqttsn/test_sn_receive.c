#include "tests/unit/mqttsn/world.h"

#define DEV 1001

/* A valid message of every type, as a client would (or should never) send it. */
static struct sn_packet sample(uint8_t type)
{
	struct sn_packet p = { .type = type, .topic_id = 1, .msg_id = 3, .protocol_id = 1 };
	switch (type) {
	case SN_CONNECT:
		p.data = TEXT("dev");
		p.duration_s = 60;
		break;
	case SN_PINGREQ:
		p.data = TEXT("dev");
		break;
	case SN_REGISTER:
	case SN_SUBSCRIBE:
	case SN_UNSUBSCRIBE:
		p.data = TEXT("a/b");
		break;
	case SN_WILLTOPIC:
	case SN_WILLTOPICUPD:
		p.present = true;
		p.data = TEXT("will");
		break;
	case SN_WILLMSG:
	case SN_WILLMSGUPD:
	case SN_PUBLISH:
		p.qos = 1;
		p.data = TEXT("text");
		break;
	case SN_ENCAPSULATED:
		p.data = TEXT("\x01\x02");
		p.inner = TEXT("\x02\x16");
		break;
	default:
		break;
	}
	return p;
}

/* Everything works as before: the gateway is alive and the device can connect. */
static void assert_serves(struct world *w)
{
	forget_heard(w);
	SAY(w, DEV, .type = SN_SEARCHGW);
	assert_hears(w, DEV, SN_GWINFO);
	forget_heard(w);
	connect_as(w, DEV, "dev", true);
	SAY(w, DEV, .type = SN_DISCONNECT);
	forget_heard(w);
	assert_int_equal(state_at(w, DEV), SN_STRANGER);
}

/* What strangers hear: for each type, DISCONNECT, something else, or nothing. */
static void test_strangers(void **state)
{
	struct world *w = *state;
	static const uint8_t told[] = { SN_REGISTER, SN_REGACK, SN_PUBLISH, SN_PUBACK, SN_PUBCOMP,
		SN_PUBREC, SN_PUBREL, SN_SUBSCRIBE, SN_UNSUBSCRIBE, SN_PINGREQ, SN_DISCONNECT,
		SN_WILLTOPICUPD, SN_WILLMSGUPD };
	static const uint8_t ignored[] = { SN_ADVERTISE, SN_GWINFO, SN_CONNACK, SN_WILLTOPICREQ,
		SN_WILLTOPIC, SN_WILLMSGREQ, SN_WILLMSG, SN_SUBACK, SN_UNSUBACK, SN_PINGRESP,
		SN_WILLTOPICRESP, SN_WILLMSGRESP };
	for (size_t i = 0; i < ARRAY_SIZE(told); i++) {
		say(w, (uint16_t)(DEV + i), sample(told[i]));
		assert_hears(w, (uint16_t)(DEV + i), SN_DISCONNECT);
	}
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		say(w, (uint16_t)(DEV + i), sample(ignored[i]));
	assert_silence(w);
	assert_int_equal(w->gw->n_peers, 0);
}

/* Two gateways that answer each other's DISCONNECT must come to rest. */
static void test_strangers_are_told_at_a_rate(void **state)
{
	struct world *w = *state;
	unsigned n = 0;
	for (int i = 0; i < 100; i++)
		SAY(w, DEV, .type = SN_DISCONNECT);
	while (hear(w, DEV)->type != NOTHING)
		n++;
	assert_in_range(n, 1, 10);
	pass_ms(w, 1100);
	SAY(w, DEV, .type = SN_DISCONNECT);
	assert_hears(w, DEV, SN_DISCONNECT);
}

static void test_gwinfo(void **state)
{
	struct world *w = *state;
	SAY(w, DEV, .type = SN_SEARCHGW, .radius = 1);
	const struct sn_packet *p = hear(w, DEV);
	assert_int_equal(p->type, SN_GWINFO);
	assert_int_equal(p->gw_id, 7);
	assert_int_equal(p->data.len, 0);
	w->gw->draining = true;
	SAY(w, DEV, .type = SN_SEARCHGW, .radius = 1);
	assert_silence(w);
}

static void test_any_message_is_a_sign_of_life(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	for (int i = 0; i < 5; i++) {
		pass_ms(w, 80000);
		SAY(w, DEV, .type = SN_PUBCOMP, .msg_id = 9);
	}
	assert_int_equal(state_at(w, DEV), SN_ACTIVE);
	pass_ms(w, 95000);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_int_equal(state_at(w, DEV), SN_STRANGER);
}

static void test_version_2(void **state)
{
	struct world *w = *state;
	struct sn_route from = route_of(w, DEV);
	say_raw(w, &from,
		span_of("\x09\x01\x01\x12\x34\x02\x00\x3c"
			"d",
			9));
	assert_false(list_empty(&w->out));
	const struct heard *h = list_first(&w->out, struct heard, node);
	assert_int_equal(h->len, 6);
	assert_memory_equal(h->bytes, "\x06\x02\x00\x12\x34\x84", 6);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Nonsense with a grain of sense in it, from a few addresses. */
static void test_random(void **state)
{
	struct world *w = *state;
	uint32_t seed = 42;
	for (int i = 0; i < 20000; i++) {
		uint8_t buf[40];
		size_t len = next_random(&seed) % sizeof(buf);
		for (size_t j = 0; j < len; j++)
			buf[j] = (uint8_t)next_random(&seed);
		if (len > 1 && i % 8)
			buf[0] = (uint8_t)len;
		if (len > 1 && i % 16)
			buf[1] = (uint8_t)(next_random(&seed) % 0x1e);
		if (len > 6 && buf[1] == SN_CONNECT && i % 4) {
			buf[3] = 1;
			memset(buf + 6, 'a' + (int)(next_random(&seed) % 3), len - 6);
		}
		struct sn_route from = route_of(w, (uint16_t)(DEV + next_random(&seed) % 5));
		say_raw(w, &from, span_of(buf, len));
		if (i % 100 == 0) {
			forget_heard(w);
			publish(w, "aa", "x", (uint8_t)(i / 100 % 3));
			pass_ms(w, next_random(&seed) % 4000);
		}
	}
	for (uint16_t i = 1; i < 5; i++) {
		SAY(w, (uint16_t)(DEV + i), .type = SN_DISCONNECT);
		forget_heard(w);
	}
	assert_serves(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_strangers),
		world_test(test_strangers_are_told_at_a_rate),
		world_test(test_gwinfo),
		world_test(test_any_message_is_a_sign_of_life),
		world_test(test_version_2),
		world_test(test_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
