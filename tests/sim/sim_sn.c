#include "tests/sim/sim.h"

#include "adapters/mqttsn/sn_codec.h"
#include "tests/sim/sim_sn_inbox.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* An MQTT-SN 1.2 device: one request outstanding (6.13), T_retry and N_retry of its own. It stays
 * right on a network that loses, doubles and reorders: answers are matched by message id, and a
 * QoS 2 message that comes back late is known again. */
#define SLEEP_MARGIN 5 /* seconds granted beyond twice the sleep */
#define JITTER       4 /* a sleep is up to a quarter shorter, so that not all wake at once */

/* What the gateway owes an answer to. */
struct request {
	uint8_t *bytes; /* owned; to be sent again */
	size_t len;
	uint8_t awaited; /* message type of the answer; 0: nothing outstanding */
	uint16_t msg_id; /* which the answer has to carry; 0: none */
	unsigned tries;
};

/* On the way to being ready, in this order. */
enum step { STEP_TOPIC, STEP_WILL_TOPIC, STEP_WILL_MESSAGE, STEP_READY };

struct sn_device {
	struct device d;
	struct request now;
	struct request aside; /* a PUBLISH that waits for REGACK or CONNACK */
	enum step step;
	uint16_t topic_id;
	uint8_t topic_type;
	bool sync;         /* the PINGREQ under way is one of device_ops.sync */
	bool move;         /* another port when nothing is outstanding */
	struct timer roam; /* armed with --roam */
	struct sn_inbox inbox;
};

static struct sn_device *sn_of(struct device *d)
{
	return container_of(d, struct sn_device, d);
}

static bool send_packet(struct sn_device *s, const struct sn_packet *p)
{
	static uint8_t buf[SN_DATAGRAM_MAX];
	int len = sn_encode(p, buf, sizeof(buf));
	return len > 0 && device_send(&s->d, buf, (size_t)len);
}

static void set_bytes(struct request *r, const uint8_t *bytes, size_t len)
{
	free(r->bytes);
	r->bytes = must_calloc(1, len);
	memcpy(r->bytes, bytes, len);
	r->len = len;
}

static void transmit(struct sn_device *s)
{
	device_send(&s->d, s->now.bytes, s->now.len);
	if (!s->d.gone)
		timer_arm(&s->d.retry, s->d.sim->o.retry_ms);
}

static void request(struct sn_device *s, const struct sn_packet *p, uint8_t awaited)
{
	static uint8_t buf[SN_DATAGRAM_MAX];
	int len = sn_encode(p, buf, sizeof(buf));

	if (len < 0) {
		device_failed(&s->d, "message too long");
		return;
	}
	set_bytes(&s->now, buf, (size_t)len);
	s->now.awaited = awaited;
	s->now.msg_id = p->msg_id;
	s->now.tries = 0;
	transmit(s);
}

static void put_aside(struct sn_device *s)
{
	free(s->aside.bytes);
	s->aside = s->now;
	s->now = (struct request){ 0 };
}

/* What was put aside goes on, with the topic id that holds now. */
static void take_up(struct sn_device *s)
{
	struct request r = s->aside;
	struct sn_packet p;

	s->aside = (struct request){ 0 };
	if (r.awaited == 0 || sn_decode(&p, span_of(r.bytes, r.len)) != 0)
		return;
	if (p.type == SN_PUBLISH)
		p.topic_id = s->topic_id;
	request(s, &p, r.awaited);
	free(r.bytes);
}

static void arm_ping(struct sn_device *s)
{
	const struct sim_options *o = &s->d.sim->o;

	if (s->d.state == DEVICE_DONE)
		return;
	if (s->d.state == DEVICE_ASLEEP) {
		uint32_t ms = o->sleep_s * 1000;
		timer_arm(&s->d.retry, ms - random_below(ms / JITTER));
	} else if (o->keepalive_s) {
		timer_arm(&s->d.retry, (int64_t)o->keepalive_s * 1000);
	} else {
		timer_disarm(&s->d.retry);
	}
}

static void connect_again(struct sn_device *s);

