#include "gateway/core/delivery.h"

#include "gateway/core/sub_ids.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct message *msg;

static int set_up(void **state)
{
	(void)state;
	clock_freeze(1000000, 1700000000000);
	msg = message_new(&(struct message_init){ .topic = span_str("a/b"), .qos = 1 });
	return msg ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	message_unref(msg);
	return messages_bytes() == 0 && sub_ids_blocks() == 0 ? 0 : -1;
}

static struct delivery *make(uint8_t qos, uint32_t sub_ids)
{
	struct offer o = { .qos = qos, .retain = true, .sub_ids = sub_ids };
	struct delivery *d = delivery_new(msg, &o, false);
	assert_non_null(d);
	return d;
}

static void it_keeps_what_was_offered(void **state)
{
	(void)state;
	struct delivery *d = make(2, 0);
	assert_ptr_equal(d->msg, msg);
	assert_int_equal(msg->refs, 2);
	assert_int_equal(d->qos, 2);
	assert_int_equal(d->state, DELIVERY_QUEUED);
	assert_true(d->retain);
	assert_false(d->dup || d->due);
	assert_int_equal(delivery_sub_ids(d), 0);
	clock_advance(6400);
	assert_in_range(delivery_age_ms(d), 6400, 6400 + DELIVERY_TICK_MS);
	delivery_free(d);
	assert_int_equal(msg->refs, 1);
}

static void identifiers_live_as_long_as_it(void **state)
{
	(void)state;
	uint32_t several = sub_ids_add(7, 9);
	struct delivery *one = make(1, 7), *two = make(1, several);
	sub_ids_unref(several);
	assert_int_equal(delivery_sub_ids(one), 7);
	assert_int_equal(sub_ids_count(delivery_sub_ids(two)), 2);
	assert_int_equal(sub_ids_blocks(), 1);
	delivery_free(one);
	delivery_free(two);
	assert_int_equal(sub_ids_blocks(), 0);
}

static void during_an_offer_it_takes_no_reference(void **state)
{
	(void)state;
	struct offer o = { .qos = 0, .sub_ids = 12 };
	struct delivery_more all;
	struct delivery *d = delivery_init(&all, msg, &o);
	assert_int_equal(msg->refs, 1);
	assert_int_equal(delivery_sub_ids(d), 12);
}

#ifndef __SANITIZE_ADDRESS__ /* whose blocks are larger */
static void it_takes_32_octets_of_the_heap(void **state)
{
	(void)state;
	struct delivery *d = make(1, 0);
	assert_in_range(malloc_usable_size(d) + sizeof(size_t), 1, 32);
	delivery_free(d);
}
#endif

/* From every place, with what comes behind it and what is appended next in order. */
static void any_can_be_taken_out(void **state)
{
	(void)state;
	for (unsigned place = 0; place < 3; place++) {
		struct delivery d[4] = { 0 }, **links[4];
		struct delivery_list list;
		delivery_list_init(&list);
		for (unsigned i = 0; i < 3; i++)
			links[i] = delivery_append(&list, &d[i]);
		assert_ptr_equal(delivery_take(&list, links[place]), &d[place]);
		links[3] = delivery_append(&list, &d[3]);
		assert_ptr_equal(*links[3], &d[3]);
		unsigned expected = place == 0 ? 1 : 0, n = 0;
		for (struct delivery *at = list.first; at; at = at->next, n++) {
			assert_ptr_equal(at, &d[expected]);
			expected += expected + 1 == place ? 2 : 1;
		}
		assert_int_equal(n, 3);
	}
}

static void the_last_leaves_an_empty_list(void **state)
{
	(void)state;
	struct delivery d = { 0 };
	struct delivery_list list;
	delivery_list_init(&list);
	delivery_take(&list, delivery_append(&list, &d));
	assert_null(list.first);
	assert_ptr_equal(delivery_append(&list, &d), &list.first);
	assert_ptr_equal(list.first, &d);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_keeps_what_was_offered),
		TEST(identifiers_live_as_long_as_it),
		TEST(during_an_offer_it_takes_no_reference),
#ifndef __SANITIZE_ADDRESS__
		TEST(it_takes_32_octets_of_the_heap),
#endif
		TEST(any_can_be_taken_out),
		TEST(the_last_leaves_an_empty_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
