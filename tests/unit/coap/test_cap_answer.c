#include "adapters/coap/cap_answer.h"

#include "adapters/coap/cap_map.h"
#include "tests/unit/coap/device.h"

/* What libcoap would put on the wire: a PDU keeps token, options and payload in one piece. */
static size_t octets(const coap_pdu_t *pdu)
{
	coap_bin_const_t token = coap_pdu_get_token(pdu);
	const uint8_t *data, *end = token.s + token.length;
	coap_opt_iterator_t it;
	coap_opt_t *o;
	size_t len;

	coap_option_iterator_init(pdu, &it, COAP_OPT_ALL);
	while ((o = coap_option_next(&it)))
		end = o + coap_opt_size(o);
	if (coap_get_data(pdu, &len, &data))
		end = data + len;
	return 4 + (size_t)(end - token.s);
}

static coap_pdu_t *pdu_of(const struct cap_answer *a, size_t max)
{
	coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_ACK, COAP_EMPTY_CODE, 7, max);

	assert_non_null(pdu);
	assert_true(coap_add_token(pdu, 3, (const uint8_t *)"tok"));
	if (cap_answer_write(a, pdu))
		return pdu;
	coap_delete_pdu(pdu);
	return NULL;
}

static void size_is_that_of_the_pdu(void **state)
{
	struct cap_answer a;
	coap_pdu_t *pdu;

	(void)state;
	cap_answer_init(&a, COAP_RESPONSE_CODE(205));
	assert_int_equal(cap_answer_size(&a, 3), 7);
	a.has_etag = true;
	a.observe = 0x123456;
	a.location = span_str("a/some/longer/topic//with/an/empty/level");
	a.format = 0;
	a.max_age = 4000000000;
	a.block2 = cap_block_option(70000, true, 6);
	a.size2 = 70000;
	a.size1 = 0;
	a.echo = span_str("12345678");
	a.payload = span_str("hello");
	pdu = pdu_of(&a, 1000);
	assert_non_null(pdu);
	assert_int_equal(coap_pdu_get_code(pdu), COAP_RESPONSE_CODE(205));
	assert_int_equal(octets(pdu), cap_answer_size(&a, 3));
	coap_delete_pdu(pdu);
	assert_null(pdu_of(&a, 50));
}

static void level_without_a_name_leaves_the_location_out(void **state)
{
	char topic[300];
	struct cap_answer a;

	(void)state;
	memset(topic, 'x', sizeof(topic));
	cap_answer_init(&a, COAP_RESPONSE_CODE(205));
	a.location = span_of(topic, 256);
	assert_int_equal(cap_answer_size(&a, 0), 4);
	a.location = span_of(topic, 255);
	assert_true(cap_answer_size(&a, 0) > 255);
}

static void refusals_say_when_to_come_again(void **state)
{
	struct cap_answer a;

	(void)state;
	cap_answer_init(&a, COAP_RESPONSE_CODE(503));
	assert_true(a.max_age > 0);
	cap_answer_init(&a, COAP_RESPONSE_CODE(404));
	assert_int_equal(a.max_age, -1);
}

static void block_options(void **state)
{
	struct cap_block b;

	(void)state;
	assert_true(cap_block_parse(0, &b));
	assert_int_equal(cap_block_size(b.szx), 16);
	assert_true(cap_block_parse(cap_block_option(5, true, 6), &b));
	assert_int_equal(b.num, 5);
	assert_true(b.more);
	assert_int_equal(b.szx, 6);
	assert_false(cap_block_parse(7, &b));
	assert_true(cap_block_parse(0xfffffff6, &b));
	assert_int_equal(b.num, 0xfffffff);
}

/* One slice; -1: there is none, else the Block2 option and the payload in *a. */
static bool slice(struct cap_answer *a, size_t len, uint32_t num, uint8_t szx, size_t room)
{
	static uint8_t body[5000];

	cap_answer_init(a, COAP_RESPONSE_CODE(205));
	return cap_answer_slice(a, span_of(body, len), num, szx, false, 8, room);
}

static void slices(void **state)
{
	struct cap_answer a;

	(void)state;
	assert_true(slice(&a, 1024, 0, 6, 1396));
	assert_int_equal(a.payload.len, 1024);
	assert_int_equal(a.block2, -1);
	assert_int_equal(a.size2, -1);
	assert_true(slice(&a, 1025, 0, 6, 1396));
	assert_int_equal(a.payload.len, 1024);
	assert_int_equal(a.block2, cap_block_option(0, true, 6));
	assert_int_equal(a.size2, 1025);
	assert_true(slice(&a, 1025, 1, 6, 1396));
	assert_int_equal(a.payload.len, 1);
	assert_int_equal(a.block2, cap_block_option(1, false, 6));
	assert_false(slice(&a, 1025, 2, 6, 1396));
	assert_false(slice(&a, 1024, 1, 6, 1396));
	assert_false(slice(&a, 0, 1, 6, 1396));
	assert_false(slice(&a, 100, 0xfffffff, 6, 1396));
	assert_true(slice(&a, 0, 0, 6, 1396));
	assert_int_equal(a.payload.len, 0);
	/* No room for what was asked for: smaller blocks, from the same place on. */
	assert_true(slice(&a, 4096, 1, 6, 600));
	assert_int_equal(a.payload.len, 512);
	assert_int_equal(a.block2, cap_block_option(2, true, 5));
	assert_true(slice(&a, 4096, 0, 6, 5));
	assert_int_equal(a.payload.len, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(size_is_that_of_the_pdu),
		cmocka_unit_test(level_without_a_name_leaves_the_location_out),
		cmocka_unit_test(refusals_say_when_to_come_again),
		cmocka_unit_test(block_options),
		cmocka_unit_test(slices),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
