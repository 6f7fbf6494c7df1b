#ifndef TIDEGATE_UPSTREAM_UPSTREAM_PRIV_H
#define TIDEGATE_UPSTREAM_UPSTREAM_PRIV_H

#include "gateway/base/timer.h"
#include "gateway/core/router.h"
#include "gateway/upstream/backlog.h"
#include "gateway/upstream/echo.h"
#include "gateway/upstream/exchanges.h"
#include "gateway/upstream/interest.h"
#include "gateway/upstream/reconnect.h"
#include "gateway/upstream/topic_set.h"
#include "gateway/upstream/uplink.h"
#include "gateway/upstream/upstream.h"
#include "gateway/upstream/upstream_conf.h"

/* Shared by upstream.c (the gate and the public side), upstream_link.c (the connection),
 * upstream_send.c (window and outcomes) and upstream_receive.c (what comes from upstream). */
struct upstream {
	struct router *router;            /* borrowed */
	struct journal *journal;          /* borrowed; NULL: memory only */
	struct backlog *backlog;          /* borrowed */
	struct exchanges *exchanges;      /* borrowed */
	const struct upstream_conf *conf; /* borrowed */
	char *client_id;
	char *gap_topic;        /* where gaps are told unless configured */
	const char *gateway_id; /* borrowed */
	struct uplink *uplink;
	struct reconnect *reconnect;
	struct interest *interest;
	struct echo *echo;
	struct identity who;
	struct subscriber sub;
	struct router_watcher watcher;

	/* upstream_link.c */
	enum upstream_state state;
	struct uplink_up up; /* valid while UP */
	struct timer watch;  /* attempt deadline, then a look at the window now and then */
	int64_t since_ms;
	int64_t keepalive_ms;   /* ours, or the server's if that is shorter */
	bool servers_changed;   /* by a reload, while a connection had to be ended first */
	int64_t attempt_ms;     /* when the library was asked to connect */
	unsigned silent_closes; /* attempts with MQTT 5 that ended without a CONNACK */
	char last_error[160];
	bool told; /* last_error has been logged */
	uint64_t connects;
	int64_t told_ms; /* when gaps were told the last time */

	/* upstream_send.c */
	unsigned window, in_flight;
	unsigned in_flight2;       /* of QoS 2 */
	struct topic_set *topics2; /* theirs */
	uint16_t lower[256];       /* in flight of QoS 0 and 1, by their topic's hash */
	int64_t progress_ms;       /* last completion, or when the window stopped being empty */
	unsigned strikes;          /* times the connection was closed for want of progress */
	int64_t not_before_ms;     /* the server has asked for a pause */
	double tokens;             /* drain_rate */
	int64_t tokens_ms;
	struct timer pace;
	bool draining;
	int64_t drain_until_ms;
	uint64_t sent, refused, received;

	/* upstream_receive.c */
	struct list downlinks; /* messages of the server that are not safe here yet */
	unsigned n_received2;  /* QoS 2 exchanges that wait for PUBREL */
};

extern const struct reconnect_ops upstream_reconnect_ops;
extern const struct uplink_events upstream_uplink_events;

/* upstream_link.c */
void upstream_link_init(struct upstream *u);
void upstream_link_close(struct upstream *u);  /* a new connection follows */
void upstream_link_reload(struct upstream *u); /* other servers or credentials */
void upstream_set_error(struct upstream *u, const char *text);
/* Acknowledgements come as quickly as they should. */
bool upstream_healthy(const struct upstream *u);

/* upstream_send.c */
void upstream_send_init(struct upstream *u);
void upstream_send(struct upstream *u);
void upstream_window_open(struct upstream *u);
void upstream_on_published(
	void *arg, uint64_t token, enum uplink_outcome outcome, enum reason reason);

/* upstream_receive.c */
void upstream_on_message(void *arg, const struct uplink_message *m);
void upstream_on_released(void *arg, uint16_t packet_id);
void upstream_on_overrun(void *arg, uint64_t n);
void upstream_receive_init(struct upstream *u);
void upstream_receive_stop(struct upstream *u);
/* The server has not kept the session: it will not repeat what it sent in it. */
void upstream_forget_received(struct upstream *u);

#endif
