#include "adapters/coap/cap_request.h"

#include "gateway/core/topic.h"

/* ---- parsing ---- */

static bool take_uint(int64_t *field, struct span v)
{
	if (*field != -1 || v.len > 4)
		return false;
	*field = (int64_t)coap_decode_var_bytes(v.p, v.len);
	return true;
}

static void take_etag(struct cap_etags *tags, struct span v)
{
	if (tags->n < CAP_ETAGS)
		tags->tag[tags->n++] = v;
}

static bool take_if_none_match(struct cap_request *rq)
{
	bool first = !rq->if_none_match;

	rq->if_none_match = true;
	return first;
}

/* RFC 7252, 5.4.5: a critical option that may not be repeated and is, is like an unknown one; of an
 * elective one the first counts. libcoap does not look at repetitions. */
static uint8_t take_option(struct cap_request *rq, uint16_t number, struct span v)
{
	bool good = true;

	switch (number) {
	case COAP_OPTION_IF_MATCH:
		take_etag(&rq->if_match, v);
		break;
	case COAP_OPTION_ETAG:
		take_etag(&rq->etags, v);
		break;
	case COAP_OPTION_IF_NONE_MATCH:
		good = take_if_none_match(rq);
		break;
	case COAP_OPTION_OBSERVE:
		take_uint(&rq->observe, v);
		break;
	case COAP_OPTION_URI_PATH:
		cap_path_add(&rq->path, v);
		break;
	case COAP_OPTION_CONTENT_FORMAT:
		take_uint(&rq->format, v);
		break;
	case COAP_OPTION_URI_QUERY:
		rq->query_hash = rq->query_hash * 31 + hash_bytes(v.p, v.len);
		if (cap_query_add(&rq->query, v))
			return COAP_RESPONSE_CODE(400);
		break;
	case COAP_OPTION_ACCEPT:
		good = take_uint(&rq->accept, v);
		break;
	case COAP_OPTION_BLOCK2:
		good = take_uint(&rq->block2, v);
		break;
	case COAP_OPTION_BLOCK1:
		good = take_uint(&rq->block1, v);
		break;
	case COAP_OPTION_SIZE1:
		take_uint(&rq->size1, v);
		break;
	case COAP_OPTION_ECHO:
		rq->echo = v;
		break;
	case COAP_OPTION_RTAG:
		rq->request_tag = v;
		break;
	case COAP_OPTION_OSCORE:
		good = false;
		break;
	default:
		break;
	}
	return good ? 0 : COAP_RESPONSE_CODE(402);
}

uint8_t cap_request_parse(struct cap_request *rq, const coap_pdu_t *pdu)
{
	coap_bin_const_t token = coap_pdu_get_token(pdu);
	coap_opt_iterator_t it;
	const uint8_t *data;
	uint8_t refused = 0;
	coap_opt_t *o;
	size_t len;

	rq->pdu = pdu;
	rq->method = (uint8_t)coap_pdu_get_code(pdu);
	rq->type = (uint8_t)coap_pdu_get_type(pdu);
	rq->mid = (uint16_t)coap_pdu_get_mid(pdu);
	rq->token = span_of(token.s, token.length);
	rq->size = 4 + token.length;
	rq->observe = rq->format = rq->accept = rq->block1 = rq->block2 = rq->size1 = -1;
	cap_path_init(&rq->path);
	cap_query_init(&rq->query);
	coap_option_iterator_init(pdu, &it, COAP_OPT_ALL);
	while ((o = coap_option_next(&it))) {
		uint8_t code =
			take_option(rq, it.number, span_of(coap_opt_value(o), coap_opt_length(o)));

		rq->size += coap_opt_size(o);
		refused = refused ? refused : code;
	}
	if (coap_get_data(pdu, &len, &data)) {
		rq->payload = span_of(data, len);
		rq->size += 1 + len;
	}
	return refused ? refused : rq->path.bad ? COAP_RESPONSE_CODE(400) : 0;
}

bool cap_etags_match(const struct cap_etags *tags, const struct message *m)
{
	uint8_t etag[CAP_ETAG_LEN];

	if (!tags->n)
		return false;
	cap_etag(m, etag);
	for (unsigned i = 0; i < tags->n; i++)
		if (!tags->tag[i].len || span_equal(tags->tag[i], span_of(etag, sizeof(etag))))
			return true;
	return false;
}

/* ---- ending ---- */

/* Answers that only grow with what we hold must not be sent to an address that somebody else may
 * have written into the datagram (RFC 9175, 2.3). */
static bool amplifies(const struct cap_request *rq, const struct cap_answer *a)
{
	return !rq->client->proven && cap_answer_size(a, rq->token.len) > 3 * rq->size;
}

void cap_reply(struct cap_request *rq, const struct cap_answer *a)
{
	if (amplifies(rq, a)) {
		cap_reply_challenge(rq);
		return;
	}
	if (rq->method != COAP_REQUEST_CODE_GET)
		cap_client_remember(rq->client, rq->mid, a->code, a->block1);
	if (!cap_answer_write(a, rq->response))
		cap_reply_later(rq);
}

void cap_reply_code(struct cap_request *rq, uint8_t code)
{
	struct cap_answer a;

	cap_answer_init(&a, code);
	/* RFC 7959, 2.9.3: tell what would have been taken. */
	if (code == COAP_RESPONSE_CODE(413))
		a.size1 = rq->cap->conf.max_payload;
	a.block1 = rq->block1;
	cap_reply(rq, &a);
}

