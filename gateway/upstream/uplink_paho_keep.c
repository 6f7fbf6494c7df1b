#include "gateway/upstream/uplink_paho.h"

#include "gateway/base/wire.h"
#include "gateway/core/message.h"

#include <stdio.h>
#include <stdlib.h>

/* What Paho takes for its persistence: it says what it is about to send, and asks what there was.
 * Nothing is copied: a packet is made again from its message when a new handle asks for it. Calls
 * come with Paho's mutex held, from its own threads or inside a call of the bridge; what they
 * return is not looked at by Paho 1.3.12 when it sends, so a packet that may not leave yet is kept
 * by not returning.
 *
 * Keys: "c" commands, "s" PUBLISH sent, "sc" PUBREL sent, "r" PUBLISH received at QoS 2, "q"
 * messages we did not take; then "5" for MQTT 5, "-", and the packet id or another number. */
enum kind { COMMAND, SENT, RELEASE, RECEIVED, OTHER };

struct key {
	enum kind kind;
	bool v5;
	unsigned long number;
};

#define REFUSED  MQTTCLIENT_PERSISTENCE_ERROR
#define KEY_SIZE 16
#define PEEK_MAX 256 /* PUBRECs */

#define PUBLISH_QOS2 0x34
#define PUBREL       0x62

static struct key key_of(const char *text)
{
	static const struct {
		const char *prefix;
		enum kind kind;
	} kinds[] = { { "c", COMMAND }, { "sc", RELEASE }, { "s", SENT }, { "r", RECEIVED } };
	struct key k = { OTHER, false, 0 };

	for (size_t i = 0; i < ARRAY_SIZE(kinds) && k.kind == OTHER; i++) {
		size_t len = strlen(kinds[i].prefix);
		if (strncmp(text, kinds[i].prefix, len) == 0) {
			k.kind = kinds[i].kind;
			text += len;
		}
	}
	k.v5 = *text == '5';
	text += k.v5;
	if (*text++ == '-')
		k.number = strtoul(text, NULL, 10);
	else
		k.kind = OTHER;
	return k;
}

/* Door held. NULL: stopped, or that handle has been parked. */
static struct paho *owner_of(const void *context)
{
	struct paho *p = paho_find(context);

	return p && p->handles[context_index(context)].gen == context_gen(context) ? p : NULL;
}

/* Door held. False: it will not come any more, and the connection on that port must end. */
static bool wait_news(const void *context, uint16_t *port)
{
	struct paho *p = owner_of(context);

	*port = p->port;
	if (!p->stopping)
		pthread_cond_wait(&paho_news, &paho_door);
	p = owner_of(context);
	return p && !p->stopping;
}

/* It is a command no longer. */
static void note_begun(const void *context, uint16_t id)
{
	int handle = (int)context_index(context);

	pthread_mutex_lock(&paho_door);
	struct paho *p = owner_of(context);
	for (size_t i = 0; p && i < UPLINK_WINDOW_MAX; i++) {
		struct publish_slot *s = &p->slots[i];
		if (!s->owned || s->handle != handle || s->packet_id != id)
			continue;
		s->begun = true;
		break;
	}
	pthread_mutex_unlock(&paho_door);
}

/* A PUBLISH of QoS 2 leaves when this returns. */
static void before_publish(const void *context, uint16_t id)
{
	int handle = (int)context_index(context);
	struct publish_slot *s;
	struct paho *p;
	uint16_t port;
	bool shut = false;

	pthread_mutex_lock(&paho_door);
	while (!shut && (p = owner_of(context)) && (s = paho_slot_by_id(p, handle, id)) && !s->safe)
		shut = !wait_news(context, &port);
	pthread_mutex_unlock(&paho_door);
	if (shut)
		paho_shut(port);
}

/* Door held. PUBREC has come for this one. */
static void note_release(struct paho *p, struct publish_slot *s)
{
	if (s->released)
		return;
	s->released = true;
	s->release_safe = !s->kept;
	if (s->kept)
		paho_note(p, s);
}

/* Door held. Paho handles one PUBREC after the other, and each would wait for a commit of its own:
 * those that have arrived as well go to the disk with the first. */
