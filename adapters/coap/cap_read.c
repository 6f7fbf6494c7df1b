#include "adapters/coap/cap_observe.h"

#include "gateway/core/message.h"
#include "gateway/core/topic.h"

#include <stdlib.h>

/* A listing that would be longer ends after the last whole link. */
#define LIST_MAX 65536

/* ---- one representation ---- */

/* A value whose format nobody told satisfies any Accept. */
static bool acceptable(const struct cap_request *rq, const struct message *m)
{
	int format = m ? cap_format_of(message_props(m)) : CAP_FORMAT_NONE;

	return rq->accept == -1 || format == CAP_FORMAT_NONE || format == rq->accept;
}

static bool slice(struct cap_request *rq, struct cap_answer *a, struct message *m)
{
	struct cap_block b = { .szx = CAP_SZX_MAX };
	bool wanted = rq->block2 != -1;

	if (wanted)
		cap_block_parse(rq->block2, &b);
	if (!cap_answer_slice(a, message_payload(m), b.num, b.szx, wanted, rq->token.len,
		    coap_session_max_pdu_size(rq->client->session)))
		return false;
	/* The rest is cut from this body, also when the value changes meanwhile. */
	if (b.num == 0 && a->block2 & 8)
		cap_client_keep_body(rq->client, cap_request_topic(rq), m);
	return true;
}

void cap_reply_value(struct cap_request *rq, struct message *m, int64_t observe)
{
	struct cap_answer a;

	cap_answer_init(&a, COAP_RESPONSE_CODE(205));
	a.observe = observe;
	if (m)
		cap_answer_describe(&a, m);
	if (m && cap_etags_match(&rq->etags, m)) {
		a.code = COAP_RESPONSE_CODE(203);
		a.format = CAP_FORMAT_NONE;
	} else if (m && !slice(rq, &a, m)) {
		cap_reply_code(rq, COAP_RESPONSE_CODE(400));
		return;
	}
	cap_reply(rq, &a);
}

/* ---- listings (RFC 6690) ---- */

struct listing {
	struct cap_request *rq;
	struct writer out;
};

static bool may_receive(struct cap_request *rq, struct span topic)
{
	struct policy *policy = router_policy(rq->cap->env.router);

	return policy->allows(policy, &rq->client->who, ACCESS_RECEIVE, topic);
}

static void list_one(struct message *m, void *arg)
{
	struct listing *l = arg;
	const struct scope scope = cap_client_scope(l->rq->client);
	size_t before = l->out.len;
	struct span shown;

	if (l->out.bad || !may_receive(l->rq, message_topic(m)) ||
		!scope_leave(&scope, message_topic(m), &shown))
		return;
	if (before)
		wr_u8(&l->out, ',');
	cap_link_write(&l->out, shown, cap_format_of(message_props(m)), message_payload(m).len);
	if (l->out.bad)
		l->out.len = before;
}

/* The listing as a message of its own, so that it is cut into blocks like any value. */
static struct message *message_of_links(struct span path, struct span links)
{
	uint8_t props[64];
	struct writer w = writer_of(props, sizeof(props));

	cap_format_write(&w, CAP_FORMAT_LINK, links);
	return message_new(&(struct message_init){
		.topic = path,
		.payload = links,
		.props = span_of(props, w.len),
	});
}

static void reply_links(struct cap_request *rq, struct span links)
{
	struct message *m = message_of_links(cap_request_topic(rq), links);

	if (!m)
		cap_reply_code(rq, COAP_RESPONSE_CODE(503));
	else if (!acceptable(rq, m))
		cap_reply_code(rq, COAP_RESPONSE_CODE(406));
	else
		cap_reply_value(rq, m, -1);
	message_unref(m);
}

