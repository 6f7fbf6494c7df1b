#include "tests/sim/sim.h"

#include "gateway/base/clock.h"
#include "tests/sim/sim_check.h"
#include "tests/sim/sim_lossy.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define PAYLOAD_MAX 65000
#define SHOWN_MAX   200

uint16_t device_next_id(struct device *d)
{
	if (++d->msg_id == 0)
		d->msg_id = 1;
	return d->msg_id;
}

/* "%c" becomes the client id, "%n" a number. */
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

struct device *device_new(struct sim *s, unsigned index)
{
	const struct sim_options *o = &s->o;
	struct device *d = o->protocol->new ();

	d->sim = s;
	d->ops = o->protocol;
	d->index = index;
	list_init(&d->eager);
	if (o->clients == 1)
		snprintf(d->id, sizeof(d->id), "%s", o->id);
	else
		snprintf(d->id, sizeof(d->id), "%.48s-%u", o->id, index);
	expand(d->topic, sizeof(d->topic), o->topic ? o->topic : "", d->id, index);
	if (s->lossy)
		lossy_seed(s->lossy, d);
	device_open(d);
	return d;
}

void device_free(struct device *d)
{
	list_remove(&d->eager);
	timer_disarm(&d->retry);
	device_close(d);
	d->ops->free(d);
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

bool device_wants_more(const struct device *d)
{
	return d->state == DEVICE_READY && (d->sim->o.count == 0 || d->sent < d->sim->o.count);
}

bool device_waits_for_acks(const struct device *d)
{
	return d->sim->o.qos > 0 || d->ops->acknowledges0;
}

void device_eager(struct device *d)
{
	if (d->sim->o.command == SIM_PUBLISH && d->sim->o.rate == 0 && list_empty(&d->eager) &&
		device_wants_more(d))
		list_append(&d->sim->eager, &d->eager);
}

/* QoS 0 at full speed over UDP would only measure how fast datagrams are thrown away. */
static void keep_in_step(struct device *d)
{
	struct sim *s = d->sim;

	if (s->o.rate || s->o.qos != 0 || !d->ops->sync || ++s->unsynced < s->o.window)
		return;
	s->unsynced = 0;
	s->syncer = d;
	d->open++;
	d->ops->sync(d);
}

static void finish_if_done(struct device *d)
{
	const struct sim_options *o = &d->sim->o;

	if (d->state != DEVICE_READY || o->command != SIM_PUBLISH || o->count == 0)
		return;
	if (d->sent == o->count && d->open == 0) {
		d->sim->ended_ms = clock_ms();
		device_say_goodbye(d);
	}
}

bool device_publish(struct device *d)
{
	if (!device_wants_more(d) || d->sim->syncer ||
		(device_waits_for_acks(d) && d->open >= d->ops->window(d)))
		return false;
	if (!d->ops->publish(d, payload_of(d)))
		return false;
	d->sent++;
	d->sim->stats.sent++;
	if (device_waits_for_acks(d))
		d->open++;
	else
		keep_in_step(d);
	finish_if_done(d);
	return true;
}

static void end(struct device *d)
{
	d->state = DEVICE_DONE;
	list_remove(&d->eager);
	timer_disarm(&d->retry);
	if (d->sim->syncer == d)
		d->sim->syncer = NULL;
}

void device_say_goodbye(struct device *d)
{
	if (d->state == DEVICE_DONE)
		return;
	end(d);
	if (d->sim->o.vanish)
		device_gone(d);
	else
		d->ops->disconnect(d);
}

void device_gone(struct device *d)
{
	struct sim *s = d->sim;

	if (d->gone)
		return;
	d->gone = true;
	timer_disarm(&d->retry);
	if (d->readable)
		event_del(d->readable);
	if (++s->finished == s->o.clients)
		event_base_loopbreak(s->base);
}

/* One more device is ready, or never will be. */
static void settled(struct sim *s)
{
	s->connecting--;
	if (!sim_all_settled(s))
		return;
	s->ready_ms = s->paced_ms = clock_ms();
	if (s->o.command != SIM_PUBLISH)
		sim_say("ready", s->ready, s->began_ms);
	if (s->o.command == SIM_CONNECT && !s->o.duration_s)
		sim_stop(s);
}

void device_failed(struct device *d, const char *why)
{
	if (d->state != DEVICE_DONE) {
		fprintf(stderr, "tidegate-sim: %s: %s\n", d->id, why);
		d->sim->stats.failed++;
		end(d);
		if (!d->was_ready)
			settled(d->sim);
	}
	device_gone(d);
}

void device_ready(struct device *d)
{
	struct sim *s = d->sim;

	d->state = DEVICE_READY;
	device_eager(d);
	if (d->was_ready)
		return;
	d->was_ready = true;
	s->ready++;
	settled(s);
}

void device_asleep(struct device *d)
{
	struct sim *s = d->sim;

	if (d->state == DEVICE_ASLEEP)
		s->stats.wakes++;
	else if (++s->asleep == s->o.clients)
		sim_say("asleep", s->asleep, s->began_ms);
	d->state = DEVICE_ASLEEP;
	if (s->woken_ms)
		sim_collected(s);
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
	device_eager(d);
	finish_if_done(d);
}

void device_synced(struct device *d)
{
	if (d->sim->syncer != d)
		return;
	d->sim->syncer = NULL;
	d->open--;
	finish_if_done(d);
}

static bool all_received(const struct sim *s)
{
	uint64_t n = s->check ? check_result(s->check).distinct : s->stats.received;
	return s->o.command == SIM_SUBSCRIBE && s->o.count &&
	       n >= (uint64_t)s->o.count * s->o.clients;
}

void device_message(struct device *d, struct span topic, struct span payload, int qos, bool retain)
{
	struct sim *s = d->sim;

	if (s->stats.received++ == 0)
		s->first_ms = clock_ms();
	s->ended_ms = clock_ms();
	if (s->check)
		check_message(s->check, d->index, topic, payload);
	if (!s->o.quiet) {
		printf("%-12s %s q%d%s  %.*s  %.*s\n", d->id, d->ops->name, qos,
			retain ? " retained" : "", SPAN_ARGS(topic),
			(int)MIN(payload.len, SHOWN_MAX), (const char *)payload.p);
		fflush(stdout);
	}
	if (!all_received(s))
		return;
	if (s->o.linger_s && !timer_armed(&s->limit))
		timer_arm(&s->limit, (int64_t)s->o.linger_s * 1000);
	else if (!s->o.linger_s)
		sim_stop(s);
}
