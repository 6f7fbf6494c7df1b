#include "tests/sim/sim_lossy.h"

#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

struct lossy {
	struct lossy_options o;
	struct list held; /* of held.node */
	uint64_t lost;
};

/* A datagram that is late. */
struct held {
	struct list node;
	struct timer timer;
	struct lossy *lossy;   /* borrowed */
	struct device *device; /* borrowed; lives as long as the simulation */
	enum lossy_way way;
	size_t len;
	uint8_t bytes[];
};

struct lossy *lossy_new(const struct lossy_options *o)
{
	struct lossy *l = must_calloc(1, sizeof(*l));
	l->o = *o;
	list_init(&l->held);
	return l;
}

static void held_free(struct held *h)
{
	list_remove(&h->node);
	timer_disarm(&h->timer);
	free(h);
}

void lossy_free(struct lossy *l)
{
	while (!list_empty(&l->held))
		held_free(list_first(&l->held, struct held, node));
	free(l);
}

uint64_t lossy_lost(const struct lossy *l)
{
	return l->lost;
}

/* splitmix64: good enough for dice, and the same everywhere. */
static uint64_t roll(uint64_t *state)
{
	uint64_t z = *state += 0x9E3779B97F4A7C15u;
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

void lossy_seed(const struct lossy *l, struct device *d)
{
	uint64_t state = l->o.seed << 32 ^ d->index;
	d->luck[LOSSY_UP] = roll(&state);
	d->luck[LOSSY_DOWN] = roll(&state);
}

static bool chance(struct device *d, enum lossy_way way, unsigned percent)
{
	return roll(&d->luck[way]) % 100 < percent;
}

static void on_time(struct timer *t)
{
	struct held *h = container_of(t, struct held, timer);
	h->lossy->o.pass[h->way](h->device, span_of(h->bytes, h->len));
	held_free(h);
}

static void hold(struct lossy *l, struct device *d, enum lossy_way way, struct span datagram)
{
	struct held *h = must_calloc(1, sizeof(*h) + datagram.len);

	h->lossy = l;
	h->device = d;
	h->way = way;
	h->len = datagram.len;
	memcpy(h->bytes, datagram.p, datagram.len);
	list_append(&l->held, &h->node);
	timer_init(&h->timer, on_time);
	timer_arm(&h->timer, 1 + (int64_t)(roll(&d->luck[way]) % l->o.delay_ms));
}

void lossy_send(struct lossy *l, struct device *d, enum lossy_way way, struct span datagram)
{
	unsigned copies = chance(d, way, l->o.dup) ? 2 : 1;

	for (unsigned i = 0; i < copies; i++) {
		if (chance(d, way, l->o.loss))
			l->lost++;
		else if (chance(d, way, l->o.reorder))
			hold(l, d, way, datagram);
		else
			l->o.pass[way](d, datagram);
	}
}
