#include "adapters/coap/cap_request.h"

#include "gateway/base/clock.h"
#include "gateway/core/message.h"
#include "gateway/core/topic.h"

/* Content type, payload format indicator or one user property. */
#define PROPS_MAX 96

/* RFC 7252, 5.10.8. */
static bool preconditions_hold(const struct cap_request *rq, const struct message *value)
{
	if (rq->if_none_match && value)
		return false;
	return !rq->if_match.n || (value && cap_etags_match(&rq->if_match, value));
}

static int qos_of(const struct cap_request *rq)
{
	if (rq->query.qos != -1)
		return rq->query.qos;
	return rq->type == COAP_MESSAGE_CON ? 1 : 0;
}

static struct message *message_of(const struct cap_request *rq, struct span body, bool retain)
{
	uint8_t props[PROPS_MAX];
	struct writer w = writer_of(props, sizeof(props));
	struct message_init init = {
		.topic = cap_request_topic(rq),
		.payload = body,
		.qos = (uint8_t)qos_of(rq),
		.retain = retain,
		.origin = rq->client->who.origin,
	};

	if (body.len)
		cap_format_write(&w, (int)rq->format, body);
	init.props = span_of(props, w.bad ? 0 : w.len);
	if (rq->query.expiry_s > 0)
		init.expires_ms = clock_ms() + rq->query.expiry_s * 1000;
	return message_new(&init);
}

/* Publishes and answers with `success` once it is safe; QoS 0 promises nothing and is answered at
 * once. */
static void publish(struct cap_request *rq, struct message *m, uint8_t success)
{
	struct router *router = rq->cap->env.router;
	struct cap_exchange *x = NULL;
	enum reason r;

	if (m->qos > 0) {
		x = cap_exchange_new(rq->client, rq->pdu, success, rq->block1);
		if (!x) {
			cap_reply_code(rq, COAP_RESPONSE_CODE(503));
			return;
		}
	}
	r = router_publish(router, &rq->client->who, m, x ? &x->receipt : NULL);
	count_one(reason_failed(r) ? &cap_counts.refused : &cap_counts.published);
	if (x && !reason_failed(r)) {
		cap_reply_later(rq);
		return;
	}
	if (x)
		cap_exchange_end(x);
	cap_reply_code(rq, cap_code_of(r, success));
}

static void publish_body(struct cap_request *rq, struct span body, bool retain, uint8_t success)
{
	struct message *m = message_of(rq, body, retain);

	traffic_one(&cap_traffic, TRAFFIC_PUBLISH_IN);
	traffic_add(&cap_traffic, TRAFFIC_PAYLOAD_IN, body.len);
	if (!m) {
		count_one(&cap_counts.refused);
		cap_reply_code(rq, COAP_RESPONSE_CODE(503));
		return;
	}
	publish(rq, m, success);
	message_unref(m);
}

/* What is the same for all that change a topic. False: answered. */
static bool may_change(struct cap_request *rq, struct message **value)
{
	struct span topic = cap_request_topic(rq);

	*value = NULL;
	if (rq->cap->draining) {
		cap_reply_code(rq, COAP_RESPONSE_CODE(503));
		return false;
	}
	if (!topic_valid_name(topic)) {
		cap_reply_code(rq, COAP_RESPONSE_CODE(400));
		return false;
	}
	*value = router_retained(rq->cap->env.router, topic);
	if (!preconditions_hold(rq, *value)) {
		cap_reply_code(rq, COAP_RESPONSE_CODE(412));
		return false;
	}
	return true;
}

void cap_publish(struct cap_request *rq)
{
	bool put = rq->method == COAP_REQUEST_CODE_PUT;
	bool retain = rq->query.retain == -1 ? put : rq->query.retain;
	struct cap_upload *upload;
	struct message *value;
	struct span body;
	uint8_t code;

	if (!may_change(rq, &value))
		return;
	code = cap_upload_receive(rq, &body, &upload);
	if (code) {
		cap_reply_code(rq, code);
		return;
	}
	code = put && retain && !value && body.len ? COAP_RESPONSE_CODE(201)
						   : COAP_RESPONSE_CODE(204);
	publish_body(rq, body, retain, code);
	cap_upload_end(rq->cap, upload);
}

void cap_delete(struct cap_request *rq)
{
	struct message *value;

	/* An empty retained message takes the value away and tells those who observe it. */
	if (may_change(rq, &value))
		publish_body(rq, span_of(NULL, 0), true, COAP_RESPONSE_CODE(202));
}
