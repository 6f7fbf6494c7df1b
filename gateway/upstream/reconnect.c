#include "gateway/upstream/reconnect.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/reap.h"
#include "gateway/base/timer.h"

#include <ctype.h>
#include <errno.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define ADDRESSES_MAX    8
#define ADDRESS_LEAST_MS 1000 /* for one of several addresses to answer */
#define DNS_TIMEOUT      "3"  /* seconds, twice per name server */
#define DNS_ATTEMPTS     "2"
#define LOST_NEAR_MS     250 /* until the first attempt after a connection was lost */

enum state { STOPPED, WAITING, RESOLVING, PROBING, ATTEMPTING, UP };

/* One question to the resolver. Taken back, it still calls, in one of the next turns. */
struct query {
	struct reap reap;
	struct list node;        /* reconnect.queries */
	struct reconnect *owner; /* borrowed; NULL: gone */
	struct evdns_base *dns;  /* owned */
	struct evdns_getaddrinfo_request *request;
};

struct reconnect {
	struct event_base *base;
	const struct reconnect_ops *ops;
	void *arg;
	struct server *servers;
	size_t n, current;
	enum state state;
	bool back; /* the steps below are for a look at the preferred server while UP */
	bool near; /* a server of this round is in our own network */
	int64_t timeout_ms, pause_ms, up_ms;
	struct timer timer;
	struct query *query; /* the one whose answer counts; NULL: none */
	struct list queries; /* of query.node */
	struct addr addresses[ADDRESSES_MAX];
	size_t n_addresses, tried;
	int fd;
	struct event *probe;
};

static void on_timer(struct timer *t);
static void try_address(struct reconnect *r);

static const char *const tls_schemes[] = { "mqtts", "ssl" };

static void server_init(struct server *s, const char *text)
{
	memset(s, 0, sizeof(*s));
	uri_parse(&s->uri, text);
	for (char *c = s->uri.scheme; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	for (size_t i = 0; i < ARRAY_SIZE(tls_schemes); i++)
		if (strcmp(s->uri.scheme, tls_schemes[i]) == 0)
			s->tls = true;
	if (s->uri.port == 0)
		s->uri.port = s->tls ? 8883 : 1883;
}

struct reconnect *reconnect_new(struct event_base *base, const struct reconnect_ops *ops, void *arg)
{
	struct reconnect *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->base = base;
	r->ops = ops;
	r->arg = arg;
	r->fd = -1;
	r->pause_ms = RECONNECT_FIRST_MS;
	list_init(&r->queries);
	timer_init(&r->timer, on_timer);
	return r;
}

int reconnect_set(struct reconnect *r, const struct conf_list *uris, int64_t timeout_ms)
{
	struct server *servers = calloc(uris->n, sizeof(*servers));

	if (!servers)
		return -ENOMEM;
	for (size_t i = 0; i < uris->n; i++)
		server_init(&servers[i], uris->items[i]);
	free(r->servers);
	r->servers = servers;
	r->n = uris->n;
	r->current = 0;
	r->timeout_ms = timeout_ms;
	r->pause_ms = RECONNECT_FIRST_MS;
	return 0;
}

/* Ends whatever step is under way. */
static void drop_steps(struct reconnect *r)
{
	struct query *q = r->query;

	r->query = NULL;
	if (q && q->request)
		evdns_getaddrinfo_cancel(q->request);
	if (r->probe)
		event_free(r->probe);
	r->probe = NULL;
	if (r->fd != -1)
		close(r->fd);
	r->fd = -1;
	timer_disarm(&r->timer);
}

static int64_t jitter(int64_t ms)
{
	return ms * 3 / 4 + random_below((uint32_t)(ms / 2 + 1));
}

static void wait_for(struct reconnect *r, int64_t ms)
{
	drop_steps(r);
	r->state = WAITING;
	timer_arm(&r->timer, ms);
}

/* On to the next server; after the last of them a pause. Our own network takes a try a second,
 * which the broker next door is worth; the internet gets longer and longer pauses. */
static void next_server(struct reconnect *r, bool refused)
{
	if (++r->current < r->n) {
		wait_for(r, 0);
		return;
	}
	r->current = 0;
	int64_t pause = r->near && !refused ? RECONNECT_FIRST_MS : r->pause_ms;
	r->near = false;
	r->pause_ms = MIN(r->pause_ms * 2, RECONNECT_MAX_MS);
	wait_for(r, jitter(pause));
}

static bool is_near(const struct addr *a)
{
	const uint8_t *ip = a->ip;

	if (addr_is_loopback(a))
		return true;
	if (a->family == 4) /* RFC 1918, RFC 3927 */
		return ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) ||
		       (ip[0] == 192 && ip[1] == 168) || (ip[0] == 169 && ip[1] == 254);
	return (ip[0] & 0xfe) == 0xfc || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80);
}

