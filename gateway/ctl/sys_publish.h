#ifndef TIDEGATE_CTL_SYS_PUBLISH_H
#define TIDEGATE_CTL_SYS_PUBLISH_H

#include "gateway/base/span.h"
#include "gateway/base/util.h"

#include <stdbool.h>
#include <stdint.h>

struct router;

/* How the gateway publishes its own topics. */

#define SYS_PREFIX "$SYS/broker/"

void sys_publish(struct router *r, struct span topic, struct span payload, bool retain);

/* Retained, below SYS_PREFIX, and only if it has changed. */
void sys_publish_text(struct router *r, const char *name, struct span value);
void sys_publish_value(struct router *r, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
void sys_publish_number(struct router *r, const char *name, uint64_t n);

#endif
