#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/timer.h"
#include "gateway/base/util.h"
#include "gateway/store/journal.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How long a start with a full journal takes before the records' owners do their part: the records
 * of 10 000 sessions (6 of 150 octets each) and 100 000 messages (120 octets).
 *
 *   journal_replay DIR        DIR is made, filled, opened three times and left there
 *
 * The files are in the page cache, so this is the processor's part of it. */
#define SESSION_RECORDS 60000
#define MESSAGES        100000
#define STARTS          3

struct totals {
	uint64_t records, bytes;
};

static int count(void *arg, uint64_t seq, struct span body)
{
	struct totals *t = arg;

	(void)seq;
	t->records++;
	t->bytes += body.len;
	return 0;
}

static double now_s(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static struct journal *open_counting(struct event_base *base, const char *dir, struct totals *t)
{
	struct store_conf conf = { .dir = dir, .max_bytes = 256 << 20 };
	struct journal_handler handlers[JOURNAL_TYPES];
	struct journal_report report;
	struct journal *j;

	for (size_t i = 0; i < JOURNAL_TYPES; i++)
		handlers[i] = (struct journal_handler){ count, t };
	if (journal_open(base, &conf, handlers, &j, &report) < 0)
		exit(EXIT_FAILURE);
	return j;
}

static void append(struct journal *j, uint8_t type, size_t len)
{
	uint8_t body[256];
	struct span part = { body, len };
	int err;

	random_bytes(body, sizeof(body));
	if (!journal_append(j, type, &part, 1, NULL, &err)) {
		fprintf(stderr, "append: %s\n", strerror(-err));
		exit(EXIT_FAILURE);
	}
}

static void fill(struct event_base *base, const char *dir)
{
	struct totals t = { 0, 0 };
	struct journal *j = open_counting(base, dir, &t);

	for (int i = 0; i < MESSAGES; i++) {
		append(j, 1, 120);
		if (i % 5 < SESSION_RECORDS * 5 / MESSAGES)
			append(j, 2, 150);
		if (i % 1000)
			continue;
		uint64_t mark = journal_mark(j);
		for (journal_hurry(j); !journal_reached(j, mark); journal_turn(j)) {
			event_base_loop(base, EVLOOP_ONCE);
			clock_tick();
			timers_run();
		}
	}
	journal_close(j, 10000);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return EXIT_FAILURE;
	log_set_level(LOG_LEVEL_ERROR);
	struct event_base *base = event_base_new();
	fill(base, argv[1]);
	for (int i = 0; i < STARTS; i++) {
		struct totals t = { 0, 0 };
		double wall = now_s(CLOCK_MONOTONIC), cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
		struct journal *j = open_counting(base, argv[1], &t);
		wall = now_s(CLOCK_MONOTONIC) - wall;
		cpu = now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
		printf("records=%llu bytes=%llu seconds=%.3f cpu=%.3f\n",
			(unsigned long long)t.records, (unsigned long long)t.bytes, wall, cpu);
		journal_close(j, 10000);
	}
	event_base_free(base);
	return EXIT_SUCCESS;
}
