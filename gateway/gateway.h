#ifndef TIDEGATE_GATEWAY_H
#define TIDEGATE_GATEWAY_H

#include "gateway/base/conf.h"

/* Exit statuses, as sysexits.h has them; the unit file does not restart on 64, 77 and 78. */
enum {
	EXIT_RUNTIME = 1,
	EXIT_USAGE = 64,
	EXIT_UNAVAILABLE = 69,
	EXIT_NOPERM = 77,
	EXIT_CONFIG = 78,
};

/* Every section of the configuration, NULL-terminated. */
extern const struct conf_section *const gateway_sections[];

struct gateway;

/* Starts everything: journal and replay, hub, listeners, upstream. Takes `conf` over when it
 * succeeds. `path` is read again by SIGHUP. Returns 0 or an exit status after one line in the log.
 */
int gateway_new(struct conf *conf, const char *path, struct gateway **out);
/* Runs until SIGTERM or SIGINT and drains: what was acknowledged is kept, what can be answered
 * within a few seconds is. Returns the exit status. */
int gateway_run(struct gateway *g);
void gateway_free(struct gateway *g);

struct log_conf {
	int level; /* enum log_level */
};

/* The log level of a configuration, moved by -v (louder) and -q (quieter) of the command line. */
void gateway_apply_log_level(const struct conf *conf);
void gateway_set_verbosity(int steps);

#endif
