#include "gateway/core/keeper.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/timer.h"
#include "gateway/core/record.h"
#include "gateway/core/sub_ids.h"
#include "tests/unit/core/fake_journal.h"

static struct keeper *k;

/* One that claims, and what it was told. */
struct owner {
	struct claimant claimant;
	unsigned safe, failing;
	struct claim last;
};

static void on_safe(struct claimant *c, struct kept *kept, const struct claim *claim)
{
	struct owner *o = container_of(c, struct owner, claimant);

	assert_true(o->safe % 100 > 0 || kept_safe(kept, claim)); /* it is looked for */
	o->safe++;
	o->last = *claim;
}

static void on_failing(struct claimant *c, struct kept *kept, const struct claim *claim)
{
	(void)claim;
	assert_true(kept_failing(kept));
	container_of(c, struct owner, claimant)->failing++;
}

static const struct claimant_ops ops = { .safe = on_safe, .failing = on_failing };
static struct owner up = { .claimant = { &ops } }, mail = { .claimant = { &ops } };

static const struct claim upstream = { .kind = CLAIM_UPSTREAM };
static const struct claim retained = { .kind = CLAIM_RETAINED };

static struct claim mail_of(uint64_t session)
{
	return (struct claim){ .kind = CLAIM_MAIL, .owner = session, .packet_id = 5, .qos = 1 };
}

struct waiter {
	struct receipt receipt;
	bool done;
	enum reason reason;
};

static void on_done(struct receipt *r, enum reason reason)
{
	struct waiter *w = container_of(r, struct waiter, receipt);

	assert_false(w->done);
	w->done = true;
	w->reason = reason;
}

static void wait_init(struct waiter *w)
{
	memset(w, 0, sizeof(*w));
	receipt_init(&w->receipt, on_done);
}

static struct message *make_from(const char *payload, uint64_t origin)
{
	return message_new(&(struct message_init){
		.topic = span_str("t"),
		.payload = span_str(payload),
		.qos = 1,
		.origin = origin,
	});
}

static struct message *make(const char *payload)
{
	return make_from(payload, 77);
}

static struct kept *claim(
	struct message *m, const struct claim *c, struct owner *o, enum claim_when when)
{
	int err = 1;
	struct kept *kept = keeper_claim(k, m, c, &o->claimant, when, &err);

	assert_int_equal(err == 0, kept != NULL);
	return kept;
}

/* A publication of its own with one claim. */
static struct kept *publish(const char *payload, struct waiter *w, enum claim_when when)
{
	struct message *m = make(payload);

	if (w)
		wait_init(w);
	keeper_open(k, m, w ? &w->receipt : NULL);
	struct kept *kept = claim(m, &upstream, &up, when);
	keeper_close(k);
	message_unref(m);
	return kept;
}

static void advance(int64_t ms)
{
	clock_advance(ms);
	timers_run();
	receipts_run();
}

static struct keeper_status status(void)
{
	struct keeper_status s;

	keeper_status(k, &s);
	return s;
}

static struct keeper_conf conf = { .hold_ms = 1000, .lazy_ms = 60000, .memory_bytes = 1 << 20 };

static int setup(void **state)
{
	(void)state;
	clock_freeze(1000000, 1700000000000);
	journal_setup();
	memset(&up.safe, 0, sizeof(up) - offsetof(struct owner, safe));
	memset(&mail.safe, 0, sizeof(mail) - offsetof(struct owner, safe));
	k = keeper_new();
	keeper_set_conf(k, &conf);
	keeper_attach(k, journal);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	keeper_free(k);
	journal_teardown();
	receipts_run();
	assert_int_equal(messages_bytes(), 0);
	assert_int_equal(sub_ids_blocks(), 0);
	return 0;
}

static void test_later_ends_before_it_is_due(void **state)
{
	struct waiter w;
	struct kept *kept = publish("x", &w, CLAIM_LATER);

	(void)state;
	advance(900);
	assert_int_equal(status().held, 1);
	assert_false(w.done || kept_safe(kept, &upstream));
	kept_end(kept, &upstream, R_SUCCESS);
	receipts_run();
	assert_true(w.done);
	assert_int_equal(journal->n, 0);
	assert_int_equal(status().messages, 0);
}

