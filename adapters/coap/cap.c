#include "adapters/coap/cap.h"

#include "adapters/coap/cap_client.h"
#include "adapters/coap/cap_request.h"
#include "gateway/core/scope.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define SWEEP_MS 5000

struct traffic cap_traffic = TRAFFIC("coap");

struct cap_counts cap_counts = {
	.requests = COUNT("coap.requests"),
	.malformed = COUNT("coap.malformed"),
	.duplicates = COUNT("coap.duplicates"),
	.published = COUNT("coap.published"),
	.refused = COUNT("coap.refused"),
	.notified = COUNT("coap.notified"),
	.dropped = COUNT("coap.dropped"),
	.lost = COUNT("coap.lost"),
	.challenged = COUNT("coap.challenged"),
	.overflowed = COUNT("coap.overflowed"),
};

/* ---- configuration ---- */

static const char *check_listen(const char *value)
{
	struct addr addr;

	return cap_listen_addr(value, &addr) ? "coap://ADDRESS[:PORT] with a numeric address, such "
					       "as coap://127.0.0.1:5683"
					     : NULL;
}

static const char *const prove_choices[] = { "auto", "yes", "no", NULL };

#define AT(field) offsetof(struct cap_conf, field)
static const struct conf_row rows[] = {
	{ .key = "listen",
		.type = CONF_LIST,
		.offset = AT(listen),
		.def = "coap://127.0.0.1:5683",
		.sample = "coap://127.0.0.1:5683, coap://[::1]:5683",
		.check = check_listen,
		.help = "Addresses to listen on; coap://[::] takes IPv4 as well." },
	{ .key = "allow_plain",
		.type = CONF_BOOL,
		.offset = AT(allow_plain),
		.def = "no",
		.help = "Allow listeners without DTLS on other addresses than loopback." },
	{ .key = "mountpoint",
		.type = CONF_STRING,
		.offset = AT(mountpoint),
		.max = 1024,
		.check = scope_check_mountpoint,
		.sample = "coap/",
		.help = "Put in front of every topic that these devices publish or read, and taken "
			"off what they are told: they see nothing outside of it, $SYS neither. %c "
			"stands for the client id and %u for the user name of the request; "
			"requests without such a name, or with one of + # / in it, are refused." },
	{ .key = "max_payload",
		.type = CONF_SIZE,
		.offset = AT(max_payload),
		.min = 16,
		.max = 1 << 20,
		.def = "64KB",
		.reload = true,
		.help = "Largest payload of a publish, also when it comes in blocks." },
	{ .key = "clients",
		.type = CONF_INT,
		.offset = AT(clients),
		.min = 1,
		.max = 20000,
		.def = "2000",
		.reload = true,
		.help = "Peers remembered at a time; a new one takes the place of the longest "
			"silent that observes nothing, or is not served." },
	{ .key = "session_timeout",
		.type = CONF_TIME,
		.offset = AT(session_timeout_ms),
		.min = 45000, /* MAX_TRANSMIT_SPAN, RFC 7252, 4.8.2: its repetitions are known */
		.max = 3600000,
		.def = "60s",
		.reload = true,
		.help = "Silence after which a peer that observes nothing is forgotten." },
	{ .key = "observers",
		.type = CONF_INT,
		.offset = AT(observers),
		.min = 0,
		.max = 100000,
		.def = "1000",
		.reload = true,
		.help = "Observations of all peers together." },
	{ .key = "observers_per_client",
		.type = CONF_INT,
		.offset = AT(observers_per_client),
		.min = 0,
		.max = 10000,
		.def = "64",
		.reload = true,
		.help = "Observations of one peer." },
	{ .key = "notify_queue",
		.type = CONF_INT,
		.offset = AT(notify_queue),
		.min = 1,
		.max = 10000,
		.def = "100",
		.reload = true,
		.help = "Notifications that wait for one peer; the oldest is dropped for a newer "
			"one." },
	{ .key = "uploads",
		.type = CONF_INT,
		.offset = AT(uploads),
		.min = 0,
		.max = 1024,
		.def = "64",
		.reload = true,
		.help = "Payloads that may arrive in blocks at the same time." },
	{ .key = "prove_address",
		.type = CONF_ENUM,
		.offset = AT(prove_address),
		.choices = prove_choices,
		.def = "auto",
		.reload = true,
		.help = "Ask peers to prove their address (Echo, RFC 9175) before they may observe "
			"or get answers of more than three times their request; auto asks all but "
			"loopback." },
};