static bool answered(struct sn_device *s, uint8_t type, uint16_t msg_id)
{
	if (s->now.awaited != type || s->now.msg_id != msg_id)
		return false;
	s->now.awaited = 0;
	arm_ping(s);
	return true;
}

/* Nothing is outstanding. */
static void go_on(struct sn_device *s)
{
	if (s->d.state != DEVICE_READY || s->now.awaited)
		return;
	if (s->move)
		connect_again(s);
	else
		device_eager(&s->d);
}

static void go_to_sleep(struct sn_device *s)
{
	struct sn_packet p = { .type = SN_DISCONNECT, .present = true };

	p.duration_s = (uint16_t)(s->d.sim->o.sleep_s * 2 + SLEEP_MARGIN);
	request(s, &p, SN_DISCONNECT);
}

static void subscribe(struct sn_device *s)
{
	const struct sim_options *o = &s->d.sim->o;
	struct sn_packet p = {
		.type = SN_SUBSCRIBE, .qos = (uint8_t)o->qos, .data = span_str(s->d.topic)
	};

	p.topic_type = o->topic_id ? SN_TOPIC_PREDEFINED : SN_TOPIC_NORMAL;
	p.topic_id = (uint16_t)o->topic_id;
	p.msg_id = device_next_id(&s->d);
	request(s, &p, SN_SUBACK);
}

static void register_topic(struct sn_device *s)
{
	struct sn_packet p = {
		.type = SN_REGISTER, .data = span_str(s->d.topic), .msg_id = device_next_id(&s->d)
	};
	request(s, &p, SN_REGACK);
}

/* Whether something has to be asked for before the first PUBLISH or message. */
static bool prepare_topic(struct sn_device *s)
{
	const struct sim_options *o = &s->d.sim->o;
	struct span topic = span_str(s->d.topic);

	if (o->command == SIM_SUBSCRIBE) {
		subscribe(s);
		return true;
	}
	if (o->command == SIM_CONNECT)
		return false;
	if (o->topic_id) {
		s->topic_type = SN_TOPIC_PREDEFINED;
		s->topic_id = (uint16_t)o->topic_id;
		return false;
	}
	if (topic.len == 2) {
		s->topic_type = SN_TOPIC_SHORT;
		s->topic_id = sn_short_id(topic);
		return false;
	}
	register_topic(s);
	return true;
}

static bool update_will(struct sn_device *s, uint8_t type, const char *text, uint8_t answer)
{
	const struct sim_options *o = &s->d.sim->o;
	struct sn_packet p = { .type = type, .data = span_str(text ? text : "") };

	if (!text)
		return false;
	p.present = p.data.len > 0;
	p.qos = (uint8_t)o->will_qos;
	p.retain = o->will_retain;
	request(s, &p, answer);
	return true;
}

/* To the next step that needs an answer. */
static void advance(struct sn_device *s)
{
	const struct sim_options *o = &s->d.sim->o;

	switch (s->step) {
	case STEP_TOPIC:
		s->step = STEP_WILL_TOPIC;
		if (prepare_topic(s))
			return;
		/* fall through */
	case STEP_WILL_TOPIC:
		s->step = STEP_WILL_MESSAGE;
		if (update_will(s, SN_WILLTOPICUPD, o->new_will_topic, SN_WILLTOPICRESP))
			return;
		/* fall through */
	case STEP_WILL_MESSAGE:
		s->step = STEP_READY;
		if (update_will(s, SN_WILLMSGUPD, o->new_will_message, SN_WILLMSGRESP))
			return;
		/* fall through */
	case STEP_READY:
		break;
	}
	device_ready(&s->d);
	if (o->sleep_s && s->d.state == DEVICE_READY)
		go_to_sleep(s);
}

/* The answer to one of these steps. */
static void step_done(struct sn_device *s, const struct sn_packet *p, const char *what)
{
	if (p->return_code == SN_ACCEPTED)
		advance(s);
	else
		device_failed(&s->d, what);
}

