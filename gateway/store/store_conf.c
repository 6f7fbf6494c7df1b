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
		.def = "/var/lib/tidegate",
		.help = "Directory of the journal." },
	{ .key = "max_bytes",
		.type = CONF_SIZE,
		.offset = offsetof(struct store_conf, max_bytes),
		.min = 1 << 20,
		.max = INT64_C(1) << 32,
		.def = "64MB",
		.help = "Most bytes the journal takes on disk; past it new messages are refused." },
	{ .key = "commit_interval",
		.type = CONF_TIME,
		.offset = offsetof(struct store_conf, commit_interval_ms),
		.max = 5000,
		.def = "250ms",
		.help = "Time between two syncs, in which records are gathered; after a quiet time "
			"some syncs come at once, and 16 KB do not wait. 0 always syncs at once." },
	{ .key = "lazy_interval",
		.type = CONF_TIME,
		.offset = offsetof(struct store_conf, lazy_interval_ms),
		.max = 24 * 60 * 60 * 1000,
		.def = "10m",
		.reload = true,
		.help = "Longest time until what nobody was promised is written, such as retained "
			"messages "
			"the broker has as well; 0 writes at once. Until then it costs the disk "
			"nothing." },
};

const struct conf_section store_conf_section = {
	.name = "store",
	.help = "The journal: what waits for the upstream lies here on stable storage, and "
		"sessions "
		"with their mail. Without this section all of it is kept in memory only and does "
		"not survive a restart.",
	.size = sizeof(struct store_conf),
	.rows = rows,
	.n_rows = ARRAY_SIZE(rows),
	.optional = true,
	.in_sample = true,
};
