#include "adapters/mqttsn/sn_peer.h"

#include "gateway/base/count.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The adapter: sockets in front of the gateway of sn_gateway.h. */

#define DEFAULT_PORT 1884

static void on_receive(
	void *arg, struct sn_socket *socket, const struct addr *from, struct span datagram)
{
	struct sn_route route = { .socket = socket, .addr = *from };
	sn_receive(arg, &route, datagram);
}

static void on_writable(void *arg, struct sn_socket *socket)
{
	sn_unblock(arg, socket);
}

static int open_socket(struct sn_gateway *gw, const char *listen, struct sn_socket **out)
{
	struct sn_socket_user user = { on_receive, on_writable, gw };
	struct uri u;
	struct addr at;
	int rc = uri_parse(&u, listen);
	if (rc == 0)
		rc = addr_from_text(&at, u.host, u.port ? u.port : DEFAULT_PORT);
	/* "*" is every address of both families, [::] those of IPv6. */
	if (rc == 0)
		rc = sn_udp_open(gw->env.base, &at, strcmp(u.host, "*") == 0, &user, out);
	if (rc < 0) {
		log_error("mqttsn: cannot listen on %s: %s", listen, strerror(-rc));
		return rc;
	}
	log_notice("mqttsn: listening on %s", listen);
	return 0;
}

static int open_sockets(struct sn_gateway *gw, const struct conf_list *listen)
{
	gw->sockets = must_calloc(listen->n, sizeof(struct sn_socket *));
	for (; gw->n_sockets < listen->n; gw->n_sockets++) {
		int rc = open_socket(gw, listen->items[gw->n_sockets], &gw->sockets[gw->n_sockets]);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void flush(void *self)
{
	struct sn_gateway *gw = self;
	for (size_t i = 0; i < gw->n_sockets; i++)
		gw->sockets[i]->ops->flush(gw->sockets[i]);
}

static void stop(void *self)
{
	struct sn_gateway *gw = self;
	sn_gateway_destroy(gw);
	flush(gw);
	for (size_t i = 0; i < gw->n_sockets; i++)
		gw->sockets[i]->ops->close(gw->sockets[i]);
	free(gw->sockets);
	free(gw);
}

static int load_predefined(const struct sn_conf *conf, struct sn_predefined **out)
{
	char why[512];
	int rc = sn_predefined_load(conf->predefined_file, out, why, sizeof(why));
	if (rc < 0)
		log_error("mqttsn: %s", why);
	return rc;
}

static int start(const struct env *env, const struct conf *conf, void **self)
{
	const struct sn_conf *c = conf_section(conf, mqttsn_conf_section.name);
	struct sn_predefined *predefined;
	if (load_predefined(c, &predefined) < 0)
		return -EINVAL;
	struct sn_gateway *gw = must_calloc(1, sizeof(*gw));
	sn_gateway_init(gw, env, c, predefined);
	int rc = open_sockets(gw, &c->listen);
	if (rc < 0) {
		stop(gw);
		return rc == -EADDRINUSE || rc == -EACCES ? rc : -EADDRNOTAVAIL;
	}
	*self = gw;
	return 0;
}

static int reload(void *self, const struct conf *conf)
{
	struct sn_gateway *gw = self;
	const struct sn_conf *c = conf_section(conf, mqttsn_conf_section.name);
	struct sn_predefined *predefined;
	if (!c) /* the section has gone; that needs a restart */
		return 0;
	int rc = load_predefined(c, &predefined);
	if (rc < 0)
		return rc;
	sn_gateway_configure(gw, c, predefined);
	return 0;
}

static bool drain(void *self)
{
	struct sn_gateway *gw = self;
	gw->draining = true;
	for (size_t i = 0; i < gw->n_sockets; i++) {
		if (gw->sockets[i]->ops->pending(gw->sockets[i]))
			return false;
	}
	return true;
}

static void dump(void *self)
{
	const struct sn_gateway *gw = self;
	static const char *const names[SN_STATES] = { "stranger", "will topic", "will message",
		"active", "asleep", "awake" };
	size_t n[SN_STATES] = { 0 };
	const struct list *lists[] = { &gw->half_open, &gw->clients }, *pos;
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		list_for_each(pos, lists[i])
			n[list_entry(pos, const struct sn_peer, node)->state]++;
	}
	log_notice("mqttsn: %zu sockets, %zu peers, %zu predefined topics", gw->n_sockets,
		gw->n_peers, sn_predefined_count(gw->predefined));
	for (size_t i = SN_WILL_TOPIC; i < SN_STATES; i++)
		log_notice("mqttsn: %zu %s", n[i], names[i]);
}

const struct adapter adapter_mqttsn = {
	.name = "mqttsn",
	.section = &mqttsn_conf_section,
	.start = start,
	.flush = flush,
	.reload = reload,
	.drain = drain,
	.stop = stop,
	.dump = dump,
};
