#include "gateway/core/rewrite.h"

#include "gateway/core/topic.h"
#include "gateway/core/topic_template.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

struct rewrite_rule {
	int direction;             /* enum rewrite_direction */
	char *topic, *destination; /* owned */
	regex_t regex;
};

static void rule_clear(struct rewrite_rule *rule)
{
	regfree(&rule->regex);
	free(rule->topic);
	free(rule->destination);
}

void rewrite_clear(struct rewrite *r)
{
	for (size_t i = 0; i < r->n; i++)
		rule_clear(&r->rules[i]);
	free(r->rules);
	*r = (struct rewrite){ 0 };
}

/* The expression has been compiled once by the check of the section. */
static int rule_init(struct rewrite_rule *rule, const struct rewrite_conf *c)
{
	if (regcomp(&rule->regex, c->regex, REG_EXTENDED) != 0)
		return -ENOMEM;
	rule->direction = c->direction;
	rule->topic = strdup(c->topic);
	rule->destination = strdup(c->destination);
	if (rule->topic && rule->destination)
		return 0;
	rule_clear(rule);
	return -ENOMEM;
}

static size_t count_rules(const struct conf *conf)
{
	const char *name;
	size_t n = 0;

	while (n < REWRITE_RULES_MAX &&
		conf_named_section(conf, rewrite_conf_section.name, n, &name))
		n++;
	return n;
}

int rewrite_load(struct rewrite *r, const struct conf *conf)
{
	struct rewrite fresh = { 0 };
	size_t n = count_rules(conf);
	const char *name;

	fresh.rules = n ? calloc(n, sizeof(*fresh.rules)) : NULL;
	if (n && !fresh.rules)
		return -ENOMEM;
	for (; fresh.n < n; fresh.n++) {
		const struct rewrite_conf *c =
			conf_named_section(conf, rewrite_conf_section.name, fresh.n, &name);

		if (rule_init(&fresh.rules[fresh.n], c) < 0) {
			rewrite_clear(&fresh);
			return -ENOMEM;
		}
	}
	rewrite_clear(r);
	*r = fresh;
	return 0;
}

static bool selects(const struct rewrite_rule *rule, enum rewrite_side side, struct span topic)
{
	int other = side == REWRITE_PUBLISH ? REWRITE_TO_SUBSCRIBE : REWRITE_TO_PUBLISH;

	return rule->direction != other && topic_covers(span_str(rule->topic), topic);
}

static enum rewritten apply(const struct rewrite_rule *rule, const struct identity *who,
	struct span topic, uint8_t *buf, struct span *out)
{
	regmatch_t found[1 + REWRITE_GROUPS];
	struct span groups[REWRITE_GROUPS];
	char text[REWRITE_TOPIC_MAX + 1];

	if (topic.len > REWRITE_TOPIC_MAX)
		return REWRITE_INVALID;
	memcpy(text, topic.p, topic.len);
	text[topic.len] = '\0';
	int err = regexec(&rule->regex, text, 1 + REWRITE_GROUPS, found, 0);
	if (err)
		return err == REG_NOMATCH ? REWRITE_NONE : REWRITE_NO_MEMORY;
	for (size_t i = 0; i < REWRITE_GROUPS; i++) {
		const regmatch_t *m = &found[i + 1];
		size_t at = m->rm_so < 0 ? 0 : (size_t)m->rm_so; /* -1: was not needed */

		groups[i] = span_of(text + at, m->rm_so < 0 ? 0 : (size_t)m->rm_eo - at);
	}
	return topic_template_fill(rule->destination, who, groups, REWRITE_GROUPS, buf, out)
		       ? REWRITE_DONE
		       : REWRITE_INVALID;
}

enum rewritten rewrite_topic(const struct rewrite *r, enum rewrite_side side,
	const struct identity *who, struct span topic, uint8_t *buf, struct span *out)
{
	for (size_t i = r->n; i-- > 0;)
		if (selects(&r->rules[i], side, topic))
			return apply(&r->rules[i], who, topic, buf, out);
	return REWRITE_NONE;
}
