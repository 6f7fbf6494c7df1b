#include "tests/sim/sim.h"

#include "adapters/mqttsn/sn_codec.h"
#include "gateway/base/clock.h"
#include "tests/sim/sim_lossy.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The devices' sockets. A datagram passes the lossy network in both directions, where there is one.
 */
#define BURST   64
#define NODE_ID 4 /* octets of a wireless node id: the device's index */

/* Many sockets with few datagrams each need no more than the default. */
#define BIG_BUFFER_CLIENTS 16

static uint8_t buffer[65536];

static void die(const char *who)
{
	fprintf(stderr, "tidegate-sim: %s: %s\n", who, strerror(errno));
	exit(1);
}

static int open_socket(const struct sim *s, bool big)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&s->gateway, s->gateway.family == 6, &ss);
	int fd = socket(ss.ss_family, s->o.protocol->socket_type | SOCK_CLOEXEC, 0);
	int size = 4 << 20, on = 1;

	if (fd == -1)
		return -1;
	if (big)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (s->o.protocol->socket_type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (struct sockaddr *)&ss, len) == -1 ||
		evutil_make_socket_nonblocking(fd) == -1) {
		close(fd);
		return -1;
	}
	return fd;
}

static void arrived(struct device *d, struct span datagram)
{
	if (!d->gone)
		d->ops->receive(d, datagram);
}

static void incoming(struct device *d, struct span bytes)
{
	if (d->sim->lossy)
		lossy_send(d->sim->lossy, d, LOSSY_DOWN, bytes);
	else
		arrived(d, bytes);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct device *d = arg;
	/* Who waits for one answer need not look for another. */
	int most =
		d->ops->socket_type == SOCK_DGRAM && d->sim->o.command == SIM_PUBLISH ? 1 : BURST;

	(void)what;
	clock_tick();
	for (int i = 0; i < most && fd == d->fd; i++) {
		ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
		if (n > 0) {
			incoming(d, span_of(buffer, (size_t)n));
			continue;
		}
		if (n == 0 && d->ops->socket_type == SOCK_STREAM)
			device_failed(d, "the gateway closed the connection");
		return;
	}
}

/* MQTT-SN 1.2, 5.4.20: what is in it is for the node it names, as long as that is in reach. */
static void unpack(const struct forwarder *f, struct span datagram)
{
	struct sim *s = f->sim;
	struct sn_packet p;

	if (sn_decode(&p, datagram) != 0 || p.type != SN_ENCAPSULATED || p.data.len != NODE_ID)
		return;
	const uint8_t *id = p.data.p;
	uint32_t index =
		(uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
	if (index < s->started && f == &s->forwarders[s->devices[index]->forwarder])
		incoming(s->devices[index], p.inner);
}

static void on_forwarded(evutil_socket_t fd, short what, void *arg)
{
	struct forwarder *f = arg;

	(void)what;
	clock_tick();
	for (int i = 0; i < BURST; i++) {
		ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
		if (n <= 0)
			return;
		unpack(f, span_of(buffer, (size_t)n));
	}
}

static struct event *watch(
	struct sim *s, int fd, void (*fn)(evutil_socket_t, short, void *), void *arg)
{
	struct event *e = fd == -1 ? NULL : event_new(s->base, fd, EV_READ | EV_PERSIST, fn, arg);
	if (!e || event_add(e, NULL) != 0)
		die("socket");
	return e;
}

void device_open(struct device *d)
{
	struct sim *s = d->sim;

	d->fd = -1;
	if (s->o.forwarder)
		return;
	d->fd = open_socket(s, s->o.clients <= BIG_BUFFER_CLIENTS);
	if (d->fd == -1)
		die(d->id);
	d->readable = watch(s, d->fd, on_readable, d);
}

void device_close(struct device *d)
{
	if (d->fd == -1)
		return;
	event_free(d->readable);
	close(d->fd);
	d->fd = -1;
}

void device_move(struct device *d)
{
	d->sim->stats.roams++;
	d->forwarder = (d->forwarder + 1) % SIM_FORWARDERS;
	device_close(d);
	device_open(d);
}

static ssize_t send_forwarded(const struct device *d, struct span bytes)
{
	static uint8_t packed[SN_DATAGRAM_MAX];
	uint32_t i = d->index;
	uint8_t id[NODE_ID] = { (uint8_t)(i >> 24), (uint8_t)(i >> 16), (uint8_t)(i >> 8),
		(uint8_t)i };
	struct sn_packet p = {
		.type = SN_ENCAPSULATED, .ctrl = 1, .data = span_of(id, NODE_ID), .inner = bytes
	};
	int len = sn_encode(&p, packed, sizeof(packed));

	if (len < 0) {
		errno = -len;
		return -1;
	}
	ssize_t n = send(d->sim->forwarders[d->forwarder].fd, packed, (size_t)len, MSG_NOSIGNAL);
	return n == len ? (ssize_t)bytes.len : n;
}

static bool transmit(struct device *d, struct span bytes)
{
	ssize_t n = d->sim->o.forwarder ? send_forwarded(d, bytes)
					: send(d->fd, bytes.p, bytes.len, MSG_NOSIGNAL);
	if (n == (ssize_t)bytes.len)
		return true;
	if (n == -1 && (errno == EAGAIN || errno == ENOBUFS || errno == ECONNREFUSED))
		return false;
	device_failed(d, n == -1 ? strerror(errno) : "short write");
	return false;
}

static void leave(struct device *d, struct span datagram)
{
	if (!d->gone)
		transmit(d, datagram);
}

bool device_send(struct device *d, const void *bytes, size_t len)
{
	if (!d->sim->lossy)
		return transmit(d, span_of(bytes, len));
	lossy_send(d->sim->lossy, d, LOSSY_UP, span_of(bytes, len));
	return true;
}

void sim_open_network(struct sim *s)
{
	const struct sim_options *o = &s->o;

	if (o->loss || o->dup || o->reorder)
		s->lossy = lossy_new(&(struct lossy_options){
			.loss = o->loss,
			.dup = o->dup,
			.reorder = o->reorder,
			.delay_ms = o->retry_ms,
			.seed = o->seed,
			.pass = { [LOSSY_UP] = leave, [LOSSY_DOWN] = arrived },
		});
	for (int i = 0; o->forwarder && i < SIM_FORWARDERS; i++) {
		struct forwarder *f = &s->forwarders[i];
		f->sim = s;
		f->fd = open_socket(s, true);
		f->readable = watch(s, f->fd, on_forwarded, f);
	}
}

void sim_close_network(struct sim *s)
{
	for (int i = 0; s->o.forwarder && i < SIM_FORWARDERS; i++) {
		event_free(s->forwarders[i].readable);
		close(s->forwarders[i].fd);
	}
	if (s->lossy)
		lossy_free(s->lossy);
}
