#include "tests/sim/sim.h"

#include "gateway/base/clock.h"
#include "gateway/base/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A CoAP device (RFC 7252, 7641) that publishes with PUT or POST to /ps/TOPIC and subscribes with
 * Observe. One request outstanding (NSTART 1), retransmitted with the timing of section 4.2. */
#define ACK_TIMEOUT_MS 2000
#define MAX_RETRANSMIT 4
#define SEPARATE_MS    30000
#define DATAGRAM_MAX   1400
#define OBSERVE_TOKEN  0xFFFFFFFFu

enum { CON, NON, ACK, RST };
enum { GET = 1, POST = 2, PUT = 3 };
enum { OPT_OBSERVE = 6, OPT_LOCATION_PATH = 8, OPT_URI_PATH = 11, OPT_URI_QUERY = 15 };

struct coap_device {
	struct device d;
	uint8_t request[DATAGRAM_MAX];
	size_t request_len;
	uint16_t mid;
	uint32_t token;
	unsigned tries;
	bool open, acked; /* acked: an empty ACK came, the response will follow */
};

struct answer {
	uint8_t type, code;
	uint16_t mid;
	uint32_t token;
	bool observe;
	unsigned segments; /* of Location-Path */
	char topic[256];   /* from Location-Path, or empty */
	struct span payload;
};

static struct coap_device *coap_of(struct device *d)
{
	return container_of(d, struct coap_device, d);
}

static uint8_t nibble(size_t n)
{
	return n < 13 ? (uint8_t)n : n < 269 ? 13 : 14;
}

static void wr_extended(struct writer *w, size_t n)
{
	if (n >= 269)
		wr_u16(w, (uint16_t)(n - 269));
	else if (n >= 13)
		wr_u8(w, (uint8_t)(n - 13));
}

static void wr_option(struct writer *w, unsigned *last, unsigned number, struct span value)
{
	size_t delta = number - *last;

	wr_u8(w, (uint8_t)(nibble(delta) << 4 | nibble(value.len)));
	wr_extended(w, delta);
	wr_extended(w, value.len);
	wr_span(w, value);
	*last = number;
}

static void wr_path(struct writer *w, unsigned *last, const char *topic)
{
	wr_option(w, last, OPT_URI_PATH, span_str("ps"));
	for (const char *p = topic;; p++) {
		size_t len = strcspn(p, "/");
		wr_option(w, last, OPT_URI_PATH, span_of(p, len));
		p += len;
		if (!*p)
			break;
	}
}

static bool send_request(struct coap_device *c, uint8_t type, uint8_t code, uint32_t token,
	bool observe, struct span payload)
{
	struct writer w = writer_of(c->request, sizeof(c->request));
	unsigned last = 0;

	c->mid = device_next_id(&c->d);
	c->token = token;
	wr_u8(&w, (uint8_t)(0x40 | type << 4 | 4));
	wr_u8(&w, code);
	wr_u16(&w, c->mid);
	wr_u32(&w, token);
	if (observe)
		wr_option(&w, &last, OPT_OBSERVE, span_of(NULL, 0));
	wr_path(&w, &last, c->d.topic);
	if (payload.len) {
		wr_u8(&w, 0xFF);
		wr_span(&w, payload);
	}
	if (w.bad) {
		device_failed(&c->d, "message too long");
		return false;
	}
	c->request_len = w.len;
	c->open = type == CON;
	c->acked = false;
	c->tries = 0;
	if (c->open)
		timer_arm(&c->d.retry, ACK_TIMEOUT_MS);
	return device_send(&c->d, c->request, c->request_len) || c->open;
}

static size_t rd_extended(struct reader *r, uint8_t n)
{
	if (n == 13)
		return rd_u8(r) + 13u;
	if (n == 14)
		return rd_u16(r) + 269u;
	if (n == 15)
		r->bad = true;
	return n;
}

static void take_location(struct answer *a, struct span segment)
{
	size_t len = strlen(a->topic);
	if (a->segments++ == 0) /* "ps" */
		return;
	snprintf(a->topic + len, sizeof(a->topic) - len, "%s%.*s", len ? "/" : "",
		SPAN_ARGS(segment));
}