/* The server that is looked at. */
static struct server *target(struct reconnect *r)
{
	return &r->servers[r->back ? 0 : r->current];
}

static void look_back_later(struct reconnect *r)
{
	drop_steps(r);
	r->back = true;
	timer_arm(&r->timer, RECONNECT_FAIL_BACK_MS);
}

static void unreachable(struct reconnect *r, const char *why)
{
	if (r->back) {
		look_back_later(r);
		return;
	}
	const struct server *s = target(r);
	next_server(r, false);
	r->ops->unreachable(r->arg, s, why);
}

static void reached(struct reconnect *r)
{
	char text[ADDR_TEXT_MAX];

	drop_steps(r);
	if (r->back) {
		look_back_later(r);
		r->ops->preferred(r->arg);
		return;
	}
	const struct addr *a = &r->addresses[r->tried];
	evutil_inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->ip, text, sizeof(text));
	if (a->scope)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%%%u", a->scope);
	r->state = ATTEMPTING;
	r->ops->attempt(r->arg, target(r), text);
}

static void next_address(struct reconnect *r, const char *why)
{
	drop_steps(r);
	if (++r->tried < r->n_addresses)
		try_address(r);
	else
		unreachable(r, why);
}

static void on_probe(evutil_socket_t fd, short what, void *arg)
{
	struct reconnect *r = arg;
	int err = 0;
	socklen_t len = sizeof(err);

	(void)what;
	clock_tick();
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
		err = errno;
	if (err)
		next_address(r, strerror(err));
	else
		reached(r);
}

static int start_probe(struct reconnect *r)
{
	struct sockaddr_storage ss;
	struct addr *a = &r->addresses[r->tried];
	socklen_t len;

	a->port = target(r)->uri.port;
	len = addr_to_sockaddr(a, false, &ss);
	r->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (r->fd == -1)
		return -errno;
	if (connect(r->fd, (struct sockaddr *)&ss, len) != 0 && errno != EINPROGRESS)
		return -errno;
	r->probe = event_new(r->base, r->fd, EV_WRITE, on_probe, r);
	return r->probe && event_add(r->probe, NULL) == 0 ? 0 : -ENOMEM;
}

static void try_address(struct reconnect *r)
{
	if (!r->back) {
		r->state = PROBING;
		r->near = r->near || is_near(&r->addresses[r->tried]);
	}
	int err = start_probe(r);
	if (err) {
		next_address(r, strerror(-err));
		return;
	}
	int64_t each = r->timeout_ms / (int64_t)r->n_addresses;
	timer_arm(&r->timer, MAX(each, ADDRESS_LEAST_MS));
}

static void query_free(struct reap *reap)
{
	struct query *q = container_of(reap, struct query, reap);

	evdns_base_free(q->dns, 0);
	free(q);
}

static void take_addresses(struct reconnect *r, const struct evutil_addrinfo *list, int family)
{
	for (; list && r->n_addresses < ADDRESSES_MAX; list = list->ai_next)
		if (list->ai_family == family &&
			addr_from_sockaddr(&r->addresses[r->n_addresses], list->ai_addr,
				(socklen_t)list->ai_addrlen) == 0)
			r->n_addresses++;
}

static void on_resolved(int err, struct evutil_addrinfo *list, void *arg)
{
	struct query *q = arg;
	struct reconnect *r = q->owner && q->owner->query == q ? q->owner : NULL;

	clock_tick();
	list_remove(&q->node);
	reap_later(&q->reap, query_free); /* not from inside its own callback */
	if (r) {
		r->query = NULL;
		r->n_addresses = r->tried = 0;
		/* The order in which the client library would choose. */
		take_addresses(r, list, AF_INET);
		take_addresses(r, list, AF_INET6);
	}
	if (list)
		evutil_freeaddrinfo(list);
	if (!r)
		return;
	timer_disarm(&r->timer);
	if (r->n_addresses == 0)
		unreachable(r, err ? evutil_gai_strerror(err) : "the name has no address");
	else
		try_address(r);
}

