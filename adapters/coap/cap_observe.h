#ifndef TIDEGATE_ADAPTERS_COAP_CAP_OBSERVE_H
#define TIDEGATE_ADAPTERS_COAP_CAP_OBSERVE_H

#include "adapters/coap/cap_client.h"
#include "adapters/coap/cap_request.h"

/* One observation (RFC 7641) is one subscription: a client, a topic or filter, a token. */
struct cap_observe {
	struct list node; /* in cap_client.observes */
	struct cap_client *client;
	struct subscriber sub;
	uint8_t token[CAP_TOKEN_MAX];
	uint8_t token_len;
	bool wildcard;   /* notifications have to name their topic */
	uint8_t run;     /* notifications since the last confirmable one */
	uint32_t value;  /* of the Observe option: counts up, 24 bits of it are sent */
	int32_t non_mid; /* of the last unconfirmable notification, -1: none */
	int64_t confirmed_ms;
	struct reap reap;
	uint16_t filter_len;
	uint8_t filter[]; /* as in Uri-Path, levels joined with '/' */
};

static inline struct span cap_observe_filter(const struct cap_observe *o)
{
	return span_of(o->filter, o->filter_len);
}

/* The Observe value to show next. */
uint32_t cap_observe_next(struct cap_observe *o);

/* GET with Observe 0. R_SUCCESS with *out, or why not. A second registration of the same filter
 * takes the new token. */
enum reason cap_observe_register(struct cap_request *rq, struct cap_observe **out);
/* GET with Observe 1: by token, and by filter for those that lost their token. */
void cap_observe_cancel(struct cap_request *rq);
/* Unsubscribes; what is queued for it is dropped. */
void cap_observe_end(struct cap_observe *o);
/* The notification as a PDU. NULL: no memory, or outside of the client's mountpoint. */
coap_pdu_t *cap_observe_pdu(
	struct cap_observe *o, struct message *m, coap_pdu_type_t type, uint16_t mid);
/* RST to an unconfirmable notification. NULL: not ours, or not the last one. */
struct cap_observe *cap_observe_by_mid(struct cap_client *c, uint16_t mid);

#endif