static bool parse(struct answer *a, struct span datagram)
{
	struct reader r = reader_of(datagram);
	uint8_t first = rd_u8(&r);
	unsigned number = 0;

	memset(a, 0, sizeof(*a));
	a->type = first >> 4 & 3;
	a->code = rd_u8(&r);
	a->mid = rd_u16(&r);
	if ((first & 15) == 4)
		a->token = rd_u32(&r);
	else
		rd_span(&r, first & 15);
	while (!r.bad && r.left) {
		uint8_t octet = rd_u8(&r);
		if (octet == 0xFF) {
			a->payload = rd_rest(&r);
			break;
		}
		number += (unsigned)rd_extended(&r, octet >> 4);
		struct span value = rd_span(&r, rd_extended(&r, octet & 15));
		if (number == OPT_OBSERVE)
			a->observe = true;
		else if (number == OPT_LOCATION_PATH)
			take_location(a, value);
	}
	return !r.bad && first >> 6 == 1;
}

static void acknowledge(struct coap_device *c, uint16_t mid)
{
	uint8_t ack[4] = { 0x60, 0, (uint8_t)(mid >> 8), (uint8_t)mid };
	device_send(&c->d, ack, sizeof(ack));
}

static void on_response(struct coap_device *c, const struct answer *a)
{
	bool good = a->code >> 5 == 2;

	c->open = false;
	timer_disarm(&c->d.retry);
	if (c->d.state == DEVICE_READY && c->d.sim->o.command == SIM_PUBLISH)
		device_acked(&c->d, good);
	else if (!good)
		device_failed(&c->d, "request refused");
	else if (c->d.state == DEVICE_CONNECTING)
		device_ready(&c->d);
}

static void on_notification(struct coap_device *c, const struct answer *a)
{
	struct span topic = span_str(a->topic[0] ? a->topic : c->d.topic);
	device_message(&c->d, topic, a->payload, a->type == CON, false);
}

static void coap_receive(struct device *d, struct span bytes)
{
	struct coap_device *c = coap_of(d);
	struct answer a;

	if (!parse(&a, bytes))
		return;
	if (a.type == CON)
		acknowledge(c, a.mid);
	if (a.code == 0) {
		if (a.type == ACK && c->open && a.mid == c->mid) {
			c->acked = true;
			timer_arm(&d->retry, SEPARATE_MS);
		}
		return;
	}
	if (c->open && a.token == c->token)
		on_response(c, &a);
	else if (a.token == OBSERVE_TOKEN && d->state != DEVICE_DONE)
		on_notification(c, &a);
	/* A first answer with a value is a message as well. */
	if (a.observe && a.payload.len && a.type == ACK)
		on_notification(c, &a);
}

static void on_timer(struct timer *t)
{
	struct coap_device *c =
		container_of(container_of(t, struct device, retry), struct coap_device, d);

	if (!c->open)
		return;
	if (c->acked || c->tries == MAX_RETRANSMIT) {
		device_failed(&c->d, "no answer");
		return;
	}
	c->tries++;
	c->d.sim->stats.retried++;
	device_send(&c->d, c->request, c->request_len);
	timer_arm(t, ACK_TIMEOUT_MS << c->tries);
}

static struct device *coap_new(void)
{
	struct coap_device *c = must_calloc(1, sizeof(*c));
	timer_init(&c->d.retry, on_timer);
	return &c->d;
}

static void coap_connect(struct device *d)
{
	d->msg_id = (uint16_t)random_below(UINT16_MAX);
	if (d->sim->o.command == SIM_SUBSCRIBE)
		send_request(coap_of(d), CON, GET, OBSERVE_TOKEN, true, span_of(NULL, 0));
	else
		device_ready(d);
}

static unsigned coap_window(const struct device *d)
{
	(void)d;
	return 1;
}

static bool coap_publish(struct device *d, struct span payload)
{
	struct coap_device *c = coap_of(d);
	const struct sim_options *o = &d->sim->o;

	if (c->open)
		return false;
	return send_request(
		c, o->qos > 0 ? CON : NON, o->retain ? PUT : POST, d->sent + 1, false, payload);
}

static void coap_disconnect(struct device *d)
{
	device_gone(d);
}

static void coap_free(struct device *d)
{
	free(coap_of(d));
}

const struct device_ops sim_coap = {
	.name = "coap",
	.port = 5683,
	.socket_type = SOCK_DGRAM,
	.new = coap_new,
	.connect = coap_connect,
	.window = coap_window,
	.publish = coap_publish,
	.receive = coap_receive,
	.disconnect = coap_disconnect,
	.free = coap_free,
};
