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

/* Brings the device into a state, with a topic, a subscription and something outstanding. */
static void bring_to(struct world *w, enum sn_state state)
{
	if (state == SN_STRANGER)
		return;
	if (state >= SN_ACTIVE) {
		connect_as(w, DEV, "dev", false);
		subscribe_to(w, DEV, "a/b", 2);
		publish(w, "a/b", "1", 2);
	}
	if (state >= SN_ASLEEP)
		SAY(w, DEV, .type = SN_DISCONNECT, .present = true, .duration_s = 60);
	if (state == SN_AWAKE)
		SAY(w, DEV, .type = SN_PINGREQ, .data = TEXT("dev"));
	if (state <= SN_WILL_MSG)
		SAY(w, DEV, .type = SN_CONNECT, .will = true, .protocol_id = 1,
			.data = TEXT("dev"));
	if (state == SN_WILL_MSG)
		SAY(w, DEV, .type = SN_WILLTOPIC, .present = true, .data = TEXT("t"));
	assert_int_equal(state_at(w, DEV), state);
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

/* One datagram of that type in that state: as it should be, cut anywhere with the old length and
 * with one that fits, longer than it says, and filled up with nonsense. */
static void try_all_forms(struct world *w, enum sn_state state, uint8_t type)
{
	uint8_t buf[300], form[300];
	struct sn_packet p = sample(type);
	int n = sn_encode(&p, buf, sizeof(buf));
	struct sn_route from = route_of(w, DEV);
	if (n < 0) { /* a reserved type */
		n = 4;
		memcpy(buf, (uint8_t[]){ 4, type, 0, 1 }, 4);
	}
	bring_to(w, state);
	say_raw(w, &from, span_of(buf, (size_t)n));
	assert_serves(w);
	for (int len = 0; len <= n; len++) {
		memcpy(form, buf, (size_t)n);
		bring_to(w, state);
		say_raw(w, &from, span_of(form, (size_t)len));
		form[0] = (uint8_t)len;
		say_raw(w, &from, span_of(form, (size_t)len));
		assert_serves(w);
	}
	memcpy(form, buf, (size_t)n);
	memset(form + n, 0xA5, sizeof(form) - (size_t)n);
	bring_to(w, state);
	say_raw(w, &from, span_of(form, (size_t)n + 3));
	form[0] = 200;
	say_raw(w, &from, span_of(form, 200));
	memmove(form + 3, form + 1, 280);
	memcpy(form, (uint8_t[]){ 1, 1, 20 }, 3);
	say_raw(w, &from, span_of(form, 276));
	assert_serves(w);
}

static void test_every_type_in_every_state(void **state)
{
	struct world *w = *state;
	for (unsigned type = 0; type < 256; type++)
		for (int s = SN_STRANGER; s < SN_STATES; s++)
			try_all_forms(w, (enum sn_state)s, (uint8_t)type);
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
		world_test(test_every_type_in_every_state),
		world_test(test_strangers),
		world_test(test_strangers_are_told_at_a_rate),
		world_test(test_gwinfo),
		world_test(test_any_message_is_a_sign_of_life),
		world_test(test_version_2),
		world_test(test_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
