#include "gateway/store/journal.h"

#include <stddef.h>

static const char *check_dir(const char *value)
{
	return value[0] == '/' ? NULL : "the absolute path of a directory";
}

static const struct conf_row rows[] = {
	{ .key = "dir",
		.type = CONF_STRING,
		.offset = offsetof(struct store_conf, dir),
		.max = 4000,
		.check = check_dir,
		.sample = "/var/lib/tidegate",
		.help = "Directory of the journal; without it nothing survives a restart." },
	{ .key = "max_bytes",
		.type = CONF_SIZE,
		.offset = offsetof(struct store_conf, max_bytes),
		.min = 1 << 20,
		.max = INT64_C(1) << 36,
		.def = "64MB",
		.help = "Most bytes the journal takes on disk; past it new messages are refused." },
	{ .key = "commit_interval",
		.type = CONF_TIME,
		.offset = offsetof(struct store_conf, commit_interval_ms),
		.max = 5000,
		.def = "250ms",
		.help = "Longest time that records are gathered before they are synced to disk "
			"together; "
			"0 syncs at once." },
};

const struct conf_section store_conf_section = {
	.name = "store",
	.help = "The journal: messages that wait for the upstream, sessions and retained messages "
		"on "
		"stable storage.",
	.size = sizeof(struct store_conf),
	.rows = rows,
	.n_rows = ARRAY_SIZE(rows),
};
