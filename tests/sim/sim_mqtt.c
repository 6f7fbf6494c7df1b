#include "tests/sim/sim.h"

#include "adapters/mqtt/mq_codec.h"
#include "gateway/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* An MQTT 3.1.1 client, to load a broker in the same way as the devices: for comparisons. */
#define IN_MAX  (128u << 10)
#define OUT_MAX (128u << 10)

struct mqtt_device {
	struct device d;
	uint8_t *in, *out;
	size_t in_len, out_len;
};

static struct mqtt_device *mqtt_of(struct device *d)
{
	return container_of(d, struct mqtt_device, d);
}

static void flush(struct mqtt_device *m)
{
	ssize_t n = send(m->d.fd, m->out, m->out_len, MSG_NOSIGNAL);

	if (n == -1 && errno != EAGAIN) {
		device_failed(&m->d, strerror(errno));
		return;
	}
	if (n > 0) {
		m->out_len -= (size_t)n;
		memmove(m->out, m->out + n, m->out_len);
	}
}

static bool put(struct mqtt_device *m, const struct mq_packet *p)
{
	struct writer w = writer_of(m->out + m->out_len, OUT_MAX - m->out_len);

	mq_encode(&w, p);
	if (w.bad)
		return false;
	m->out_len += w.len;
	return true;
}

static void on_flush(struct timer *t)
{
	struct mqtt_device *m =
		container_of(container_of(t, struct device, retry), struct mqtt_device, d);
	if (m->out_len)
		flush(m);
	if (m->out_len)
		timer_arm(t, 1);
}

/* What was put leaves at the end of the turn. */
static bool send_packet(struct mqtt_device *m, const struct mq_packet *p)
{
	if (!put(m, p)) {
		flush(m);
		if (!put(m, p))
			return false;
	}
	if (!timer_armed(&m->d.retry))
		timer_arm(&m->d.retry, 0);
	return true;
}

static void subscribe(struct mqtt_device *m)
{
	uint8_t filters[300];
	struct writer w = writer_of(filters, sizeof(filters));
	struct mq_filter f = { span_str(m->d.topic), (uint8_t)m->d.sim->o.qos };
	struct mq_packet p = { .type = MQ_SUBSCRIBE, .packet_id = device_next_id(&m->d) };

	mq_put_filter(&w, MQ_SUBSCRIBE, &f);
	p.filters = span_of(filters, w.len);
	send_packet(m, &p);
}

static void on_publish(struct mqtt_device *m, const struct mq_packet *in)
{
	const struct mq_publish *pub = &in->publish;
	struct mq_packet ack = { .type = pub->qos == 1 ? MQ_PUBACK : MQ_PUBREC,
		.packet_id = in->packet_id };

	device_message(&m->d, pub->topic, pub->payload, pub->qos, pub->retain);
	if (pub->qos)
		send_packet(m, &ack);
}

static void reply(struct mqtt_device *m, enum mq_type type, uint16_t id)
{
	struct mq_packet p = { .type = type, .packet_id = id };
	send_packet(m, &p);
}

static void on_connack(struct mqtt_device *m, const struct mq_packet *p)
{
	if (p->code != MQ_ACCEPTED)
		device_failed(&m->d, "CONNECT refused");
	else if (m->d.sim->o.command == SIM_SUBSCRIBE)
		subscribe(m);
	else
		device_ready(&m->d);
}

static void on_packet(struct mqtt_device *m, const struct mq_packet *p)
{
	switch (p->type) {
	case MQ_CONNACK:
		on_connack(m, p);
		break;
	case MQ_SUBACK:
		if (p->codes.len && p->codes.p[0] == MQ_SUBACK_FAILURE)
			device_failed(&m->d, "SUBSCRIBE refused");
		else
			device_ready(&m->d);
		break;
	case MQ_PUBLISH:
		on_publish(m, p);
		break;
	case MQ_PUBACK:
	case MQ_PUBCOMP:
		device_acked(&m->d, true);
		break;
	case MQ_PUBREC:
		reply(m, MQ_PUBREL, p->packet_id);
		break;
	case MQ_PUBREL:
		reply(m, MQ_PUBCOMP, p->packet_id);
		break;
	default:
		break;
	}
}

