#include "gateway/base/count.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct count late = COUNT("mqttsn.refused");
static struct count early = COUNT("coap.refused");
static struct count unused = COUNT("never.used");
static struct count twin = COUNT("mqttsn.refused");

static void put_name(const struct count *c, void *arg)
{
	char *names = arg;
	size_t len = strlen(names);
	snprintf(names + len, 200 - len, "%s=%u ", c->name, (unsigned)c->n);
}

static void listed_by_name_once_used(void **state)
{
	char names[200] = "";
	(void)state;
	assert_int_equal(count_value("mqttsn.refused"), 0);
	count_one(&late);
	count_one(&early);
	count_one(&late);
	count_add(&early, 10);
	counts_each(put_name, names);
	assert_string_equal(names, "coap.refused=11 mqttsn.refused=2 ");
	assert_int_equal(count_value("coap.refused"), 11);
	assert_int_equal(count_value(unused.name), 0);
}

static void one_name_in_two_files_is_one_value(void **state)
{
	(void)state;
	count_add(&twin, 5);
	assert_int_equal(count_value("mqttsn.refused"), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listed_by_name_once_used),
		cmocka_unit_test(one_name_in_two_files_is_one_value),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
