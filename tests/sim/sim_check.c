#include "tests/sim/sim_check.h"

#include "gateway/base/util.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define NUMBER_MAX 10000000u

struct sender {
	UT_hash_handle hh;
	uint64_t *seen; /* owned; a bit for each number */
	size_t words;
	uint32_t highest; /* highest number + 1 */
	size_t key_len;
	uint8_t key[]; /* receiver, topic */
};

struct check {
	struct sender *senders; /* owned */
	struct check_result result;
};

struct check *check_new(void)
{
	return must_calloc(1, sizeof(struct check));
}

void check_free(struct check *c)
{
	struct sender *s, *tmp;
	HASH_ITER(hh, c->senders, s, tmp)
	{
		HASH_DEL(c->senders, s);
		free(s->seen);
		free(s);
	}
	free(c);
}

static struct sender *sender_of(struct check *c, unsigned receiver, struct span topic)
{
	uint8_t key[sizeof(receiver) + 1024];
	size_t len = sizeof(receiver) + MIN(topic.len, 1024);
	struct sender *s;

	memcpy(key, &receiver, sizeof(receiver));
	memcpy(key + sizeof(receiver), topic.p, len - sizeof(receiver));
	HASH_FIND(hh, c->senders, key, len, s);
	if (!s) {
		s = must_calloc(1, sizeof(*s) + len);
		s->key_len = len;
		memcpy(s->key, key, len);
		HASH_ADD_KEYPTR(hh, c->senders, s->key, len, s);
	}
	return s;
}

static bool number_of(struct span payload, uint32_t *number)
{
	size_t i = 0;

	*number = 0;
	for (; i < payload.len && payload.p[i] >= '0' && payload.p[i] <= '9'; i++) {
		*number = *number * 10 + (uint32_t)(payload.p[i] - '0');
		if (*number > NUMBER_MAX)
			return false;
	}
	return i > 0;
}

/* Marks the number; whether it was marked already. */
static bool mark(struct sender *s, uint32_t number)
{
	size_t word = number / 64;
	uint64_t bit = (uint64_t)1 << number % 64;

	if (word >= s->words) {
		size_t words = MAX(word + 1, s->words * 2);
		uint64_t *seen = must_calloc(words, sizeof(*seen));
		if (s->words)
			memcpy(seen, s->seen, s->words * sizeof(*seen));
		free(s->seen);
		s->seen = seen;
		s->words = words;
	}
	bool was = s->seen[word] & bit;
	s->seen[word] |= bit;
	return was;
}

void check_message(struct check *c, unsigned receiver, struct span topic, struct span payload)
{
	uint32_t number;

	if (!number_of(payload, &number)) {
		c->result.unnumbered++;
		return;
	}
	struct sender *s = sender_of(c, receiver, topic);
	if (mark(s, number)) {
		c->result.doubled++;
		return;
	}
	c->result.distinct++;
	if (number < s->highest) {
		c->result.disordered++;
		c->result.missing--;
		return;
	}
	c->result.missing += number - s->highest;
	s->highest = number + 1;
}

struct check_result check_result(const struct check *c)
{
	return c->result;
}
