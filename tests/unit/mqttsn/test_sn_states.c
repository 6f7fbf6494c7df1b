#include "tests/unit/mqttsn/world.h"

/* Every message in every state: as it should be, cut anywhere, with a wrong Length in both forms,
 * with octets behind it. What is no message changes nothing at all; the others get the answer of
 * the table below, which is the state table of sn_receive.c seen from outside; and somebody else is
 * served all the time. ENCAPSULATED has tests of its own. */

#define DEV   1001
#define OTHER 1002
#define ROOM  400

#define NONE       NOTHING
#define UNCHANGED  SN_STATES
#define REPEAT3(a) a, a, a

/* The first answer, and the state afterwards, by state: stranger, will topic, will message, active,
 * asleep, awake. */
struct row {
	const char *what;
	struct sn_packet p;
	uint8_t answers[SN_STATES];
	uint8_t states[SN_STATES];
};

#define SAME                                                                                       \
	{                                                                                          \
		UNCHANGED, UNCHANGED, UNCHANGED, UNCHANGED, UNCHANGED, UNCHANGED                   \
	}
#define ALWAYS(a)                                                                                  \
	{                                                                                          \
		a, a, a, a, a, a                                                                   \
	}
/* Strangers are told that they have no session, inside the will dialogue nothing happens. */
#define IN_SESSION(a)                                                                              \
	{                                                                                          \
		SN_DISCONNECT, NONE, NONE, a, a, a                                                 \
	}

