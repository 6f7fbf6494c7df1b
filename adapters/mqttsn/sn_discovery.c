#include "adapters/mqttsn/sn_discovery.h"

#include "adapters/mqttsn/sn_handlers.h"
#include "gateway/base/count.h"

#include <stdlib.h>
#include <string.h>

static struct count advertised = COUNT("mqttsn.advertised");
static struct count searched = COUNT("mqttsn.searched");

static bool is_many(const struct addr *a)
{
	static const uint8_t everybody[4] = { 255, 255, 255, 255 };
	return addr_is_multicast(a) || (a->family == 4 && memcmp(a->ip, everybody, 4) == 0);
}

static bool reaches(const struct sn_socket *s, const struct addr *to)
{
	if (s->at.family != to->family && !(s->dual_stack && to->family == 4))
		return false;
	return !addr_is_loopback(&s->at) || addr_is_loopback(to) || addr_is_multicast(to);
}

/* By multicast every listener tells its own network; others are told once. */
static void tell(struct sn_gateway *gw, const struct addr *to, const struct sn_packet *p)
{
	for (size_t i = 0; i < gw->n_sockets; i++) {
		struct sn_route route = { .socket = gw->sockets[i], .addr = *to };
		if (!reaches(route.socket, to))
			continue;
		sn_send(gw, &route, p);
		if (!addr_is_multicast(to))
			return;
	}
}

/* 5.4.1: Duration is the time until the next one, in seconds. */
static uint16_t interval_s(const struct sn_conf *conf)
{
	return (uint16_t)MIN((conf->advertise_interval_ms + 999) / 1000, UINT16_MAX);
}

static void on_advertise(struct timer *t)
{
	struct sn_gateway *gw = container_of(t, struct sn_gateway, discovery.advertise);
	struct sn_packet p = {
		.type = SN_ADVERTISE,
		.gw_id = (uint8_t)gw->conf.gateway_id,
		.duration_s = interval_s(&gw->conf),
	};
	if (gw->draining)
		return;
	count_one(&advertised);
	for (size_t i = 0; i < gw->discovery.n_to; i++)
		tell(gw, &gw->discovery.to[i], &p);
	timer_arm(t, gw->conf.advertise_interval_ms);
}

static struct sn_packet gwinfo(const struct sn_gateway *gw)
{
	return (struct sn_packet){ .type = SN_GWINFO, .gw_id = (uint8_t)gw->conf.gateway_id };
}

static void on_gwinfo(struct timer *t)
{
	struct sn_gateway *gw = container_of(t, struct sn_gateway, discovery.gwinfo);
	struct sn_packet p = gwinfo(gw);
	for (size_t i = 0; i < gw->discovery.n_to && !gw->draining; i++) {
		if (is_many(&gw->discovery.to[i]))
			tell(gw, &gw->discovery.to[i], &p);
	}
}

void sn_discovery_init(struct sn_gateway *gw)
{
	timer_init(&gw->discovery.advertise, on_advertise);
	timer_init(&gw->discovery.gwinfo, on_gwinfo);
}

void sn_discovery_configure(struct sn_gateway *gw, const struct sn_conf *conf)
{
	struct sn_discovery *d = &gw->discovery;
	struct addr *to = calloc(conf->advertise.n + 1, sizeof(*to));
	if (!to) /* a reload without memory: the old ones stay */
		return;
	free(d->to);
	d->to = to;
	d->n_to = 0;
	for (size_t i = 0; i < conf->advertise.n; i++) {
		if (sn_conf_addr(conf->advertise.items[i], SN_DEFAULT_PORT, &to[d->n_to]) == 0)
			d->n_to++;
	}
	if (d->n_to && conf->advertise_interval_ms)
		timer_arm(&d->advertise, 0);
	else
		timer_disarm(&d->advertise);
}

void sn_discovery_destroy(struct sn_gateway *gw)
{
	timer_disarm(&gw->discovery.advertise);
	timer_disarm(&gw->discovery.gwinfo);
	free(gw->discovery.to);
}

void sn_on_searchgw(const struct sn_input *in)
{
	struct sn_gateway *gw = in->gw;
	struct sn_packet out = gwinfo(gw);
	if (gw->draining)
		return;
	count_one(&searched);
	sn_send(gw, in->from, &out);
	struct timer *later = &gw->discovery.gwinfo;
	if (gw->conf.gwinfo_delay_ms && !timer_armed(later))
		timer_arm(later, 1 + random_below((uint32_t)gw->conf.gwinfo_delay_ms));
}