/* A resolver of its own each time: /etc/resolv.conf changes when networks do. */
static struct query *query_new(struct reconnect *r)
{
	struct query *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	if (!(q->dns = evdns_base_new(r->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE))) {
		free(q);
		return NULL;
	}
	evdns_base_set_option(q->dns, "timeout:", DNS_TIMEOUT);
	evdns_base_set_option(q->dns, "attempts:", DNS_ATTEMPTS);
	evdns_base_resolv_conf_parse(q->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
	q->owner = r;
	list_append(&r->queries, &q->node);
	return q;
}

static void resolve(struct reconnect *r)
{
	struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	const struct server *s = target(r);

	if (!r->back)
		r->state = RESOLVING;
	r->n_addresses = r->tried = 0;
	if (addr_from_text(&r->addresses[0], s->uri.host, s->uri.port) == 0) {
		r->n_addresses = 1;
		try_address(r);
		return;
	}
	struct query *q = query_new(r);
	if (!q) {
		unreachable(r, "no memory to resolve its name");
		return;
	}
	r->query = q;
	timer_arm(&r->timer, r->timeout_ms);
	/* The answer may come at once, from /etc/hosts; there is no request to take back then. */
	q->request = evdns_getaddrinfo(q->dns, s->uri.host, NULL, &hints, on_resolved, q);
}

static void on_timer(struct timer *t)
{
	struct reconnect *r = container_of(t, struct reconnect, timer);

	if (r->state == WAITING || (r->state == UP && !r->query && !r->probe)) {
		resolve(r);
	} else if (r->query) {
		drop_steps(r);
		unreachable(r, "its name can't be resolved");
	} else {
		next_address(r, "no answer");
	}
}

void reconnect_start(struct reconnect *r)
{
	r->back = false;
	r->current = 0;
	wait_for(r, 0);
}

void reconnect_again(struct reconnect *r)
{
	r->back = false;
	wait_for(r, 0);
}

void reconnect_up(struct reconnect *r, bool fail_back)
{
	drop_steps(r);
	r->state = UP;
	r->up_ms = clock_ms();
	if (fail_back && r->current > 0)
		look_back_later(r);
}

void reconnect_refused(struct reconnect *r)
{
	next_server(r, true);
}

void reconnect_failed(struct reconnect *r)
{
	next_server(r, false);
}

void reconnect_lost(struct reconnect *r, bool dismissed)
{
	r->back = false;
	r->current = 0;
	if (clock_ms() - r->up_ms >= RECONNECT_STABLE_MS)
		r->pause_ms = RECONNECT_FIRST_MS;
	/* A whole fleet may have lost the same broker: not all at once. */
	int64_t pause = r->pause_ms;
	if (r->near && !dismissed)
		pause = pause == RECONNECT_FIRST_MS ? LOST_NEAR_MS : RECONNECT_FIRST_MS;
	r->pause_ms = MIN(r->pause_ms * 2, RECONNECT_MAX_MS);
	wait_for(r, jitter(pause));
}

void reconnect_stop(struct reconnect *r)
{
	drop_steps(r);
	r->back = false;
	r->state = STOPPED;
}

bool reconnect_quiet(const struct reconnect *r)
{
	return list_empty(&r->queries);
}

struct server *reconnect_server(struct reconnect *r)
{
	return &r->servers[r->current < r->n ? r->current : 0];
}

int64_t reconnect_wait_ms(const struct reconnect *r)
{
	if (r->state != WAITING)
		return -1;
	return MAX(r->timer.due_ms - clock_ms(), 0);
}

void reconnect_free(struct reconnect *r)
{
	if (!r)
		return;
	drop_steps(r);
	while (!list_empty(&r->queries)) {
		struct query *q = list_first(&r->queries, struct query, node);
		list_remove(&q->node);
		q->owner = NULL;
	}
	free(r->servers);
	free(r);
}
