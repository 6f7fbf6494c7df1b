#include "adapters/coap/cap_client.h"

#include <stdlib.h>

/* The answer to a publish leaves when its receipt says that the message is safe. libcoap would
 * acknowledge a confirmable request as soon as its handler returns; the handler suppresses that
 * (see cap_request.c), so the acknowledgement and the answer are one datagram as long as the
 * receipt comes within CAP_EMPTY_ACK_MS, and RFC 7252, 5.2.2 applies afterwards. */

static void send_empty_ack(struct cap_exchange *x)
{
	struct cap_answer empty;
	coap_pdu_t *pdu;

	cap_answer_init(&empty, 0);
	pdu = cap_answer_pdu(
		&empty, x->client->session, COAP_MESSAGE_ACK, x->mid, span_of(NULL, 0));
	if (pdu)
		cap_send(x->client->session, pdu);
	x->acknowledged = true;
}

static void on_slow(struct timer *t)
{
	send_empty_ack(container_of(t, struct cap_exchange, empty_ack));
}

/* RFC 7967, 2.1: the classes of answers the peer does not want. */
static bool unwanted(const struct cap_exchange *x, uint8_t code)
{
	return x->no_response >> (COAP_RESPONSE_CLASS(code) - 1) & 1;
}

static void exchange_answer(struct cap_exchange *x, uint8_t code)
{
	struct cap_client *c = x->client;
	coap_pdu_type_t type = x->type == COAP_MESSAGE_NON ? COAP_MESSAGE_NON
			       : x->acknowledged           ? COAP_MESSAGE_CON
							   : COAP_MESSAGE_ACK;
	uint16_t mid = type == COAP_MESSAGE_ACK ? x->mid : coap_new_message_id(c->session);
	struct cap_answer a;
	coap_pdu_t *pdu;

	cap_answer_init(&a, code);
	a.block1 = x->block1;
	pdu = cap_answer_pdu(&a, c->session, type, mid, span_of(x->token, x->token_len));
	if (!pdu)
		return;
	if (type == COAP_MESSAGE_CON)
		cap_outbox_answer(c, pdu);
	else
		cap_send(c->session, pdu);
}

static void on_done(struct receipt *receipt, enum reason reason)
{
	struct cap_exchange *x = container_of(receipt, struct cap_exchange, receipt);
	uint8_t code = cap_code_of(reason, x->code);

	if (reason_failed(reason))
		count_one(&cap_counts.refused);
	cap_client_remember(x->client, x->mid, code, x->block1);
	if (!unwanted(x, code))
		exchange_answer(x, code);
	else if (x->type == COAP_MESSAGE_CON && !x->acknowledged)
		send_empty_ack(x);
	cap_exchange_end(x);
}

static uint8_t no_response_of(const coap_pdu_t *request)
{
	coap_opt_iterator_t it;
	coap_opt_t *o = coap_check_option(request, COAP_OPTION_NORESPONSE, &it);

	return o ? (uint8_t)coap_decode_var_bytes(coap_opt_value(o), coap_opt_length(o)) : 0;
}

struct cap_exchange *cap_exchange_new(
	struct cap_client *c, const coap_pdu_t *request, uint8_t code, int64_t block1)
{
	coap_bin_const_t token = coap_pdu_get_token(request);
	struct cap_exchange *x = c->n_exchanges < CAP_EXCHANGES && token.length <= CAP_TOKEN_MAX
					 ? calloc(1, sizeof(*x))
					 : NULL;

	if (!x)
		return NULL;
	x->client = c;
	x->mid = (uint16_t)coap_pdu_get_mid(request);
	x->type = (uint8_t)coap_pdu_get_type(request);
	x->code = code;
	x->block1 = block1;
	x->no_response = no_response_of(request);
	x->token_len = (uint8_t)token.length;
	if (token.length)
		memcpy(x->token, token.s, token.length);
	receipt_init(&x->receipt, on_done);
	timer_init(&x->empty_ack, on_slow);
	if (x->type == COAP_MESSAGE_CON)
		timer_arm(&x->empty_ack, CAP_EMPTY_ACK_MS);
	list_append(&c->exchanges, &x->node);
	c->n_exchanges++;
	c->cap->n_exchanges++;
	return x;
}

static void exchange_free(struct reap *r)
{
	free(container_of(r, struct cap_exchange, reap));
}

void cap_exchange_end(struct cap_exchange *x)
{
	receipt_cancel(&x->receipt);
	timer_disarm(&x->empty_ack);
	list_remove(&x->node);
	x->client->n_exchanges--;
	x->client->cap->n_exchanges--;
	reap_later(&x->reap, exchange_free);
}

struct cap_exchange *cap_exchange_find(struct cap_client *c, uint16_t mid)
{
	struct list *e;

	list_for_each(e, &c->exchanges) {
		struct cap_exchange *x = list_entry(e, struct cap_exchange, node);

		if (x->mid == mid)
			return x;
	}
	return NULL;
}

void cap_exchange_repeated(struct cap_exchange *x)
{
	/* The empty acknowledgement got lost, or crossed this copy. Before it there is nothing to
	 * repeat: the answer is on its way. */
	if (x->acknowledged)
		send_empty_ack(x);
}
