#include "tests/sim/sim.h"

#include "gateway/base/clock.h"
#include "tests/sim/sim_check.h"
#include "tests/sim/sim_lossy.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define PACE_MS    1
#define BURST      64
#define CONNECTING 500 /* clients that are connecting, or awake by sim_wake_all(), at once */
#define GOODBYE_MS 3000

void sim_say(const char *what, unsigned clients, int64_t since_ms)
{
	printf("%s clients=%u seconds=%.3f\n", what, clients,
		(double)(clock_ms() - since_ms) / 1000.0);
	fflush(stdout);
}

void sim_stop(struct sim *s)
{
	if (s->stopping)
		return;
	s->stopping = true;
	if (!s->ended_ms)
		s->ended_ms = clock_ms();
	for (unsigned i = 0; i < s->started; i++)
		device_say_goodbye(s->devices[i]);
	timer_arm(&s->limit, GOODBYE_MS);
}

void sim_start_more(struct sim *s)
{
	while (!s->stopping && s->started < s->o.clients && s->connecting < CONNECTING) {
		struct device *d = s->devices[s->started++];
		s->connecting++;
		d->ops->connect(d);
	}
}

bool sim_all_settled(const struct sim *s)
{
	return s->started == s->o.clients && s->connecting == 0;
}

static void wake_next(struct sim *s)
{
	struct device *d = list_first(&s->waking, struct device, eager);
	list_remove(&d->eager);
	d->ops->wake(d);
}

void sim_wake_all(struct sim *s)
{
	if (!s->o.protocol->wake || s->asleep < s->o.clients || s->woken_ms)
		return;
	for (unsigned i = 0; i < s->started; i++)
		if (s->devices[i]->state == DEVICE_ASLEEP)
			list_append(&s->waking, &s->devices[i]->eager);
	s->woken_ms = clock_ms();
	s->woken = 0;
	for (unsigned i = 0; i < CONNECTING && !list_empty(&s->waking); i++)
		wake_next(s);
}

void sim_collected(struct sim *s)
{
	s->woken++;
	if (!list_empty(&s->waking)) {
		wake_next(s);
	} else if (s->woken == s->asleep) {
		sim_say("woken", s->woken, s->woken_ms);
		s->woken_ms = 0;
	}
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
		if (device_publish(d)) {
			s->owed -= 1.0;
			idle = 0;
		} else {
			idle++;
		}
	}
	s->owed = MIN(s->owed, s->o.rate);
}

/* Whether somebody can go on at once; otherwise an answer makes a device eager again. */
static bool publish_freely(struct sim *s)
{
	struct list now = LIST_INIT(now);

	list_splice(&now, &s->eager);
	while (!list_empty(&now)) {
		struct device *d = list_first(&now, struct device, eager);
		list_remove(&d->eager);
		unsigned n = 0;
		while (n < BURST && device_publish(d))
			n++;
		/* Without acknowledgements nothing else wakes it. */
		if (n == BURST || !device_waits_for_acks(d))
			device_eager(d);
	}
	return !list_empty(&s->eager) && !s->syncer;
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
		sim_stop(s);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)what;
	clock_tick();
	if (sig == SIGUSR1)
		sim_wake_all(arg);
	else
		sim_stop(arg);
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
		if (next > 0)
			evtimer_add(wake, &tv);
		event_base_loop(s->base, next == 0 ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE);
		clock_tick();
		timers_run();
		sim_start_more(s);
		more = false;
		if (s->o.command != SIM_PUBLISH || !sim_all_settled(s) || s->stopping)
			continue;
		if (s->o.rate > 0)
			publish_at_rate(s);
		else
			more = publish_freely(s);
	}
	event_free(wake);
}

static double seconds(int64_t from_ms, int64_t to_ms)
{
	return (double)(to_ms - from_ms) / 1000.0;
}

static void print_count(const char *name, uint64_t n)
{
	printf(" %s=%llu", name, (unsigned long long)n);
}

static void print_check(const struct check *c)
{
	struct check_result r = check_result(c);

	print_count("distinct", r.distinct);
	print_count("missing", r.missing);
	print_count("doubled", r.doubled);
	print_count("disordered", r.disordered);
	print_count("unnumbered", r.unnumbered);
}

static void print_stats(const struct sim *s)
{
	const struct sim_stats *st = &s->stats;
	int64_t end = s->ended_ms ? s->ended_ms : clock_ms();
	int64_t from = s->first_ms ? s->first_ms : s->ready_ms ? s->ready_ms : s->began_ms;
	double took = seconds(from, end);
	uint64_t done = s->o.command == SIM_SUBSCRIBE ? st->received : st->sent;

	printf("clients=%u connect_s=%.3f", s->o.clients,
		s->ready_ms ? seconds(s->began_ms, s->ready_ms) : 0.0);
	print_count("sent", st->sent);
	print_count("acked", st->acked);
	print_count("refused", st->refused);
	print_count("retried", st->retried);
	print_count("received", st->received);
	print_count("failed", st->failed);
	if (s->o.sleep_s)
		print_count("wakes", st->wakes);
	if (s->o.roam_s)
		print_count("roams", st->roams);
	if (s->lossy)
		print_count("lost", lossy_lost(s->lossy));
	if (s->check)
		print_check(s->check);
	printf(" seconds=%.3f rate=%.0f\n", took, took > 0 ? (double)done / took : 0.0);
}

static void raise_descriptor_limit(void)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

static void set_up(struct sim *s)
{
	const struct sim_options *o = &s->o;

	raise_descriptor_limit();
	clock_tick();
	s->base = event_base_new();
	s->devices = must_calloc(o->clients, sizeof(struct device *));
	list_init(&s->eager);
	list_init(&s->waking);
	timer_init(&s->pace, on_pace);
	timer_init(&s->limit, on_limit);
	if (o->check)
		s->check = check_new();
	sim_open_network(s);
	if (o->rate > 0)
		timer_arm(&s->pace, PACE_MS);
	if (o->duration_s)
		timer_arm(&s->limit, (int64_t)o->duration_s * 1000);
	for (unsigned i = 0; i < o->clients; i++)
		s->devices[i] = device_new(s, i);
	clock_tick();
	s->began_ms = s->paced_ms = clock_ms();
}

static void tear_down(struct sim *s)
{
	timer_disarm(&s->pace);
	timer_disarm(&s->limit);
	for (unsigned i = 0; i < s->o.clients; i++)
		device_free(s->devices[i]);
	free(s->devices);
	sim_close_network(s);
	if (s->check)
		check_free(s->check);
	event_base_free(s->base);
}

int sim_run(const struct sim_options *o)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGUSR1 };
	struct event *on[ARRAY_SIZE(signals)];
	struct sim s = { .o = *o };
	uint16_t port = o->port ? (uint16_t)o->port : o->protocol->port;

	if (addr_from_text(&s.gateway, o->host, port) != 0) {
		fprintf(stderr, "tidegate-sim: \"%s\" is no numeric address\n", o->host);
		return 64;
	}
	set_up(&s);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		on[i] = evsignal_new(s.base, signals[i], on_signal, &s);
		event_add(on[i], NULL);
	}
	sim_start_more(&s);
	loop(&s);
	print_stats(&s);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		event_free(on[i]);
	tear_down(&s);
	return s.stats.failed || s.stats.refused ? 1 : 0;
}
