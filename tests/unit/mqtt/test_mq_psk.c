#include "adapters/mqtt/mq_tls.h"

#include "gateway/base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct mq_psk *read_text(const char *text, size_t len, struct mq_tls_error *err)
{
	char path[] = "/tmp/tidegate-psk-XXXXXX";
	int fd = mkstemp(path);

	assert_int_equal(write(fd, text, len), len);
	close(fd);
	struct mq_psk *psk = mq_psk_read(path, err);
	unlink(path);
	return psk;
}

static void assert_key(const struct mq_psk *psk, const char *identity, const char *key, size_t len)
{
	unsigned char found[64];

	assert_int_equal(mq_psk_find(psk, identity, found, sizeof(found)), len);
	assert_memory_equal(found, key, len);
}

static void keys_are_found_by_identity(void **state)
{
	(void)state;
	static const char text[] = "# who may come\n"
				   "switch:00ff\r\n"
				   "\n"
				   "urn:dev:7:ABcdef\n" /* the last colon counts */
				   "lamp:0123456789abcdef";
	struct mq_tls_error err;
	unsigned char key[8];
	struct mq_psk *psk = read_text(text, sizeof(text) - 1, &err);
	assert_non_null(psk);
	assert_key(psk, "switch", "\x00\xff", 2);
	assert_key(psk, "urn:dev:7", "\xab\xcd\xef", 3);
	assert_key(psk, "lamp", "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
	assert_int_equal(mq_psk_find(psk, "Lamp", key, sizeof(key)), 0);
	assert_int_equal(mq_psk_find(psk, "", key, sizeof(key)), 0);
	assert_int_equal(mq_psk_find(psk, "# who may come", key, sizeof(key)), 0);
	assert_int_equal(mq_psk_find(psk, "lamp", key, 7), 0);
	mq_psk_free(psk);
}

static void a_wrong_file_is_told(void **state)
{
	(void)state;
	char too_long[200];
	snprintf(too_long, sizeof(too_long), "a:%0130d\n", 0);
	const struct {
		const char *text, *says;
	} cases[] = {
		{ "", "no line" },
		{ "# a comment\n\n", "no line" },
		{ "lamp\n", "line 1" },
		{ "a:00\n:00\n", "line 2" },
		{ "lamp:\n", "line 1" },
		{ "lamp:012\n", "line 1" },
		{ "lamp:0g\n", "line 1" },
		{ "lamp: 00\n", "line 1" },
		{ "lamp:00 \n", "line 1" },
		{ too_long, "line 1" },
		{ "b:00\na:00\nb:11\n", "twice" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mq_tls_error err;
		assert_null(read_text(cases[i].text, strlen(cases[i].text), &err));
		assert_string_equal(err.key, "psk_file");
		if (!strstr(err.text, cases[i].says))
			fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].says);
		assert_null(strstr(err.text, "0g")); /* never a key */
	}
	struct mq_tls_error err;
	assert_null(mq_psk_read("/nonexistent/psk", &err));
	assert_non_null(strstr(err.text, "No such file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_found_by_identity),
		cmocka_unit_test(a_wrong_file_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
