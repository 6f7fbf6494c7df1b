#include "adapters/mqtt/mq_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void a_block_comes_back(void **state)
{
	(void)state;
	struct mq_pool p;
	mq_pool_init(&p, 64, 2);
	void *a = mq_pool_get(&p);
	assert_non_null(a);
	memset(a, 0xff, 64);
	mq_pool_put(&p, a);
	assert_ptr_equal(mq_pool_get(&p), a);
	mq_pool_put(&p, a);
	mq_pool_close(&p);
}

static void no_more_than_said_are_kept(void **state)
{
	(void)state;
	struct mq_pool p;
	void *blocks[5];
	mq_pool_init(&p, 64, 2);
	for (unsigned i = 0; i < 5; i++)
		blocks[i] = mq_pool_get(&p);
	for (unsigned i = 0; i < 5; i++)
		mq_pool_put(&p, blocks[i]);
	assert_int_equal(p.n, 2);
	mq_pool_close(&p);
	assert_int_equal(p.n, 0);
	assert_null(p.free);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_comes_back),
		cmocka_unit_test(no_more_than_said_are_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
