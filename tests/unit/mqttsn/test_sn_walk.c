#include "tests/unit/mqttsn/world.h"

#include <stdio.h>

/* Devices that do what comes to their mind for hours, on a network that loses and doubles: connect,
 * sleep, collect, move, forget topic ids, publish, leave. Whatever they do: a sleeper hears
 * nothing, every message comes under its name and in order, QoS 1 at least once and QoS 2 exactly
 * once in both directions, and in the end nothing is left of them. */

#define DEVICES    3
#define WALKS      5
#define STEPS      10000
#define LOSS       15 /* per cent, each way */
#define DOUBLED    10
#define SLEEP_S    60
#define BUSY       40 /* messages in a queue; it holds 50 */
#define LATE_MS    9000
#define IDS        16
#define NAME_MAX_  24
#define REQUEST_MS 3000 /* a device repeats itself */

enum mood { GONE, ACTIVE, ASLEEP, AWAKE };

struct device {
	struct world *w;
	const char *id;
	uint16_t port;
	enum mood mood;
	/* What it waits for an answer to; type 0xFF: nothing. */
	struct sn_packet request;
	char text[64]; /* of the request */
	uint8_t answer;
	enum mood then;
	char names[IDS][NAME_MAX_]; /* of topic ids, as it was told */
	bool open[65536];           /* QoS 2 from the gateway: between PUBLISH and PUBREL */
	unsigned seen;              /* the last message of the hub, of those with QoS 1 or 2 */
	uint16_t next_id;
	unsigned told, heard;        /* its own publications: made, and arrived at the hub */
	struct sn_packet unfinished; /* its PUBLISH or PUBREL when it was lost; type 0xFF: none */
	struct sn_packet late;       /* the last QoS 2 PUBLISH, that may come again */
	char up_text[64];
	int64_t late_ms;
};

static struct walk {
	struct device dev[DEVICES];
	uint32_t seed;
	bool gentle;   /* nothing is lost any more */
	unsigned said; /* by the hub, with QoS 1 or 2 */
	uint16_t ports;
} walk;

static unsigned chance(unsigned n)
{
	walk.seed ^= walk.seed << 13; /* xorshift */
	walk.seed ^= walk.seed >> 17;
	walk.seed ^= walk.seed << 5;
	return walk.seed % n;
}

static bool happens(unsigned per_cent)
{
	return !walk.gentle && chance(100) < per_cent;
}

static void transmit(struct device *d, struct sn_packet p)
{
	if (happens(LOSS))
		return;
	say(d->w, d->port, p);
	if (happens(DOUBLED))
		say(d->w, d->port, p);
}

/* A number behind a letter at the beginning of a payload. */
static unsigned number_in(struct span payload)
{
	char text[64];
	snprintf(text, sizeof(text), "%.*s", SPAN_ARGS(payload));
	return (unsigned)strtoul(text + 1, NULL, 10);
}

/* "aN ..." is from the first device, "bN ..." from the second; "h..." from the hub; else a will. */
static enum reason on_hub(
	struct subscriber *s, struct message *m, struct offer *o, struct receipt *r)
{
	struct span payload = message_payload(m);
	(void)s;
	(void)r;
	if (payload.p[0] == 'h' || payload.p[0] == 'w')
		return R_SUCCESS;
	struct device *d = &walk.dev[payload.p[0] - 'a'];
	unsigned n = number_in(payload);
	if (o->qos == 2)
		assert_int_equal(n, d->heard + 1);
	else if (o->qos == 1)
		assert_in_range(n, d->heard, d->heard + 1);
	if (o->qos)
		d->heard = n;
	return R_SUCCESS;
}
static const struct subscriber_ops hub_ops = { .offer = on_hub };

static void ask(struct device *d, struct sn_packet p, uint8_t answer, enum mood then)
{
	if (p.data.len) {
		memcpy(d->text, p.data.p, p.data.len);
		p.data.p = (const uint8_t *)d->text;
	}
	d->request = p;
	d->answer = answer;
	d->then = then;
	transmit(d, p);
}

