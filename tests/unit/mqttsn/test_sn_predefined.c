#include "adapters/mqttsn/sn_predefined.h"
#include "gateway/base/util.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/tidegate-predefined-XXXXXX";
static char why[256];

static int make_file(void **state)
{
	(void)state;
	int fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static int load_bytes(const void *text, size_t len, struct sn_predefined **p)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
	why[0] = '\0';
	return sn_predefined_load(path, p, why, sizeof(why));
}

static int load(const char *text, struct sn_predefined **p)
{
	return load_bytes(text, strlen(text), p);
}

static void assert_finds(
	const struct sn_predefined *p, const char *client, uint16_t id, const char *topic)
{
	assert_true(span_equal(sn_predefined_find(p, client, id), span_str(topic)));
}

static void test_good_file(void **state)
{
	struct sn_predefined *p;
	(void)state;
	assert_int_equal(load("# comment\n"
			      "\n"
			      "[*]\n"
			      "  2 = house/two = 2 \r\n"
			      "1=house/one\n"
			      "; comment\n"
			      "[dev 17]\n"
			      "1 = own/one\n"
			      "65534 = own/last\n"
			      "[*]\n"
			      "3 = \xc3\xa9t\xc3\xa9",
				 &p),
		0);
	assert_int_equal(sn_predefined_count(p), 5);
	assert_finds(p, "dev 17", 1, "own/one");
	assert_finds(p, "dev 17", 2, "house/two = 2");
	assert_finds(p, "dev 17", 65534, "own/last");
	assert_finds(p, "other", 1, "house/one");
	assert_finds(p, "other", 65534, NULL);
	assert_finds(p, NULL, 1, "house/one");
	assert_finds(p, NULL, 3, "\xc3\xa9t\xc3\xa9");
	assert_finds(p, NULL, 0, NULL);
	sn_predefined_free(p);
}

static void test_patterns(void **state)
{
	struct sn_predefined *p;
	(void)state;
	assert_int_equal(load("[*]\n1 = all\n2 = all/two\n"
			      "[meter-*]\n1 = meters\n"
			      "[*-?]\n1 = short\n3 = three\n"
			      "[meter-*]\n4 = four\n"
			      "[meter-7]\n1 = own\n",
				 &p),
		0);
	assert_finds(p, "meter-7", 1, "own");
	assert_finds(p, "meter-8", 1, "meters");
	assert_finds(p, "meter-", 1, "meters");
	assert_finds(p, "meter-8", 3, "three");
	assert_finds(p, "meter-88", 3, "");
	assert_finds(p, "meter-88", 4, "four");
	assert_finds(p, "lamp-1", 1, "short");
	assert_finds(p, "lamp-12", 1, "all");
	assert_finds(p, "lamp-1", 2, "all/two");
	assert_finds(p, "meter", 1, "all");
	assert_finds(p, NULL, 1, "all");
	sn_predefined_free(p);
}

/* Backtracking stays within the product of the lengths. */
static void test_hostile_client_id(void **state)
{
	struct sn_predefined *p;
	char id[257];
	(void)state;
	assert_int_equal(load("[*a*a*a*a*a*a*a*a*a*a*a*b]\n1 = never\n[*]\n1 = all\n", &p), 0);
	memset(id, 'a', sizeof(id) - 1);
	id[sizeof(id) - 1] = '\0';
	for (int i = 0; i < 1000; i++)
		assert_finds(p, id, 1, "all");
	sn_predefined_free(p);
}

static void test_too_many_patterns(void **state)
{
	struct sn_predefined *p;
	char text[2048];
	int n = 0;
	(void)state;
	for (int i = 0; i < 65; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "[p%d*]\n1 = a\n", i);
	assert_int_equal(load(text, &p), -EINVAL);
	assert_non_null(strstr(why, ":129: too many patterns"));
}

static void test_nothing(void **state)
{
	struct sn_predefined *p;
	(void)state;
	assert_int_equal(sn_predefined_load(NULL, &p, why, sizeof(why)), 0);
	assert_int_equal(sn_predefined_count(p), 0);
	assert_finds(p, "dev", 1, NULL);
	sn_predefined_free(p);
	assert_int_equal(load("", &p), 0);
	sn_predefined_free(p);
	sn_predefined_free(NULL);
}

/* One clear line each, with the line's number. */
static void test_mistakes(void **state)
{
	static const struct {
		const char *text;
		unsigned line;
		const char *says;
	} cases[] = {
		{ "1 = a", 1, "before any header" },
		{ "[*]\nfoo", 2, "write id = topic" },
		{ "[*]\n0 = a", 2, "1 to 65534" },
		{ "[*]\n65535 = a", 2, "1 to 65534" },
		{ "[*]\n-1 = a", 2, "1 to 65534" },
		{ "[*]\nx = a", 2, "1 to 65534" },
		{ "[*]\n99999999999999999999 = a", 2, "1 to 65534" },
		{ "[*]\n = a", 2, "1 to 65534" },
		{ "[*]\n1 =", 2, "not a topic" },
		{ "[*]\n1 = a/#", 2, "not a topic" },
		{ "[*]\n1 = a\x01", 2, "not a topic" },
		{ "[*]\n1 = \xff", 2, "not a topic" },
		{ "[*", 1, "not a header" },
		{ "[]", 1, "not a header" },
		{ "[\xff]", 1, "not a client id" },
		{ "[*]\n1 = a\n\n1 = b", 4, "has a topic already" },
		{ "[x]\n1 = a\n[*]\n1 = a\n[x]\n1 = b", 6, "has a topic already" },
	};
	struct sn_predefined *p;
	char start[64];
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(load(cases[i].text, &p), -EINVAL);
		snprintf(start, sizeof(start), "%s:%u: ", path, cases[i].line);
		assert_memory_equal(why, start, strlen(start));
		assert_non_null(strstr(why, cases[i].says));
		assert_null(strchr(why, '\n'));
	}
}

static void test_unusable_files(void **state)
{
	static char big[SN_PREDEFINED_FILE_MAX + 1];
	struct sn_predefined *p;
	(void)state;
	assert_int_equal(sn_predefined_load("/nonexistent/topics", &p, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "/nonexistent/topics"));
	assert_int_equal(load_bytes("[*]\n1 = a\0b", 11, &p), -EINVAL);
	assert_non_null(strstr(why, "NUL"));
	memset(big, '\n', sizeof(big));
	assert_int_equal(load_bytes(big, sizeof(big), &p), -EFBIG);
	memset(big, '#', 5000);
	assert_int_equal(load_bytes(big, 6000, &p), -EINVAL);
	assert_non_null(strstr(why, "too long"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_file),
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_hostile_client_id),
		cmocka_unit_test(test_too_many_patterns),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_unusable_files),
	};
	return cmocka_run_group_tests(tests, make_file, remove_file);
}