static void on_connack(struct sn_device *s, const struct sn_packet *p)
{
	if (!answered(s, SN_CONNACK, 0))
		return;
	if (p->return_code != SN_ACCEPTED) {
		device_failed(&s->d, "CONNECT refused");
	} else if (s->d.was_ready && s->d.sim->o.persistent) {
		/* The gateway has kept everything. */
		s->d.state = DEVICE_READY;
		take_up(s);
		go_on(s);
	} else {
		s->d.state = DEVICE_PREPARING;
		s->step = STEP_TOPIC;
		advance(s);
	}
}

static void on_regack(struct sn_device *s, const struct sn_packet *p)
{
	if (!answered(s, SN_REGACK, p->msg_id))
		return;
	s->topic_id = p->topic_id;
	if (s->d.state == DEVICE_READY && p->return_code == SN_ACCEPTED)
		take_up(s);
	else
		step_done(s, p, "REGISTER refused");
}

static void on_suback(struct sn_device *s, const struct sn_packet *p)
{
	if (!answered(s, SN_SUBACK, p->msg_id))
		return;
	if (p->return_code == SN_ACCEPTED)
		sn_inbox_name(&s->inbox, p->topic_id, span_str(s->d.topic));
	step_done(s, p, "SUBSCRIBE refused");
}

static void on_register(struct sn_device *s, const struct sn_packet *p)
{
	sn_inbox_name(&s->inbox, p->topic_id, p->data);
	struct sn_packet ack = { .type = SN_REGACK, .topic_id = p->topic_id, .msg_id = p->msg_id };
	send_packet(s, &ack);
}

static void on_publish(struct sn_device *s, const struct sn_packet *p)
{
	uint8_t two[2];
	struct span topic = sn_inbox_topic(&s->inbox, p, span_str(s->d.topic), two);
	struct sn_packet ack = { .type = p->qos == 2 ? SN_PUBREC : SN_PUBACK,
		.topic_id = p->topic_id,
		.msg_id = p->msg_id };

	if (!topic.len) {
		ack.type = SN_PUBACK;
		ack.return_code = SN_INVALID_TOPIC_ID;
	} else if (sn_inbox_take(&s->inbox, p)) {
		device_message(&s->d, topic, p->data, p->qos, p->retain);
	}
	if (p->qos || ack.return_code)
		send_packet(s, &ack);
}

static void on_pubrel(struct sn_device *s, const struct sn_packet *p)
{
	struct sn_packet comp = { .type = SN_PUBCOMP, .msg_id = p->msg_id };

	sn_inbox_release(&s->inbox, p->msg_id);
	send_packet(s, &comp);
}

/* 6.10: the id is good no more; the message goes again behind a new REGISTER. */
static void register_again(struct sn_device *s)
{
	put_aside(s);
	register_topic(s);
}

static void on_puback(struct sn_device *s, const struct sn_packet *p)
{
	bool ours = (s->now.awaited == SN_PUBACK || s->now.awaited == SN_PUBREC) &&
		    s->now.msg_id == p->msg_id;

	/* Congestion: to be sent again later, which the retry timer does. */
	if (!ours || p->return_code == SN_CONGESTION)
		return;
	if (p->return_code == SN_INVALID_TOPIC_ID && s->topic_type == SN_TOPIC_NORMAL) {
		register_again(s);
		return;
	}
	if (p->return_code == SN_ACCEPTED && s->now.awaited == SN_PUBREC)
		return; /* no answer at QoS 2 */
	answered(s, s->now.awaited, p->msg_id);
	device_acked(&s->d, p->return_code == SN_ACCEPTED);
	go_on(s);
}

static void on_pubrec(struct sn_device *s, const struct sn_packet *p)
{
	struct sn_packet rel = { .type = SN_PUBREL, .msg_id = p->msg_id };
	if (s->now.awaited == SN_PUBREC && s->now.msg_id == p->msg_id)
		request(s, &rel, SN_PUBCOMP);
	else
		send_packet(s, &rel);
}

static void on_pubcomp(struct sn_device *s, const struct sn_packet *p)
{
	if (!answered(s, SN_PUBCOMP, p->msg_id))
		return;
	device_acked(&s->d, true);
	go_on(s);
}

