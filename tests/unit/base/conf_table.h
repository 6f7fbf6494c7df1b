#ifndef TIDEGATE_TESTS_CONF_TABLE_H
#define TIDEGATE_TESTS_CONF_TABLE_H

#include "gateway/base/conf.h"

#include <errno.h>
#include <string.h>

/* Tables for the tests of conf*.c: a section that is always there, and an optional one. */
struct sn_values {
	bool enabled;
	int64_t retry_count, max_bytes, retry_interval;
	int version;
	const char *id, *topics;
	struct conf_list listen;
};

struct up_values {
	const char *uri, *user;
	struct conf_list export;
};

static const char *const versions[] = { "auto", "5", "3.1.1", NULL };

static const char *check_id(const char *value)
{
	return strchr(value, '/') ? "a name without /" : NULL;
}

static const char *check_uri(const char *value)
{
	return strstr(value, "://") ? NULL : "a URI such as udp://0.0.0.0:1884";
}

#define SN_ROW(member) .key = #member, .offset = offsetof(struct sn_values, member)
static const struct conf_row sn_rows[] = {
	{ SN_ROW(enabled), .type = CONF_BOOL, .def = "yes", .help = "Whether to listen." },
	{ SN_ROW(retry_count), .type = CONF_INT, .min = -2, .max = 100, .def = "3", .reload = true,
		.help = "Tries." },
	{ SN_ROW(max_bytes), .type = CONF_SIZE, .min = 1024, .max = INT64_MAX, .def = "64KB",
		.help = "Limit." },
	{ SN_ROW(retry_interval), .type = CONF_TIME, .min = 1000, .max = 3600000, .def = "10s",
		.reload = true, .help = "How long to wait for an acknowledgement." },
	{ SN_ROW(version), .type = CONF_ENUM, .choices = versions, .def = "auto",
		.help = "Version." },
	{ SN_ROW(id), .type = CONF_STRING, .max = 4096, .def = "cellar", .check = check_id,
		.help = "Name." },
	{ SN_ROW(topics), .type = CONF_FILE, .def = "/nowhere/topics.conf",
		.help = ".Topics \\ file-name." },
	{ SN_ROW(listen), .type = CONF_LIST, .max = 40,
		.def = "udp://0.0.0.0:1884, udp://[::]:1884", .check = check_uri,
		.help = "Addresses." },
};

#define UP_ROW(member) .key = #member, .offset = offsetof(struct up_values, member)
static const struct conf_row up_rows[] = {
	{ UP_ROW(uri), .type = CONF_STRING, .sample = "mqtts://broker.example:8883",
		.help = "Broker." },
	{ UP_ROW(user), .type = CONF_STRING, .help = "User." },
	{ UP_ROW(export), .type = CONF_LIST, .def = "#", .reload = true, .help = "Filters." },
};

static int check_up(const struct conf *conf, void *section, struct conf_error *err)
{
	struct up_values *v = section;
	if (!v->uri)
		return conf_fail(err, conf, "upstream", "uri", "is missing");
	if (v->user && !conf_is_set(conf, "mqttsn", "id"))
		return conf_fail(err, conf, "upstream", "user", "needs [mqttsn] id");
	return 0;
}

static const struct conf_section sn_section = {
	.name = "mqttsn",
	.help = "The MQTT-SN side.",
	.size = sizeof(struct sn_values),
	.rows = sn_rows,
	.n_rows = ARRAY_SIZE(sn_rows),
};
static const struct conf_section up_section = {
	.name = "upstream",
	.help = "The broker.",
	.size = sizeof(struct up_values),
	.rows = up_rows,
	.n_rows = ARRAY_SIZE(up_rows),
	.optional = true,
	.check = check_up,
};
static const struct conf_section *const test_sections[] = { &sn_section, &up_section, NULL };

static struct conf_error test_err;

/* The conf read from `text`; the test fails when it is refused. Freed by the caller. */
static inline struct conf *read_good(const char *text)
{
	struct conf *c = NULL;
	test_err.text[0] = '\0';
	int rc = conf_parse(test_sections, "t.conf", text, strlen(text), &c, &test_err);
	assert_string_equal(test_err.text, "");
	assert_int_equal(rc, 0);
	return c;
}

/* Asserts that `text` is refused with just this message. */
static inline void assert_refused(const char *text, const char *message)
{
	struct conf *c = NULL;
	int rc = conf_parse(test_sections, "t.conf", text, strlen(text), &c, &test_err);
	assert_int_equal(rc, -EINVAL);
	assert_null(c);
	assert_string_equal(test_err.text, message);
}

static inline const struct sn_values *sn_of(const struct conf *c)
{
	return conf_section(c, "mqttsn");
}

static inline const struct up_values *up_of(const struct conf *c)
{
	return conf_section(c, "upstream");
}

#endif
