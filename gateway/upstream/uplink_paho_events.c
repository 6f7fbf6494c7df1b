#include "gateway/upstream/uplink_paho.h"

#include <stdio.h>
#include <string.h>

/* Paho's callbacks, in Paho's threads, with Paho's mutex held: copy, post, return. They call
 * nothing of Paho but the freeing of what was handed to them. */

static struct paho *enter(const void *context)
{
	pthread_mutex_lock(&paho_door);
	return paho_find(context);
}

static void leave(void)
{
	pthread_mutex_unlock(&paho_door);
}

/* Door held. The session is lost, and Paho would send first what was last. Its connection ends
 * before it can; the next one is that of another handle. Returns its port. */
static uint16_t start_over(struct paho *p)
{
	p->handles[p->active_handle].poisoned = true;
	paho_set_down(p, R_UNSPECIFIED, "the session is lost");
	return p->port;
}

static void set_up(void *context, const struct uplink_up *up)
{
	struct paho *p = enter(context);
	uint16_t port = 0;

	if (p && p->state == PAHO_CONNECTING && p->attempt == context_gen(context)) {
		bool disorder = !up->session_present && paho_has_commands(p);
		p->state = PAHO_UP;
		p->up = *up;
		p->tls_text[0] = '\0';
		p->fd = p->handles[p->active_handle].tls ? -1 : paho_socket(p->port);
		paho_sort_out(p, up->session_present);
		mailbox_post(p->inbox, &p->up_note.mail);
		if (disorder)
			port = start_over(p);
	}
	leave();
	if (port)
		paho_shut(port);
}

void paho_on_connected(void *context, MQTTAsync_successData *data)
{
	set_up(context, &(struct uplink_up){ .version = 4,
				.session_present = data->alt.connect.sessionPresent,
				.receive_maximum = UINT16_MAX,
				.maximum_qos = 2,
				.retain_available = true });
}

static uint32_t number(MQTTProperties *props, enum MQTTPropertyCodes id, uint32_t absent)
{
	MQTTProperty *p = MQTTProperties_getProperty(props, id);

	if (!p)
		return absent;
	switch (MQTTProperty_getType(id)) {
	case MQTTPROPERTY_TYPE_BYTE:
		return p->value.byte;
	case MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER:
		return p->value.integer2;
	default:
		return p->value.integer4;
	}
}

void paho_on_connected5(void *context, MQTTAsync_successData5 *data)
{
	MQTTProperties *props = &data->properties;
	uint32_t most = number(props, MQTTPROPERTY_CODE_RECEIVE_MAXIMUM, UINT16_MAX);

	set_up(context,
		&(struct uplink_up){ .version = 5,
			.session_present = data->alt.connect.sessionPresent,
			.receive_maximum = (uint16_t)(most ? most : 1),
			.keepalive_s = number(props, MQTTPROPERTY_CODE_SERVER_KEEP_ALIVE, 0),
			.maximum_packet = number(props, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE, 0),
			.maximum_qos = (uint8_t)number(props, MQTTPROPERTY_CODE_MAXIMUM_QOS, 2),
			.retain_available = number(props, MQTTPROPERTY_CODE_RETAIN_AVAILABLE, 1) });
}

static void set_refused(void *context, int code, enum reason reason, const char *text)
{
	struct paho *p = enter(context);

	/* We know that somebody answers on TCP. Of a certificate for another host OpenSSL doesn't
	 * complain, it is Paho that hangs up. */
	if (p && p->active_handle >= 0 && p->handles[p->active_handle].tls &&
		reason == R_UNSPECIFIED && code < 0)
		text = "TLS failed; is the certificate for this host name?";
	if (p && p->state == PAHO_CONNECTING && p->attempt == context_gen(context))
		paho_set_down(p, reason, text ? text : MQTTAsync_strerror(code));
	leave();
}

/* MQTT 3.1.1, 3.2.2.3, in terms of MQTT 5. */
static enum reason connack_reason(int code)
{
	static const enum reason of[] = { R_UNSPECIFIED, R_VERSION, R_CLIENT_ID,
		R_SERVER_UNAVAILABLE, R_BAD_CREDENTIALS, R_NOT_AUTHORIZED };

	if (code > 0 && code < (int)(sizeof(of) / sizeof(of[0])))
		return of[code];
	return code >= R_UNSPECIFIED && code <= 0xff ? (enum reason)code : R_UNSPECIFIED;
}