/* Not in answer to ours. On a bad network it may be a late copy, or the answer to one that reached
 * a new address before our CONNECT did: a sleeper does not mind, others connect again. */
static void on_dismissed(struct sn_device *s)
{
	const struct sim *sim = s->d.sim;

	if (!sim->lossy || !sim->o.persistent)
		device_failed(&s->d, "the gateway said DISCONNECT");
	else if (s->d.state == DEVICE_READY)
		connect_again(s);
}

static void on_disconnect(struct sn_device *s)
{
	if (s->d.state == DEVICE_DONE) {
		device_gone(&s->d);
	} else if (s->now.awaited == SN_DISCONNECT) {
		device_asleep(&s->d);
		answered(s, SN_DISCONNECT, 0);
	} else {
		on_dismissed(s);
	}
}

static void on_pingresp(struct sn_device *s)
{
	if (!answered(s, SN_PINGRESP, 0))
		return;
	if (s->sync) {
		s->sync = false;
		device_synced(&s->d);
	}
	if (s->d.state == DEVICE_ASLEEP)
		device_asleep(&s->d);
	else
		go_on(s);
}

static void answer_will(struct sn_device *s, uint8_t type)
{
	const struct sim_options *o = &s->d.sim->o;
	struct sn_packet p = { .type = type, .data = span_str(o->will_message) };

	if (type == SN_WILLTOPIC) {
		p.present = true;
		p.qos = (uint8_t)o->will_qos;
		p.retain = o->will_retain;
		p.data = span_str(o->will_topic);
	}
	send_packet(s, &p);
}

static void on_packet(struct sn_device *s, const struct sn_packet *p)
{
	switch (p->type) {
	case SN_CONNACK:
		on_connack(s, p);
		break;
	case SN_WILLTOPICREQ:
		answer_will(s, SN_WILLTOPIC);
		break;
	case SN_WILLMSGREQ:
		answer_will(s, SN_WILLMSG);
		break;
	case SN_REGACK:
		on_regack(s, p);
		break;
	case SN_SUBACK:
		on_suback(s, p);
		break;
	case SN_REGISTER:
		on_register(s, p);
		break;
	case SN_PUBLISH:
		on_publish(s, p);
		break;
	case SN_PUBREL:
		on_pubrel(s, p);
		break;
	case SN_PUBACK:
		on_puback(s, p);
		break;
	case SN_PUBREC:
		on_pubrec(s, p);
		break;
	case SN_PUBCOMP:
		on_pubcomp(s, p);
		break;
	case SN_WILLTOPICRESP:
	case SN_WILLMSGRESP:
		if (answered(s, p->type, 0))
			step_done(s, p, "will update refused");
		break;
	case SN_PINGRESP:
		on_pingresp(s);
		break;
	case SN_DISCONNECT:
		on_disconnect(s);
		break;
	default:
		break;
	}
}

static void sn_receive(struct device *d, struct span bytes)
{
	struct sn_packet p;
	if (sn_decode(&p, bytes) == 0)
		on_packet(sn_of(d), &p);
}

static void resend(struct sn_device *s)
{
	uint8_t copy[SN_DATAGRAM_MAX];
	struct sn_packet p;

	if (s->now.tries++ == s->d.sim->o.retries) {
		device_failed(&s->d, "no answer");
		return;
	}
	s->d.sim->stats.retried++;
	if (s->now.tries == 1 && sn_decode(&p, span_of(s->now.bytes, s->now.len)) == 0 &&
		(p.type == SN_PUBLISH || p.type == SN_SUBSCRIBE)) {
		p.dup = true;
		int len = sn_encode(&p, copy, sizeof(copy));
		set_bytes(&s->now, copy, (size_t)len);
	}
	transmit(s);
}

static void ping(struct sn_device *s)
{
	struct sn_packet p = { .type = SN_PINGREQ };

	if (s->d.state == DEVICE_ASLEEP) {
		/* 6.14: a sleeper collects with its client id, from wherever it is now. */
		p.data = span_str(s->d.id);
		if (s->move)
			device_move(&s->d);
		s->move = false;
	}
	request(s, &p, SN_PINGRESP);
}