static void test_later_is_written_when_due(void **state)
{
	struct waiter w;
	struct kept *kept = publish("x", &w, CLAIM_LATER);

	(void)state;
	advance(1001);
	assert_int_equal(journal->n, 1);
	assert_int_equal(status().writing, 1);
	assert_false(w.done);
	commit(0);
	receipts_run();
	assert_true(w.done && up.safe == 1 && kept_safe(kept, &upstream));
	kept_end(kept, &upstream, R_SUCCESS);
	assert_int_equal(live_records(), 0);
}

static void test_reason_of_who_gives_up(void **state)
{
	struct waiter w;

	(void)state;
	kept_end(publish("x", &w, CLAIM_LATER), &upstream, R_QUOTA);
	receipts_run();
	assert_true(w.done && w.reason == R_QUOTA);
}

static void test_one_record_for_all_claims(void **state)
{
	struct message *m = make("x");
	struct claim a = mail_of(3), b = mail_of(4);
	struct waiter w;

	(void)state;
	wait_init(&w);
	keeper_open(k, m, &w.receipt);
	struct kept *kept = claim(m, &upstream, &up, CLAIM_LATER);
	assert_ptr_equal(claim(m, &a, &mail, CLAIM_NOW), kept);
	assert_ptr_equal(claim(m, &b, &mail, CLAIM_LAZY), kept);
	assert_int_equal(journal->n, 0); /* not before the end */
	keeper_close(k);
	message_unref(m);
	assert_int_equal(journal->n, 1);
	assert_int_equal(journal->records[1].type, JR_MESSAGE);
	commit(0);
	receipts_run();
	assert_true(w.done && up.safe == 1 && mail.safe == 2);
	kept_end(kept, &a, R_SUCCESS);
	assert_int_equal(journal->records[2].type, JR_DONE);
	assert_true(journal->records[2].lazy);
	kept_end(kept, &upstream, R_SUCCESS);
	assert_int_equal(live_records(), 3);
	kept_end(kept, &b, R_SUCCESS);
	assert_int_equal(live_records(), 0);
}

static void test_all_must_end_for_an_answer(void **state)
{
	struct message *m = make("x");
	struct claim a = mail_of(3);
	struct waiter w;

	(void)state;
	wait_init(&w);
	keeper_open(k, m, &w.receipt);
	struct kept *kept = claim(m, &upstream, &up, CLAIM_LATER);
	claim(m, &a, &mail, CLAIM_LATER);
	claim(m, &retained, &mail, CLAIM_LAZY);
	keeper_close(k);
	message_unref(m);
	kept_end(kept, &upstream, R_SUCCESS);
	receipts_run();
	assert_false(w.done);
	kept_end(kept, &a, R_SUCCESS);
	receipts_run();
	assert_true(w.done); /* nobody was promised the lazy one */
	advance(5000);
	assert_int_equal(journal->n, 0);
	advance(60000);
	assert_int_equal(journal->n, 1);
	commit(0);
	kept_end(kept, &retained, R_SUCCESS);
	assert_int_equal(live_records(), 0);
}

static void test_lazy_goes_along(void **state)
{
	struct message *m = make("lazy");
	struct kept *lazy = claim(m, &retained, &mail, CLAIM_LAZY);

	(void)state;
	message_unref(m);
	assert_int_equal(journal->n, 0);
	struct kept *now = publish("x", NULL, CLAIM_NOW);
	assert_int_equal(journal->n, 2);
	commit(0);
	kept_end(now, &upstream, R_SUCCESS);
	kept_end(lazy, &retained, R_SUCCESS);
}

static void test_secure(void **state)
{
	struct message *m = make("lazy");
	struct kept *lazy = claim(m, &retained, &mail, CLAIM_LAZY);
	struct kept *later = publish("x", NULL, CLAIM_LATER);

	(void)state;
	message_unref(m);
	keeper_secure(k, CLAIM_MAIL);
	assert_int_equal(journal->n, 0);
	keeper_secure(k, CLAIM_RETAINED);
	assert_int_equal(journal->n, 1);
	keeper_secure(k, CLAIM_KINDS);
	assert_int_equal(journal->n, 2);
	commit(0);
	kept_end(lazy, &retained, R_SUCCESS);
	kept_end(later, &upstream, R_SUCCESS);
}