static void note_following(struct paho *p, int handle)
{
	uint16_t ids[PEEK_MAX];
	size_t n = paho_peek_pubrecs(p->fd, ids, PEEK_MAX);

	for (size_t i = 0; i < n; i++) {
		struct publish_slot *s = paho_slot_by_id(p, handle, ids[i]);
		if (s)
			note_release(p, s);
	}
}

/* The same for PUBREL. */
static void before_pubrel(const void *context, uint16_t id)
{
	int handle = (int)context_index(context);
	struct publish_slot *s;
	struct paho *p;
	uint16_t port;
	bool shut = false;

	pthread_mutex_lock(&paho_door);
	while (!shut && (p = owner_of(context)) && (s = paho_slot_by_id(p, handle, id)) &&
		!s->release_safe) {
		if (s->released) {
			shut = !wait_news(context, &port);
			continue;
		}
		note_release(p, s);
		note_following(p, handle);
	}
	pthread_mutex_unlock(&paho_door);
	if (shut)
		paho_shut(port);
}

/* Inside a call of the bridge, before the command can be seen by anybody: the packet id that was
 * chosen. */
static void on_numbered(const void *context, MQTTAsync_token token)
{
	pthread_mutex_lock(&paho_door);
	struct paho *p = owner_of(context);
	if (p && token > 0 && token <= UINT16_MAX) {
		struct publish_slot *s = p->sending;
		p->last_id = (uint16_t)token;
		if (s)
			s->packet_id = (uint16_t)token;
		if (s && s->kept && s->packet_id != s->foreseen) {
			s->safe = false;
			paho_note(p, s);
		}
	}
	pthread_mutex_unlock(&paho_door);
}

static int on_command(const void *context, int n, char *bufs[], const int lens[])
{
	MQTTAsync_token token;

	/* The type of the command comes first, then its token. */
	if (n >= 2 && lens[1] == (int)sizeof(token)) {
		memcpy(&token, bufs[1], sizeof(token));
		on_numbered(context, token);
	}
	return REFUSED; /* Paho keeps it in memory */
}

static int keep_open(void **handle, const char *client_id, const char *uri, void *context)
{
	(void)client_id;
	(void)uri;
	*handle = context;
	return 0;
}

static int keep_close(void *handle)
{
	(void)handle;
	return 0;
}

static int keep_put(void *handle, char *text, int n, char *bufs[], int lens[])
{
	struct key k = key_of(text);

	switch (k.kind) {
	case COMMAND:
		return on_command(handle, n, bufs, lens);
	case SENT:
		note_begun(handle, (uint16_t)k.number);
		if ((bufs[0][0] & 0x06) == 0x04)
			before_publish(handle, (uint16_t)k.number);
		return 0;
	case RELEASE:
		before_pubrel(handle, (uint16_t)k.number);
		return 0;
	case RECEIVED:
		if (n >= 2 && lens[1] >= 0)
			paho_on_publish2(handle, k.v5, (uint8_t)bufs[0][0],
				span_of(bufs[1], (size_t)lens[1]));
		return 0;
	case OTHER:
		break;
	}
	return REFUSED;
}

static int keep_remove(void *handle, char *text)
{
	struct key k = key_of(text);

	/* Paho removes both forms, whatever the version. */
	if (k.kind == RECEIVED && k.v5)
		paho_on_pubrel(handle, (uint16_t)k.number);
	return 0;
}

static int keep_clear(void *handle)
{
	(void)handle;
	return 0;
}

/* The slot whose packet Paho asks for while a handle is made. Door held. */
static struct publish_slot *restored_slot(const void *context, const struct key *k)
{
	struct paho *p = owner_of(context);

	if (!p || !p->restoring || (k->kind != SENT && k->kind != RELEASE))
		return NULL;
	struct publish_slot *s =
		paho_slot_by_id(p, (int)context_index(context), (uint16_t)k->number);
	return s && (k->kind == SENT || s->released) ? s : NULL;
}

static int keep_contains(void *handle, char *text)
{
	struct key k = key_of(text);

	pthread_mutex_lock(&paho_door);
	bool found = restored_slot(handle, &k) != NULL;
	pthread_mutex_unlock(&paho_door);
	return found ? 0 : REFUSED;
}

static size_t add_key(char **keys, size_t n, const char *prefix, bool v5, uint16_t id)
{
	char *key = MQTTAsync_malloc(KEY_SIZE);

	if (!key)
		return n;
	snprintf(key, KEY_SIZE, "%s%s-%u", prefix, v5 ? "5" : "", id);
	keys[n] = key;
	return n + 1;
}