static int check_conf(const struct conf *conf, void *section, struct conf_error *err)
{
	const struct cap_conf *c = section;
	struct addr addr;

	for (size_t i = 0; i < c->listen.n; i++)
		if (cap_listen_addr(c->listen.items[i], &addr) == 0 && !addr_is_loopback(&addr) &&
			!c->allow_plain)
			return conf_fail(err, conf, "coap", "listen",
				"%s is open to the network without DTLS; use a loopback address, "
				"or set allow_plain = yes",
				c->listen.items[i]);
	return 0;
}

const struct conf_section cap_conf_section = {
	.name = "coap",
	.help = "CoAP devices: every MQTT topic is the resource /ps/{topic}.",
	.size = sizeof(struct cap_conf),
	.rows = rows,
	.n_rows = ARRAY_SIZE(rows),
	.optional = true,
	.in_sample = true,
	.check = check_conf,
};

/* ---- life ---- */

static void on_sweep(struct timer *t)
{
	struct cap *cap = container_of(t, struct cap, sweep);

	cap_clients_sweep(cap);
	cap_uploads_sweep(cap);
	timer_arm(&cap->sweep, SWEEP_MS);
}

/* The flush at the end of the turn goes on; the timer only keeps the loop from sleeping. */
static void on_again(struct timer *t)
{
	(void)t;
}

static void stop(void *self)
{
	struct cap *cap = self;

	/* libcoap aborts when somebody still holds a session. */
	while (!list_empty(&cap->by_age))
		cap_client_end(list_first(&cap->by_age, struct cap_client, age));
	while (!list_empty(&cap->listeners))
		cap_listener_free(list_first(&cap->listeners, struct cap_listener, node));
	timer_disarm(&cap->sweep);
	timer_disarm(&cap->again);
	free(cap->mountpoint);
	free(cap);
}

static void configure(struct cap *cap, const struct cap_conf *c)
{
	cap->conf = *c;
	cap->conf.listen = (struct conf_list){ 0 };
	cap->conf.mountpoint = NULL;
}

static int start(const struct env *env, const struct conf *conf, void **self)
{
	const struct cap_conf *c = conf_section(conf, "coap");
	struct cap *cap = must_calloc(1, sizeof(*cap));

	traffic_register(&cap_traffic);
	cap->env = *env;
	configure(cap, c);
	cap->mountpoint = c->mountpoint ? must_strdup(c->mountpoint) : NULL;
	list_init(&cap->listeners);
	for (size_t i = 0; i < CAP_BUCKETS; i++)
		list_init(&cap->buckets[i]);
	list_init(&cap->by_age);
	list_init(&cap->ready);
	list_init(&cap->uploads);
	timer_init(&cap->sweep, on_sweep);
	timer_init(&cap->again, on_again);
	cap->noise = (struct log_limit)LOG_LIMIT(10, 10000);
	for (size_t i = 0; i < c->listen.n; i++) {
		int err = cap_listen(cap, c->listen.items[i]);

		if (err) {
			stop(cap);
			return err;
		}
	}
	timer_arm(&cap->sweep, SWEEP_MS);
	*self = cap;
	return 0;
}

static void flush(void *self)
{
	cap_outbox_flush(self);
}

static int reload(void *self, const struct conf *conf)
{
	const struct cap_conf *c = conf_section(conf, "coap");
	struct cap *cap = self;

	/* Without its section it goes on as it was until a restart. */
	if (!c)
		return 0;
	configure(cap, c);
	return 0;
}

static bool drain(void *self)
{
	struct cap *cap = self;

	cap->draining = true;
	return cap->n_exchanges == 0 && list_empty(&cap->ready);
}

static void dump(void *self)
{
	const struct cap *cap = self;

	log_notice("coap: %u clients, %u observations, %u publishes open, %u uploads%s",
		cap->n_clients, cap->n_observers, cap->n_exchanges, cap->n_uploads,
		cap->draining ? ", draining" : "");
}

const struct adapter adapter_coap = {
	.name = "coap",
	.section = &cap_conf_section,
	.start = start,
	.flush = flush,
	.reload = reload,
	.drain = drain,
	.stop = stop,
	.dump = dump,
};