static void test_a_publishers_order(void **state)
{
	struct message *m = make_from("other", 78);
	struct kept *other = claim(m, &upstream, &up, CLAIM_LATER);
	struct kept *first = publish("first", NULL, CLAIM_LATER);
	struct kept *second = publish("second", NULL, CLAIM_NOW);

	(void)state;
	message_unref(m);
	assert_int_equal(kept_record(first), 1);
	assert_int_equal(kept_record(second), 2);
	assert_int_equal(kept_record(other), 0);
	commit(0);
	kept_end(first, &upstream, R_SUCCESS);
	kept_end(second, &upstream, R_SUCCESS);
	kept_end(other, &upstream, R_SUCCESS);
}

static void test_a_claim_joins_a_stored_message(void **state)
{
	struct message *m = make("x");
	struct kept *kept = claim(m, &upstream, &up, CLAIM_NOW);
	struct claim a = mail_of(3);

	(void)state;
	/* While the first record is on its way a second one waits for it. */
	assert_ptr_equal(claim(m, &a, &mail, CLAIM_NOW), kept);
	assert_int_equal(journal->n, 1);
	commit(0);
	assert_true(up.safe == 1 && kept_safe(kept, &upstream) && !kept_safe(kept, &a));
	assert_int_equal(journal->n, 2);
	assert_int_equal(journal->records[2].type, JR_CLAIM);
	commit(0);
	assert_true(mail.safe == 1 && kept_safe(kept, &a));
	message_unref(m);
	kept_end(kept, &upstream, R_SUCCESS);
	kept_end(kept, &a, R_SUCCESS);
	assert_int_equal(live_records(), 0);
}

static void test_change(void **state)
{
	struct message *m = make("x");
	struct claim a = mail_of(3);
	struct kept *kept = claim(m, &a, &mail, CLAIM_NOW);

	(void)state;
	message_unref(m);
	commit(0);
	a.released = true;
	kept_change(kept, &a, &mail.claimant);
	assert_false(kept_safe(kept, &a));
	commit(0);
	assert_int_equal(mail.safe, 2);
	assert_true(mail.last.released);
	kept_end(kept, &a, R_SUCCESS);
	assert_int_equal(live_records(), 0);
}

static void test_failed_commit_is_tried_again(void **state)
{
	struct waiter w;
	struct kept *kept = publish("x", &w, CLAIM_NOW);

	(void)state;
	commit(-EIO);
	assert_int_equal(status().failed, 1);
	assert_int_equal(status().error, -EIO);
	assert_int_equal(kept_record(kept), 0);
	journal->append_error = -EIO;
	for (int i = 0; i < 4; i++)
		advance(1001);
	assert_int_equal(up.failing, 0);
	advance(1001);
	assert_true(up.failing > 0 && kept_failing(kept));
	assert_false(w.done);
	journal->append_error = 0;
	advance(1001);
	assert_false(kept_failing(kept));
	commit(0);
	receipts_run();
	assert_true(w.done && w.reason == R_SUCCESS && up.safe == 1);
	assert_int_equal(status().error, 0);
	kept_end(kept, &upstream, R_SUCCESS);
}

/* Also the end of one of its claims, which stands for nothing then, is not lost on the way. */
static void test_failed_commit_after_an_end(void **state)
{
	struct message *m = make("x");
	struct claim a = mail_of(3);

	(void)state;
	keeper_open(k, m, NULL);
	struct kept *kept = claim(m, &upstream, &up, CLAIM_NOW);
	claim(m, &a, &mail, CLAIM_NOW);
	keeper_close(k);
	message_unref(m);
	kept_end(kept, &upstream, R_SUCCESS);
	commit(-EIO);
	assert_int_equal(live_records(), 0);
	advance(1001);
	commit(0);
	assert_int_equal(live_records(), 1);
	assert_true(up.safe == 0 && mail.safe == 1);
	kept_end(kept, &a, R_SUCCESS);
}

