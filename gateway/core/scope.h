#ifndef TIDEGATE_CORE_SCOPE_H
#define TIDEGATE_CORE_SCOPE_H

#include "gateway/core/rewrite.h"
#include "gateway/core/topic_template.h"

/* Between the topics of a client's own words and those of the hub: adapters take each topic and
 * filter that a client writes through scope_enter(), and each topic that it is shown through
 * scope_leave(). The rules of [rewrite] come first, then the mountpoint: what a client is rewritten
 * to stays below its mountpoint. Sessions, router and what is stored know the hub's topics only. */
struct scope {
	const struct rewrite *rewrite; /* borrowed; NULL: no rules */
	const char *mountpoint;        /* borrowed, with %c and %u; NULL: none */
	const struct identity *who;
};
#define SCOPE_TEXT_MAX TOPIC_TEMPLATE_TEXT_MAX

static inline bool scope_has_rules(const struct scope *s)
{
	return s->rewrite && s->rewrite->n;
}
/* The client's words are the hub's. */
static inline bool scope_is_plain(const struct scope *s)
{
	return !s->mountpoint && !scope_has_rules(s);
}

/* Each of them: `text` is what the client wrote, with $share/{group}/, $exclusive/ and
 * $delayed/{seconds}/ kept in front. *out is `text` itself where nothing changes (it may be invalid
 * then), or lies in `buf` of SCOPE_TEXT_MAX bytes and is valid. R_SUCCESS; R_TOPIC_INVALID (also: a
 * topic below '$' behind a mountpoint) or R_FILTER_INVALID; R_NOT_AUTHORIZED: the mountpoint asks
 * for a name that the client does not have; R_QUOTA: no memory. */
enum reason scope_rewrite(const struct scope *s, enum rewrite_side side, struct span text,
	uint8_t *buf, struct span *out);
enum reason scope_mount(const struct scope *s, enum rewrite_side side, struct span text,
	uint8_t *buf, struct span *out);
/* Both. */
enum reason scope_enter(const struct scope *s, enum rewrite_side side, struct span text,
	uint8_t *buf, struct span *out);
/* What the client sees of a topic of the hub. False: it is outside of its mountpoint. */
bool scope_leave(const struct scope *s, struct span topic, struct span *out);
/* Whether the mountpoint can be filled in for this client. */
bool scope_fits(const struct scope *s);

/* For conf rows. */
const char *scope_check_mountpoint(const char *value);

#endif
