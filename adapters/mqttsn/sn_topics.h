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

enum sn_origin {         /* who brought the name up */
	SN_FROM_GATEWAY, /* a message that a wildcard matched */
	SN_FROM_REGISTER,
	SN_FROM_SUBSCRIBE,
};

struct sn_topic {
	uint16_t id, len;
	uint16_t predefined_id; /* with SN_AS_PREDEFINED */
	uint8_t as;             /* enum sn_as */
	uint8_t origin : 2;     /* enum sn_origin */
	bool announced : 1;     /* the device knows the id */
	bool refused : 1;       /* the device wants no messages of this name */
	uint8_t name[];
};

static inline struct span sn_topic_name(const struct sn_topic *t)
{
	return span_of(t->name, t->len);
}

/* Finds an entry without a walk through all of them. */
struct sn_topic_index {
	uint32_t room;     /* octets there are for entries */
	uint32_t n_slots;  /* a power of two, at least twice the number of entries */
	uint32_t begins[]; /* where each id's entry begins [n_slots / 2]; behind that ids in open
			      addressing over the names, 0: free [n_slots] of uint16_t */
};

/* One block of memory. Entries lie one behind the other, by id. Most devices have a handful of
 * names: only from SN_TOPICS_FEW on there is an index, and more room than is used. */
#define SN_TOPICS_FEW 8
struct sn_topics {
	struct session_extra extra;
	struct sn_topic_index *index; /* owned; NULL: few names */
	uint32_t used;                /* octets of `entries` */
	uint16_t n;                   /* of entries */
	uint16_t reserved; /* ids up to this one will not be another name's after a restart */
	_Alignas(struct sn_topic) uint8_t entries[];
};

/* The session's table, NULL when there is none yet. After a restart sn_topics_restore() comes
 * first. */
static inline struct sn_topics *sn_topics_peek(const struct session *s)
{
	return s->extra ? container_of(s->extra, struct sn_topics, extra) : NULL;
}

static inline uint32_t sn_topics_count(const struct session *s)
{
	return s->extra ? sn_topics_peek(s)->n : 0;
}

/* A struct sn_topic and the table are good until the next sn_topics_add(). `t` may be NULL: an
 * empty table. */
struct sn_topic *sn_topics_by_id(const struct sn_topics *t, uint16_t id);
struct sn_topic *sn_topics_by_name(const struct sn_topics *t, struct span name);
/* Finds or adds; `origin` is that of a new name. NULL: `max` names are there already, or no memory.
 */
struct sn_topic *sn_topics_add(
	struct session *s, struct span name, enum sn_origin origin, uint32_t max);
/* The device may have rebooted: it must be told every id again before it is used. */
void sn_topics_unannounce(struct sn_topics *t);

/* What the device is about to be told of this name (with sn_promise()) is to survive a restart. */
void sn_topics_promise(struct session *s, const struct sn_topic *t);
/* Its name, that we gave an id, is to survive as well, but nobody waits for that. */
void sn_topics_note(struct session *s, const struct sn_topic *t);
/* The device is about to be told the id by us. True: that has to wait (sn_promise()), which then
 * holds for some ids more, so that a wildcard that brings many names does not wait for each. */
bool sn_topics_reserve(struct session *s, const struct sn_topic *t);
/* The table out of session_saved(), in the place of which it comes. Ids whose names were lost on
 * the disk stay without one. */
void sn_topics_restore(struct session *s);

#endif