static void test_refused_while_the_storage_fails(void **state)
{
	struct kept *later = publish("1", NULL, CLAIM_LATER);
	struct message *m = make("2");
	int err;

	(void)state;
	journal->append_error = -ENOSPC;
	assert_null(keeper_claim(k, m, &upstream, &up.claimant, CLAIM_NOW, &err));
	assert_int_equal(err, -ENOSPC);
	assert_null(m->kept);
	/* A smaller one must not pass what failed. */
	journal->append_error = 0;
	journal->max_body = 1;
	assert_null(keeper_claim(k, m, &upstream, &up.claimant, CLAIM_NOW, &err));
	assert_int_equal(err, -ENOSPC);
	journal->max_body = 0;
	struct kept *kept = claim(m, &upstream, &up, CLAIM_NOW);
	assert_int_equal(kept_record(later), 1);
	assert_int_equal(kept_record(kept), 2);
	message_unref(m);
	commit(0);
	kept_end(later, &upstream, R_SUCCESS);
	kept_end(kept, &upstream, R_SUCCESS);
}

static void test_no_storage(void **state)
{
	struct message *m = make("x");
	int err;

	(void)state;
	keeper_attach(k, NULL);
	assert_false(keeper_has_storage(k));
	keeper_open(k, m, NULL);
	assert_null(keeper_claim(k, m, &upstream, &up.claimant, CLAIM_NOW, &err));
	assert_int_equal(err, -ENOTSUP);
	keeper_close(k);
	keeper_secure(k, CLAIM_KINDS);
	message_unref(m);
}

static void test_refused_publication(void **state)
{
	struct message *m = make("x");
	struct waiter w;

	(void)state;
	wait_init(&w);
	keeper_open(k, m, &w.receipt);
	struct kept *kept = claim(m, &upstream, &up, CLAIM_NOW);
	receipt_cancel(&w.receipt);
	kept_end(kept, &upstream, R_QUOTA);
	assert_null(kept_of(m));
	keeper_close(k);
	message_unref(m);
	assert_int_equal(journal->n, 0);
}

/* Who claimed first can't have the message after all: its publisher waits for those that come. */
static void test_claims_after_an_end(void **state)
{
	struct claim away = mail_of(2);
	struct message *m = make("a");
	struct receipt_hold guard; /* the router's */
	struct waiter w;
	(void)state;

	wait_init(&w);
	receipt_hold(&w.receipt, &guard);
	keeper_open(k, m, &w.receipt);
	struct kept *kept = claim(m, &upstream, &up, CLAIM_LATER);
	kept_end(kept, &upstream, R_SUCCESS);
	kept = claim(m, &away, &mail, CLAIM_NOW);
	keeper_close(k);
	message_unref(m);
	receipt_release(&guard, R_SUCCESS);
	receipts_run();
	assert_false(w.done);
	commit(0);
	receipts_run();
	assert_true(w.done);
	kept_end(kept, &away, R_SUCCESS);
}

/* What no record holds is refused, whatever it is claimed for, and is in nobody's way. */
static void test_too_large(void **state)
{
	char *text = calloc(1, JOURNAL_BODY_MAX + 1);
	struct message *m;
	int err;
	(void)state;

	for (size_t len = JOURNAL_BODY_MAX; len > JOURNAL_BODY_MAX - 200; len -= 7) {
		memset(text, 'x', len);
		text[len] = '\0';
		assert_non_null(m = make(text));
		for (enum claim_when when = CLAIM_LAZY; when <= CLAIM_NOW; when++) {
			struct kept *big = keeper_claim(k, m, &upstream, NULL, when, &err);
			if (big) {
				advance(conf.lazy_ms + conf.hold_ms);
				commit(0);
				assert_true(kept_safe(big, &upstream));
				kept_end(big, &upstream, R_SUCCESS);
			} else {
				assert_int_equal(err, -EMSGSIZE);
			}
		}
		message_unref(m);
	}
	free(text);
	struct kept *next = publish("next", NULL, CLAIM_NOW);
	commit(0);
	assert_true(kept_safe(next, &upstream));
	kept_end(next, &upstream, R_SUCCESS);
	assert_int_equal(live_records(), 0);
}

