#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_TOPICS_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_TOPICS_H

#include "gateway/base/span.h"
#include "gateway/core/session.h"

#include <stdbool.h>
#include <stdint.h>

/* The topic names that one client and the gateway have given numbers to (MQTT-SN 1.2, 6.5). Lives
 * with the session, not with the address. A name has one id, whether it came by REGISTER, by
 * SUBSCRIBE or from the gateway; ids count up from 1 and are never given to another name while the
 * session lives. */
enum sn_as {           /* how messages of this name go to the device */
	SN_AS_DEFAULT, /* as short name if it has two octets, else by its id */
	SN_AS_NAME,    /* subscribed by name: by its id */
	SN_AS_SHORT,
	SN_AS_PREDEFINED,
};

struct sn_topic {
	char *name; /* owned */
	uint16_t len;
	uint16_t id;
	uint16_t predefined_id; /* with SN_AS_PREDEFINED */
	uint8_t as;             /* enum sn_as */
	bool announced : 1;     /* the device knows the id */
	bool refused : 1;       /* the device wants no messages of this name */
};

static inline struct span sn_topic_name(const struct sn_topic *t)
{
	return span_of(t->name, t->len);
}

struct sn_topics {
	struct session_extra extra;
	struct sn_topic *all; /* owned; all[id - 1] */
	uint16_t *slots;      /* owned; open addressing over the names; an id, 0: free */
	uint32_t n, room;     /* of `all` */
	uint32_t n_slots;     /* a power of two, at least twice `n` */
};

/* The session's table, made on first use; NULL: no memory. */
struct sn_topics *sn_topics_of(struct session *s);
/* The same, NULL when there is none yet. */
static inline struct sn_topics *sn_topics_peek(const struct session *s)
{
	return s->extra ? container_of(s->extra, struct sn_topics, extra) : NULL;
}

/* A struct sn_topic is good until the next sn_topics_add(). `t` may be NULL: an empty table. */
struct sn_topic *sn_topics_by_id(const struct sn_topics *t, uint16_t id);
struct sn_topic *sn_topics_by_name(const struct sn_topics *t, struct span name);
/* Finds or adds. NULL: `max` names are there already, or no memory. */
struct sn_topic *sn_topics_add(struct sn_topics *t, struct span name, uint32_t max);
/* The device may have rebooted: it must be told every id again before it is used. */
void sn_topics_unannounce(struct sn_topics *t);

#endif
