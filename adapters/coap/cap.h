#ifndef TIDEGATE_ADAPTERS_COAP_CAP_H
#define TIDEGATE_ADAPTERS_COAP_CAP_H

#include "adapters/adapter.h"
#include "gateway/base/addr.h"
#include "gateway/base/count.h"
#include "gateway/base/list.h"
#include "gateway/base/log.h"
#include "gateway/base/timer.h"
#include "gateway/base/traffic.h"

#include <coap3/coap.h>

/* The CoAP adapter: /ps/{topic} over the router. libcoap keeps sockets, message layer and
 * retransmission; Observe, block-wise transfer and duplicates are ours, because its own forms of
 * them cannot be used here (no observation of resources that nobody declared, crashes on hostile
 * uploads, no memory of message ids). */

enum cap_prove { CAP_PROVE_AUTO, CAP_PROVE_YES, CAP_PROVE_NO };

/* Section [coap]. */
struct cap_conf {
	struct conf_list listen;
	bool allow_plain;
	int64_t max_payload;
	int64_t clients, observers, observers_per_client, notify_queue, uploads;
	int prove_address; /* enum cap_prove */
	int64_t session_timeout_ms;
	const char *mountpoint; /* NULL: none */
};

/* Notifications that leave in one turn: a burst to many at once overruns the receive buffer with
 * their acknowledgements. */
#define CAP_NOTIFY_BATCH 64
#define CAP_BUCKETS      1024

struct cap_counts {
	struct count requests, malformed, duplicates, published, refused, notified, dropped, lost,
		challenged, overflowed;
};
extern struct cap_counts cap_counts;
/* What leaves is counted when libcoap gets it: empty acknowledgements and repetitions are its own.
 */
extern struct traffic cap_traffic;

struct cap {
	struct env env;
	struct cap_conf conf; /* without `listen` and `mountpoint`: those of the start count */
	char *mountpoint;     /* owned; NULL: none */
	struct list listeners;
	struct list buckets[CAP_BUCKETS]; /* of cap_client.chain */
	struct list by_age;               /* of cap_client.age, longest silent first */
	struct list ready;                /* of cap_client.ready: something may be sent */
	struct list uploads;              /* of cap_upload.node */
	uint32_t n_clients, n_observers, n_exchanges, n_uploads;
	uint32_t observe_value; /* the highest Observe value of those that have ended */
	struct timer sweep;     /* looks for silent clients and abandoned uploads */
	struct timer again;     /* more notifications are due than one turn may send */
	struct log_limit noise;
	bool draining;
};

/* ---- cap_listen.c: libcoap on the loop ---- */

/* One UDP endpoint in a libcoap context of its own, so that an event tells which socket it is for
 * and the walk over all sessions, which libcoap does at every turn, stays short. */
struct cap_listener {
	struct cap *cap;         /* borrowed */
	struct list node;        /* in cap.listeners */
	coap_context_t *context; /* owned */
	struct event *readable;  /* owned: libcoap's epoll descriptor */
	int epoll_fd;            /* libcoap's */
	int fd;                  /* libcoap's: the socket */
	unsigned batch;          /* datagrams per turn */
	uint32_t overflowed;     /* by the kernel's count */
	struct addr addr;
};
/* 0, or a negative errno after one line in the log. */
int cap_listen(struct cap *cap, const char *uri);
void cap_listener_free(struct cap_listener *l);
/* Gives a PDU to libcoap, which owns it then. False: it cannot be sent. */
bool cap_send(coap_session_t *session, coap_pdu_t *pdu);
/* "coap://HOST:PORT" into an address; -EINVAL. */
int cap_listen_addr(const char *uri, struct addr *addr);

/* ---- cap_request.c ---- */

/* The handler of all methods on all paths. */
void cap_on_request(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *pdu,
	const coap_string_t *query, coap_pdu_t *response);

#endif
