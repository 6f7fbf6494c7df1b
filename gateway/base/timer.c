#include "gateway/base/timer.h"

#include "gateway/base/clock.h"

/* A wheel of eight levels of 64 slots, each slot of a level as wide as the whole level below. A
 * timer lies on the level of the highest base-64 digit in which its due time differs from the
 * wheel's time, in the slot of its own digit. When the wheel's time reaches the beginning of a
 * slot, its timers move down; so each moves at most seven times in its life, and fires in the
 * millisecond it is due.
 *
 * All occupied slots of a level lie ahead of the wheel's own digit there, and all slots of a lower
 * level begin before those of a higher one: the first bit of the lowest level not empty is what
 * comes next. */
enum { LEVELS = 8, DIGIT_BITS = 6, SLOTS = 1 << DIGIT_BITS };

/* 2200 years: sums with clock_ms() stay below 64^8. */
#define DELAY_MAX_MS ((int64_t)1 << 46)

static struct {
	bool ready;
	int64_t now_ms; /* all that was due up to here has left the slots */
	uint64_t
		occupied[LEVELS]; /* bit per slot; may be set for one that timer_disarm() emptied */
	struct list slots[LEVELS][SLOTS]; /* struct timer.node */
	struct list overdue;              /* was due when it was armed */
} wheel;

static void wheel_init(void)
{
	for (int level = 0; level < LEVELS; level++) {
		for (int slot = 0; slot < SLOTS; slot++)
			list_init(&wheel.slots[level][slot]);
	}
	list_init(&wheel.overdue);
	wheel.now_ms = clock_ms();
	wheel.ready = true;
}

static void wheel_place(struct timer *t)
{
	if (t->due_ms <= wheel.now_ms) {
		list_append(&wheel.overdue, &t->node);
		return;
	}
	uint64_t differ = (uint64_t)t->due_ms ^ (uint64_t)wheel.now_ms;
	int level = (63 - __builtin_clzll(differ)) / DIGIT_BITS;
	int slot = (int)(t->due_ms >> level * DIGIT_BITS) & (SLOTS - 1);
	wheel.occupied[level] |= (uint64_t)1 << slot;
	list_append(&wheel.slots[level][slot], &t->node);
}

/* The lowest occupied slot; NULL when there is none. */
static struct list *wheel_next(int64_t *begins_ms)
{
	for (int level = 0; level < LEVELS; level++) {
		while (wheel.occupied[level]) {
			int slot = __builtin_ctzll(wheel.occupied[level]);
			struct list *timers = &wheel.slots[level][slot];
			if (list_empty(timers)) {
				wheel.occupied[level] &= wheel.occupied[level] - 1;
				continue;
			}
			int shift = level * DIGIT_BITS;
			int64_t below = ((int64_t)1 << (shift + DIGIT_BITS)) - 1;
			*begins_ms = (wheel.now_ms & ~below) | (int64_t)slot << shift;
			return timers;
		}
	}
	return NULL;
}

static void place_all(struct list *timers)
{
	while (!list_empty(timers)) {
		struct timer *t = list_first(timers, struct timer, node);
		list_remove(&t->node);
		wheel_place(t);
	}
}

/* The monotonic clock never goes back, but a test may set it. */
static void wheel_rewind(int64_t now_ms)
{
	struct list all = LIST_INIT(all), *timers;
	int64_t begins_ms;
	while ((timers = wheel_next(&begins_ms)))
		list_splice(&all, timers);
	list_splice(&all, &wheel.overdue);
	wheel.now_ms = now_ms;
	place_all(&all);
}

static void wheel_sync(void)
{
	if (!wheel.ready)
		wheel_init();
	if (clock_ms() < wheel.now_ms)
		wheel_rewind(clock_ms());
}

/* Moves the wheel on; all that is due ends up in `overdue`. */
static void wheel_advance(int64_t now_ms)
{
	struct list *timers;
	int64_t begins_ms;
	while ((timers = wheel_next(&begins_ms)) && begins_ms <= now_ms) {
		struct list moving = LIST_INIT(moving);
		list_splice(&moving, timers);
		wheel.now_ms = begins_ms;
		place_all(&moving);
	}
	wheel.now_ms = now_ms;
}

void timer_init(struct timer *t, void (*fire)(struct timer *))
{
	list_init(&t->node);
	t->due_ms = 0;
	t->fire = fire;
}

void timer_arm(struct timer *t, int64_t delay_ms)
{
	timer_disarm(t);
	wheel_sync();
	t->due_ms = clock_ms() + MAX(MIN(delay_ms, DELAY_MAX_MS), 0);
	wheel_place(t);
}

void timer_disarm(struct timer *t)
{
	if (timer_armed(t))
		list_remove(&t->node);
}

bool timer_armed(const struct timer *t)
{
	return t->node.next && !list_empty(&t->node);
}

int64_t timers_next_ms(void)
{
	wheel_sync();
	if (!list_empty(&wheel.overdue))
		return 0;
	int64_t begins_ms;
	if (!wheel_next(&begins_ms))
		return -1;
	return MAX(begins_ms - clock_ms(), 0);
}

void timers_run(void)
{
	wheel_sync();
	wheel_advance(clock_ms());
	/* What a callback arms with no delay goes to `overdue` again, for the next run. */
	struct list due = LIST_INIT(due);
	list_splice(&due, &wheel.overdue);
	while (!list_empty(&due)) {
		struct timer *t = list_first(&due, struct timer, node);
		list_remove(&t->node);
		t->fire(t);
	}
}
