#include "tests/sim/sim.h"

#include "gateway/base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PACE_MS     5
#define BURST       64
#define CONNECTING  500 /* clients that are connecting at once */
#define GOODBYE_MS  3000
#define PAYLOAD_MAX 65000

uint16_t device_next_id(struct device *d)
{
	if (++d->msg_id == 0)
		d->msg_id = 1;
	return d->msg_id;
}

bool device_send(struct device *d, const void *bytes, size_t len)
{
	ssize_t n = send(d->fd, bytes, len, MSG_NOSIGNAL);
	if (n == (ssize_t)len)
		return true;
	if (n == -1 && (errno == EAGAIN || errno == ENOBUFS || errno == ECONNREFUSED))
		return false;
	device_failed(d, n == -1 ? strerror(errno) : "short write");
	return false;
}

/* "%c" becomes the client id, "%n" the message's number. */
static size_t expand(char *out, size_t cap, const char *in, const char *id, unsigned n)
{
	size_t len = 0;

	for (; *in && len + 1 < cap; in++) {
		if (in[0] == '%' && (in[1] == 'c' || in[1] == 'n')) {
			int k = in[1] == 'c' ? snprintf(out + len, cap - len, "%s", id)
					     : snprintf(out + len, cap - len, "%u", n);
			len = MIN(len + (size_t)k, cap - 1);
			in++;
		} else {
			out[len++] = *in;
		}
	}
	out[len] = '\0';
	return len;
}

static struct span payload_of(const struct device *d)
{
	static char buf[PAYLOAD_MAX];
	const struct sim_options *o = &d->sim->o;

	if (!o->size)
		return span_of(buf, expand(buf, sizeof(buf), o->message, d->id, d->sent));
	/* Starts with the number, so that a receiver can tell order and loss. */
	memset(buf, '.', o->size);
	int k = snprintf(buf, sizeof(buf), "%u ", d->sent);
	if ((size_t)k < o->size)
		buf[k] = '.';
	return span_of(buf, o->size);
}

static bool wants_more(const struct device *d)
{
	return d->state == DEVICE_READY && (d->sim->o.count == 0 || d->sent < d->sim->o.count);
}

static bool waits_for_acks(const struct device *d)
{
	return d->sim->o.qos > 0 || d->ops->acknowledges0;
}

static bool publish_one(struct device *d)
{
	if (!wants_more(d) || (waits_for_acks(d) && d->open >= d->ops->window(d)))
		return false;
	if (!d->ops->publish(d, payload_of(d)))
		return false;
	d->sent++;
	d->sim->stats.sent++;
	if (waits_for_acks(d))
		d->open++;
	return true;
}

static void say_goodbye(struct device *d)
{
	if (d->state == DEVICE_DONE)
		return;
	d->state = DEVICE_DONE;
	timer_disarm(&d->retry);
	d->ops->disconnect(d);
}

static void finish_if_done(struct device *d)
{
	const struct sim_options *o = &d->sim->o;

	if (d->state != DEVICE_READY || o->command != SIM_PUBLISH || o->count == 0)
		return;
	if (d->sent == o->count && d->open == 0) {
		d->sim->ended_ms = clock_ms();
		say_goodbye(d);
	}
}

static void stop(struct sim *s)
{
	if (s->stopping)
		return;
	s->stopping = true;
	if (!s->ended_ms)
		s->ended_ms = clock_ms();
	for (unsigned i = 0; i < s->started; i++)
		say_goodbye(s->devices[i]);
	timer_arm(&s->limit, GOODBYE_MS);
}

void device_gone(struct device *d)
{
	struct sim *s = d->sim;

	event_del(d->readable);
	if (++s->finished == s->o.clients)
		event_base_loopbreak(s->base);
}

void device_failed(struct device *d, const char *why)
{
	if (d->state == DEVICE_DONE)
		return;
	fprintf(stderr, "tidegate-sim: %s: %s\n", d->id, why);
	d->sim->stats.failed++;
	d->state = DEVICE_DONE;
	timer_disarm(&d->retry);
	device_gone(d);
}