static const char *refusal_text(int code, const char *message)
{
	enum reason reason = connack_reason(code);

	return code > 0 && reason != R_UNSPECIFIED ? reason_name(reason) : message;
}

void paho_on_refused(void *context, MQTTAsync_failureData *data)
{
	set_refused(context, data->code, connack_reason(data->code),
		refusal_text(data->code, data->message));
}

void paho_on_refused5(void *context, MQTTAsync_failureData5 *data)
{
	/* Paho puts CONNACK's code into `code` and leaves `reasonCode` alone. */
	int code = data->code > 0 ? data->code : (int)data->reasonCode;

	set_refused(context, data->code, connack_reason(code), refusal_text(code, data->message));
}

static void set_lost(void *context, enum reason reason, const char *text)
{
	struct paho *p = enter(context);

	if (p && p->state == PAHO_UP && p->active_gen == context_gen(context) &&
		p->active_handle == (int)context_index(context))
		paho_set_down(p, reason, text);
	leave();
}

void paho_on_disconnected(void *context, MQTTAsync_successData *data)
{
	(void)data;
	set_lost(context, R_SUCCESS, "closed");
}

void paho_on_disconnected5(void *context, MQTTAsync_successData5 *data)
{
	(void)data;
	set_lost(context, R_SUCCESS, "closed");
}

void paho_on_lost(void *context, char *cause)
{
	set_lost(context, R_UNSPECIFIED, cause);
}

void paho_on_goodbye(void *context, MQTTProperties *props, enum MQTTReasonCodes code)
{
	struct paho *p = enter(context);

	(void)props;
	if (p && p->active_gen == context_gen(context))
		p->goodbye = (enum reason)code;
	leave();
}

/* Door held. NULL: of another time. */
static struct publish_slot *slot_of(struct paho *p, const void *context)
{
	unsigned i = context_index(context);

	if (!p || i >= UPLINK_WINDOW_MAX || p->slots[i].gen != context_gen(context))
		return NULL;
	return &p->slots[i];
}

static void set_published(void *context)
{
	struct paho *p = enter(context);
	struct publish_slot *s = slot_of(p, context);

	if (s)
		paho_slot_done(p, s, UPLINK_DONE, R_SUCCESS);
	leave();
}

void paho_on_published(void *context, MQTTAsync_successData *data)
{
	(void)data;
	set_published(context);
}

void paho_on_published5(void *context, MQTTAsync_successData5 *data)
{
	(void)data; /* the code of PUBACK is not in here */
	set_published(context);
}

/* Door held. It is out of Paho's hands when the session was lost. When a write has failed, Paho
 * keeps it, unusable; at QoS 2 the next handle has it from us. */
static void set_unpublished(struct paho *p, struct publish_slot *s, int code)
{
	bool session_lost = code == MQTTASYNC_OPERATION_INCOMPLETE;

	if (s->what.qos > 0 && !session_lost && s->handle >= 0)
		p->handles[s->handle].poisoned = true;
	if (s->what.qos == 2 && !session_lost && s->packet_id) {
		p->by_id += !s->by_id;
		s->by_id = true;
		return;
	}
	paho_slot_done(p, s, s->what.qos == 2 && session_lost ? UPLINK_REPEAT : UPLINK_RETRY,
		R_UNSPECIFIED);
}

void paho_on_unpublished(void *context, MQTTAsync_failureData *data)
{
	struct paho *p = enter(context);
	struct publish_slot *s = slot_of(p, context);

	if (s)
		set_unpublished(p, s, data->code);
	leave();
}

void paho_on_unpublished5(void *context, MQTTAsync_failureData5 *data)
{
	struct paho *p = enter(context);
	struct publish_slot *s = slot_of(p, context);

	/* At QoS 0 there is no answer, and Paho leaves the code as it finds it. */
	if (s && s->what.qos > 0 && (int)data->reasonCode >= R_UNSPECIFIED &&
		(int)data->reasonCode <= 0xff)
		paho_slot_done(p, s, UPLINK_REFUSED, (enum reason)data->reasonCode);
	else if (s)
		set_unpublished(p, s, data->code);
	leave();
}

/* PUBACK or PUBCOMP, or a PUBREC that refuses: told for every packet id, before what is told for
 * each message, and all that is told for those that were restored. */
