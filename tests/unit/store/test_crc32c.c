#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/store/crc32c.h"

#include <string.h>

/* RFC 3720, appendix B.4, and the check value of the CRC catalogue. */
static void known_sums(void **state)
{
	(void)state;
	uint8_t b[32];

	assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
	memset(b, 0, sizeof(b));
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x8A9136AA);
	memset(b, 0xff, sizeof(b));
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x62A8AB43);
	for (uint8_t i = 0; i < 32; i++)
		b[i] = i;
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x46DD794E);
	for (uint8_t i = 0; i < 32; i++)
		b[i] = (uint8_t)(31 - i);
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x113FDB5C);
}

static void chains_at_every_place(void **state)
{
	(void)state;
	uint8_t b[67];

	for (uint8_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(i * 37);
	uint32_t whole = crc32c(0, b, sizeof(b));
	for (size_t cut = 0; cut <= sizeof(b); cut++)
		assert_int_equal(crc32c(crc32c(0, b, cut), b + cut, sizeof(b) - cut), whole);
	assert_int_not_equal(crc32c(1, b, sizeof(b)), whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_sums),
		cmocka_unit_test(chains_at_every_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