/* Door held. */
static size_t list_keys(const struct paho *p, int handle, char **keys)
{
	const struct connect_job *job = p->restoring;
	bool v5 = p->handles[handle].v5;
	size_t n = 0;

	for (size_t i = 0; i < UPLINK_WINDOW_MAX; i++) {
		const struct publish_slot *s = &p->slots[i];
		if (!s->owned || s->handle != handle || s->what.qos != 2)
			continue;
		n = add_key(keys, n, "s", v5, s->packet_id);
		if (s->released)
			n = add_key(keys, n, "sc", v5, s->packet_id);
	}
	for (size_t i = 0; i < job->n_received; i++)
		n = add_key(keys, n, "r", v5, job->received[i]);
	return n;
}

static int keep_keys(void *handle, char ***keys, int *n)
{
	*keys = NULL;
	*n = 0;
	pthread_mutex_lock(&paho_door);
	struct paho *p = owner_of(handle);
	if (p && p->restoring) {
		size_t most = 2 * UPLINK_WINDOW_MAX + p->restoring->n_received;
		*keys = MQTTAsync_malloc(most * sizeof(**keys));
		if (*keys)
			*n = (int)list_keys(p, (int)context_index(handle), *keys);
	}
	pthread_mutex_unlock(&paho_door);
	return 0;
}

static void write_props(struct writer *w, const struct uplink_publish *what)
{
	struct span props = message_props(what->msg);

	wr_varint(w, (uint32_t)(props.len + (what->expiry_s ? 5 : 0)));
	wr_span(w, props);
	if (what->expiry_s) {
		wr_u8(w, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL);
		wr_u32(w, what->expiry_s);
	}
}

#define HEAD_MAX 16 /* type, two variable lengths, packet id, expiry */

/* `what` NULL or without a message: a stand-in, of which only the packet id matters. */
static size_t write_publish(
	uint8_t *out, size_t cap, const struct uplink_publish *what, uint16_t id, bool v5)
{
	bool whole = what && what->msg;
	/* The rest behind room for the head, then both together. */
	struct writer rest = writer_of(out + 5, cap - 5), head = writer_of(out, 5);

	wr_span(&rest, whole ? message_topic_wire(what->msg) : span_of("\0\1x", 3));
	wr_u16(&rest, id);
	if (v5 && whole)
		write_props(&rest, what);
	else if (v5)
		wr_u8(&rest, 0);
	if (whole)
		wr_span(&rest, message_payload(what->msg));
	wr_u8(&head, (uint8_t)(PUBLISH_QOS2 | (whole && what->retain)));
	wr_varint(&head, (uint32_t)rest.len);
	memmove(out + head.len, rest.p, rest.len);
	return head.len + rest.len;
}

static size_t write_pubrel(uint8_t *out, uint16_t id)
{
	out[0] = PUBREL;
	out[1] = 2;
	out[2] = (uint8_t)(id >> 8);
	out[3] = (uint8_t)id;
	return 4;
}

static int keep_get(void *handle, char *text, char **buffer, int *len)
{
	struct key k = key_of(text);
	struct uplink_publish what = { 0 };

	pthread_mutex_lock(&paho_door);
	struct publish_slot *s = restored_slot(handle, &k);
	if (s) /* its message stays while the slot is owned: we are inside a call of the bridge */
		what = s->what;
	pthread_mutex_unlock(&paho_door);
	if (!s && k.kind != RECEIVED)
		return REFUSED;
	size_t cap = HEAD_MAX + 8 + (what.msg ? message_size(what.msg) : 0);
	uint8_t *out = MQTTAsync_malloc(cap);
	if (!out)
		return REFUSED;
	if (k.kind == RELEASE)
		*len = (int)write_pubrel(out, (uint16_t)k.number);
	else
		*len = (int)write_publish(out, cap, &what, (uint16_t)k.number, k.v5);
	*buffer = (char *)out;
	return 0;
}

MQTTClient_persistence *paho_keep(void *context)
{
	MQTTClient_persistence *k = malloc(sizeof(*k));

	if (k)
		*k = (MQTTClient_persistence){ context, keep_open, keep_close, keep_put, keep_get,
			keep_remove, keep_keys, keep_clear, keep_contains };
	return k;
}