static void read_list(struct cap_request *rq, struct span filter)
{
	struct listing l = { .rq = rq };
	uint8_t *buf;

	/* It costs a walk over the values: not for an address that may be somebody else's. */
	if (!rq->client->proven) {
		cap_reply_challenge(rq);
		return;
	}
	buf = malloc(LIST_MAX);
	if (!buf) {
		cap_reply_code(rq, COAP_RESPONSE_CODE(503));
		return;
	}
	l.out = writer_of(buf, LIST_MAX);
	router_retained_match(rq->cap->env.router, filter, list_one, &l);
	reply_links(rq, span_of(buf, l.out.len));
	free(buf);
}

/* RFC 6690, 4.1: a search word may end with '*'. */
static bool search_matches(struct span want, const char *have)
{
	struct span h = span_str(have);

	if (want.len && want.p[want.len - 1] == '*')
		return want.len - 1 <= h.len && memcmp(want.p, h.p, want.len - 1) == 0;
	return !want.p || span_equal(want, h);
}

static void read_well_known(struct cap_request *rq)
{
	static const char link[] = "</ps>;rt=\"core.ps.coll\";ct=40";
	bool found = search_matches(rq->query.rt, "core.ps.coll") &&
		     search_matches(rq->query.href, "/ps");

	reply_links(rq, found ? span_str(link) : span_of(NULL, 0));
}

/* ---- topics ---- */

static void read_topic(struct cap_request *rq, struct span topic)
{
	struct message *m = router_retained(rq->cap->env.router, topic);

	if (!may_receive(rq, topic))
		cap_reply_code(rq, COAP_RESPONSE_CODE(403));
	else if (!m)
		cap_reply_code(rq, COAP_RESPONSE_CODE(404));
	else if (!acceptable(rq, m))
		cap_reply_code(rq, COAP_RESPONSE_CODE(406));
	else
		cap_reply_value(rq, m, -1);
}

static void observe_topic(struct cap_request *rq, struct span topic)
{
	struct message *m =
		topic_has_wildcard(topic) ? NULL : router_retained(rq->cap->env.router, topic);
	struct cap_observe *o;
	enum reason r;

	/* An observer is an address that gets datagrams for a long time. */
	if (!rq->client->proven) {
		cap_reply_challenge(rq);
		return;
	}
	if (!acceptable(rq, m)) {
		cap_reply_code(rq, COAP_RESPONSE_CODE(406));
		return;
	}
	r = rq->cap->draining ? R_SHUTTING_DOWN : cap_observe_register(rq, &o);
	if (reason_failed(r))
		cap_reply_code(rq, cap_code_of(r, 0));
	else
		cap_reply_value(rq, m, cap_observe_next(o));
}

/* A block behind the first one of a body that is being fetched. False: there is none. */
static bool read_on(struct cap_request *rq)
{
	struct message *m = NULL;
	struct cap_block b;

	if (rq->block2 != -1 && cap_block_parse(rq->block2, &b) && b.num > 0)
		m = cap_client_body(rq->client, cap_request_topic(rq));
	if (m)
		cap_reply_value(rq, m, -1);
	return m;
}

void cap_read(struct cap_request *rq)
{
	struct span topic = cap_request_topic(rq);
	struct cap_block b;

	if (rq->path.target == CAP_TOPIC && rq->observe == 1)
		cap_observe_cancel(rq);
	if ((rq->block2 != -1 && !cap_block_parse(rq->block2, &b)) ||
		(rq->path.target == CAP_TOPIC && !topic_valid_filter(topic)))
		cap_reply_code(rq, COAP_RESPONSE_CODE(400));
	else if (rq->path.target == CAP_WELL_KNOWN)
		read_well_known(rq);
	else if (read_on(rq))
		return;
	else if (rq->path.target == CAP_ROOT)
		read_list(rq, topic);
	else if (rq->observe == 0)
		observe_topic(rq, topic);
	else if (topic_has_wildcard(topic))
		read_list(rq, topic);
	else
		read_topic(rq, topic);
}