void cap_reply_later(struct cap_request *rq)
{
	/* An empty response that is not an acknowledgement is the one thing libcoap does not send:
	 * left as it is, it would be an empty acknowledgement. */
	coap_pdu_set_code(rq->response, COAP_EMPTY_CODE);
	coap_pdu_set_type(rq->response, COAP_MESSAGE_NON);
}

void cap_reply_challenge(struct cap_request *rq)
{
	struct cap_answer a;

	cap_answer_init(&a, COAP_RESPONSE_CODE(401));
	a.echo = cap_client_challenge(rq->client);
	if (!cap_answer_write(&a, rq->response))
		cap_reply_later(rq);
}

/* ---- dispatch ---- */

/* RFC 7252, 4.5. True when the request was here before. */
static bool repeated(struct cap_request *rq)
{
	struct cap_exchange *open = cap_exchange_find(rq->client, rq->mid);
	struct cap_answer a;
	int64_t block1;
	uint8_t code;

	if (open) {
		cap_exchange_repeated(open);
		cap_reply_later(rq);
		return true;
	}
	code = cap_client_answered(rq->client, rq->mid, &block1);
	if (!code)
		return false;
	cap_answer_init(&a, code);
	a.block1 = block1;
	if (!cap_answer_write(&a, rq->response))
		cap_reply_later(rq);
	return true;
}

static void dispatch(struct cap_request *rq)
{
	if (rq->method == COAP_REQUEST_CODE_GET)
		cap_read(rq);
	else if (rq->path.target != CAP_TOPIC)
		cap_reply_code(rq, COAP_RESPONSE_CODE(405));
	else if (rq->method == COAP_REQUEST_CODE_PUT || rq->method == COAP_REQUEST_CODE_POST)
		cap_publish(rq);
	else if (rq->method == COAP_REQUEST_CODE_DELETE)
		cap_delete(rq);
	else
		cap_reply_code(rq, COAP_RESPONSE_CODE(405));
}

/* The collection /ps is the listing of all topics. */
static struct span written_topic(const struct cap_request *rq)
{
	return rq->path.target == CAP_ROOT ? span_str("#") : cap_path_topic(&rq->path);
}

static void serve(struct cap_request *rq)
{
	const struct scope scope = cap_client_scope(rq->client);
	bool reads = rq->method == COAP_REQUEST_CODE_GET || rq->path.target == CAP_ROOT;
	uint8_t buf[SCOPE_TEXT_MAX];
	enum reason r = R_SUCCESS;

	if (rq->path.target == CAP_NOWHERE) {
		cap_reply_code(rq, COAP_RESPONSE_CODE(404));
		return;
	}
	rq->topic = written_topic(rq);
	if (rq->path.target != CAP_WELL_KNOWN)
		r = scope_enter(&scope, reads ? REWRITE_SUBSCRIBE : REWRITE_PUBLISH, rq->topic, buf,
			&rq->topic);
	if (reason_failed(r))
		cap_reply_code(rq, cap_code_of(r, 0));
	else
		dispatch(rq);
}

static void refuse(struct cap_request *rq, uint8_t code)
{
	char peer[ADDR_TEXT_MAX];

	count_one(&cap_counts.malformed);
	log_limited(&rq->cap->noise, LOG_LEVEL_INFO, "%s coap: request refused with %u.%02u",
		addr_text(&rq->client->who.peer, peer), code >> 5, code & 31u);
	cap_reply_code(rq, code);
}

static void admit(struct cap_request *rq)
{
	enum reason r = cap_client_admit(rq->client, &rq->query);

	if (rq->echo.len)
		cap_client_prove(rq->client, rq->echo);
	if (reason_failed(r))
		refuse(rq, cap_code_of(r, 0));
	else
		serve(rq);
}

/* The table of peers is full of those that observe or wait. */
static void no_room(struct cap_request *rq)
{
	struct cap_answer a;

	count_one(&cap_counts.refused);
	cap_answer_init(&a, COAP_RESPONSE_CODE(503));
	cap_answer_write(&a, rq->response);
}

static void handle(struct cap_listener *l, coap_session_t *session, const coap_pdu_t *pdu,
	coap_pdu_t *response)
{
	struct cap_request rq = { .cap = l->cap, .response = response };
	coap_pdu_type_t type = coap_pdu_get_type(pdu);
	uint8_t code;

	/* libcoap also calls for requests that hide in an acknowledgement or a reset. */
	if (type != COAP_MESSAGE_CON && type != COAP_MESSAGE_NON) {
		cap_reply_later(&rq);
		return;
	}
	rq.client = cap_client_get(l, session);
	if (!rq.client) {
		no_room(&rq);
		return;
	}
	cap_client_heard(rq.client);
	code = cap_request_parse(&rq, pdu);
	if (rq.method != COAP_REQUEST_CODE_GET && repeated(&rq))
		count_one(&cap_counts.duplicates);
	else if (code)
		refuse(&rq, code);
	else
		admit(&rq);
}

void cap_on_request(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *pdu,
	const coap_string_t *query, coap_pdu_t *response)
{
	struct cap_listener *l = coap_get_app_data(coap_session_get_context(session));

	(void)resource;
	(void)query;
	count_one(&cap_counts.requests);
	handle(l, session, pdu, response);
	if (coap_pdu_get_code(response) == COAP_EMPTY_CODE) /* see cap_reply_later() */
		return;
	traffic_one(&cap_traffic, TRAFFIC_PACKETS_OUT);
	traffic_add(&cap_traffic, TRAFFIC_BYTES_OUT, cap_pdu_size(response));
}
