#include "gateway/store/journal_segment.h"
#include "gateway/store/seq_ranges.h"

#include <stdlib.h>
#include <string.h>

/* Recovery of a hostile segment. The first octet chooses: even, the rest is the image as it stands;
 * odd, the rest describes records that are encoded properly and then damaged, so that the fuzzer
 * gets past the sums. */
#define IMAGE_MAX 8192u

static const struct segment_id id = { 1, 0x746967 };

struct account {
	const uint8_t *image;
	uint32_t reached; /* nothing before this is told again */
	size_t len;
};

static void on_damage(void *arg, uint32_t offset, struct span bytes, bool torn)
{
	struct account *a = arg;
	(void)torn;
	if (offset < a->reached || bytes.p != a->image + offset || bytes.len == 0 ||
		bytes.len > a->len - offset)
		abort();
	a->reached = offset + (uint32_t)bytes.len;
}

static void scan(const uint8_t *data, size_t len)
{
	struct segment_scan s;
	struct record r;
	struct seq_ranges ranges = { 0 };
	struct account a = { data, 0, len };
	uint32_t sum = 0;

	if (segment_scan_init(&s, span_of(data, len), id) < 0)
		return;
	s.damage = on_damage;
	s.arg = &a;
	while (segment_scan_next(&s, &r)) {
		if (r.offset < a.reached || r.seq == 0 || r.seq > SEQ_MAX || r.type == 0)
			abort();
		a.reached = r.offset + RECORD_HEADER + (uint32_t)r.body.len;
		for (size_t i = 0; i < r.body.len; i++)
			sum += r.body.p[i];
		if (r.type == RECORD_FORGET)
			seq_ranges_decode(&ranges, r.body);
	}
	seq_ranges_sort(&ranges);
	if (seq_ranges_has(&ranges, sum) && ranges.n == 0)
		abort();
	seq_ranges_free(&ranges);
}

/* Input: per record {type, body length, body}; type 0 ends the records. The rest is pairs {place,
 * xor}. */
static void build_and_scan(const uint8_t *data, size_t len)
{
	uint8_t *image = calloc(1, IMAGE_MAX);
	uint32_t at = SEGMENT_HEADER;
	uint64_t seq = 1;

	if (!image)
		return;
	segment_header_encode(id, seq, image);
	while (len >= 2 && data[0] != 0) {
		size_t n = data[1] < len - 2 ? data[1] : len - 2;
		struct span body = { data + 2, n };
		if (at + record_size(n) > IMAGE_MAX)
			break;
		record_encode(id.salt, data[0], seq++, &body, 1, image + at);
		at += record_size(n);
		data += 2 + n;
		len -= 2 + n;
	}
	for (; len >= 3; data += 3, len -= 3)
		image[((size_t)data[0] << 8 | data[1]) % IMAGE_MAX] ^= data[2];
	scan(image, IMAGE_MAX);
	free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		build_and_scan(data + 1, size - 1);
	else
		scan(data + 1, size - 1);
	return 0;
}
