#include "adapters/mqtt/mq_tls.h"

#include "gateway/base/file.h"
#include "gateway/base/util.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES (1024 * 1024)
#define IDENTITY_MAX   128 /* what OpenSSL takes (PSK_MAX_IDENTITY_LEN, 3.0) */
#define KEY_MAX_OCTETS 64

struct entry {
	const char *identity; /* in `text` */
	unsigned char key[KEY_MAX_OCTETS];
	uint8_t key_len;
};

struct mq_psk {
	char *text; /* owned: the file, cut into strings */
	size_t text_len;
	size_t n;
	struct entry *entries; /* owned, by identity */
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool parse_key(struct entry *e, const char *hex)
{
	size_t len = strlen(hex);

	if (len == 0 || len % 2 || len / 2 > sizeof(e->key))
		return false;
	for (size_t i = 0; i < len; i += 2) {
		int hi = hex_digit(hex[i]), lo = hex_digit(hex[i + 1]);
		if (hi < 0 || lo < 0)
			return false;
		e->key[i / 2] = (unsigned char)(hi << 4 | lo);
	}
	e->key_len = (uint8_t)(len / 2);
	return true;
}

/* "identity:key"; cuts the line. */
static bool parse_line(struct entry *e, char *line)
{
	char *colon = strrchr(line, ':');

	if (!colon || colon == line || colon - line > IDENTITY_MAX)
		return false;
	*colon = '\0';
	e->identity = line;
	return parse_key(e, colon + 1);
}

static int by_identity(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return strcmp(x->identity, y->identity);
}

static int psk_fail(struct mq_tls_error *err, const char *path, size_t line, const char *what)
{
	err->key = "psk_file";
	if (line)
		snprintf(err->text, sizeof(err->text), "%s, line %zu: %s", path, line, what);
	else
		snprintf(err->text, sizeof(err->text), "%s: %s", path, what);
	return -1;
}

static int check_twins(const struct mq_psk *psk, const char *path, struct mq_tls_error *err)
{
	for (size_t i = 1; i < psk->n; i++)
		if (strcmp(psk->entries[i - 1].identity, psk->entries[i].identity) == 0)
			return psk_fail(err, path, 0, "an identity stands in it twice");
	return psk->n ? 0 : psk_fail(err, path, 0, "no line with identity:key in it");
}

static size_t count_lines(const char *text)
{
	size_t n = 1;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static int parse(struct mq_psk *psk, const char *path, struct mq_tls_error *err)
{
	char *rest = psk->text, *line;

	psk->entries = calloc(count_lines(psk->text), sizeof(*psk->entries));
	if (!psk->entries)
		return psk_fail(err, path, 0, "out of memory");
	for (size_t number = 1; (line = strsep(&rest, "\n")); number++) {
		line[strcspn(line, "\r")] = '\0';
		if (line[0] == '\0' || line[0] == '#')
			continue;
		if (!parse_line(&psk->entries[psk->n], line))
			return psk_fail(err, path, number,
				"not identity:key with the key in hexadecimal, at most 64 octets");
		psk->n++;
	}
	qsort(psk->entries, psk->n, sizeof(*psk->entries), by_identity);
	return check_twins(psk, path, err);
}

struct mq_psk *mq_psk_read(const char *path, struct mq_tls_error *err)
{
	struct mq_psk *psk = must_calloc(1, sizeof(*psk));

	int e = file_read(path, FILE_MAX_BYTES, &psk->text, &psk->text_len);
	if (e < 0)
		psk_fail(err, path, 0, strerror(-e));
	if (e < 0 || parse(psk, path, err) < 0) {
		mq_psk_free(psk);
		return NULL;
	}
	return psk;
}

size_t mq_psk_find(const struct mq_psk *psk, const char *identity, unsigned char *key, size_t cap)
{
	struct entry wanted = { .identity = identity };
	const struct entry *e = bsearch(&wanted, psk->entries, psk->n, sizeof(wanted), by_identity);

	if (!e || e->key_len > cap)
		return 0;
	memcpy(key, e->key, e->key_len);
	return e->key_len;
}

void mq_psk_free(struct mq_psk *psk)
{
	if (!psk)
		return;
	if (psk->text)
		OPENSSL_cleanse(psk->text, psk->text_len);
	if (psk->entries)
		OPENSSL_cleanse(psk->entries, psk->n * sizeof(*psk->entries));
	free(psk->entries);
	free(psk->text);
	free(psk);
}