static void ask_to_connect(struct device *d)
{
	bool will = chance(4) == 0;
	if (chance(3) == 0)
		d->port = ++walk.ports;
	if (chance(3) == 0)
		memset(d->names, 0, sizeof(d->names)); /* rebooted */
	ask(d,
		(struct sn_packet){ .type = SN_CONNECT,
			.protocol_id = 1,
			.duration_s = SLEEP_S,
			.will = will,
			.data = span_str(d->id) },
		SN_CONNACK, ACTIVE);
}

static void ask_to_subscribe(struct device *d, unsigned which)
{
	struct sn_packet p = {
		.type = SN_SUBSCRIBE, .qos = 2, .msg_id = ++d->next_id, .dup = true
	};
	switch (which % 4) {
	case 0:
		p.data = TEXT("walk/a");
		break;
	case 1:
		p.data = TEXT("wild/+");
		break;
	case 2:
		p.topic_type = SN_TOPIC_SHORT;
		p.topic_id = sn_short_id(TEXT("ss"));
		break;
	default:
		p.topic_type = SN_TOPIC_PREDEFINED;
		p.topic_id = 1;
		break;
	}
	ask(d, p, SN_SUBACK, d->mood);
}

static uint8_t answer_to(const struct sn_packet *p)
{
	if (p->type == SN_PUBREL)
		return SN_PUBCOMP;
	return p->qos == 1 ? SN_PUBACK : SN_PUBREC;
}

static void ask_to_publish(struct device *d)
{
	struct sn_packet p = { .type = SN_PUBLISH,
		.qos = (uint8_t)(1 + chance(2)),
		.topic_type = chance(2) ? SN_TOPIC_SHORT : SN_TOPIC_PREDEFINED,
		.msg_id = ++d->next_id };
	snprintf(d->up_text, sizeof(d->up_text), "%c%u up", 'a' + (char)(d - walk.dev), ++d->told);
	p.data = span_str(d->up_text);
	p.topic_id = p.topic_type == SN_TOPIC_SHORT ? sn_short_id(TEXT("uu")) : 2;
	ask(d, p, answer_to(&p), d->mood);
	d->late = p;
	d->late_ms = clock_ms();
}

/* After it was lost in the middle: the same again. */
static void go_on(struct device *d)
{
	struct sn_packet p = d->unfinished;
	d->unfinished.type = NOTHING;
	if (p.type == SN_PUBLISH)
		p.data = span_str(d->up_text);
	ask(d, p, answer_to(&p), d->mood);
}

static void ask_for_mail(struct device *d)
{
	if (chance(3) == 0)
		d->port = ++walk.ports;
	d->mood = AWAKE;
	ask(d, (struct sn_packet){ .type = SN_PINGREQ, .data = span_str(d->id) }, SN_PINGRESP,
		ASLEEP);
}

static bool busy(const struct device *d)
{
	return d->request.type != NOTHING;
}

static void do_something(struct device *d)
{
	struct sn_packet bye = { .type = SN_DISCONNECT };
	unsigned what = chance(12);
	if (d->mood == GONE || what == 0) {
		ask_to_connect(d);
	} else if (d->unfinished.type != NOTHING) {
		go_on(d);
	} else if (what == 1) {
		ask(d, bye, SN_DISCONNECT, GONE);
	} else if (what < 4 || (d->mood == ASLEEP && what < 8)) {
		if (d->mood == ASLEEP && what > 2) {
			ask_for_mail(d);
			return;
		}
		bye.present = true;
		bye.duration_s = SLEEP_S;
		ask(d, bye, SN_DISCONNECT, ASLEEP);
	} else if (what < 6) {
		ask_to_subscribe(d, chance(4));
	} else if (what == 6 && d->names[1][0]) {
		d->names[1 + chance(IDS - 1)][0] = '\0'; /* one that it has forgotten */
	} else if (what > 8) {
		ask_to_publish(d);
	}
}

/* The answer that was waited for. PUBREC begins the second half of QoS 2. */
static bool answered(struct device *d, const struct sn_packet *p)
{
	struct sn_packet release = { .type = SN_PUBREL, .msg_id = p->msg_id };
	if (!busy(d) || p->type != d->answer || p->msg_id != d->request.msg_id)
		return false;
	if (p->type != SN_PINGRESP && p->type != SN_DISCONNECT)
		assert_int_equal(p->return_code, SN_ACCEPTED);
	if (p->type == SN_SUBACK && p->topic_id && d->request.topic_type == SN_TOPIC_NORMAL)
		snprintf(d->names[p->topic_id], NAME_MAX_, "%.*s", SPAN_ARGS(d->request.data));
	if (p->type == SN_PUBREC) {
		ask(d, release, SN_PUBCOMP, d->mood);
		return true;
	}
	d->request.type = NOTHING;
	d->mood = d->then;
	return true;
}