static void start_more(struct sim *s);

void device_ready(struct device *d)
{
	struct sim *s = d->sim;

	d->state = DEVICE_READY;
	if (++s->ready == s->o.clients)
		s->ready_ms = s->paced_ms = clock_ms();
	start_more(s);
	if (s->ready == s->o.clients && s->o.command == SIM_CONNECT && !s->o.duration_s)
		stop(s);
}

void device_acked(struct device *d, bool accepted)
{
	if (d->open)
		d->open--;
	d->acked++;
	if (accepted)
		d->sim->stats.acked++;
	else
		d->sim->stats.refused++;
	finish_if_done(d);
}

void device_message(struct device *d, struct span topic, struct span payload, int qos, bool retain)
{
	struct sim *s = d->sim;

	s->stats.received++;
	if (!s->o.quiet) {
		printf("%-12s %s q%d%s  %.*s  %.*s\n", d->id, d->ops->name, qos,
			retain ? " retained" : "", SPAN_ARGS(topic), (int)MIN(payload.len, 200),
			(const char *)payload.p);
		fflush(stdout);
	}
	s->ended_ms = clock_ms();
	if (s->o.command == SIM_SUBSCRIBE && s->o.count &&
		s->stats.received == (uint64_t)s->o.count * s->o.clients)
		stop(s);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	static uint8_t buf[65536];
	struct device *d = arg;

	(void)what;
	clock_tick();
	for (int i = 0; i < BURST; i++) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n > 0) {
			d->ops->receive(d, span_of(buf, (size_t)n));
			continue;
		}
		if (n == 0 && d->ops->socket_type == SOCK_STREAM)
			device_failed(d, "the gateway closed the connection");
		return;
	}
}

static int open_socket(struct sim *s)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&s->gateway, s->gateway.family == 6, &ss);
	int fd = socket(ss.ss_family, s->o.protocol->socket_type | SOCK_CLOEXEC, 0);
	int size = 4 << 20, on = 1;

	if (fd == -1)
		return -1;
	if (s->o.clients <= 16)
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

static void start_device(struct sim *s, unsigned index)
{
	struct device *d = s->o.protocol->new ();

	d->sim = s;
	d->ops = s->o.protocol;
	d->index = index;
	if (s->o.clients == 1)
		snprintf(d->id, sizeof(d->id), "%s", s->o.id);
	else
		snprintf(d->id, sizeof(d->id), "%.48s-%u", s->o.id, index);
	expand(d->topic, sizeof(d->topic), s->o.topic ? s->o.topic : "", d->id, index);
	s->devices[index] = d;
	d->fd = open_socket(s);
	d->readable = d->fd == -1 ? NULL
				  : event_new(s->base, d->fd, EV_READ | EV_PERSIST, on_readable, d);
	if (!d->readable) {
		fprintf(stderr, "tidegate-sim: %s: %s\n", d->id, strerror(errno));
		exit(1);
	}
	event_add(d->readable, NULL);
	d->ops->connect(d);
}

static void start_more(struct sim *s)
{
	while (!s->stopping && s->started < s->o.clients && s->started - s->ready < CONNECTING)
		start_device(s, s->started++);
}

/* At a rate: what is due since the last time, spread over the clients; what a client cannot take
 * stays owed. */
static void publish_at_rate(struct sim *s)
{
	int64_t now = clock_ms();
	unsigned idle = 0;

	s->owed += s->o.rate * (double)(now - s->paced_ms) / 1000.0;
	s->paced_ms = now;
	while (s->owed >= 1.0 && idle < s->o.clients) {
		struct device *d = s->devices[s->next];
		s->next = (s->next + 1) % s->o.clients;
		if (publish_one(d)) {
			s->owed -= 1.0;
			idle = 0;
			finish_if_done(d);
		} else {
			idle++;
		}
	}
	s->owed = MIN(s->owed, s->o.rate);
}

