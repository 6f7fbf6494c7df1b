#ifndef TIDEGATE_UPSTREAM_UPLINK_H
#define TIDEGATE_UPSTREAM_UPLINK_H

#include "gateway/base/reason.h"
#include "gateway/base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct message;

/* What the bridge needs of an MQTT client library: one connection at a time, no queue, no
 * reconnecting. Calls never block; every event comes in the loop's thread and never from inside a
 * call.
 *
 * QoS 2 is exactly once as long as the server keeps the session: which message has which packet id
 * is in `exchanges` (exchanges.h), on stable storage before the packet leaves that relies on it. */
struct uplink;
struct exchange;
struct exchanges;

#define UPLINK_WINDOW_MAX  1000 /* publishes a library is handed at most */
#define UPLINK_FILTERS_MAX 50   /* filters of one request */
#define UPLINK_UNANSWERED  0xff /* in place of a granted code: the server has not said */

struct uplink_target {
	const char *host;    /* the server's name: SNI and certificate check */
	const char *address; /* its numeric form, resolved already */
	uint16_t port;
	bool tls, verify;
	unsigned version;      /* 5, or 4 for MQTT 3.1.1 */
	const char *client_id; /* the session is kept: clean start is off */
	const char *username;  /* NULL: none */
	struct span password;  /* empty: none */
	const char *ca_file;   /* NULL: the system's store */
	const char *cert_file; /* NULL: none */
	const char *key_file;  /* NULL: none */
	int keepalive_s;
	int connect_timeout_s;
	uint32_t session_expiry_s;
	bool ask; /* by a ticket, before a message of QoS 1 or 2 is acknowledged */
};

struct uplink_up { /* what the server said in CONNACK; 3.1.1 has only the first three */
	unsigned version;
	bool session_present;
	uint64_t session;         /* uplink_session() */
	uint16_t receive_maximum; /* 65535 when absent */
	uint32_t keepalive_s;     /* 0: the server takes ours */
	uint32_t maximum_packet;  /* 0: no limit */
	uint8_t maximum_qos;
	bool retain_available;
};

struct uplink_publish {
	struct message *msg; /* a reference is taken until the outcome is told */
	uint64_t token;      /* the caller's; comes back with the outcome */
	uint64_t record;     /* where it lies on stable storage; 0: nowhere */
	uint32_t expiry_s;   /* what is left of its life; 0: no limit */
	uint8_t qos;
	bool retain;
};

enum uplink_outcome {
	UPLINK_DONE,    /* QoS 0 written, QoS 1/2 acknowledged */
	UPLINK_REFUSED, /* by the server, or for good by the library; the reason says why */
	UPLINK_RETRY,   /* it has not been taken; nobody else will send it again */
	UPLINK_REPEAT,  /* QoS 2, and the session in which it was sent is lost: nobody knows whether
			   the server has it; sending it again may double it */
	UPLINK_LOST,    /* QoS 0 when the connection ended: nobody knows */
};

struct uplink_filter {
	const char *filter;
	uint8_t qos; /* not looked at when unsubscribing */
};

struct uplink_message {
	struct span topic, payload, props; /* nothing checked: the upstream is hostile input too */
	uint32_t expiry_s;                 /* 0: none */
	uint16_t packet_id;                /* QoS 2 */
	uint8_t qos;
	bool retain, dup;
	uint32_t ticket; /* not 0: the library waits for acknowledge(), reading nothing more */
};

struct uplink_events {
	void (*up)(void *arg, const struct uplink_up *up);
	/* An attempt failed or the connection ended: once per connect() that was accepted. What is
	 * in flight at QoS 1/2 still belongs to the library: its outcome may come after the next
	 * up. */
	void (*down)(void *arg, enum reason reason, const char *text);
	/* Exactly once for each publish() and hold(). */
	void (*published)(
		void *arg, uint64_t token, enum uplink_outcome outcome, enum reason reason);
	/* The answer to the outstanding subscribe() or unsubscribe(); codes as in SUBACK, or
	 * UPLINK_UNANSWERED. Always `n` of them as were asked for. */
	void (*granted)(void *arg, const uint8_t *codes, size_t n);
	/* At QoS 2 repetitions are told as well: it is the caller who knows what was delivered in
	 * an earlier run. */
	void (*message)(void *arg, const struct uplink_message *m);
	/* PUBREL came for a message of QoS 2: its packet id is free. */
	void (*released)(void *arg, uint16_t packet_id);
	/* Messages of QoS 0 that were dropped because the loop could not keep up. */
	void (*overrun)(void *arg, uint64_t n);
};

struct uplink_ops {
	/* 0, or -EBUSY while an earlier connection or attempt has not been told down. */
	int (*connect)(struct uplink *, const struct uplink_target *);
	int (*publish)(struct uplink *, const struct uplink_publish *); /* 0, or -EAGAIN */
	/* One request at a time, at most UPLINK_FILTERS_MAX filters; the strings are copied. 0, or
	 * -EBUSY. */
	int (*subscribe)(struct uplink *, const struct uplink_filter *, size_t n);
	int (*unsubscribe)(struct uplink *, const struct uplink_filter *, size_t n);
	void (*disconnect)(struct uplink *); /* down() follows */
	/* An exchange of the last run goes on with the next connection to its session; its message
	 * is `what`, not to be published again, or NULL when it is complete here and only has to be
	 * released there. Before the first connect(). 0 or -EAGAIN. */
	int (*hold)(struct uplink *, const struct uplink_publish *what, struct exchange *);
	/* The answer to a message with a ticket. Not kept: it is not acknowledged, the connection
	 * ends, and the server sends it again after the next one. Harmless when late. */
	void (*acknowledge)(struct uplink *, uint32_t ticket, bool kept);
	/* The library got stuck: its connection is left to itself, what it holds at QoS 0 and 1
	 * comes back as UPLINK_RETRY, QoS 2 goes on with the next connection; down() follows. */
	void (*abandon)(struct uplink *);
	/* Disconnects, waits at most `wait_ms`, frees. No event follows. */
	void (*stop)(struct uplink *, int wait_ms);
};

struct uplink {
	const struct uplink_ops *ops;
};

/* Tells sessions at servers apart, the same in every run. */
uint64_t uplink_session(const struct uplink_target *t);

/* uplink_paho.c. NULL: no memory, descriptor or thread left. `arg` goes to every event; `exchanges`
 * is borrowed and outlives it. */
struct uplink *uplink_paho_new(struct event_base *base, struct exchanges *exchanges,
	const struct uplink_events *events, void *arg);

#endif