static const struct row rows[] = {
	{ "SEARCHGW", { .type = SN_SEARCHGW }, ALWAYS(SN_GWINFO), SAME },
	{ "CONNECT",
		{ .type = SN_CONNECT, .protocol_id = 1, .duration_s = 60, .data = { NULL, 3 } },
		ALWAYS(SN_CONNACK), ALWAYS(SN_ACTIVE) },
	{ "CONNECT with will",
		{ .type = SN_CONNECT,
			.protocol_id = 1,
			.will = true,
			.clean = true,
			.data = { NULL, 3 } },
		ALWAYS(SN_WILLTOPICREQ), ALWAYS(SN_WILL_TOPIC) },
	{ "CONNECT of another protocol",
		{ .type = SN_CONNECT, .protocol_id = 2, .data = { NULL, 3 } }, ALWAYS(SN_CONNACK),
		SAME },
	{ "CONNECT without id", { .type = SN_CONNECT, .protocol_id = 1 }, ALWAYS(SN_CONNACK),
		SAME },
	{ "WILLTOPIC", { .type = SN_WILLTOPIC, .present = true, .data = { NULL, 3 } },
		{ NONE, SN_WILLMSGREQ, SN_WILLMSGREQ, REPEAT3(NONE) },
		{ UNCHANGED, SN_WILL_MSG, SN_WILL_MSG, REPEAT3(UNCHANGED) } },
	{ "empty WILLTOPIC", { .type = SN_WILLTOPIC },
		{ NONE, SN_CONNACK, SN_CONNACK, REPEAT3(NONE) },
		{ UNCHANGED, SN_ACTIVE, SN_ACTIVE, REPEAT3(UNCHANGED) } },
	{ "WILLMSG", { .type = SN_WILLMSG, .data = { NULL, 3 } },
		{ NONE, NONE, SN_CONNACK, REPEAT3(NONE) },
		{ UNCHANGED, UNCHANGED, SN_ACTIVE, REPEAT3(UNCHANGED) } },
	{ "REGISTER", { .type = SN_REGISTER, .msg_id = 3, .data = { NULL, 3 } },
		IN_SESSION(SN_REGACK), SAME },
	{ "REGACK", { .type = SN_REGACK, .topic_id = 1, .msg_id = 3 }, IN_SESSION(NONE), SAME },
	{ "PUBLISH 0", { .type = SN_PUBLISH, .topic_type = SN_TOPIC_PREDEFINED, .topic_id = 1 },
		IN_SESSION(NONE), SAME },
	{ "PUBLISH 1",
		{ .type = SN_PUBLISH,
			.qos = 1,
			.topic_type = SN_TOPIC_PREDEFINED,
			.topic_id = 1,
			.msg_id = 3,
			.data = { NULL, 3 } },
		IN_SESSION(SN_PUBACK), SAME },
	{ "PUBLISH 2",
		{ .type = SN_PUBLISH,
			.qos = 2,
			.topic_type = SN_TOPIC_PREDEFINED,
			.topic_id = 1,
			.msg_id = 3,
			.data = { NULL, 3 } },
		IN_SESSION(SN_PUBREC), SAME },
	{ "PUBLISH -1",
		{ .type = SN_PUBLISH,
			.qos = SN_QOS_MINUS_1,
			.topic_type = SN_TOPIC_PREDEFINED,
			.topic_id = 1,
			.data = { NULL, 3 } },
		ALWAYS(NONE), SAME },
	{ "PUBLISH to nowhere", { .type = SN_PUBLISH, .topic_id = 99, .data = { NULL, 3 } },
		IN_SESSION(SN_PUBACK), SAME },
	{ "PUBACK", { .type = SN_PUBACK, .topic_id = 1, .msg_id = 3 }, IN_SESSION(NONE), SAME },
	{ "PUBCOMP", { .type = SN_PUBCOMP, .msg_id = 3 }, IN_SESSION(NONE), SAME },
	{ "PUBREC", { .type = SN_PUBREC, .msg_id = 3 }, IN_SESSION(SN_PUBREL), SAME },
	{ "PUBREC of what is under way", { .type = SN_PUBREC, .msg_id = 1 },
		{ SN_DISCONNECT, NONE, NONE, SN_PUBREL, NONE, SN_PUBREL }, SAME },
	{ "PUBREL", { .type = SN_PUBREL, .msg_id = 3 }, IN_SESSION(SN_PUBCOMP), SAME },
	{ "SUBSCRIBE", { .type = SN_SUBSCRIBE, .qos = 1, .msg_id = 3, .data = { NULL, 3 } },
		IN_SESSION(SN_SUBACK), SAME },
	{ "SUBSCRIBE by id",
		{ .type = SN_SUBSCRIBE,
			.topic_type = SN_TOPIC_PREDEFINED,
			.topic_id = 2,
			.msg_id = 3 },
		IN_SESSION(SN_SUBACK), SAME },
	{ "UNSUBSCRIBE", { .type = SN_UNSUBSCRIBE, .msg_id = 3, .data = { NULL, 3 } },
		IN_SESSION(SN_UNSUBACK), SAME },
	{ "PINGREQ", { .type = SN_PINGREQ, .data = { NULL, 3 } },
		{ SN_DISCONNECT, NONE, NONE, SN_PINGRESP, SN_PUBLISH, NONE },
		{ UNCHANGED, UNCHANGED, UNCHANGED, UNCHANGED, SN_AWAKE, UNCHANGED } },
	{ "PINGREQ without id", { .type = SN_PINGREQ },
		{ SN_DISCONNECT, NONE, NONE, SN_PINGRESP, SN_PINGRESP, NONE }, SAME },
	{ "DISCONNECT", { .type = SN_DISCONNECT }, ALWAYS(SN_DISCONNECT), ALWAYS(SN_STRANGER) },
	{ "DISCONNECT to sleep", { .type = SN_DISCONNECT, .present = true, .duration_s = 60 },
		ALWAYS(SN_DISCONNECT), { REPEAT3(SN_STRANGER), REPEAT3(SN_ASLEEP) } },
	{ "WILLTOPICUPD", { .type = SN_WILLTOPICUPD, .present = true, .data = { NULL, 3 } },
		IN_SESSION(SN_WILLTOPICRESP), SAME },
	{ "WILLMSGUPD", { .type = SN_WILLMSGUPD, .data = { NULL, 3 } }, IN_SESSION(SN_WILLMSGRESP),
		SAME },
	/* What only gateways send. */
	{ "ADVERTISE", { .type = SN_ADVERTISE, .gw_id = 9 }, ALWAYS(NONE), SAME },
	{ "GWINFO", { .type = SN_GWINFO, .gw_id = 9 }, ALWAYS(NONE), SAME },
	{ "CONNACK", { .type = SN_CONNACK }, ALWAYS(NONE), SAME },
	{ "WILLTOPICREQ", { .type = SN_WILLTOPICREQ }, ALWAYS(NONE), SAME },
	{ "WILLMSGREQ", { .type = SN_WILLMSGREQ }, ALWAYS(NONE), SAME },
	{ "SUBACK", { .type = SN_SUBACK, .msg_id = 3 }, ALWAYS(NONE), SAME },
	{ "UNSUBACK", { .type = SN_UNSUBACK, .msg_id = 3 }, ALWAYS(NONE), SAME },
	{ "PINGRESP", { .type = SN_PINGRESP }, ALWAYS(NONE), SAME },
	{ "WILLTOPICRESP", { .type = SN_WILLTOPICRESP }, ALWAYS(NONE), SAME },
	{ "WILLMSGRESP", { .type = SN_WILLMSGRESP }, ALWAYS(NONE), SAME },
};

/* All that a datagram could leave behind. */
struct holdings {
	size_t peers, half_open, sessions, attached, bytes, queued, subscriptions, topics;
	enum sn_state state;
};

