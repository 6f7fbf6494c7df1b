#include "gateway/base/util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t seed_mix;

static uint64_t mix(uint64_t h)
{
	h ^= h >> 33;
	h *= UINT64_C(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64_C(0xc4ceb9fe1a85ec53);
	return h ^ h >> 33;
}

void hash_seed(uint64_t seed)
{
	seed_mix = mix(seed);
}

uint64_t hash_bytes(const void *p, size_t len)
{
	const uint8_t *b = p;
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed_mix;
	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * UINT64_C(0x100000001b3);
	return mix(h ^ seed_mix);
}

static _Noreturn void out_of_memory(void)
{
	fputs("tidegate: out of memory at start-up\n", stderr);
	exit(1);
}

void *must_calloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);
	if (!p)
		out_of_memory();
	return p;
}

char *must_strdup(const char *s)
{
	char *copy = strdup(s);
	if (!copy)
		out_of_memory();
	return copy;
}

char *must_printf(const char *fmt, ...)
{
	char *text;
	va_list ap;
	va_start(ap, fmt);
	int len = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (len < 0)
		out_of_memory();
	return text;
}

void random_bytes(void *buf, size_t len)
{
	uint8_t *p = buf;
	while (len) {
		ssize_t n = getrandom(p, len, 0);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno != EINTR) {
			/* A kernel without getrandom(2) is older than all we build for. */
			perror("tidegate: getrandom");
			abort();
		}
	}
}

uint32_t random_below(uint32_t limit)
{
	static _Thread_local uint64_t state;
	while (!state)
		random_bytes(&state, sizeof(state));
	/* xorshift64*, then the high half scaled: no division, a bias below 2^-32 per value. */
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	uint64_t high = (state * UINT64_C(0x2545f4914f6cdd1d)) >> 32;
	return (uint32_t)(high * limit >> 32);
}
