#include "adapters/mqttsn/sn_dump.h"
#include "adapters/mqttsn/sn_multicast.h"
#include "adapters/mqttsn/sn_peer.h"
#include "adapters/mqttsn/sn_store.h"

#include "gateway/base/count.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

/* The adapter: sockets in front of the gateway of sn_gateway.h. */

/* The log is no place for more. */
#define DUMP_CLIENTS 1000
#define DUMP_TOPICS  4

static void on_receive(
	void *arg, struct sn_socket *socket, const struct addr *from, struct span datagram)
{
	struct sn_route route = { .socket = socket, .addr = *from };
	sn_receive(arg, &route, datagram);
}

/* The same for what came to a group that the listener has an ear in. */
static void on_heard(
	void *arg, struct sn_socket *socket, const struct addr *from, struct span datagram)
{
	struct sn_route route = { .socket = socket, .addr = *from };
	sn_hear(arg, &route, datagram);
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
		rc = addr_from_text(&at, u.host, u.port ? u.port : SN_DEFAULT_PORT);
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

static unsigned interface_of(const struct sn_conf *conf, const struct sn_socket *s)
{
	if (!conf->multicast_interface)
		return sn_interface_of(&s->at);
	unsigned index = if_nametoindex(conf->multicast_interface);
	if (!index)
		log_warn("mqttsn: multicast_interface %s: %s", conf->multicast_interface,
			strerror(errno));
	return index;
}

/* Devices that know where the gateway is need no multicast: without it everything else goes on. */
static void join(struct sn_gateway *gw, struct sn_socket *s, const char *text, unsigned interface)
{
	static bool warned;
	struct sn_socket_user user = { .receive = on_heard, .arg = gw };
	struct addr group;
	if (sn_conf_addr(text, 0, &group) < 0 || !sn_ear_fits(s, &group))
		return;
	int rc = sn_ear_open(gw->env.base, s, &group, interface, &user, &gw->ears);
	if (rc < 0 && !warned)
		log_warn("mqttsn: cannot join %s: %s; devices do not find the gateway by multicast",
			text, strerror(-rc));
	warned = warned || rc < 0;
}

static void set_up_multicast(struct sn_gateway *gw, const struct sn_conf *conf, struct sn_socket *s)
{
	unsigned interface = interface_of(conf, s);
	sn_udp_multicast(s, interface, (int)conf->multicast_ttl);
	if (conf->multicast.n)
		sn_udp_share(s);
	for (size_t i = 0; i < conf->multicast.n; i++)
		join(gw, s, conf->multicast.items[i], interface);
}

static int open_group(struct sn_gateway *gw, struct sn_group *group, const struct sn_conf *conf)
{
	size_t n = gw->n_sockets + conf->listen.n;
	struct sn_socket **sockets = must_calloc(n, sizeof(struct sn_socket *));
	if (gw->n_sockets)
		memcpy(sockets, gw->sockets, gw->n_sockets * sizeof(*sockets));
	free(gw->sockets);
	gw->sockets = sockets;
	for (size_t i = 0; i < conf->listen.n; i++) {
		struct sn_socket **s = &gw->sockets[gw->n_sockets];
		int rc = open_socket(gw, conf->listen.items[i], s);
		if (rc < 0)
			return rc;
		gw->n_sockets++;
		(*s)->group = group;
		(*s)->listen = must_strdup(conf->listen.items[i]);
		set_up_multicast(gw, conf, *s);
	}
	return 0;
}

static int open_groups(struct sn_gateway *gw, const struct conf *conf)
{
	const char *section = mqttsn_conf_section.name, *name;
	const struct sn_conf *c;
	int rc = open_group(gw, &gw->base, conf_section(conf, section));
	for (size_t i = 0; rc == 0 && (c = conf_named_section(conf, section, i, &name)); i++)
		rc = open_group(gw, sn_group_new(gw, name, c), c);
	return rc;
}

static void flush(void *self)
{
	struct sn_gateway *gw = self;
	sn_holds_flush(gw);
	for (size_t i = 0; i < gw->n_sockets; i++)
		gw->sockets[i]->ops->flush(gw->sockets[i]);
}

static void stop(void *self)
{
	struct sn_gateway *gw = self;
	sn_gateway_destroy(gw);
	flush(gw);
	sn_ears_close(&gw->ears);
	for (size_t i = 0; i < gw->n_sockets; i++) {
		free(gw->sockets[i]->listen);
		gw->sockets[i]->ops->close(gw->sockets[i]);
	}
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
	traffic_register(&sn_traffic);
	sn_gateway_init(gw, env, c, predefined);
	int rc = open_groups(gw, conf);
	if (rc < 0) {
		stop(gw);
		return rc == -EADDRINUSE || rc == -EACCES ? rc : -EADDRNOTAVAIL;
	}
	sn_revive_peers(gw);
	*self = gw;
	return 0;
}

/* A group that came or went needs a restart. */
static void reload_groups(struct sn_gateway *gw, const struct conf *conf)
{
	const char *name;
	const struct sn_conf *c;
	for (size_t i = 0; (c = conf_named_section(conf, mqttsn_conf_section.name, i, &name));
		i++) {
		struct sn_group *group = sn_group_find(&gw->groups, name);
		if (group)
			sn_group_configure(group, c);
	}
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
	reload_groups(gw, conf);
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
	return !sn_holds_pending(gw);
}

static void dump_socket(const struct sn_socket *s)
{
	char text[ADDR_TEXT_MAX];
	const char *name = s->group->name;
	log_notice("mqttsn: %s [mqttsn%s%s]: receive buffer %d octets, %u datagrams lost in the "
		   "kernel",
		addr_text(&s->at, text), name ? "." : "", name ? name : "", sn_udp_buffer(s),
		sn_udp_drops(s));
}

static void log_text(void *arg, const char *text)
{
	(void)arg;
	log_notice("mqttsn: %s", text);
}

static void dump(void *self)
{
	const struct sn_gateway *gw = self;
	size_t n[SN_STATES] = { 0 };
	const struct list *lists[] = { &gw->half_open, &gw->clients }, *pos;
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		list_for_each(pos, lists[i])
			n[list_entry(pos, const struct sn_peer, node)->state]++;
	}
	log_notice("mqttsn: %zu sockets, %zu peers, %zu predefined topics", gw->n_sockets,
		gw->n_peers, sn_predefined_count(gw->predefined));
	for (size_t i = 0; i < gw->n_sockets; i++)
		dump_socket(gw->sockets[i]);
	for (size_t i = SN_WILL_TOPIC; i < SN_STATES; i++)
		log_notice("mqttsn: %zu %s", n[i], sn_state_name((enum sn_state)i));
	sn_dump_clients(gw, DUMP_CLIENTS, DUMP_TOPICS, log_text, NULL);
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