static struct holdings holdings(struct world *w)
{
	const struct session *s = sessions_find(w->sessions, PROTO_MQTTSN, "dev");
	const struct sn_topics *topics = s ? sn_topics_peek(s) : NULL;
	return (struct holdings){
		.peers = w->gw->n_peers,
		.half_open = w->gw->n_half_open,
		.sessions = sessions_count(w->sessions, false),
		.attached = sessions_count(w->sessions, true),
		.bytes = messages_bytes(),
		.queued = s ? session_queued(s) : 0,
		.subscriptions = s ? s->sub.n_subscriptions : 0,
		.topics = topics ? topics->n : 0,
		.state = state_at(w, DEV),
	};
}

static void assert_same(const struct holdings *a, const struct holdings *b)
{
	assert_int_equal(a->peers, b->peers);
	assert_int_equal(a->half_open, b->half_open);
	assert_int_equal(a->sessions, b->sessions);
	assert_int_equal(a->attached, b->attached);
	assert_int_equal(a->bytes, b->bytes);
	assert_int_equal(a->queued, b->queued);
	assert_int_equal(a->subscriptions, b->subscriptions);
	assert_int_equal(a->topics, b->topics);
	assert_int_equal(a->state, b->state);
}

static void forget_spied(struct world *w)
{
	message_unref(w->spy.last);
	w->spy.last = NULL;
}

/* Somebody else publishes and is published to. */
static void assert_other_is_served(struct world *w)
{
	unsigned n = w->spy.n;
	SAY(w, OTHER, .type = SN_PUBLISH, .qos = 1, .topic_type = SN_TOPIC_SHORT,
		.topic_id = sn_short_id(TEXT("oo")), .msg_id = 5, .data = TEXT("x"));
	assert_hears(w, OTHER, SN_PUBLISH);
	assert_hears(w, OTHER, SN_PUBACK);
	assert_spied(w, n + 1, "oo", "x");
	forget_spied(w);
}

/* Brings the device into a state: with a topic, a subscription, and a message under way. */
static void bring_to(struct world *w, enum sn_state state)
{
	if (state == SN_WILL_TOPIC || state == SN_WILL_MSG)
		SAY(w, DEV, .type = SN_CONNECT, .will = true, .protocol_id = 1,
			.data = TEXT("dev"));
	if (state == SN_WILL_MSG)
		SAY(w, DEV, .type = SN_WILLTOPIC, .present = true, .data = TEXT("t"));
	if (state >= SN_ACTIVE) {
		connect_as(w, DEV, "dev", false);
		subscribe_to(w, DEV, "a/b", 2);
		publish(w, "a/b", "1", 2);
	}
	if (state >= SN_ASLEEP)
		SAY(w, DEV, .type = SN_DISCONNECT, .present = true, .duration_s = 60);
	if (state == SN_AWAKE)
		SAY(w, DEV, .type = SN_PINGREQ, .data = TEXT("dev"));
	assert_int_equal(state_at(w, DEV), state);
	forget_heard(w);
	forget_spied(w);
}

/* Nothing of the device is left. */
static void send_home(struct world *w, const struct holdings *before)
{
	forget_heard(w);
	connect_as(w, DEV, "dev", true);
	SAY(w, DEV, .type = SN_DISCONNECT);
	forget_heard(w);
	forget_spied(w);
	struct holdings now = holdings(w);
	assert_same(&now, before);
	pass_ms(w, 2000); /* strangers are answered at a rate */
}

static size_t build(const struct row *row, uint8_t buf[ROOM])
{
	struct sn_packet p = row->p;
	if (p.data.len)
		p.data = TEXT("dev");
	int n = sn_encode(&p, buf, ROOM);
	assert_in_range(n, 2, ROOM - 100);
	return (size_t)n;
}

/* The same with its length in three octets. */
static size_t lengthen(const uint8_t *in, size_t n, uint8_t out[ROOM])
{
	out[0] = 1;
	out[1] = 0;
	out[2] = (uint8_t)(n + 2);
	memcpy(out + 3, in + 1, n - 1);
	return n + 2;
}

/* No message: not the slightest change. */
static void assert_dropped(struct world *w, const uint8_t *form, size_t n)
{
	struct sn_route from = route_of(w, DEV);
	struct holdings before = holdings(w);
	say_raw(w, &from, span_of(form, n));
	assert_silence(w);
	struct holdings after = holdings(w);
	assert_same(&before, &after);
}

static void try_wrong_lengths(struct world *w, const uint8_t *good, size_t n, size_t header)
{
	static const int wrong[] = { -3, -2, -1, 1, 2, 60 };
	uint8_t form[ROOM];
	memcpy(form, good, n);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		int length = (int)n + wrong[i];
		if (length < 0 || (length == 1 && header == 1))
			continue; /* 1 begins the long form */
		form[header - 1] = (uint8_t)length;
		assert_dropped(w, form, n);
	}
	form[header - 1] = 0;
	assert_dropped(w, form, n);
	form[header - 1] = (uint8_t)n;
	memset(form + n, 0xA5, sizeof(form) - n);
	assert_dropped(w, form, n + 1);
	assert_dropped(w, form, n + 50);
	memcpy(form + n, good, n);
	assert_dropped(w, form, 2 * n);
	if (header == 3) {
		form[1] = 0xFF;
		assert_dropped(w, form, n);
	}
}

