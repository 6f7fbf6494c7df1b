#include "gateway/core/inbound.h"

#include "gateway/core/idmap.h"
#include "gateway/core/session_claims.h"
#include "gateway/store/journal.h"

#include <stdlib.h>

/* Open QoS 1 exchanges of one device; a window no honest one needs. */
#define DATAGRAM_MAX 1000

/* Networks deliver copies late and out of order, after PUBREL even: the last QoS 2 exchanges of a
 * datagram session are remembered for a while, by id and content (ids may be reused at once). */
#define FINISHED_MAX 16
#define FINISHED_MS  10000

enum state {
	STATE_OPEN,     /* published, not safe yet */
	STATE_ANSWERED, /* QoS 2: PUBREC was due; waits for PUBREL */
	STATE_COPY,     /* late copy of a finished one: only to be answered */
};

struct exchange {
	struct list node; /* in inbound.exchanges */
	struct inbound *in;
	struct receipt receipt;
	struct reap reap;
	struct kept *kept; /* QoS 2 of a stored session: its claim; NULL: in memory only */
	uint64_t digest;
	uint32_t cookie;
	uint16_t packet_id;
	uint16_t connection;
	uint8_t qos;
	uint8_t state;
	bool indexed;      /* the current one under its packet id */
	bool silent;       /* its client has given it up: no answer */
	bool unsubscribed; /* nobody matched: MQTT 5 clients are told */
	bool restored;     /* of the last run; its client has not spoken of it since */
};

struct finished {
	uint64_t digest;
	int64_t at_ms; /* 0: unused */
	uint16_t packet_id;
};

struct inbound {
	struct session *session;            /* borrowed */
	const struct sessions_conf *limits; /* borrowed */
	struct list exchanges;              /* oldest first */
	struct idmap by_id;                 /* the indexed ones */
	struct finished *finished;          /* owned ring; NULL until needed */
	uint64_t owner;                     /* of claims: session_claims_owner() */
	uint32_t n, n_qos2;                 /* all; indexed with QoS 2 */
	uint16_t connection;                /* number of the present one */
	uint8_t next_finished;
};

struct inbound *inbound_new(struct session *s, const struct sessions_conf *limits)
{
	struct inbound *in = calloc(1, sizeof(*in));
	if (!in)
		return NULL;
	in->session = s;
	in->limits = limits;
	list_init(&in->exchanges);
	return in;
}

static void exchange_free(struct reap *r)
{
	free(container_of(r, struct exchange, reap));
}

static void unindex(struct exchange *e)
{
	if (!e->indexed)
		return;
	e->indexed = false;
	idmap_take(&e->in->by_id, e->packet_id);
	if (e->qos == 2)
		e->in->n_qos2--;
}

/* A restart must find that the message of this exchange was taken, or else neither: the claim is
 * in one record with what the message is kept for otherwise. */
static struct own_claim claim_of(const struct exchange *e)
{
	return (struct own_claim){
		.claim = { .kind = CLAIM_EXCHANGE,
			.packet_id = e->packet_id,
			.owner = e->in->owner,
			.digest = e->digest },
		.kept = e->kept,
	};
}

static void end_claim(struct exchange *e, enum reason reason)
{
	if (!e->kept)
		return;
	const struct own_claim own = claim_of(e);
	kept_end(e->kept, &own.claim, reason);
	e->kept = NULL;
}

static void forget(struct exchange *e)
{
	end_claim(e, R_SUCCESS);
	unindex(e);
	receipt_cancel(&e->receipt);
	list_remove(&e->node);
	e->in->n--;
	reap_later(&e->reap, exchange_free);
}

void inbound_end(struct inbound *in)
{
	while (in && !list_empty(&in->exchanges))
		forget(list_first(&in->exchanges, struct exchange, node));
}

void inbound_leave(struct inbound *in)
{
	struct list *pos;
	list_for_each(pos, &in->exchanges) {
		struct exchange *e = list_entry(pos, struct exchange, node);
		const struct own_claim own = claim_of(e);
		if (e->kept)
			kept_leave(e->kept, &own.claim);
		e->kept = NULL;
	}
}

