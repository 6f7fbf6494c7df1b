#ifndef TIDEGATE_UPSTREAM_UPSTREAM_CONF_H
#define TIDEGATE_UPSTREAM_UPSTREAM_CONF_H

#include "gateway/base/conf.h"

enum upstream_version { VERSION_AUTO, VERSION_5, VERSION_311 };
enum echo_mode { ECHO_AUTO, ECHO_UPSTREAM, ECHO_LOCAL };
enum fail_back { FAIL_BACK_IDLE, FAIL_BACK_NEVER };
enum downlink_mode { DOWNLINK_SAFE, DOWNLINK_FAST };

struct upstream_conf {
	struct conf_list uri;
	const char *client_id;
	const char *username, *username_file, *password_file;
	const char *ca_file, *cert_file, *key_file;
	bool verify;
	int version; /* enum upstream_version */
	int64_t keepalive_ms, connect_timeout_ms, session_expiry_ms;
	struct conf_list exports, imports, imports_always;
	int64_t inflight;
	int64_t drain_rate; /* messages per second; 0: no limit */
	int64_t ack_hold_ms;
	int64_t backlog_bytes, memory_bytes, qos0_bytes, backlog_age_ms;
	struct conf_list latest_only, priority, drop_oldest;
	const char *gap_topic; /* NULL: tidegate/{gateway id}/gaps */
	bool captured_at;
	int echo; /* enum echo_mode */
	int64_t echo_timeout_ms;
	int fail_back; /* enum fail_back */
	int downlink;  /* enum downlink_mode */
};

struct backlog_limits;
void upstream_limits(const struct upstream_conf *c, struct backlog_limits *limits);

#endif
