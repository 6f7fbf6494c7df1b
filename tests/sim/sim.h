#ifndef TIDEGATE_SIM_H
#define TIDEGATE_SIM_H

#include "gateway/base/addr.h"
#include "gateway/base/span.h"
#include "gateway/base/timer.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct event;
struct event_base;
struct device;

/* tidegate-sim: simulated devices. A device speaks one protocol (struct device_ops), the simulation
 * tells it what to do and counts what comes of it. One socket per device, thousands in one process.
 */
enum sim_command { SIM_CONNECT, SIM_PUBLISH, SIM_SUBSCRIBE };

struct sim_options {
	enum sim_command command;
	const struct device_ops *protocol;
	const char *host, *id, *topic, *message, *will_topic, *will_message;
	uint16_t port;
	unsigned clients, count; /* count: messages per client; 0: no end */
	unsigned window; /* unacknowledged messages per client at QoS 0 bursts and over MQTT */
	int qos;         /* -1..2 */
	size_t size;     /* payload octets; 0: `message` as it is */
	double rate;     /* messages per second, all clients together; 0: as fast as it goes */
	unsigned duration_s, keepalive_s, sleep_s;
	uint16_t topic_id; /* predefined; 0: by name */
	bool retain, clean, quiet;
};

struct sim_stats {
	uint64_t sent, acked, refused, retried, received, failed;
};

struct sim {
	struct sim_options o;
	struct event_base *base;
	struct addr gateway;
	struct device **devices;
	struct sim_stats stats;
	unsigned started, ready, finished;
	int64_t began_ms, ready_ms, ended_ms;
	struct timer pace, limit;
	double owed;      /* messages due by the rate and not sent yet */
	int64_t paced_ms; /* when `owed` was brought up to date */
	unsigned next;    /* device that publishes next at a rate */
	bool stopping;
};

enum device_state { DEVICE_CONNECTING, DEVICE_PREPARING, DEVICE_READY, DEVICE_ASLEEP, DEVICE_DONE };

struct device {
	struct sim *sim;
	const struct device_ops *ops;
	unsigned index;
	char id[64], topic[256];
	int fd;
	struct event *readable;
	enum device_state state;
	unsigned sent, acked; /* of sim_options.count */
	unsigned open;        /* sent and not acknowledged */
	uint16_t msg_id;
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
	void (*receive)(struct device *, struct span bytes); /* a datagram, or bytes of a stream */
	void (*disconnect)(struct device *);
	void (*free)(struct device *);
};

/* Returns the exit status: 0, 1 when a device failed or was refused, 64. */
int sim_run(const struct sim_options *o);

extern const struct device_ops sim_mqttsn, sim_coap, sim_mqtt;

/* What devices tell the simulation. */
void device_ready(struct device *d);
void device_acked(struct device *d, bool accepted);
void device_message(struct device *d, struct span topic, struct span payload, int qos, bool retain);
void device_failed(struct device *d, const char *why);
void device_gone(struct device *d); /* after ops->disconnect: said goodbye */
bool device_send(struct device *d, const void *bytes, size_t len);
uint16_t device_next_id(struct device *d);

#endif
