#include "gateway/base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
	int number;
	struct list node;
};

static struct item a = { 1, LIST_INIT(a.node) };
static struct item b = { 2, LIST_INIT(b.node) };
static struct item c = { 3, LIST_INIT(c.node) };

/* The numbers on the list as decimal digits, read forwards; checks the way back as well. */
static int digits(const struct list *head)
{
	int n = 0;
	const struct list *at;
	list_for_each(at, head) {
		assert_ptr_equal(at->next->prev, at);
		n = n * 10 + list_entry((struct list *)at, struct item, node)->number;
	}
	return n;
}

static int setup(void **state)
{
	(void)state;
	list_init(&a.node);
	list_init(&b.node);
	list_init(&c.node);
	return 0;
}

static void both_ends_and_the_middle(void **state)
{
	struct list head = LIST_INIT(head);
	(void)state;
	assert_true(list_empty(&head));
	list_append(&head, &b.node);
	list_append(&head, &c.node);
	list_prepend(&head, &a.node);
	assert_int_equal(digits(&head), 123);
	assert_ptr_equal(list_first(&head, struct item, node), &a);
	assert_ptr_equal(list_last(&head, struct item, node), &c);
	list_remove(&b.node);
	assert_int_equal(digits(&head), 13);
	list_insert_before(&c.node, &b.node);
	assert_int_equal(digits(&head), 123);
}

static void removing_twice_is_harmless(void **state)
{
	struct list head = LIST_INIT(head);
	(void)state;
	list_append(&head, &a.node);
	list_append(&head, &b.node);
	list_remove(&a.node);
	list_remove(&a.node);
	assert_true(list_empty(&a.node));
	assert_int_equal(digits(&head), 2);
}

static void splice_moves_all_in_order(void **state)
{
	struct list to = LIST_INIT(to), from = LIST_INIT(from);
	(void)state;
	list_splice(&to, &from);
	assert_true(list_empty(&to));
	list_append(&to, &a.node);
	list_append(&from, &b.node);
	list_append(&from, &c.node);
	list_splice(&to, &from);
	assert_int_equal(digits(&to), 123);
	assert_true(list_empty(&from));
}

static void loop_may_remove_its_own_entry(void **state)
{
	struct list head = LIST_INIT(head), *at, *next;
	(void)state;
	list_append(&head, &a.node);
	list_append(&head, &b.node);
	list_append(&head, &c.node);
	list_for_each_safe(at, next, &head) {
		if (list_entry(at, struct item, node)->number != 2)
			list_remove(at);
	}
	assert_int_equal(digits(&head), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(both_ends_and_the_middle, setup),
		cmocka_unit_test_setup(removing_twice_is_harmless, setup),
		cmocka_unit_test_setup(splice_moves_all_in_order, setup),
		cmocka_unit_test_setup(loop_may_remove_its_own_entry, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
