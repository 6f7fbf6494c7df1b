#include "gateway/upstream/stamp.h"

#include "gateway/base/clock.h"
#include "gateway/core/message.h"
#include "gateway/core/props.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_properties_are_added(void **state)
{
	static const uint8_t props[] = { PROP_PAYLOAD_FORMAT, 1, PROP_USER, 0, 1, 'a', 0, 1, 'b' };
	struct prop p;

	(void)state;
	clock_freeze(1000000, 1700000000123);
	struct message *m = message_new(&(struct message_init){
		.topic = span_str("t/1"),
		.payload = span_str("21.5"),
		.props = span_of(props, sizeof(props)),
		.qos = 2,
		.retain = true,
		.expires_ms = 1005000,
	});
	clock_advance(4000);
	m->synced = false;
	struct message *s = stamp(m);
	assert_non_null(s);
	assert_true(span_is(message_topic(s), "t/1") && span_is(message_payload(s), "21.5"));
	assert_true(s->qos == 2 && s->retain && s->expires_ms == 1005000);
	assert_true(props_valid(message_props(s)));
	struct reader r = reader_of(message_props(s));
	assert_true(props_next(&r, &p) && p.id == PROP_PAYLOAD_FORMAT);
	assert_true(props_next(&r, &p) && span_is(p.name, "a"));
	assert_true(props_next(&r, &p) && span_is(p.name, "captured-at"));
	assert_true(span_is(p.value, "2023-11-14T22:13:20.123Z"));
	assert_true(props_next(&r, &p) && span_is(p.name, "clock") && span_is(p.value, "unsynced"));
	assert_false(props_next(&r, &p) || r.bad);
	message_unref(s);
	m->synced = true;
	s = stamp(m);
	r = reader_of(message_props(s));
	while (props_next(&r, &p))
		;
	assert_true(span_is(p.value, "synced"));
	message_unref(s);
	message_unref(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_properties_are_added),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
