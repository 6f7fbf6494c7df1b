#include "gateway/core/autosub.h"

#include "gateway/base/log.h"
#include "gateway/core/scope.h"
#include "gateway/core/subfilter.h"
#include "gateway/core/topic_template.h"

#include <stddef.h>
#include <string.h>

#define FIELD(name) offsetof(struct autosub_rule, name)

static const char *const protocols[] = { "any", "mqtt", "mqttsn", NULL };
static const enum protocol protocol_of[] = { PROTO_GATEWAY, PROTO_MQTT, PROTO_MQTTSN };

static const char *check_topic(const char *topic)
{
	const struct identity who = { .client_id = "c", .username = "u" };
	uint8_t buf[TOPIC_TEMPLATE_TEXT_MAX];
	struct subfilter f;
	struct span text;

	return topic_template_fill(topic, &who, NULL, 0, buf, &text) && subfilter_parse(text, &f)
		       ? NULL
		       : "a topic filter such as devices/%c/commands/#";
}

static const struct conf_row rows[] = {
	{ .key = "topic",
		.type = CONF_STRING,
		.offset = FIELD(topic),
		.max = 1024,
		.check = check_topic,
		.reload = true,
		.sample = "devices/%c/commands/#",
		.help = "What new sessions are subscribed to; %c stands for the client id and %u "
			"for the user name. A client without such a name, or with one of + # / in "
			"it, gets none." },
	{ .key = "qos",
		.type = CONF_INT,
		.offset = FIELD(qos),
		.min = 0,
		.max = 2,
		.def = "0",
		.reload = true,
		.help = "Its highest QoS." },
	{ .key = "no_local",
		.type = CONF_BOOL,
		.offset = FIELD(no_local),
		.def = "no",
		.reload = true,
		.help = "The client does not get its own messages." },
	{ .key = "retain_as_published",
		.type = CONF_BOOL,
		.offset = FIELD(retain_as_published),
		.def = "no",
		.reload = true,
		.help = "The client sees the retain flag as the publisher set it." },
	{ .key = "retain_handling",
		.type = CONF_INT,
		.offset = FIELD(retain_handling),
		.min = 0,
		.max = 2,
		.def = "0",
		.reload = true,
		.help = "Retained messages: 0 and 1 are sent, with 2 they are not." },
	{ .key = "protocol",
		.type = CONF_ENUM,
		.offset = FIELD(protocol),
		.choices = protocols,
		.def = "any",
		.reload = true,
		.help = "Whose sessions this is for." },
};

static int check(const struct conf *conf, void *section, struct conf_error *err)
{
	const struct autosub_rule *rule = section;
	const char *name = conf_section_name(conf, section);
	struct subfilter f;

	if (!rule->topic)
		return strcmp(name, autosub_conf_section.name) == 0
			       ? 0
			       : conf_fail(err, conf, name, "topic", "is missing");
	if (rule->no_local && subfilter_parse(span_str(rule->topic), &f) &&
		f.kind == SUBFILTER_SHARED)
		return conf_fail(
			err, conf, name, "no_local", "cannot be with a shared subscription");
	return 0;
}

const struct conf_section autosub_conf_section = {
	.name = "autosubscribe",
	.help = "What the rules [autosubscribe.NAME] have in common.",
	.size = sizeof(struct autosub_rule),
	.rows = rows,
	.n_rows = ARRAY_SIZE(rows),
	.named = "A subscription that each new session gets without asking.",
	.check = check,
};

void autosub_load(struct autosub *a, const struct conf *conf)
{
	const struct autosub_rule *rule;
	const char *name;

	a->n = 0;
	while (a->n < AUTOSUB_RULES_MAX &&
		(rule = conf_named_section(conf, autosub_conf_section.name, a->n, &name)))
		a->rules[a->n++] = rule;
}

static void apply_rule(const struct autosub_rule *rule, struct session *s, const char *mountpoint)
{
	const struct sub_opts opts = {
		.qos = (uint8_t)rule->qos,
		.retain_handling = (uint8_t)rule->retain_handling,
		.no_local = rule->no_local,
		.retain_as_published = rule->retain_as_published,
	};
	const struct scope scope = { .mountpoint = mountpoint, .who = &s->who };
	uint8_t buf[TOPIC_TEMPLATE_TEXT_MAX], mounted[SCOPE_TEXT_MAX];
	struct span filter;
	enum reason reason = R_FILTER_INVALID;

	if (rule->protocol && protocol_of[rule->protocol] != s->who.protocol)
		return;
	if (topic_template_fill(rule->topic, &s->who, NULL, 0, buf, &filter))
		reason = scope_mount(&scope, REWRITE_SUBSCRIBE, filter, mounted, &filter);
	if (!reason_failed(reason))
		reason = session_subscribe(s, filter, &opts);
	if (!reason_failed(reason))
		return;
	static struct log_limit limit = LOG_LIMIT(10, 10000);
	log_limited(&limit, LOG_LEVEL_INFO, "%s %s: not subscribed to %s by rule, %s",
		s->who.client_id, protocol_name(s->who.protocol), rule->topic, reason_name(reason));
}

void autosub_apply(const struct autosub *a, struct session *s, const char *mountpoint)
{
	for (size_t i = 0; a && i < a->n; i++)
		apply_rule(a->rules[i], s, mountpoint);
}