void paho_on_delivered(void *context, MQTTAsync_token token)
{
	struct paho *p = enter(context);
	struct publish_slot *s = NULL;

	if (p && p->by_id > 0 && token > 0 && token <= UINT16_MAX)
		s = paho_slot_by_id(p, (int)context_index(context), (uint16_t)token);
	if (s && s->by_id && s->released)
		paho_slot_done(p, s, UPLINK_DONE, R_SUCCESS);
	else if (s && s->by_id)
		paho_slot_done(p, s, UPLINK_REFUSED, R_UNSPECIFIED);
	leave();
}

/* Door held. The request this answer is for; NULL: of another time. */
static struct request *request_of(struct paho *p, const void *context)
{
	if (!p || !p->request.owned || p->request.gen != context_gen(context))
		return NULL;
	return &p->request;
}

void paho_on_granted(void *context, MQTTAsync_successData *data)
{
	struct paho *p = enter(context);
	struct request *r = request_of(p, context);

	if (r) {
		int code = r->unsub ? 0 : data->alt.qos;
		paho_request_answer(p, context_index(context),
			code >= 0 && code <= 2 ? (uint8_t)code : R_UNSPECIFIED);
	}
	leave();
}

void paho_on_granted5(void *context, MQTTAsync_successData5 *data)
{
	struct paho *p = enter(context);
	struct request *r = request_of(p, context);
	size_t n = r ? r->n : 0;
	bool unsub = r && r->unsub;
	int said = data->alt.sub.reasonCodeCount;
	uint8_t codes[UPLINK_FILTERS_MAX];

	for (size_t i = 0; i < n; i++) {
		if (unsub)
			codes[i] = 0;
		else if (said == 1)
			codes[i] = i == 0 ? (uint8_t)data->reasonCode : R_UNSPECIFIED;
		else if (said > 1 && i < (size_t)said && data->alt.sub.reasonCodes)
			codes[i] = (uint8_t)data->alt.sub.reasonCodes[i];
		else
			codes[i] = R_UNSPECIFIED; /* fewer answers than questions */
	}
	for (size_t i = 0; i < n; i++)
		paho_request_answer(p, i, codes[i]);
	leave();
}

/* `code`: the server's refusal, or UPLINK_UNANSWERED when the connection ended first. */
static void set_ungranted(void *context, uint8_t code)
{
	struct paho *p = enter(context);
	struct request *r = request_of(p, context);
	unsigned i = context_index(context);

	if (r && code == UPLINK_UNANSWERED)
		paho_request_done(p);
	else if (r && i < r->n)
		paho_request_answer(p, i, code);
	else if (r)
		for (size_t k = 0, n = r->n; k < n; k++)
			paho_request_answer(p, k, code);
	leave();
}

void paho_on_ungranted(void *context, MQTTAsync_failureData *data)
{
	set_ungranted(context, data->code == R_UNSPECIFIED ? R_UNSPECIFIED : UPLINK_UNANSWERED);
}

void paho_on_ungranted5(void *context, MQTTAsync_failureData5 *data)
{
	int code = (int)data->reasonCode;

	set_ungranted(context, code >= R_UNSPECIFIED && code < UPLINK_UNANSWERED
				       ? (uint8_t)code
				       : UPLINK_UNANSWERED);
}

/* OpenSSL prints "thread:error:code:library:function:reason:file:line:data"; the reason is for
 * people. */
static struct span tls_reason(const char *text, size_t len)
{
	struct span s = span_of(text, len);

	for (int field = 0; field < 5; field++) {
		const uint8_t *colon = s.len ? memchr(s.p, ':', s.len) : NULL;
		if (!colon)
			return span_of(text, len);
		s = span_of(colon + 1, s.len - (size_t)(colon + 1 - s.p));
	}
	const uint8_t *end = s.len ? memchr(s.p, ':', s.len) : NULL;
	return end ? span_of(s.p, (size_t)(end - s.p)) : s;
}

int paho_on_tls_error(const char *text, size_t len, void *context)
{
	struct paho *p = enter(context);
	struct span reason = tls_reason(text, len);

	/* The first complaint is the cause. */
	if (p && p->state == PAHO_CONNECTING && p->tls_text[0] == '\0')
		snprintf(p->tls_text, sizeof(p->tls_text), "TLS: %.*s", SPAN_ARGS(reason));
	leave();
	return 1;
}
