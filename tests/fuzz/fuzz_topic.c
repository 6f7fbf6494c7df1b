/* Topics, filters, properties and the stored form of messages over any bytes. The first octet picks
 * the part; the answers are held against each other, not only against crashes. */
#include "gateway/base/clock.h"
#include "gateway/base/util.h"
#include "gateway/core/message.h"
#include "gateway/core/props.h"
#include "gateway/core/topic.h"
#include "gateway/core/topictree.h"

#include <stdlib.h>

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

static void count_leaf(struct topicleaf *leaf, void *arg)
{
	(void)leaf;
	++*(unsigned *)arg;
}

static void count_message(struct message *m, void *arg)
{
	(void)m;
	++*(unsigned *)arg;
}

/* The tree and topic_matches() must agree, both ways round. */
static void check_tree(struct span filter, struct span topic)
{
	struct topictree *tree = topictree_new();
	struct topicleaf leaf;
	uint8_t text[TOPICTREE_TEXT_MAX];
	struct topictree_stats stats;
	unsigned leaves = 0, retained = 0;
	struct message_init init = { .topic = topic, .retain = true };
	struct message *m = message_new(&init);

	CHECK(tree && m && topictree_insert(tree, filter, &leaf) == 0);
	CHECK(topictree_retain(tree, topic, m) == 0);
	CHECK(span_equal(topictree_text(leaf.at, text), filter));
	topictree_match(tree, topic, count_leaf, &leaves);
	topictree_retained_match(tree, filter, count_message, &retained);
	CHECK(leaves == (topic_matches(filter, topic) ? 1u : 0u));
	CHECK(leaves == retained);
	topictree_remove(tree, &leaf);
	topictree_retain(tree, topic, NULL);
	topictree_stats(tree, &stats);
	CHECK(stats.nodes == 0 && stats.levels == 0);
	topictree_free(tree);
	message_unref(m);
}

/* Two texts, divided by the first newline, which no valid topic contains. */
static void fuzz_pair(struct span in)
{
	const uint8_t *cut = in.len ? memchr(in.p, '\n', in.len) : NULL;
	if (!cut)
		return;
	struct span a = span_of(in.p, (size_t)(cut - in.p));
	struct span b = span_of(cut + 1, in.len - a.len - 1);
	bool name = topic_valid_name(b);

	CHECK(!topic_valid_name(b) || topic_valid_filter(b));
	if (!topic_valid_filter(a) || !topic_valid_filter(b))
		return;
	CHECK(topic_overlaps(a, b) == topic_overlaps(b, a));
	CHECK(!topic_covers(a, b) || topic_overlaps(a, b));
	CHECK(topic_covers(a, a));
	if (name) {
		CHECK(topic_matches(a, b) == topic_covers(a, b));
		check_tree(a, b);
	}
}

static void fuzz_props(struct span in)
{
	struct reader r = reader_of(in);
	struct prop p;
	uint8_t *copy = malloc(in.len + 1);
	struct writer w = writer_of(copy, in.len + 1);

	CHECK(copy);
	while (props_next(&r, &p))
		props_write(&w, &p);
	CHECK(!w.bad);
	if (!r.bad)
		CHECK(span_equal(span_of(copy, w.len), in));
	if (props_valid(in))
		CHECK(!r.bad);
	free(copy);
}

static void fuzz_message(struct span in)
{
	struct message *m = message_decode(in, 1);
	uint8_t scratch[MESSAGE_SCRATCH], *copy;
	struct span parts[MESSAGE_PARTS];

	if (!m)
		return;
	CHECK(topic_valid_name(message_topic(m)) && props_valid(message_props(m)) && m->qos <= 2);
	CHECK(message_encode(m, scratch, parts) == 2);
	CHECK(parts[0].len + parts[1].len == in.len);
	copy = malloc(in.len);
	CHECK(copy);
	memcpy(copy, parts[0].p, parts[0].len);
	memcpy(copy + parts[0].len, parts[1].p, parts[1].len);
	struct message *again = message_decode(span_of(copy, in.len), 1);
	CHECK(again && message_digest(again) == message_digest(m));
	CHECK(message_expired(again) == message_expired(m));
	free(copy);
	message_unref(again);
	message_unref(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	clock_freeze(1000000, 1700000000000);
	if (len == 0)
		return 0;
	struct span in = span_of(data + 1, len - 1);
	switch (data[0] % 4) {
	case 0:
		fuzz_pair(in);
		break;
	case 1:
		fuzz_props(in);
		break;
	case 2:
		fuzz_message(in);
		break;
	default:
		CHECK(!topic_valid_name(in) || utf8_valid(in));
	}
	return 0;
}