static size_t consume(struct mqtt_device *m, struct span in)
{
	struct mq_header h;
	struct mq_packet p;

	if (mq_header_read(in, &h) != 0 || in.len - h.size < h.body)
		return 0;
	if (mq_decode(&h, span_of(in.p + h.size, h.body), MQ_FROM_SERVER, MQ_V311, &p) == R_SUCCESS)
		on_packet(m, &p);
	return h.size + h.body;
}

static void mqtt_receive(struct device *d, struct span bytes)
{
	struct mqtt_device *m = mqtt_of(d);
	size_t at = 0, n;

	if (bytes.len > IN_MAX - m->in_len) {
		device_failed(d, "packet too long");
		return;
	}
	memcpy(m->in + m->in_len, bytes.p, bytes.len);
	m->in_len += bytes.len;
	while (d->state != DEVICE_DONE && (n = consume(m, span_of(m->in + at, m->in_len - at))) > 0)
		at += n;
	m->in_len -= at;
	memmove(m->in, m->in + at, m->in_len);
}

static struct device *mqtt_new(void)
{
	struct mqtt_device *m = must_calloc(1, sizeof(*m));
	m->in = must_calloc(1, IN_MAX);
	m->out = must_calloc(1, OUT_MAX);
	timer_init(&m->d.retry, on_flush);
	return &m->d;
}

static void mqtt_connect(struct device *d)
{
	const struct sim_options *o = &d->sim->o;
	struct mq_packet p = { .type = MQ_CONNECT };

	p.connect.level = MQ_V311;
	p.connect.clean_start = !o->persistent;
	p.connect.keepalive_s = (uint16_t)o->keepalive_s;
	p.connect.client_id = span_str(d->id);
	if (o->will_topic) {
		p.connect.has_will = true;
		p.connect.will_qos = (uint8_t)o->will_qos;
		p.connect.will_retain = o->will_retain;
		p.connect.will_topic = span_str(o->will_topic);
		p.connect.will_payload = span_str(o->will_message);
	}
	send_packet(mqtt_of(d), &p);
}

static unsigned mqtt_window(const struct device *d)
{
	return d->sim->o.window;
}

static bool mqtt_publish(struct device *d, struct span payload)
{
	const struct sim_options *o = &d->sim->o;
	struct mq_packet p = { .type = MQ_PUBLISH };

	p.publish.qos = (uint8_t)MAX(o->qos, 0);
	p.publish.retain = o->retain;
	p.publish.topic = span_str(d->topic);
	p.publish.payload = payload;
	if (o->qos > 0)
		p.packet_id = device_next_id(d);
	return send_packet(mqtt_of(d), &p);
}

static void mqtt_disconnect(struct device *d)
{
	struct mqtt_device *m = mqtt_of(d);
	struct mq_packet p = { .type = MQ_DISCONNECT };

	/* What is still in the buffer goes first. */
	put(m, &p);
	fcntl(d->fd, F_SETFL, fcntl(d->fd, F_GETFL) & ~O_NONBLOCK);
	flush(m);
	device_gone(d);
}

static void mqtt_free(struct device *d)
{
	struct mqtt_device *m = mqtt_of(d);
	free(m->in);
	free(m->out);
	free(m);
}

const struct device_ops sim_mqtt = {
	.name = "mqtt",
	.port = 1883,
	.socket_type = SOCK_STREAM,
	.new = mqtt_new,
	.connect = mqtt_connect,
	.window = mqtt_window,
	.publish = mqtt_publish,
	.receive = mqtt_receive,
	.disconnect = mqtt_disconnect,
	.free = mqtt_free,
};
