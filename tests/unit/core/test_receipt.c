#include "gateway/core/receipt.h"

#include "gateway/base/util.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct waiter {
	struct receipt receipt;
	struct receipt *cancels; /* from inside done; NULL: none */
	struct receipt_hold *releases;
	unsigned fired;
	enum reason reason;
};

static void on_done(struct receipt *r, enum reason reason)
{
	struct waiter *w = container_of(r, struct waiter, receipt);

	w->fired++;
	w->reason = reason;
	if (w->cancels)
		receipt_cancel(w->cancels);
	if (w->releases)
		receipt_release(w->releases, R_SUCCESS);
}

static void waiter_init(struct waiter *w)
{
	*w = (struct waiter){ .fired = 0 };
	receipt_init(&w->receipt, on_done);
}

static void fires_after_the_last_hold(void **state)
{
	struct waiter w;
	struct receipt_hold a, b;
	(void)state;

	waiter_init(&w);
	assert_false(receipt_open(&w.receipt));
	receipt_hold(&w.receipt, &a);
	receipt_hold(&w.receipt, &b);
	assert_true(receipt_held(&a));
	receipt_release(&a, R_SUCCESS);
	assert_false(receipt_held(&a));
	assert_false(receipts_pending());
	receipt_release(&b, R_SUCCESS);
	assert_int_equal(w.fired, 0); /* never from inside */
	assert_true(receipt_open(&w.receipt));
	assert_true(receipts_pending());
	receipts_run();
	assert_int_equal(w.fired, 1);
	assert_int_equal(w.reason, R_SUCCESS);
	assert_false(receipt_open(&w.receipt));
	assert_false(receipts_pending());
	receipts_run();
	assert_int_equal(w.fired, 1);
}

static void tells_the_worst(void **state)
{
	struct waiter w;
	struct receipt_hold a, b, c;
	(void)state;

	waiter_init(&w);
	receipt_hold(&w.receipt, &a);
	receipt_hold(&w.receipt, &b);
	receipt_hold(&w.receipt, &c);
	receipt_release(&a, R_SUCCESS);
	receipt_release(&b, R_QUOTA);
	receipt_release(&c, R_SUCCESS);
	receipts_run();
	assert_int_equal(w.reason, R_QUOTA);
}

static void releasing_twice_is_harmless(void **state)
{
	struct waiter w;
	struct receipt_hold a, b, zeroed = { .receipt = NULL };
	(void)state;

	waiter_init(&w);
	receipt_hold(&w.receipt, &a);
	receipt_hold(&w.receipt, &b);
	receipt_release(&a, R_SUCCESS);
	receipt_release(&a, R_QUOTA);
	receipt_release(&zeroed, R_QUOTA);
	assert_false(receipts_pending());
	receipt_release(&b, R_SUCCESS);
	receipts_run();
	assert_int_equal(w.reason, R_SUCCESS);
}

static void a_hold_without_a_receipt_is_empty(void **state)
{
	struct receipt_hold h;
	(void)state;

	receipt_hold(NULL, &h);
	assert_false(receipt_held(&h));
	receipt_release(&h, R_SUCCESS);
	assert_false(receipts_pending());
}

static void a_cancelled_one_does_not_fire(void **state)
{
	struct waiter held, ready;
	struct receipt_hold a, b;
	(void)state;

	waiter_init(&held);
	receipt_hold(&held.receipt, &a);
	receipt_cancel(&held.receipt);
	assert_false(receipt_held(&a));
	receipt_release(&a, R_SUCCESS);

	waiter_init(&ready);
	receipt_hold(&ready.receipt, &b);
	receipt_release(&b, R_SUCCESS);
	receipt_cancel(&ready.receipt);
	assert_false(receipt_open(&ready.receipt));
	receipt_cancel(&ready.receipt);
	receipts_run();
	assert_int_equal(held.fired + ready.fired, 0);
}

/* The owner frees itself and its neighbour while the batch is being told. */
static void one_may_cancel_another_of_the_batch(void **state)
{
	struct waiter first, second, third;
	struct receipt_hold a, b, c;
	(void)state;

	waiter_init(&first);
	waiter_init(&second);
	waiter_init(&third);
	receipt_hold(&first.receipt, &a);
	receipt_hold(&second.receipt, &b);
	receipt_hold(&third.receipt, &c);
	first.cancels = &second.receipt;
	receipt_release(&a, R_SUCCESS);
	receipt_release(&b, R_SUCCESS);
	receipt_release(&c, R_SUCCESS);
	receipts_run();
	assert_int_equal(first.fired, 1);
	assert_int_equal(second.fired, 0);
	assert_int_equal(third.fired, 1);
}

static void what_becomes_ready_meanwhile_waits(void **state)
{
	struct waiter first, second;
	struct receipt_hold a, b;
	(void)state;

	waiter_init(&first);
	waiter_init(&second);
	receipt_hold(&first.receipt, &a);
	receipt_hold(&second.receipt, &b);
	first.releases = &b;
	receipt_release(&a, R_SUCCESS);
	receipts_run();
	assert_int_equal(second.fired, 0);
	assert_true(receipts_pending());
	receipts_run();
	assert_int_equal(second.fired, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fires_after_the_last_hold),
		cmocka_unit_test(tells_the_worst),
		cmocka_unit_test(releasing_twice_is_harmless),
		cmocka_unit_test(a_hold_without_a_receipt_is_empty),
		cmocka_unit_test(a_cancelled_one_does_not_fire),
		cmocka_unit_test(one_may_cancel_another_of_the_batch),
		cmocka_unit_test(what_becomes_ready_meanwhile_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
