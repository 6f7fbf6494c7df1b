#include "gateway/core/identity.h"

#include "gateway/core/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void origins_are_never_used_twice(void **state)
{
	uint64_t a = identity_new_origin(), b = identity_new_origin();
	(void)state;

	assert_true(a >= ORIGIN_FIRST_CLIENT);
	assert_true(b > a);
}

static void protocols_have_names(void **state)
{
	(void)state;
	assert_string_equal(protocol_name(PROTO_GATEWAY), "gateway");
	assert_string_equal(protocol_name(PROTO_MQTTSN), "mqttsn");
	assert_string_equal(protocol_name(PROTO_COAP), "coap");
	assert_string_equal(protocol_name((enum protocol)99), "unknown");
}

static void the_default_policy_allows_everything(void **state)
{
	struct identity who = { .client_id = "dev", .protocol = PROTO_MQTTSN };
	struct policy *p = &policy_allow_all;
	(void)state;

	assert_int_equal(p->connect(p, &who, span_str("")), R_SUCCESS);
	assert_true(p->allows(p, &who, ACCESS_PUBLISH, span_str("a")));
	assert_true(p->allows(p, &who, ACCESS_SUBSCRIBE, span_str("#")));
	assert_true(p->allows(p, &who, ACCESS_RECEIVE, span_str("a")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(origins_are_never_used_twice),
		cmocka_unit_test(protocols_have_names),
		cmocka_unit_test(the_default_policy_allows_everything),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
