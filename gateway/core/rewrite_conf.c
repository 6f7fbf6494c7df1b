#include "gateway/core/rewrite.h"

#include "gateway/core/topic.h"
#include "gateway/core/topic_template.h"

#include <regex.h>
#include <string.h>

#define FIELD(name) offsetof(struct rewrite_conf, name)

static const char *const directions[] = { "publish", "subscribe", "all", NULL };

/* Behind a bracket expression: "[^]/]", "[[:digit:]]". NULL: it does not end. */
static const char *skip_brackets(const char *p)
{
	p += 1 + (p[1] == '^');
	if (*p == ']')
		p++;
	while (*p && *p != ']') {
		if (p[0] == '[' && p[1] && strchr(":.=", p[1])) {
			const char end[] = { p[1], ']', '\0' };

			p = strstr(p + 2, end);
			if (!p)
				return NULL;
			p++;
		}
		p++;
	}
	return *p ? p + 1 : NULL;
}

/* What is open, from outside in: has something been repeated in there? */
struct nesting {
	unsigned depth;
	bool repeats[REWRITE_REGEX_MAX + 1];
};

/* Behind a group: what is repeated inside is inside of all that is around it, too. */
static bool leave_group(struct nesting *n)
{
	bool inner = n->repeats[n->depth];

	if (n->depth)
		n->depth--;
	n->repeats[n->depth] |= inner;
	return inner;
}

/* `inner`: what the repetition stands behind repeats something itself. */
static const char *check_repeat(struct nesting *n, bool inner)
{
	if (inner)
		return "an expression without a repetition inside of a repetition, such as "
		       "^x/([^/]+)/(.+)$";
	n->repeats[n->depth] = true;
	return NULL;
}

static const char *const no_counts = "an expression without counts and back-references; write "
				     "out what is counted, such as ^x/[0-9][0-9]*/(.+)$";

/* The parts for which there is no bound on the time of a match. What is not even well-formed is
 * left to regcomp(). */
static const char *check_form(const char *p)
{
	struct nesting n = { 0 };
	bool inner = false;
	const char *wrong = NULL;

	while (*p && !wrong) {
		if (*p == '[') {
			p = skip_brackets(p);
			if (!p)
				return NULL;
			inner = false;
			continue;
		}
		if (*p == '{' || (p[0] == '\\' && p[1] >= '1' && p[1] <= '9'))
			return no_counts;
		if (*p == '\\' && p[1]) {
			p++;
			inner = false;
		} else if (strchr("*+?", *p)) {
			wrong = check_repeat(&n, inner);
			inner = true;
		} else if (*p == ')') {
			inner = leave_group(&n);
		} else {
			n.depth += *p == '(';
			n.repeats[n.depth] &= *p != '(';
			inner = false;
		}
		p++;
	}
	return wrong;
}

static const char *check_regex(const char *regex)
{
	const char *wrong = check_form(regex);
	regex_t compiled;

	if (wrong)
		return wrong;
	if (regcomp(&compiled, regex, REG_EXTENDED) != 0)
		return "a POSIX extended regular expression, such as ^x/y/(.+)$";
	regfree(&compiled);
	return NULL;
}

static const struct conf_row rows[] = {
	{ .key = "direction",
		.type = CONF_ENUM,
		.offset = FIELD(direction),
		.choices = directions,
		.def = "all",
		.reload = true,
		.help = "Whether the rule is for what clients publish (their wills too), for what "
			"they subscribe to and unsubscribe from, or for both." },
	{ .key = "topic",
		.type = CONF_STRING,
		.offset = FIELD(topic),
		.max = REWRITE_TOPIC_MAX,
		.check = topic_check_filter,
		.reload = true,
		.sample = "x/#",
		.help = "Which topics and filters the rule is for. Of several such rules the last "
			"one in the file counts." },
	{ .key = "regex",
		.type = CONF_STRING,
		.offset = FIELD(regex),
		.max = REWRITE_REGEX_MAX,
		.check = check_regex,
		.reload = true,
		.sample = "^x/y/(.+)$",
		.help = "A POSIX extended regular expression; where it is not found the topic "
			"stays as it is. It has no counts like {2}, no back-references, and no "
			"repetition inside of a repetition." },
	{ .key = "destination",
		.type = CONF_STRING,
		.offset = FIELD(destination),
		.max = 1024,
		.reload = true,
		.sample = "z/y/$1",
		.help = "The new topic; $1 to $9 stand for what the groups of the expression "
			"found, %c for the client id and %u for the user name. A message or "
			"subscription whose new topic is not valid is refused." },
};

static size_t groups_asked(const char *destination)
{
	size_t most = 0;

	for (const char *p = destination; (p = strchr(p, '$')); p++)
		if (p[1] >= '1' && p[1] <= '9')
			most = MAX(most, (size_t)(p[1] - '0'));
	return most;
}

/* What the groups find is not known; with a word in each place the rest has to be a filter. */
static bool makes_topic(const char *destination)
{
	const struct identity who = { .client_id = "c", .username = "u" };
	struct span groups[REWRITE_GROUPS], text;
	uint8_t buf[TOPIC_TEMPLATE_TEXT_MAX];

	for (size_t i = 0; i < REWRITE_GROUPS; i++)
		groups[i] = span_str("g");
	return topic_template_fill(destination, &who, groups, REWRITE_GROUPS, buf, &text) &&
	       topic_valid_filter(text);
}

static int check_destination(const struct conf *conf, const char *name,
	const struct rewrite_conf *c, struct conf_error *err)
{
	regex_t compiled;

	if (!makes_topic(c->destination))
		return conf_fail(err, conf, name, "destination",
			"%s makes no topic; write one such as z/y/$1", c->destination);
	if (regcomp(&compiled, c->regex, REG_EXTENDED) != 0)
		return conf_fail(err, conf, name, "regex", "no memory to compile it");
	size_t there = compiled.re_nsub;
	regfree(&compiled);
	if (groups_asked(c->destination) <= there)
		return 0;
	return conf_fail(err, conf, name, "destination",
		"asks for $%zu, and regex has %zu groups; write a group (...) for each",
		groups_asked(c->destination), there);
}

static int check(const struct conf *conf, void *section, struct conf_error *err)
{
	const struct rewrite_conf *c = section;
	const char *name = conf_section_name(conf, section);

	if (strcmp(name, rewrite_conf_section.name) == 0)
		return 0;
	const char *missing = !c->topic         ? "topic"
			      : !c->regex       ? "regex"
			      : !c->destination ? "destination"
						: NULL;
	if (missing)
		return conf_fail(err, conf, name, missing,
			"is missing; a rule has topic, regex and destination");
	return check_destination(conf, name, c, err);
}

const struct conf_section rewrite_conf_section = {
	.name = "rewrite",
	.help = "What the rules [rewrite.NAME] have in common.",
	.size = sizeof(struct rewrite_conf),
	.rows = rows,
	.n_rows = ARRAY_SIZE(rows),
	.named = "A rule that replaces topics that clients of any protocol publish or subscribe "
		 "to. The part behind $share/GROUP/, $exclusive/ and $delayed/SECONDS/ is what is "
		 "rewritten. After a change of the rules, what was subscribed before stays.",
	.check = check,
};
