#ifndef TIDEGATE_UPSTREAM_STAMP_H
#define TIDEGATE_UPSTREAM_STAMP_H

struct message;

/* A copy that says when the message was captured, for one that had to wait: the user properties
 * (MQTT 5.0, 3.3.2.3.7) "captured-at", ISO 8601 in UTC with milliseconds, and "clock", "synced" or
 * "unsynced" as our clock was then. One reference for the caller; NULL: no memory. */
struct message *stamp(const struct message *m);

#endif