static bool publish_freely(struct sim *s)
{
	bool more = false;

	for (unsigned i = 0; i < s->o.clients; i++) {
		struct device *d = s->devices[i];
		unsigned n = 0;
		while (n < BURST && publish_one(d))
			n++;
		finish_if_done(d);
		/* Without acknowledgements nothing else wakes us. */
		if (n == BURST || (!waits_for_acks(d) && wants_more(d)))
			more = true;
	}
	return more;
}

static void on_pace(struct timer *t)
{
	timer_arm(t, PACE_MS);
}

static void on_limit(struct timer *t)
{
	struct sim *s = container_of(t, struct sim, limit);
	if (s->stopping)
		event_base_loopbreak(s->base);
	else
		stop(s);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)sig;
	(void)what;
	clock_tick();
	stop(arg);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void loop(struct sim *s)
{
	struct event *wake = evtimer_new(s->base, on_wake, NULL);
	bool more = true;

	while (!event_base_got_break(s->base) && s->finished < s->o.clients) {
		int64_t next = more ? 0 : timers_next_ms();
		struct timeval tv = { next / 1000, next % 1000 * 1000 };
		if (next >= 0)
			evtimer_add(wake, &tv);
		event_base_loop(s->base, next == 0 ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE);
		clock_tick();
		timers_run();
		more = false;
		if (s->o.command != SIM_PUBLISH || s->ready < s->o.clients || s->stopping)
			continue;
		if (s->o.rate > 0)
			publish_at_rate(s);
		else
			more = publish_freely(s);
	}
	event_free(wake);
}

static void print_stats(const struct sim *s)
{
	const struct sim_stats *st = &s->stats;
	int64_t end = s->ended_ms ? s->ended_ms : clock_ms();
	double connect_s = (double)(s->ready_ms ? s->ready_ms - s->began_ms : 0) / 1000.0;
	double s_ = (double)(end - (s->ready_ms ? s->ready_ms : s->began_ms)) / 1000.0;
	uint64_t done = s->o.command == SIM_SUBSCRIBE ? st->received : st->sent;

	printf("clients=%u connect_s=%.3f sent=%llu acked=%llu refused=%llu retried=%llu "
	       "received=%llu failed=%llu seconds=%.3f rate=%.0f\n",
		s->o.clients, connect_s, (unsigned long long)st->sent,
		(unsigned long long)st->acked, (unsigned long long)st->refused,
		(unsigned long long)st->retried, (unsigned long long)st->received,
		(unsigned long long)st->failed, s_, s_ > 0 ? (double)done / s_ : 0.0);
}

static void raise_descriptor_limit(void)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

static void free_devices(struct sim *s)
{
	for (unsigned i = 0; i < s->started; i++) {
		struct device *d = s->devices[i];
		event_free(d->readable);
		close(d->fd);
		timer_disarm(&d->retry);
		d->ops->free(d);
	}
	free(s->devices);
}

int sim_run(const struct sim_options *o)
{
	struct sim s = { .o = *o };

	if (addr_from_text(&s.gateway, o->host, o->port ? o->port : o->protocol->port) != 0) {
		fprintf(stderr, "tidegate-sim: \"%s\" is no numeric address\n", o->host);
		return 64;
	}
	raise_descriptor_limit();
	clock_tick();
	s.base = event_base_new();
	s.devices = must_calloc(o->clients, sizeof(struct device *));
	struct event *sigint = evsignal_new(s.base, SIGINT, on_signal, &s);
	struct event *sigterm = evsignal_new(s.base, SIGTERM, on_signal, &s);
	event_add(sigint, NULL);
	event_add(sigterm, NULL);
	timer_init(&s.pace, on_pace);
	timer_init(&s.limit, on_limit);
	if (o->rate > 0)
		timer_arm(&s.pace, PACE_MS);
	if (o->duration_s)
		timer_arm(&s.limit, (int64_t)o->duration_s * 1000);
	s.began_ms = s.paced_ms = clock_ms();
	start_more(&s);
	loop(&s);
	print_stats(&s);
	timer_disarm(&s.pace);
	timer_disarm(&s.limit);
	free_devices(&s);
	event_free(sigint);
	event_free(sigterm);
	event_base_free(s.base);
	return s.stats.failed || s.stats.refused ? 1 : 0;
}