static void on_register(struct device *d, const struct sn_packet *p)
{
	assert_in_range(p->topic_id, 1, IDS - 1);
	snprintf(d->names[p->topic_id], NAME_MAX_, "%.*s", SPAN_ARGS(p->data));
	transmit(d, (struct sn_packet){
			    .type = SN_REGACK, .topic_id = p->topic_id, .msg_id = p->msg_id });
}

static const char *name_of(struct device *d, const struct sn_packet *p)
{
	switch (p->topic_type) {
	case SN_TOPIC_SHORT:
		assert_int_equal(p->topic_id, sn_short_id(TEXT("ss")));
		return "ss";
	case SN_TOPIC_PREDEFINED:
		assert_int_equal(p->topic_id, 1);
		return "pre/one";
	default:
		assert_in_range(p->topic_id, 1, IDS - 1);
		return d->names[p->topic_id];
	}
}

static void take(struct device *d, const struct sn_packet *p, const char *name)
{
	char text[64], named[NAME_MAX_];
	unsigned n, qos;
	snprintf(text, sizeof(text), "%.*s", SPAN_ARGS(p->data));
	assert_int_equal(sscanf(text, "h%u %u %23s", &n, &qos, named), 3);
	assert_string_equal(name, named);
	assert_int_equal(p->qos, qos);
	if (qos == 0)
		assert_true(n >= d->seen);
	else if (qos == 1)
		assert_in_range(n, d->seen, d->seen + 1);
	else if (!d->open[p->msg_id])
		assert_int_equal(n, d->seen + 1);
	else
		assert_int_equal(n, d->seen);
	if (qos)
		d->seen = n;
}

static void on_publish(struct device *d, const struct sn_packet *p)
{
	struct sn_packet out = { .type = SN_PUBACK, .topic_id = p->topic_id, .msg_id = p->msg_id };
	const char *name = name_of(d, p);
	if (!name[0]) {
		out.return_code = SN_INVALID_TOPIC_ID;
		transmit(d, out);
		return;
	}
	take(d, p, name);
	if (p->qos == 2) {
		d->open[p->msg_id] = true;
		out.type = SN_PUBREC;
	}
	if (p->qos)
		transmit(d, out);
}

static void on_datagram(struct device *d, const struct sn_packet *p)
{
	if (answered(d, p))
		return;
	switch (p->type) {
	case SN_REGISTER:
		on_register(d, p);
		break;
	case SN_PUBLISH:
		on_publish(d, p);
		break;
	case SN_PUBREL:
		d->open[p->msg_id] = false;
		transmit(d, (struct sn_packet){ .type = SN_PUBCOMP, .msg_id = p->msg_id });
		break;
	case SN_WILLTOPICREQ:
		transmit(d, (struct sn_packet){
				    .type = SN_WILLTOPIC, .present = true, .data = TEXT("gone") });
		break;
	case SN_WILLMSGREQ:
		transmit(d, (struct sn_packet){ .type = SN_WILLMSG, .data = TEXT("will") });
		break;
	case SN_DISCONNECT: /* lost, or moved */
		d->mood = GONE;
		if (d->request.type == SN_PUBLISH || d->request.type == SN_PUBREL)
			d->unfinished = d->request;
		d->request.type = NOTHING;
		break;
	default:
		break;
	}
}

/* A sleeper that has asked for nothing gets no mail. */
static void overhear(struct device *d)
{
	const struct sn_packet *p;
	while ((p = hear(d->w, d->port))->type != NOTHING) {
		struct sn_packet copy = *p;
		if (d->mood == ASLEEP && !busy(d))
			assert_true(p->type != SN_PUBLISH && p->type != SN_REGISTER);
		if (happens(LOSS))
			continue;
		char text[64];
		assert_in_range(copy.data.len, 0, sizeof(text));
		if (copy.data.len)
			memcpy(text, copy.data.p, copy.data.len);
		copy.data.p = (const uint8_t *)text;
		on_datagram(d, &copy);
	}
}

