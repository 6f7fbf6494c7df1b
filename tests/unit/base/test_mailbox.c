#include "gateway/base/mailbox.h"

#include "gateway/base/util.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct letter {
	struct mail mail; /* first */
	int number;
};

static struct event_base *base;
static int received, last_number, out_of_order;

static struct letter *letter_new(int number)
{
	struct letter *l = calloc(1, sizeof(*l));
	assert_non_null(l);
	l->number = number;
	return l;
}

static void receive(struct mail *m, void *arg)
{
	struct letter *l = container_of(m, struct letter, mail);
	(void)arg;
	received++;
	out_of_order += l->number != last_number + 1;
	last_number = l->number;
	free(l);
}

static int setup(void **state)
{
	(void)state;
	received = last_number = out_of_order = 0;
	base = event_base_new();
	return base ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	event_base_free(base);
	return 0;
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void letters_arrive_in_order(void **state)
{
	struct mailbox *mb = mailbox_new(base, receive, NULL);
	(void)state;
	assert_non_null(mb);
	for (int i = 1; i <= 10; i++)
		mailbox_post(mb, &letter_new(i)->mail);
	assert_int_equal(received, 0);
	turn();
	assert_int_equal(received, 10);
	turn();
	mailbox_post(mb, &letter_new(11)->mail);
	turn();
	assert_int_equal(received, 11);
	assert_int_equal(out_of_order, 0);
	mailbox_free(mb);
}

static void a_turn_takes_one_batch(void **state)
{
	struct mailbox *mb = mailbox_new(base, receive, NULL);
	(void)state;
	for (int i = 1; i <= MAILBOX_BATCH + 10; i++)
		mailbox_post(mb, &letter_new(i)->mail);
	turn();
	assert_int_equal(received, MAILBOX_BATCH);
	mailbox_post(mb, &letter_new(MAILBOX_BATCH + 11)->mail);
	turn();
	assert_int_equal(received, MAILBOX_BATCH + 11);
	assert_int_equal(out_of_order, 0);
	mailbox_free(mb);
}

static void the_last_letters_are_given_out(void **state)
{
	struct mailbox *mb = mailbox_new(base, receive, NULL);
	(void)state;
	for (int i = 1; i <= MAILBOX_BATCH + 5; i++)
		mailbox_post(mb, &letter_new(i)->mail);
	turn(); /* some taken out of the shared list, not given out yet */
	mailbox_post(mb, &letter_new(MAILBOX_BATCH + 6)->mail);
	mailbox_free(mb);
	assert_int_equal(received, MAILBOX_BATCH + 6);
	assert_int_equal(out_of_order, 0);
}

enum { FROM_THREAD = 20000 };

static void *post_many(void *arg)
{
	for (int i = 1; i <= FROM_THREAD; i++) {
		struct letter *l = calloc(1, sizeof(*l));
		if (!l)
			abort();
		l->number = i;
		mailbox_post(arg, &l->mail);
	}
	return NULL;
}

static void no_letter_of_another_thread_is_lost(void **state)
{
	pthread_t thread;
	struct mailbox *mb = mailbox_new(base, receive, NULL);
	(void)state;
	assert_int_equal(thread_start(&thread, "test-poster", post_many, mb), 0);
	/* A lost wake would hang here, and the test would run into its time limit. */
	while (received < FROM_THREAD)
		event_base_loop(base, EVLOOP_ONCE);
	pthread_join(thread, NULL);
	assert_int_equal(out_of_order, 0);
	mailbox_free(mb);
}

static void freeing_nothing_is_allowed(void **state)
{
	(void)state;
	mailbox_free(NULL);
}

static int drain(struct list *letters)
{
	int n = 0;
	while (!list_empty(letters)) {
		struct list *at = letters->next;
		list_remove(at);
		receive(container_of(at, struct mail, node), NULL);
		n++;
	}
	return n;
}

static void *work(void *arg)
{
	struct list letters;
	while (workqueue_take(arg, &letters, -1))
		drain(&letters);
	return NULL;
}

static void a_worker_gets_all_and_ends_when_stopped(void **state)
{
	struct workqueue q;
	pthread_t thread;
	(void)state;
	workqueue_init(&q);
	assert_int_equal(thread_start(&thread, "test-worker", work, &q), 0);
	for (int i = 1; i <= 5000; i++)
		workqueue_post(&q, &letter_new(i)->mail);
	workqueue_stop(&q);
	pthread_join(thread, NULL);
	assert_int_equal(received, 5000);
	assert_int_equal(out_of_order, 0);
	workqueue_destroy(&q);
}

static void a_wait_ends_with_its_time(void **state)
{
	struct workqueue q;
	struct list letters;
	(void)state;
	workqueue_init(&q);
	assert_true(workqueue_take(&q, &letters, 0));
	assert_true(list_empty(&letters));
	assert_true(workqueue_take(&q, &letters, 5));
	assert_true(list_empty(&letters));
	workqueue_post(&q, &letter_new(1)->mail);
	workqueue_stop(&q);
	assert_true(workqueue_take(&q, &letters, -1)); /* stopped, but not empty */
	assert_int_equal(drain(&letters), 1);
	assert_false(workqueue_take(&q, &letters, -1));
	workqueue_destroy(&q);
}

static void *blocked_signals(void *arg)
{
	pthread_sigmask(SIG_SETMASK, NULL, arg);
	return NULL;
}

static void threads_see_no_signal(void **state)
{
	pthread_t thread;
	sigset_t inside, before, after;
	(void)state;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_int_equal(thread_start(&thread, "test-signals", blocked_signals, &inside), 0);
	pthread_join(thread, NULL);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_true(sigismember(&inside, SIGTERM));
	assert_true(sigismember(&inside, SIGHUP));
	assert_int_equal(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(letters_arrive_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(a_turn_takes_one_batch, setup, teardown),
		cmocka_unit_test_setup_teardown(the_last_letters_are_given_out, setup, teardown),
		cmocka_unit_test_setup_teardown(
			no_letter_of_another_thread_is_lost, setup, teardown),
		cmocka_unit_test(freeing_nothing_is_allowed),
		cmocka_unit_test_setup_teardown(
			a_worker_gets_all_and_ends_when_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(a_wait_ends_with_its_time, setup, teardown),
		cmocka_unit_test(threads_see_no_signal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
