#ifndef TIDEGATE_BASE_UTIL_H
#define TIDEGATE_BASE_UTIL_H

#include <stddef.h>
#include <stdint.h>

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* 64-bit FNV-1a followed by a finalizer, seeded at start-up so that peers cannot aim for
 * collisions. */
uint64_t hash_bytes(const void *p, size_t len);
void hash_seed(uint64_t seed);

/* Start-up allocations: end the program with a message (exit 1) instead of returning NULL. */
void *must_calloc(size_t n, size_t size);
char *must_strdup(const char *s);
char *must_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Fills `buf` with bytes of the kernel's random generator. Never fails. */
void random_bytes(void *buf, size_t len);
/* A number below `limit` (> 0); for jitter, not for secrets. */
uint32_t random_below(uint32_t limit);

#endif