static void overhear_all(struct world *w)
{
	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < DEVICES; i++)
			overhear(&walk.dev[i]);
	forget_heard(w); /* what went to places they have left */
}

static void hub_says(struct world *w)
{
	static const char *const names[] = { "walk/a", "wild/0", "wild/1", "wild/2", "ss",
		"pre/one" };
	const char *name = names[chance(ARRAY_SIZE(names))];
	uint8_t qos = (uint8_t)chance(3);
	char text[64];
	for (size_t i = 0; i < DEVICES; i++) {
		const struct session *s = sessions_find(w->sessions, PROTO_MQTTSN, walk.dev[i].id);
		assert_non_null(s);
		if (session_queued(s) > BUSY)
			return;
	}
	if (qos)
		walk.said++;
	snprintf(text, sizeof(text), "h%u %u %s", walk.said, qos, name);
	publish(w, name, text, qos);
}

static void late_copy(struct device *d)
{
	if (d->mood != ACTIVE || busy(d) || d->late.qos != 2 || clock_ms() - d->late_ms > LATE_MS)
		return;
	say(d->w, d->port, d->late);
}

static void repeat_request(struct device *d)
{
	if (!busy(d))
		return;
	d->request.dup = d->request.type == SN_PUBLISH;
	transmit(d, d->request);
}

static void step(struct world *w)
{
	struct device *d = &walk.dev[chance(DEVICES)];
	if (chance(8) == 0)
		hub_says(w);
	if (!busy(d))
		do_something(d);
	else if (chance(2))
		repeat_request(d);
	if (chance(10) == 0)
		late_copy(d);
	overhear_all(w);
	pass_ms(w, chance(REQUEST_MS));
	overhear_all(w);
}

static void come(struct world *w, struct device *d, const char *id)
{
	*d = (struct device){ .w = w, .id = id, .port = ++walk.ports };
	d->request.type = d->unfinished.type = NOTHING;
	connect_as(w, d->port, id, false);
	d->mood = ACTIVE;
	for (unsigned i = 0; i < 4; i++) {
		ask_to_subscribe(d, i);
		overhear(d);
		assert_false(busy(d));
	}
}

/* Nothing is lost any more: everything that is due arrives. */
static void settle(struct world *w)
{
	walk.gentle = true;
	for (unsigned round = 0; round < 200; round++) {
		for (size_t i = 0; i < DEVICES; i++) {
			struct device *d = &walk.dev[i];
			repeat_request(d);
			overhear_all(w);
			if (!busy(d) && d->mood != ACTIVE)
				ask_to_connect(d);
			else if (!busy(d) && d->unfinished.type != NOTHING)
				go_on(d);
		}
		overhear_all(w);
		pass_ms(w, REQUEST_MS);
	}
	for (size_t i = 0; i < DEVICES; i++) {
		assert_int_equal(walk.dev[i].mood, ACTIVE);
		assert_int_equal(walk.dev[i].seen, walk.said);
		assert_int_equal(walk.dev[i].heard, walk.dev[i].told);
	}
}

static void go_home(struct world *w)
{
	for (size_t i = 0; i < DEVICES; i++) {
		struct device *d = &walk.dev[i];
		forget_heard(w);
		connect_as(w, d->port, d->id, true);
		SAY(w, d->port, .type = SN_DISCONNECT);
	}
	forget_heard(w);
	assert_int_equal(w->gw->n_peers, 0);
	assert_int_equal(sessions_count(w->sessions, false), 0);
	assert_int_equal(messages_bytes(), 0);
}

static void test_walk(void **state)
{
	static const char *const ids[DEVICES] = { "anna", "berta", "carla" };
	struct world *w = *state;
	w->spy.sub.ops = &hub_ops;
	for (uint32_t seed = 1; seed <= WALKS; seed++) {
		memset(&walk, 0, sizeof(walk));
		walk.gentle = true;
		walk.ports = 2000;
		walk.seed = seed * 2654435761u;
		for (size_t i = 0; i < DEVICES; i++)
			come(w, &walk.dev[i], ids[i]);
		walk.gentle = false;
		for (unsigned i = 0; i < STEPS; i++)
			step(w);
		settle(w);
		go_home(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_walk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