static void test_bodies(void **state)
{
	struct keeper_conf small = conf;
	struct message *m = make("body");
	int err;

	(void)state;
	small.memory_bytes = 0;
	keeper_set_conf(k, &small);
	struct kept *kept = claim(m, &upstream, &up, CLAIM_NOW);
	assert_true(status().memory_bytes > 0);
	commit(0);
	assert_int_equal(status().memory_bytes, 0);
	assert_ptr_equal(kept_loaded(kept), m); /* somebody else has it */
	assert_ptr_equal(kept_of(m), kept);
	message_unref(m);
	assert_null(kept_loaded(kept));
	assert_int_equal(kept_size(kept), sizeof(struct message) + 2 + 1 + 4);
	journal->read_error = -EIO;
	assert_null(kept_message(kept, &err));
	assert_int_equal(err, -EAGAIN);
	journal->read_error = -EBADMSG;
	assert_null(kept_message(kept, &err));
	assert_int_equal(err, -EBADMSG);
	journal->read_error = 0;
	m = kept_message(kept, &err);
	assert_true(span_is(message_payload(m), "body"));
	assert_ptr_equal(kept_loaded(kept), m);
	kept_end(kept, &upstream, R_SUCCESS);
	assert_null(kept_of(m));
	message_unref(m);
}

/* ---- Over a restart ---- */

static struct claim back[20000];
static struct kept *back_kept[20000];
static unsigned n_back;
static enum claim_kind unwanted;

static bool on_restore(void *arg, struct kept *kept, const struct claim *c, struct message *m)
{
	(void)arg;
	assert_true(m->qos == 1 && kept_loaded(kept) == m && kept_safe(kept, c));
	if (c->kind == unwanted)
		return false;
	assert_true(n_back < ARRAY_SIZE(back));
	back[n_back] = *c;
	back[n_back].sub_ids = sub_ids_ref(c->sub_ids);
	back_kept[n_back++] = kept;
	return true;
}

static void leave_all(struct kept **kept, const struct claim *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		kept_leave(kept[i], &c[i]);
}

static void restart(uint32_t kinds)
{
	keeper_free(k);
	for (uint64_t i = 1; i <= journal->n; i++)
		journal->records[i].wait = NULL;
	k = keeper_new();
	keeper_set_conf(k, &conf);
	replay_into(k);
	n_back = 0;
	for (int kind = 1; kind < CLAIM_KINDS; kind++)
		if (kinds & 1u << kind)
			keeper_on_restore(k, (enum claim_kind)kind, on_restore, NULL);
	keeper_restore(k);
}

#define ALL_KINDS 0xfeu

static void end_all(void)
{
	for (unsigned i = 0; i < n_back; i++) {
		kept_end(back_kept[i], &back[i], R_SUCCESS);
		sub_ids_unref(back[i].sub_ids);
	}
}

static void assert_same(const struct claim *a, const struct claim *b)
{
	assert_true(a->kind == b->kind && a->owner == b->owner && a->packet_id == b->packet_id);
	assert_true(a->qos == b->qos && a->retain == b->retain && a->released == b->released);
	assert_true(a->sub_ids == b->sub_ids && a->digest == b->digest);
	assert_true(a->at_wall_ms == b->at_wall_ms && a->left_ms == b->left_ms);
}

static void test_restore(void **state)
{
	struct message *m = make("x");
	struct claim claims[] = { upstream, retained,
		{ .kind = CLAIM_MAIL, .owner = 9, .packet_id = 7, .qos = 2, .sub_ids = 5 },
		{ .kind = CLAIM_EXCHANGE, .owner = 8, .packet_id = 3, .digest = 0xdead },
		{ .kind = CLAIM_DELAYED, .at_wall_ms = 55, .left_ms = 44 } };
	struct kept *kept[ARRAY_SIZE(claims)];

	(void)state;
	keeper_open(k, m, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(claims); i++)
		kept[i] = claim(m, &claims[i], &up, CLAIM_NOW);
	keeper_close(k);
	message_unref(m);
	commit(0);
	claims[2].released = true;
	kept_change(kept[0], &claims[2], &up.claimant);
	commit(0);
	kept_end(kept[0], &upstream, R_SUCCESS);
	leave_all(&kept[1], &claims[1], 4);
	restart(ALL_KINDS);
	assert_int_equal(n_back, 4);
	assert_same(&back[0], &claims[2]);
	assert_same(&back[1], &claims[3]);
	assert_same(&back[2], &claims[1]);
	assert_same(&back[3], &claims[4]);
	assert_int_equal(status().claims[CLAIM_MAIL], 1);
	end_all();
	assert_int_equal(live_records(), 0);
}

