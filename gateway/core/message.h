#ifndef TIDEGATE_CORE_MESSAGE_H
#define TIDEGATE_CORE_MESSAGE_H

#include "gateway/base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Origins that are no client of ours. Clients have numbers from ORIGIN_FIRST_CLIENT on, never used
 * twice in the life of the process. */
enum { ORIGIN_GATEWAY = 1, ORIGIN_UPSTREAM = 2, ORIGIN_FIRST_CLIENT = 16 };

struct kept;

/* A publication: one block, counted, never changed after message_new(). Whoever stores one takes a
 * reference; a callee that only looks does not. */
struct message {
	uint32_t refs;
	uint32_t payload_len;
	uint32_t props_len;
	uint16_t topic_len;
	uint8_t qos;     /* as published, 0..2 (MQTT-SN's -1 is 0 here) */
	bool retain : 1; /* as published */
	/* retain_claim.c's: it is the retained message of its topic, and claimed as such; the one
	 * before is on disk, and it is not. */
	bool retained_claim : 1, retained_heir : 1;
	bool dup : 1;       /* its client says that it sent it before (DUP) */
	bool synced : 1;    /* received_wall_ms is of a clock that was set (clock_synced()) */
	uint64_t origin;    /* number of the client that published it, or ORIGIN_... */
	int64_t expires_ms; /* clock_ms() from which it is stale; 0: never */
	int64_t received_wall_ms;
	struct kept *kept; /* keeper.c's: who claims it on stable storage; NULL: nobody */
	uint8_t body[];    /* topic length (2 octets, big-endian), topic, payload, props */
};
_Static_assert(sizeof(struct message) <= 48, "one for each retained message");

struct message_init {
	struct span topic, payload;
	struct span props; /* MQTT 5 properties that travel (see props.h), without the length in
			      front */
	uint8_t qos;
	bool retain, dup;
	uint64_t origin;
	int64_t expires_ms;
};

/* One reference for the caller. NULL: no memory, or the budget of queued bytes is used up. The
 * topic is taken as valid (topic_valid_name). */
struct message *message_new(const struct message_init *init);
struct message *message_ref(struct message *m);
void message_unref(struct message *m); /* NULL is fine */

static inline struct span message_topic(const struct message *m)
{
	return span_of(m->body + 2, m->topic_len);
}

/* The topic with its 16-bit length in front, as PUBLISH of MQTT carries it. */
static inline struct span message_topic_wire(const struct message *m)
{
	return span_of(m->body, 2u + m->topic_len);
}

static inline struct span message_payload(const struct message *m)
{
	return span_of(m->body + 2 + m->topic_len, m->payload_len);
}

static inline struct span message_props(const struct message *m)
{
	return span_of(m->body + 2 + m->topic_len + m->payload_len, m->props_len);
}

static inline size_t message_size(const struct message *m)
{
	return sizeof(*m) + 2u + m->topic_len + m->payload_len + m->props_len;
}

bool message_expired(const struct message *m);
/* 64 bits over topic, payload and retain flag, to tell a repetition from another message. */
uint64_t message_digest(const struct message *m);

/* All messages alive, and the bytes of their payloads. */
size_t messages_count(void);
size_t messages_payload_bytes(void);
/* All messages alive, in bytes, and the budget at which message_new() refuses (0: none). */
size_t messages_bytes(void);
void messages_set_budget(size_t bytes);

/* A self-contained, versioned form for the journal (topic, payload, props, qos, retain, remaining
 * expiry and wall time of arrival). `_encode` fills up to MESSAGE_PARTS spans that point into `m`
 * and into `scratch` and returns their number. `_decode` gives a new message with `origin`, NULL
 * when the bytes are no such form or there is no memory. The budget does not stop it: what was
 * acknowledged once must come back. */
#define MESSAGE_PARTS   2
#define MESSAGE_SCRATCH 48
unsigned message_encode(const struct message *m, uint8_t scratch[MESSAGE_SCRATCH],
	struct span parts[MESSAGE_PARTS]);
struct message *message_decode(struct span bytes, uint64_t origin);

#endif
