#ifndef TIDEGATE_CORE_REWRITE_H
#define TIDEGATE_CORE_REWRITE_H

#include "gateway/base/conf.h"
#include "gateway/core/identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rules that replace the topics of clients: sections [rewrite.NAME]. Of the rules whose `topic`
 * covers the topic or filter the last one counts, as in EMQX: it is replaced by `destination` if
 * `regex` is found in it, else it stays, whatever earlier rules say.
 *
 * Expressions meet hostile topics, so they are held to forms for which regexec() takes a bounded
 * time: nothing repeated inside of what is repeated, no counts, no back-references. The slowest of
 * thousands of random ones within the limits took 42 ms for a topic of 1 KB; plain ones take 0.1
 * ms. */
enum {
	REWRITE_RULES_MAX = 64,
	REWRITE_REGEX_MAX = 128,
	REWRITE_TOPIC_MAX = 1024 /* longer ones are refused where a rule selects them */
};
#define REWRITE_GROUPS 9 /* $1 to $9 */

enum rewrite_side { REWRITE_PUBLISH, REWRITE_SUBSCRIBE };

struct rewrite_rule;

/* The rules at work; zeroed memory: none. */
struct rewrite {
	struct rewrite_rule *rules; /* owned */
	size_t n;
};

extern const struct conf_section rewrite_conf_section;

/* Replaces the rules by those of `conf`, which may go afterwards. 0, or -ENOMEM with the old ones
 * kept. */
int rewrite_load(struct rewrite *r, const struct conf *conf);
void rewrite_clear(struct rewrite *r);

enum rewritten { REWRITE_NONE /* it stays */, REWRITE_DONE, REWRITE_INVALID, REWRITE_NO_MEMORY };
/* `topic` is valid, and without $share/ and the like in front. REWRITE_DONE: *out lies in `buf` of
 * TOPIC_TEMPLATE_TEXT_MAX bytes and is not validated yet. REWRITE_INVALID: too long, or the client
 * has no name that the destination asks for. */
enum rewritten rewrite_topic(const struct rewrite *r, enum rewrite_side side,
	const struct identity *who, struct span topic, uint8_t *buf, struct span *out);

/* rewrite_conf.c */
enum rewrite_direction { REWRITE_TO_PUBLISH, REWRITE_TO_SUBSCRIBE, REWRITE_TO_ALL };
struct rewrite_conf {
	int direction;                           /* enum rewrite_direction */
	const char *topic, *regex, *destination; /* NULL in [rewrite] itself */
};

#endif
