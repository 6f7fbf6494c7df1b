#include "tests/sim/sim.h"

#include "adapters/mqttsn/sn_codec.h"
#include "gateway/base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* An MQTT-SN 1.2 device: one request outstanding (6.13), T_retry and N_retry of its own. */
#define RETRY_MS  2000
#define RETRY_MAX 8
#define NAMES_MAX 256

struct sn_device {
	struct device d;
	uint8_t request[2048]; /* outstanding, to be sent again */
	size_t request_len;
	uint8_t awaited; /* message type of its answer; 0: nothing outstanding */
	unsigned tries;
	uint16_t topic_id;
	uint8_t topic_type;
	uint16_t received_qos2; /* message id of an unfinished QoS 2 message; 0: none */
	char *names[NAMES_MAX]; /* by topic id, of what the gateway registered */
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

static void request(struct sn_device *s, const struct sn_packet *p, uint8_t awaited)
{
	int len = sn_encode(p, s->request, sizeof(s->request));

	if (len < 0) {
		device_failed(&s->d, "message too long");
		return;
	}
	s->request_len = (size_t)len;
	s->awaited = awaited;
	s->tries = 0;
	device_send(&s->d, s->request, s->request_len);
	timer_arm(&s->d.retry, RETRY_MS);
}

static void arm_ping(struct sn_device *s)
{
	unsigned keepalive = s->d.sim->o.keepalive_s;
	if (keepalive)
		timer_arm(&s->d.retry, (int64_t)keepalive * 1000);
	else
		timer_disarm(&s->d.retry);
}

static bool answered(struct sn_device *s, uint8_t type)
{
	if (s->awaited != type)
		return false;
	s->awaited = 0;
	arm_ping(s);
	return true;
}

static void go_to_sleep(struct sn_device *s)
{
	struct sn_packet p = { .type = SN_DISCONNECT, .present = true };

	p.duration_s = (uint16_t)(s->d.sim->o.sleep_s * 2);
	request(s, &p, SN_DISCONNECT);
}

static void ready(struct sn_device *s)
{
	device_ready(&s->d);
	if (s->d.sim->o.sleep_s && s->d.state == DEVICE_READY)
		go_to_sleep(s);
}

/* PUBLISH wants a topic id, SUBSCRIBE a filter. */
static void prepare(struct sn_device *s)
{
	const struct sim_options *o = &s->d.sim->o;
	struct span topic = span_str(s->d.topic);
	struct sn_packet p = { .type = SN_REGISTER, .data = topic };

	s->d.state = DEVICE_PREPARING;
	if (o->command == SIM_SUBSCRIBE) {
		p.type = SN_SUBSCRIBE;
		p.qos = (uint8_t)o->qos;
		p.topic_type = o->topic_id ? SN_TOPIC_PREDEFINED : SN_TOPIC_NORMAL;
		p.topic_id = o->topic_id;
		p.msg_id = device_next_id(&s->d);
		request(s, &p, SN_SUBACK);
	} else if (o->command == SIM_CONNECT) {
		ready(s);
	} else if (o->topic_id) {
		s->topic_type = SN_TOPIC_PREDEFINED;
		s->topic_id = o->topic_id;
		ready(s);
	} else if (topic.len == 2) {
		s->topic_type = SN_TOPIC_SHORT;
		s->topic_id = sn_short_id(topic);
		ready(s);
	} else {
		p.msg_id = device_next_id(&s->d);
		request(s, &p, SN_REGACK);
	}
}

static void on_connack(struct sn_device *s, const struct sn_packet *p)
{
	if (!answered(s, SN_CONNACK))
		return;
	if (p->return_code == SN_ACCEPTED)
		prepare(s);
	else
		device_failed(&s->d, "CONNECT refused");
}

static void on_regack(struct sn_device *s, const struct sn_packet *p)
{
	if (!answered(s, SN_REGACK))
		return;
	if (p->return_code != SN_ACCEPTED) {
		device_failed(&s->d, "REGISTER refused");
		return;
	}
	s->topic_id = p->topic_id;
	ready(s);
}

static void remember_name(struct sn_device *s, uint16_t topic_id, struct span name)
{
	if (topic_id == 0 || topic_id >= NAMES_MAX)
		return;
	free(s->names[topic_id]);
	s->names[topic_id] = must_printf("%.*s", SPAN_ARGS(name));
}

static void on_suback(struct sn_device *s, const struct sn_packet *p)
{
	if (!answered(s, SN_SUBACK))
		return;
	if (p->return_code != SN_ACCEPTED) {
		device_failed(&s->d, "SUBSCRIBE refused");
		return;
	}
	remember_name(s, p->topic_id, span_str(s->d.topic));
	ready(s);
}

static void on_register(struct sn_device *s, const struct sn_packet *p)
{
	remember_name(s, p->topic_id, p->data);
	struct sn_packet ack = { .type = SN_REGACK, .topic_id = p->topic_id, .msg_id = p->msg_id };
	send_packet(s, &ack);
}

static struct span topic_of(const struct sn_device *s, const struct sn_packet *p, uint8_t two[2])
{
	if (p->topic_type == SN_TOPIC_SHORT) {
		two[0] = (uint8_t)(p->topic_id >> 8);
		two[1] = (uint8_t)p->topic_id;
		return span_of(two, 2);
	}
	if (p->topic_type == SN_TOPIC_NORMAL && p->topic_id < NAMES_MAX && s->names[p->topic_id])
		return span_str(s->names[p->topic_id]);
	return span_str(s->d.topic);
}

static void on_publish(struct sn_device *s, const struct sn_packet *p)
{
	uint8_t two[2];

	if (p->qos != 2 || s->received_qos2 != p->msg_id)
		device_message(&s->d, topic_of(s, p, two), p->data, p->qos, p->retain);
	if (p->qos == 1) {
		struct sn_packet ack = {
			.type = SN_PUBACK, .topic_id = p->topic_id, .msg_id = p->msg_id
		};
		send_packet(s, &ack);
	} else if (p->qos == 2) {
		struct sn_packet rec = { .type = SN_PUBREC, .msg_id = p->msg_id };
		s->received_qos2 = p->msg_id;
		send_packet(s, &rec);
	}
}

static void on_pubrel(struct sn_device *s, const struct sn_packet *p)
{
	struct sn_packet comp = { .type = SN_PUBCOMP, .msg_id = p->msg_id };
	s->received_qos2 = 0;
	send_packet(s, &comp);
}

static void on_puback(struct sn_device *s, const struct sn_packet *p)
{
	/* Congestion and the like: the message is to be sent again later, which the retry timer
	 * does. */
	if (p->return_code == SN_CONGESTION && s->awaited)
		return;
	if (p->return_code != SN_ACCEPTED) {
		s->awaited = 0;
		arm_ping(s);
		device_acked(&s->d, false);
	} else if (answered(s, SN_PUBACK)) {
		device_acked(&s->d, true);
	}
}

static void on_pubrec(struct sn_device *s, const struct sn_packet *p)
{
	struct sn_packet rel = { .type = SN_PUBREL, .msg_id = p->msg_id };
	if (s->awaited == SN_PUBREC)
		request(s, &rel, SN_PUBCOMP);
	else
		send_packet(s, &rel);
}

static void on_disconnect(struct sn_device *s)
{
	if (s->d.state == DEVICE_DONE) {
		device_gone(&s->d);
	} else if (answered(s, SN_DISCONNECT)) {
		s->d.state = DEVICE_ASLEEP;
		timer_arm(&s->d.retry, (int64_t)s->d.sim->o.sleep_s * 1000);
	} else {
		device_failed(&s->d, "the gateway said DISCONNECT");
	}
}

static void on_pingresp(struct sn_device *s)
{
	if (answered(s, SN_PINGRESP) && s->d.state == DEVICE_ASLEEP)
		timer_arm(&s->d.retry, (int64_t)s->d.sim->o.sleep_s * 1000);
}

static void answer_will(struct sn_device *s, uint8_t type)
{
	const struct sim_options *o = &s->d.sim->o;
	struct sn_packet p = { .type = type };

	if (type == SN_WILLTOPIC) {
		p.present = true;
		p.qos = 1;
		p.data = span_str(o->will_topic);
	} else {
		p.data = span_str(o->will_message);
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
		if (answered(s, SN_PUBCOMP))
			device_acked(&s->d, true);
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
	struct sn_packet p;

	if (s->tries++ == RETRY_MAX) {
		device_failed(&s->d, "no answer");
		return;
	}
	s->d.sim->stats.retried++;
	if (sn_decode(&p, span_of(s->request, s->request_len)) == 0 && p.type == SN_PUBLISH &&
		!p.dup) {
		uint8_t copy[sizeof(s->request)];
		p.dup = true;
		int len = sn_encode(&p, copy, sizeof(copy));
		memcpy(s->request, copy, (size_t)len);
	}
	device_send(&s->d, s->request, s->request_len);
	timer_arm(&s->d.retry, RETRY_MS);
}

static void on_timer(struct timer *t)
{
	struct sn_device *s =
		container_of(container_of(t, struct device, retry), struct sn_device, d);
	struct sn_packet ping = { .type = SN_PINGREQ };

	if (s->awaited) {
		resend(s);
		return;
	}
	/* 6.14: a sleeper collects with its client id. */
	if (s->d.state == DEVICE_ASLEEP)
		ping.data = span_str(s->d.id);
	request(s, &ping, SN_PINGRESP);
}

static struct device *sn_new(void)
{
	struct sn_device *s = must_calloc(1, sizeof(*s));
	timer_init(&s->d.retry, on_timer);
	return &s->d;
}

static void sn_connect(struct device *d)
{
	const struct sim_options *o = &d->sim->o;
	struct sn_packet p = {
		.type = SN_CONNECT, .protocol_id = SN_PROTOCOL_ID, .clean = o->clean
	};

	p.will = o->will_topic != NULL;
	p.duration_s = (uint16_t)o->keepalive_s;
	p.data = span_str(d->id);
	/* 6.8: QoS -1 needs no connection. */
	if (o->qos < 0)
		prepare(sn_of(d));
	else
		request(sn_of(d), &p, SN_CONNACK);
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
	if (s->awaited)
		return false;
	p.msg_id = device_next_id(d);
	request(s, &p, o->qos == 1 ? SN_PUBACK : SN_PUBREC);
	return true;
}

static void sn_disconnect(struct device *d)
{
	struct sn_packet p = { .type = SN_DISCONNECT };

	if (d->sim->o.qos < 0) {
		device_gone(d);
		return;
	}
	request(sn_of(d), &p, SN_DISCONNECT);
}

static void sn_free(struct device *d)
{
	struct sn_device *s = sn_of(d);
	for (size_t i = 0; i < NAMES_MAX; i++)
		free(s->names[i]);
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
	.receive = sn_receive,
	.disconnect = sn_disconnect,
	.free = sn_free,
};