static void test_restore_what_nobody_wants(void **state)
{
	struct message *m = make("x");
	struct claim a = mail_of(3);
	struct kept *kept = claim(m, &upstream, &up, CLAIM_NOW);

	(void)state;
	commit(0);
	claim(m, &a, &mail, CLAIM_NOW);
	message_unref(m);
	commit(0);
	kept_leave(kept, &upstream);
	kept_leave(kept, &a);
	unwanted = CLAIM_MAIL;
	restart(ALL_KINDS);
	assert_int_equal(n_back, 1);
	kept_leave(back_kept[0], &back[0]);
	unwanted = 0;
	restart(ALL_KINDS); /* its end was written down */
	assert_int_equal(n_back, 1);
	assert_int_equal(back[0].kind, CLAIM_UPSTREAM);
	end_all();
	assert_int_equal(live_records(), 0);
}

/* Without [upstream] the mail is delivered, and what waits for the broker goes on waiting. */
static void test_claims_of_who_is_not_there(void **state)
{
	struct message *m = make("x");
	struct claim a = mail_of(3);

	(void)state;
	keeper_open(k, m, NULL);
	struct kept *kept = claim(m, &upstream, &up, CLAIM_NOW);
	claim(m, &a, &mail, CLAIM_NOW);
	keeper_close(k);
	message_unref(m);
	commit(0);
	kept_leave(kept, &upstream);
	kept_leave(kept, &a);
	restart(1u << CLAIM_MAIL);
	assert_int_equal(n_back, 1);
	end_all();
	restart(1u << CLAIM_UPSTREAM);
	assert_int_equal(n_back, 1);
	assert_int_equal(back[0].kind, CLAIM_UPSTREAM);
	end_all();
	assert_int_equal(live_records(), 0);
}

#define FAN 12000

/* What is written in place of other records lets these go when it is safe. */
static void settle(void)
{
	for (int i = 0; i < 3; i++) {
		commit(0);
		advance(1001);
	}
}

static struct kept *fan_out(struct claim *claims, size_t payload)
{
	struct message_init init = { .topic = span_str("t"), .qos = 1, .origin = 77 };
	uint8_t *bytes = calloc(1, payload);
	struct kept *kept = NULL;

	init.payload = span_of(bytes, payload);
	struct message *m = message_new(&init);
	keeper_open(k, m, NULL);
	for (unsigned i = 0; i < FAN; i++) {
		claims[i] = mail_of(i + 1);
		kept = claim(m, &claims[i], &mail, CLAIM_NOW);
	}
	keeper_close(k);
	message_unref(m);
	free(bytes);
	return kept;
}

static struct claim fan[FAN];

static void test_fan_out(void **state)
{
	struct kept *kept = fan_out(fan, 10);

	(void)state;
	assert_int_equal(journal->n, 1);
	commit(0);
	assert_int_equal(mail.safe, FAN);
	for (unsigned i = 0; i < FAN; i++)
		kept_end(kept, &fan[i], R_SUCCESS);
	settle();
	assert_int_equal(live_records(), 0);
}

/* A thousand ends are a few records, and say the same after a restart. */
static void test_many_ends_are_few_records(void **state)
{
	struct kept *kept = fan_out(fan, 10);
	static bool gone[FAN];

	(void)state;
	commit(0);
	for (unsigned i = 0; i < 5000; i++) {
		kept_end(
			kept, &fan[(i * 7) % FAN], R_SUCCESS); /* 7 and FAN have no common factor */
		if (i % 100 == 99)
			commit(0);
	}
	settle();
	assert_true(live_records() < 4 * 15 + 5);
	for (unsigned i = 5000; i < FAN; i++)
		kept_leave(kept, &fan[(i * 7) % FAN]);
	restart(ALL_KINDS);
	assert_int_equal(n_back, FAN - 5000);
	for (unsigned i = 0; i < 5000; i++) /* those that have ended are not among them */
		gone[(i * 7) % FAN] = true;
	for (unsigned i = 0; i < n_back; i++)
		assert_false(gone[back[i].owner - 1]);
	end_all();
	settle();
	assert_int_equal(live_records(), 0);
}