void inbound_free(struct inbound *in)
{
	if (!in)
		return;
	idmap_destroy(&in->by_id);
	free(in->finished);
	free(in);
}

void inbound_attached(struct inbound *in)
{
	if (in)
		in->connection++;
}

/* The message is safe, or failed: moves the exchange on, then tells the client. The link may do
 * anything in there, so that comes last. */
static void on_safe(struct receipt *r, enum reason reason)
{
	struct exchange *e = container_of(r, struct exchange, receipt);
	struct link *link = e->in->session->link;
	if (reason == R_SUCCESS && e->unsubscribed)
		reason = R_NO_MATCHING_SUBSCRIBERS;
	if (e->qos == 2 && e->indexed && !reason_failed(reason))
		e->state = STATE_ANSWERED;
	else
		forget(e); /* after a failure the client may try again */
	if (link && !e->silent)
		link->ops->published(link, e->packet_id, e->cookie, e->qos, reason);
}

static struct exchange *exchange_new(
	struct inbound *in, uint8_t qos, uint16_t packet_id, uint32_t cookie, uint64_t digest)
{
	struct exchange *e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->in = in;
	e->qos = qos;
	e->packet_id = packet_id;
	e->cookie = cookie;
	e->digest = digest;
	e->connection = in->connection;
	receipt_init(&e->receipt, on_safe);
	return e;
}

static void enlist(struct exchange *e)
{
	list_append(&e->in->exchanges, &e->node);
	e->in->n++;
}

static void make_current(struct exchange *e)
{
	e->indexed = true;
	idmap_put(&e->in->by_id, e->packet_id, e);
	if (e->qos == 2)
		e->in->n_qos2++;
}

/* on_safe() in the next receipts_run(): an answer never comes from inside the call. */
static void answer_soon(struct exchange *e)
{
	struct receipt_hold hold = { .receipt = NULL };
	if (receipt_open(&e->receipt))
		return;
	receipt_init(&e->receipt, on_safe);
	receipt_hold(&e->receipt, &hold);
	receipt_release(&hold, R_SUCCESS);
}

static enum reason repeat(struct exchange *e, uint32_t cookie)
{
	e->cookie = cookie;
	e->connection = e->in->connection;
	e->restored = false;
	if (e->state == STATE_ANSWERED)
		answer_soon(e);
	return R_SUCCESS;
}

/* Another message under the packet id of `e`. */
static enum reason displace(struct exchange *e)
{
	bool given_up = e->in->session->datagram || e->connection != e->in->connection;
	if (e->qos == 2 && !given_up)
		return R_PACKET_ID_IN_USE;
	unindex(e);
	/* An answer to the old message would be taken for one to the new. A client that sends
	 * several QoS 1 messages under one id over a stream counts the answers, though. */
	e->silent = given_up;
	end_claim(e, R_SUCCESS); /* nobody is to recognise it any more */
	if (e->state != STATE_OPEN)
		forget(e);
	return R_SUCCESS;
}

static bool full(const struct inbound *in, uint8_t qos)
{
	uint32_t open = qos == 2 ? in->n_qos2 : in->n - in->n_qos2;
	uint32_t max = in->limits->max_inbound;
	if (in->session->datagram)
		max = qos == 2 ? in->limits->max_inbound_qos2 : DATAGRAM_MAX;
	return max && open >= max;
}

static enum reason publish(struct exchange *e, struct message *m)
{
	struct session *s = e->in->session;
	struct router *r = sessions_router(s->all);
	uint64_t owner = m->qos == 2 ? session_claims_owner(s) : 0;
	if (!owner)
		return router_publish(r, &s->who, m, &e->receipt);
	e->in->owner = owner;
	struct own_claim own = claim_of(e);
	enum reason reason = router_publish_claimed(r, &s->who, m, &e->receipt, &own);
	e->kept = own.kept;
	return reason;
}

static enum reason publish_new(
	struct inbound *in, struct message *m, uint16_t packet_id, uint32_t cookie, uint64_t digest)
{
	if (full(in, m->qos) || idmap_reserve(&in->by_id) != 0)
		return R_QUOTA;
	struct exchange *e = exchange_new(in, m->qos, packet_id, cookie, digest);
	if (!e)
		return R_QUOTA;
	enum reason reason = publish(e, m);
	if (reason_failed(reason)) {
		receipt_cancel(&e->receipt);
		free(e);
		return reason;
	}
	e->unsubscribed = reason == R_NO_MATCHING_SUBSCRIBERS;
	enlist(e);
	make_current(e);
	return R_SUCCESS;
}

