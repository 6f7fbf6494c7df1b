#ifndef TIDEGATE_SIM_H
#define TIDEGATE_SIM_H

#include "gateway/base/addr.h"
#include "gateway/base/span.h"
#include "gateway/base/timer.h"

#include <stdbool.h>
#include <stdint.h>

struct event;
struct event_base;
struct device;

/* tidegate-sim: simulated devices. A device speaks one protocol (struct device_ops), the simulation
 * tells it what to do and counts what comes of it. Thousands in one process, each with a socket of
 * its own, or all of them behind a forwarder's.
 */
enum sim_command { SIM_CONNECT, SIM_PUBLISH, SIM_SUBSCRIBE };

struct sim_options {
	enum sim_command command;
	const struct device_ops *protocol;
	const char *host, *id, *topic, *message;
	const char *will_topic, *will_message;         /* NULL: none */
	const char *new_will_topic, *new_will_message; /* NULL: not updated */
	int qos, will_qos;                             /* -1..2 */
	unsigned port, topic_id;                       /* topic_id: predefined; 0: by name */
	unsigned clients, count;                       /* count: messages per client; 0: no end */
	unsigned window; /* unacknowledged messages; see device_ops.window and .sync */
	unsigned size;   /* payload octets; 0: `message` as it is */
	unsigned rate;   /* messages per second, all clients together; 0: as fast as it goes */
	unsigned duration_s, linger_s, keepalive_s, sleep_s, roam_s;
	unsigned retry_ms, retries;        /* T_retry, N_retry */
	unsigned loss, dup, reorder, seed; /* percent; sim_lossy.h */
	bool retain, will_retain, persistent, quiet, check, forwarder, vanish;
};

struct sim_stats {
	uint64_t sent, acked, refused, retried, received, failed, wakes, roams;
};

/* A forwarder's socket (MQTT-SN 1.2, 4.2); a node that roams goes to the other one. */
#define SIM_FORWARDERS 2
struct forwarder {
	struct sim *sim;
	int fd;
	struct event *readable;
};

struct sim {
	struct sim_options o;
	struct event_base *base;
	struct addr gateway;
	struct device **devices;
	struct forwarder forwarders[SIM_FORWARDERS];
	struct lossy *lossy; /* owned; NULL: the network is perfect */
	struct check *check; /* owned; NULL: numbers are not looked at */
	struct sim_stats stats;
	unsigned started, connecting, ready, asleep, finished;
	unsigned woken;     /* have collected since woken_ms */
	struct list eager;  /* of device.eager: may have something to publish */
	struct list waking; /* of device.eager: sleepers to be woken at once */
	int64_t began_ms, ready_ms, first_ms, ended_ms, woken_ms; /* first_ms: message received */
	struct timer pace, limit;
	double owed;           /* messages due by the rate and not sent yet */
	int64_t paced_ms;      /* when `owed` was brought up to date */
	unsigned next;         /* device that publishes next at a rate */
	unsigned unsynced;     /* QoS 0: sent since the gateway was known to follow */
	struct device *syncer; /* borrowed; asks whether it does. NULL: nobody */
	bool stopping;
};

enum device_state { DEVICE_CONNECTING, DEVICE_PREPARING, DEVICE_READY, DEVICE_ASLEEP, DEVICE_DONE };

struct device {
	struct sim *sim;
	const struct device_ops *ops;
	unsigned index;
	char id[64], topic[256];
	int fd; /* -1 behind a forwarder */
	struct event *readable;
	uint64_t luck[2]; /* state of its random numbers, one for each direction */
	enum device_state state;
	bool was_ready, gone;
	unsigned forwarder;   /* index of the one it is behind */
	unsigned sent, acked; /* of sim_options.count */
	unsigned open;        /* sent and not acknowledged */
	uint16_t msg_id;
	struct list eager;  /* sim.eager or sim.waking */
	struct timer retry; /* resend, ping, wake up */
};

struct device_ops {
	const char *name;
	uint16_t port; /* default */
	int socket_type;
	bool acknowledges0; /* every message is answered, QoS 0 too */
	struct device *(*new)(void);
	void (*connect)(struct device *);
	/* The number of messages that may be open at once. */
	unsigned (*window)(const struct device *);
	bool (*publish)(struct device *, struct span payload); /* false: not now */
	/* Asks for a sign that all that was sent has been read: device_synced(). NULL: not needed,
	 * the transport does not overflow. */
	void (*sync)(struct device *);
	void (*wake)(struct device *);                       /* out of the sleep, to collect */
	void (*receive)(struct device *, struct span bytes); /* a datagram, or bytes of a stream */
	void (*disconnect)(struct device *);
	void (*free)(struct device *);
};

extern const struct device_ops sim_mqttsn, sim_coap, sim_mqtt;

/* Returns the exit status: 0, 1 when a device failed or was refused, 64. */
int sim_run(const struct sim_options *o);

/* sim.c */
void sim_start_more(struct sim *s);
/* Nobody is still connecting: everybody is ready or has failed. */
bool sim_all_settled(const struct sim *s);
void sim_stop(struct sim *s);
/* Wakes all sleepers now, a bounded number at a time. */
void sim_wake_all(struct sim *s);
/* One of them has collected. */
void sim_collected(struct sim *s);
/* A line on standard output when the clients have got that far. */
void sim_say(const char *what, unsigned clients, int64_t since_ms);

/* sim_device.c: what devices tell the simulation. */
void device_ready(struct device *d);
void device_asleep(struct device *d);
void device_acked(struct device *d, bool accepted);
void device_synced(struct device *d);
void device_message(struct device *d, struct span topic, struct span payload, int qos, bool retain);
void device_failed(struct device *d, const char *why);
void device_gone(struct device *d); /* after ops->disconnect: said goodbye */
/* It may have become able to publish. */
void device_eager(struct device *d);
uint16_t device_next_id(struct device *d);

/* sim_device.c: what the simulation does with them. */
struct device *device_new(struct sim *s, unsigned index);
bool device_wants_more(const struct device *d);
bool device_waits_for_acks(const struct device *d);
bool device_publish(struct device *d); /* one message; false: not now, or it has none left */
void device_say_goodbye(struct device *d);
void device_free(struct device *d);

/* sim_socket.c */
void sim_open_network(struct sim *s);
void sim_close_network(struct sim *s);
void device_open(struct device *d); /* ends the program when it cannot */
void device_close(struct device *d);
/* Another port, or the other forwarder. */
void device_move(struct device *d);
bool device_send(struct device *d, const void *bytes, size_t len);

#endif