/* A claim that was made again after its end lives, also when that end is written anew. */
static void test_ends_before_a_claim_made_again(void **state)
{
	struct kept *kept = fan_out(fan, 10);
	struct message *m = message_ref(kept_loaded(kept));

	(void)state;
	commit(0);
	for (unsigned i = 0; i < 15; i++)
		kept_end(kept, &fan[i], R_SUCCESS);
	claim(m, &fan[0], &mail, CLAIM_NOW);
	message_unref(m);
	commit(0);
	for (unsigned i = 15; i < 40; i++)
		kept_end(kept, &fan[i], R_SUCCESS);
	commit(0);
	kept_leave(kept, &fan[0]);
	for (unsigned i = 40; i < FAN; i++)
		kept_leave(kept, &fan[i]);
	restart(ALL_KINDS);
	assert_int_equal(n_back, FAN - 39);
	assert_int_equal(back[0].owner, 1);
	end_all();
	settle();
	assert_int_equal(live_records(), 0);
}

/* Nobody is told, and after a crash nothing comes back, before the last of the records is safe. */
static void test_fan_out_over_several_records(void **state)
{
	struct kept *kept = fan_out(fan, JOURNAL_BODY_MAX - 65536);

	(void)state;
	assert_int_equal(journal->n, 1);
	while (mail.safe == 0) {
		assert_true(journal->n < 10);
		commit(0);
	}
	assert_true(journal->n > 1);
	assert_int_equal(mail.safe, FAN);
	for (unsigned i = 0; i < FAN; i++)
		kept_leave(kept, &fan[i]);
	restart(ALL_KINDS);
	assert_int_equal(n_back, FAN);
	leave_all(back_kept, back, n_back);
	journal->records[journal->n].live = false;
	restart(ALL_KINDS);
	assert_int_equal(n_back, 0);
	assert_int_equal(live_records(), 0);
}

static void test_broken_records(void **state)
{
	struct kept *kept = publish("x", NULL, CLAIM_NOW);
	struct fake_record *r = &journal->records[1];

	(void)state;
	commit(0);
	kept_leave(kept, &upstream);
	r->body[2] = 3; /* more claims than there are */
	restart(ALL_KINDS);
	assert_int_equal(n_back, 0);
	assert_false(r->live);
	r->live = true;
	r->body[2] = 1;
	r->body[0] = 2; /* a later version's is left alone */
	restart(ALL_KINDS);
	assert_int_equal(n_back, 0);
	assert_true(r->live);
	r->body[0] = 1;
	restart(ALL_KINDS);
	assert_int_equal(n_back, 1);
	end_all();
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_later_ends_before_it_is_due),
		CASE(test_later_is_written_when_due),
		CASE(test_reason_of_who_gives_up),
		CASE(test_one_record_for_all_claims),
		CASE(test_all_must_end_for_an_answer),
		CASE(test_lazy_goes_along),
		CASE(test_secure),
		CASE(test_a_publishers_order),
		CASE(test_a_claim_joins_a_stored_message),
		CASE(test_change),
		CASE(test_failed_commit_is_tried_again),
		CASE(test_failed_commit_after_an_end),
		CASE(test_refused_while_the_storage_fails),
		CASE(test_no_storage),
		CASE(test_refused_publication),
		CASE(test_claims_after_an_end),
		CASE(test_too_large),
		CASE(test_bodies),
		CASE(test_restore),
		CASE(test_restore_what_nobody_wants),
		CASE(test_claims_of_who_is_not_there),
		CASE(test_fan_out),
		CASE(test_many_ends_are_few_records),
		CASE(test_ends_before_a_claim_made_again),
		CASE(test_fan_out_over_several_records),
		CASE(test_broken_records),
	};

	log_init(LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