/* With the old length, and with one that fits where that makes no shorter message. */
static void try_truncations(struct world *w, const uint8_t *good, size_t n, size_t header)
{
	struct sn_packet p;
	uint8_t form[ROOM];
	memcpy(form, good, n);
	for (size_t len = 0; len < n; len++) {
		form[header - 1] = (uint8_t)n;
		assert_dropped(w, form, len);
		if (len < header)
			continue;
		form[header - 1] = (uint8_t)len;
		if (sn_decode(&p, span_of(form, len)) < 0)
			assert_dropped(w, form, len);
	}
}

static void try_row(struct world *w, const struct row *row, enum sn_state state, bool long_form)
{
	uint8_t plain[ROOM], form[ROOM];
	struct sn_route from = route_of(w, DEV);
	struct holdings home = holdings(w);
	size_t n = build(row, plain), header = long_form ? 3 : 1;
	uint8_t next = row->states[state];
	if (long_form)
		n = lengthen(plain, n, form);
	else
		memcpy(form, plain, n);
	bring_to(w, state);
	try_truncations(w, form, n, header);
	try_wrong_lengths(w, form, n, header);
	assert_other_is_served(w);
	say_raw(w, &from, span_of(form, n));
	if (hear(w, DEV)->type != row->answers[state] && !w->current)
		print_error("%s in state %d: silence\n", row->what, state);
	else if (w->current && w->current->p.type != row->answers[state])
		print_error(
			"%s in state %d: %s\n", row->what, state, sn_type_name(w->current->p.type));
	assert_int_equal(w->current ? w->current->p.type : NONE, row->answers[state]);
	assert_int_equal(state_at(w, DEV), next == UNCHANGED ? state : next);
	forget_heard(w);
	assert_other_is_served(w);
	send_home(w, &home);
}

static void other_comes(struct world *w)
{
	connect_as(w, OTHER, "other", true);
	SAY(w, OTHER, .type = SN_SUBSCRIBE, .topic_type = SN_TOPIC_SHORT,
		.topic_id = sn_short_id(TEXT("oo")), .msg_id = 1);
	assert_hears(w, OTHER, SN_SUBACK);
	forget_spied(w);
}

static void test_every_message_in_every_state(void **state)
{
	struct world *w = *state;
	other_comes(w);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (int s = SN_STRANGER; s < SN_STATES; s++)
			for (int long_form = 0; long_form < 2; long_form++)
				try_row(w, &rows[i], (enum sn_state)s, long_form);
}

/* The table above has a row for every type there is. */
static void test_no_type_is_forgotten(void **state)
{
	bool seen[256] = { [SN_ENCAPSULATED] = true };
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		seen[rows[i].p.type] = true;
	for (unsigned type = 0; type < 256; type++)
		assert_int_equal(seen[type], strcmp(sn_type_name((uint8_t)type), "reserved") != 0);
}

static void test_reserved_types(void **state)
{
	struct world *w = *state;
	uint8_t form[ROOM] = { 0 };
	other_comes(w);
	for (int s = SN_STRANGER; s < SN_STATES; s++) {
		struct holdings home = holdings(w);
		bring_to(w, (enum sn_state)s);
		for (unsigned type = 0; type < 256; type++) {
			if (strcmp(sn_type_name((uint8_t)type), "reserved") != 0)
				continue;
			for (uint8_t len = 2; len < 20; len++) {
				form[0] = len;
				form[1] = (uint8_t)type;
				assert_dropped(w, form, len);
			}
		}
		assert_other_is_served(w);
		send_home(w, &home);
	}
}

/* TopicIdType 0b11 in the messages that have one. */
static void test_reserved_topic_type(void **state)
{
	struct world *w = *state;
	static const uint8_t forms[][9] = {
		{ 8, SN_PUBLISH, 0x23, 0, 1, 0, 3, 'x' },
		{ 7, SN_SUBSCRIBE, 0x03, 0, 3, 0, 1 },
		{ 7, SN_UNSUBSCRIBE, 0x03, 0, 3, 0, 1 },
	};
	for (int s = SN_STRANGER; s < SN_STATES; s++) {
		struct holdings home = holdings(w);
		bring_to(w, (enum sn_state)s);
		for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
			assert_dropped(w, forms[i], forms[i][0]);
		send_home(w, &home);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_every_message_in_every_state),
		world_test(test_no_type_is_forgotten),
		world_test(test_reserved_types),
		world_test(test_reserved_topic_type),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