static bool is_recent(const struct finished *f)
{
	return f->at_ms > MAX(clock_ms() - FINISHED_MS, 0);
}

static bool is_finished(const struct inbound *in, uint16_t packet_id, uint64_t digest)
{
	for (unsigned i = 0; in->finished && i < FINISHED_MAX; i++) {
		const struct finished *f = &in->finished[i];
		if (is_recent(f) && f->packet_id == packet_id && f->digest == digest)
			return true;
	}
	return false;
}

bool inbound_idle(const struct inbound *in)
{
	bool recent = false;
	for (unsigned i = 0; in->finished && i < FINISHED_MAX; i++)
		recent |= is_recent(&in->finished[i]);
	return in->n == 0 && !recent;
}

static void remember(struct inbound *in, const struct exchange *e)
{
	if (!in->session->datagram)
		return;
	if (!in->finished)
		in->finished = calloc(FINISHED_MAX, sizeof(*in->finished));
	if (!in->finished)
		return;
	in->finished[in->next_finished] = (struct finished){ e->digest, clock_ms(), e->packet_id };
	in->next_finished = (uint8_t)((in->next_finished + 1) % FINISHED_MAX);
}

static enum reason answer_copy(
	struct inbound *in, uint16_t packet_id, uint32_t cookie, uint64_t digest)
{
	if (full(in, 1))
		return R_QUOTA;
	struct exchange *e = exchange_new(in, 2, packet_id, cookie, digest);
	if (!e)
		return R_QUOTA;
	e->state = STATE_COPY;
	enlist(e);
	answer_soon(e);
	return R_SUCCESS;
}

enum reason inbound_publish(
	struct inbound *in, struct message *m, uint16_t packet_id, uint32_t cookie)
{
	uint64_t digest = message_digest(m);
	struct exchange *e = idmap_get(&in->by_id, packet_id);
	/* That its PUBREL came may have been lost with the last run: then the same content under
	 * the same id is the next message, and not marked as a repetition (MQTT 5.0, 3.3.1.1). */
	bool known = e && e->qos == m->qos && e->digest == digest && !(e->restored && !m->dup);
	if (known)
		return repeat(e, cookie);
	if (!e && m->qos == 2 && is_finished(in, packet_id, digest))
		return answer_copy(in, packet_id, cookie, digest);
	enum reason reason = e ? displace(e) : R_SUCCESS;
	return reason_failed(reason) ? reason : publish_new(in, m, packet_id, cookie, digest);
}

/* Ends are written when something else is. This one should not come back: the next message may have
 * the same packet id and content. Nobody waits for it. */
static void soon_for_good(const struct session *s)
{
	(void)journal_mark(keeper_journal(router_keeper(sessions_router(s->all))));
}

bool inbound_released(struct inbound *in, uint16_t packet_id)
{
	struct exchange *e = idmap_get(&in->by_id, packet_id);
	/* A PUBREL before our PUBREC does not end anything: the message is not safe yet. */
	if (!e || e->qos != 2 || e->state != STATE_ANSWERED)
		return false;
	bool stored = e->kept != NULL;
	remember(in, e);
	forget(e);
	if (stored)
		soon_for_good(in->session);
	return true;
}

bool inbound_restore(struct inbound *in, struct kept *kept, const struct claim *c)
{
	struct exchange *before = idmap_get(&in->by_id, c->packet_id);
	if (c->packet_id == 0 || idmap_reserve(&in->by_id) != 0)
		return false;
	struct exchange *e = exchange_new(in, 2, c->packet_id, 0, c->digest);
	if (!e)
		return false;
	if (before) /* it was over, a crash has lost the end of it */
		forget(before);
	in->owner = c->owner;
	e->kept = kept;
	e->state = STATE_ANSWERED;
	e->restored = true;
	enlist(e);
	make_current(e);
	return true;
}
