#include "gateway/gateway.h"

#include "adapters/adapter.h"
#include "gateway/base/log.h"
#include "gateway/core/autosub.h"
#include "gateway/core/limits.h"
#include "gateway/core/rewrite.h"
#include "gateway/core/router.h"
#include "gateway/gateway_conf.h"
#include "gateway/store/journal.h"
#include "gateway/upstream/upstream.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

static const char *check_id(const char *id)
{
	static const char *const rule = "1 to 64 letters, digits, '-', '_' or '.'";
	size_t len = strlen(id);
	if (len == 0 || len > GATEWAY_ID_MAX)
		return rule;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)id[i]) && !strchr("-_.", id[i]))
			return rule;
	return NULL;
}

static const struct conf_row gateway_rows[] = {
	{
		.key = "id",
		.type = CONF_STRING,
		.offset = offsetof(struct gateway_conf, id),
		.check = check_id,
		.sample = "cellar",
		.help = "Name of this gateway: the upstream client id is made of it. The host name "
			"where it is not set.",
	},
	{
		.key = "sys_interval",
		.type = CONF_TIME,
		.offset = offsetof(struct gateway_conf, sys_interval_ms),
		.max = 86400000,
		.def = "10s",
		.reload = true,
		.help = "How often the values below $SYS/broker are published where they have "
			"changed; 0 "
			"for never.",
	},
	{
		.key = "shared_strategy",
		.type = CONF_ENUM,
		.offset = offsetof(struct gateway_conf, shared_strategy),
		.choices = share_strategies,
		.def = "round_robin",
		.reload = true,
		.help = "Who of a shared subscription ($share/GROUP/FILTER) gets a message: each "
			"in "
			"turn, one at random, one as long as it can take them (sticky), or one by "
			"the publisher's client id or by the topic. Who is away or has a full "
			"queue is passed over.",
	},
};

static const struct conf_section gateway_section = {
	.name = "gateway",
	.help = "The gateway itself.",
	.size = sizeof(struct gateway_conf),
	.rows = gateway_rows,
	.n_rows = ARRAY_SIZE(gateway_rows),
};

static const char *const log_levels[] = { "error", "warn", "notice", "info", "debug", NULL };

static const struct conf_row log_rows[] = {
	{
		.key = "level",
		.type = CONF_ENUM,
		.offset = offsetof(struct log_conf, level),
		.choices = log_levels,
		.def = "info",
		.reload = true,
		.help = "The least important lines that are written to standard error; -v and -q "
			"of the command line move it.",
	},
};

static const struct conf_section log_section = {
	.name = "log",
	.help = "What is written to standard error (the journal under systemd).",
	.size = sizeof(struct log_conf),
	.rows = log_rows,
	.n_rows = ARRAY_SIZE(log_rows),
};

const struct conf_section *const gateway_sections[] = {
	&gateway_section,
	&upstream_conf_section,
	&mqttsn_conf_section,
	&cap_conf_section,
	&mqtt_conf_section,
	&autosub_conf_section,
	&rewrite_conf_section,
	&limits_conf_section,
	&store_conf_section,
	&log_section,
	NULL,
};

static int verbosity;

void gateway_set_verbosity(int steps)
{
	verbosity = steps;
}

void gateway_apply_log_level(const struct conf *conf)
{
	const struct log_conf *c = conf_section(conf, "log");
	int level = c->level + verbosity;
	level = MAX(level, (int)LOG_LEVEL_ERROR);
	log_set_level((enum log_level)MIN(level, (int)LOG_LEVEL_DEBUG));
}
