#ifndef TIDEGATE_UPSTREAM_RECONNECT_H
#define TIDEGATE_UPSTREAM_RECONNECT_H

#include "gateway/base/addr.h"
#include "gateway/base/conf.h"

#include <stdbool.h>
#include <stdint.h>

struct event_base;

/* When and where to connect: a list of servers in order of preference, tried one after the other,
 * with a pause after each round. A name is resolved and the server's TCP port tried from the loop
 * first, so that the client library is only asked to connect to somebody who is there: it would
 * block in its resolver and notice a dead host late. */
struct reconnect;

#define RECONNECT_FIRST_MS     1000
#define RECONNECT_MAX_MS       60000
#define RECONNECT_STABLE_MS    10000 /* a connection shorter than this doesn't reset the pause */
#define RECONNECT_FAIL_BACK_MS 60000

struct server {
	struct uri uri; /* scheme in lower case, port filled in */
	bool tls;
	bool only_311; /* the owner's: this one has refused MQTT 5 */
	bool takes_5;  /* the owner's: it has taken it before */
};

struct reconnect_ops {
	/* Somebody answers at `address` (numeric): connect now. Exactly one of the reports below
	 * follows, never from inside this call. */
	void (*attempt)(void *arg, struct server *s, const char *address);
	/* Nobody answers; the next attempt is planned already. */
	void (*unreachable)(void *arg, const struct server *s, const char *why);
	/* While up with a less preferred server: the preferred one answers again. */
	void (*preferred)(void *arg);
};

/* NULL: no memory. */
struct reconnect *reconnect_new(
	struct event_base *base, const struct reconnect_ops *ops, void *arg);
void reconnect_free(struct reconnect *r);
/* The servers, from checked URIs; forgets what it knew. 0 or -ENOMEM. Not while an attempt runs. */
int reconnect_set(struct reconnect *r, const struct conf_list *uris, int64_t timeout_ms);

void reconnect_start(struct reconnect *r);              /* with the first server, now */
void reconnect_again(struct reconnect *r);              /* with the same server, now */
void reconnect_up(struct reconnect *r, bool fail_back); /* the attempt has succeeded */
void reconnect_refused(struct reconnect *r);            /* the server has said no */
void reconnect_failed(struct reconnect *r);             /* the attempt got nowhere */
/* The connection has ended; `dismissed`: by the server, which gave a reason to stay away. */
void reconnect_lost(struct reconnect *r, bool dismissed);
void reconnect_stop(struct reconnect *r); /* no more attempts */
/* Nothing of it is left in the resolver. After reconnect_stop() that takes a turn of the loop. */
bool reconnect_quiet(const struct reconnect *r);

/* The server in use or tried last. */
struct server *reconnect_server(struct reconnect *r);
/* Time until the next attempt, -1 when none is planned. */
int64_t reconnect_wait_ms(const struct reconnect *r);

#endif