static void on_timer(struct timer *t)
{
	struct sn_device *s =
		container_of(container_of(t, struct device, retry), struct sn_device, d);
	if (s->now.awaited)
		resend(s);
	else
		ping(s);
}

static void arm_roam(struct sn_device *s)
{
	uint32_t ms = s->d.sim->o.roam_s * 1000;
	if (ms)
		timer_arm(&s->roam, ms - random_below(ms / JITTER));
}

static void on_roam(struct timer *t)
{
	struct sn_device *s = container_of(t, struct sn_device, roam);

	if (s->d.state == DEVICE_DONE)
		return;
	s->move = true;
	go_on(s);
	arm_roam(s);
}

static struct device *sn_new(void)
{
	struct sn_device *s = must_calloc(1, sizeof(*s));
	timer_init(&s->d.retry, on_timer);
	timer_init(&s->roam, on_roam);
	return &s->d;
}

static void send_connect(struct sn_device *s)
{
	const struct sim_options *o = &s->d.sim->o;
	struct sn_packet p = {
		.type = SN_CONNECT, .protocol_id = SN_PROTOCOL_ID, .data = span_str(s->d.id)
	};

	p.clean = !o->persistent;
	p.will = o->will_topic != NULL;
	p.duration_s = (uint16_t)o->keepalive_s;
	if (p.clean)
		sn_inbox_reset(&s->inbox);
	request(s, &p, SN_CONNACK);
}

/* What is outstanding goes on afterwards. */
static void connect_again(struct sn_device *s)
{
	if (s->now.awaited && !s->aside.awaited)
		put_aside(s);
	if (s->move)
		device_move(&s->d);
	s->move = false;
	s->d.state = DEVICE_CONNECTING;
	send_connect(s);
}

static void sn_connect(struct device *d)
{
	struct sn_device *s = sn_of(d);

	/* 6.8: QoS -1 needs no connection. */
	if (d->sim->o.qos < 0) {
		advance(s);
		return;
	}
	send_connect(s);
	arm_roam(s);
}

static unsigned sn_window(const struct device *d)
{
	(void)d;
	return 1;
}

static bool sn_publish(struct device *d, struct span payload)
{
	struct sn_device *s = sn_of(d);
	const struct sim_options *o = &d->sim->o;
	struct sn_packet p = { .type = SN_PUBLISH, .retain = o->retain, .data = payload };

	p.qos = o->qos < 0 ? SN_QOS_MINUS_1 : (uint8_t)o->qos;
	p.topic_id = s->topic_id;
	p.topic_type = s->topic_type;
	if (o->qos <= 0)
		return send_packet(s, &p);
	if (s->now.awaited)
		return false;
	p.msg_id = device_next_id(d);
	request(s, &p, o->qos == 1 ? SN_PUBACK : SN_PUBREC);
	return true;
}

static void sn_sync(struct device *d)
{
	struct sn_device *s = sn_of(d);

	s->sync = true;
	if (s->now.awaited != SN_PINGRESP)
		ping(s);
}

static void sn_wake(struct device *d)
{
	if (!sn_of(d)->now.awaited)
		ping(sn_of(d));
}

static void sn_disconnect(struct device *d)
{
	struct sn_packet p = { .type = SN_DISCONNECT };

	timer_disarm(&sn_of(d)->roam);
	if (d->sim->o.qos < 0) {
		device_gone(d);
		return;
	}
	request(sn_of(d), &p, SN_DISCONNECT);
}

static void sn_free(struct device *d)
{
	struct sn_device *s = sn_of(d);

	timer_disarm(&s->roam);
	sn_inbox_clear(&s->inbox);
	free(s->now.bytes);
	free(s->aside.bytes);
	free(s);
}

const struct device_ops sim_mqttsn = {
	.name = "mqttsn",
	.port = 1884,
	.socket_type = SOCK_DGRAM,
	.new = sn_new,
	.connect = sn_connect,
	.window = sn_window,
	.publish = sn_publish,
	.sync = sn_sync,
	.wake = sn_wake,
	.receive = sn_receive,
	.disconnect = sn_disconnect,
	.free = sn_free,
};
