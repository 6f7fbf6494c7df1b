#ifndef TIDEGATE_UPSTREAM_ECHO_H
#define TIDEGATE_UPSTREAM_ECHO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct identity;
struct message;
struct router;
struct uplink_message;

/* MQTT 3.1.1 knows no No Local: what we send up comes back when we have subscribed to it. Each echo
 * is either the local delivery (the message was withheld here) or is dropped (it was delivered
 * already): never two copies, never none. Echoes are known by topic and payload, oldest first. */
struct echo;

#define ECHO_WITHHELD_MAX 1000
#define ECHO_EXPECTED_MAX 65536
#define ECHO_LATE_MS      60000 /* an echo later than this is a message of its own */

struct echo *echo_new(struct router *router);
void echo_free(struct echo *e); /* delivers what is withheld */
void echo_set_timeout(struct echo *e, int64_t timeout_ms);

/* The echo will be the delivery. False: no room; deliver it now. */
bool echo_withhold(struct echo *e, const struct identity *from, struct message *m);
/* It goes out now on a link that will bring it back. */
void echo_sent(struct echo *e, struct message *m);
/* It will never come back: refused, or dropped. Delivers it when it was withheld. */
void echo_give_up(struct echo *e, struct message *m);
/* The link is gone: everything withheld is delivered now. */
void echo_flush(struct echo *e);
/* A message came from upstream. True: it was an echo and has been dealt with. */
bool echo_received(struct echo *e, const struct uplink_message *m);

size_t echo_withheld(const struct echo *e);

#endif
