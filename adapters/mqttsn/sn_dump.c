#include "adapters/mqttsn/sn_dump.h"

#include "gateway/base/clock.h"

#include <stdarg.h>
#include <stdio.h>

/* A line is cut where it would be longer; a name before that, so that what follows is still there.
 */
#define LINE_MAX_OCTETS 1400
#define NAME_MAX_OCTETS 1024
#define NODE_MAX_OCTETS 16

struct out {
	char text[LINE_MAX_OCTETS];
	size_t len;
};

static void add(struct out *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add(struct out *o, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(o->text + o->len, sizeof(o->text) - o->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		o->len = MIN(o->len + (size_t)n, sizeof(o->text) - 1);
}

const char *sn_state_name(enum sn_state state)
{
	static const char *const names[SN_STATES] = { "stranger", "will topic", "will message",
		"active", "asleep", "awake" };
	return names[state];
}

static const char *wait_name(enum sn_wait wait)
{
	static const char *const names[] = {
		[SN_WAIT_NOTHING] = "nothing",
		[SN_WAIT_REGACK] = "REGACK",
		[SN_WAIT_ACK] = "PUBACK or PUBREC",
		[SN_WAIT_PUBCOMP] = "PUBCOMP",
		[SN_WAIT_PAUSE] = "the end of its congestion",
	};
	return names[wait];
}

static const char *trouble_name(enum sn_trouble trouble)
{
	static const char *const names[] = {
		[SN_TROUBLE_NONE] = "none",
		[SN_TROUBLE_SILENT] = "no answer",
		[SN_TROUBLE_CONGESTED] = "device congested",
		[SN_TROUBLE_ID_UNKNOWN] = "topic id unknown to the device",
		[SN_TROUBLE_TOPIC_REFUSED] = "topic refused by the device",
		[SN_TROUBLE_MESSAGE_REFUSED] = "message refused by the device",
		[SN_TROUBLE_IDS_USED_UP] = "no topic id left",
		[SN_TROUBLE_PUBLISH_REFUSED] = "message of the device refused",
	};
	return names[trouble];
}

static const char *origin_name(const struct sn_topic *t)
{
	static const char *const names[] = {
		[SN_FROM_GATEWAY] = "gateway",
		[SN_FROM_REGISTER] = "client",
		[SN_FROM_SUBSCRIBE] = "subscription",
	};
	return t->as == SN_AS_PREDEFINED ? "predefined" : names[t->origin];
}

/* Not in the middle of a character. */
static int shown(struct span name)
{
	size_t n = MIN(name.len, NAME_MAX_OCTETS);
	while (n > 0 && n < name.len && (name.p[n] & 0xC0) == 0x80)
		n--;
	return (int)n;
}

static void add_route(struct out *o, const struct sn_route *r)
{
	char text[ADDR_TEXT_MAX];
	add(o, " at %s", r->addr.family ? addr_text(&r->addr, text) : "an unknown address");
	if (!r->node)
		return;
	add(o, " node ");
	for (size_t i = 0; i < MIN(r->node->id.len, NODE_MAX_OCTETS); i++)
		add(o, "%02x", r->node->id.p[i]);
	if (r->node->id.len > NODE_MAX_OCTETS)
		add(o, "...");
}

static void add_session(struct out *o, const struct session *s)
{
	add(o, ", heard %lld s ago", (long long)((clock_ms() - s->heard_ms) / 1000));
	if (s->keepalive_ms)
		add(o, " of %u s", s->keepalive_ms / 1000);
	add(o, ", received %u, sent %u, queue %zu messages %zu octets", s->received, s->sent,
		session_queued(s), session_queued_bytes(s));
}

static void add_drops(struct out *o, const struct session *s)
{
	for (enum drop d = 0; d < DROP_REASONS; d++) {
		if (session_dropped(s, d))
			add(o, ", dropped %s %llu", drop_name(d),
				(unsigned long long)session_dropped(s, d));
	}
}

static void dump_head(const struct sn_peer *p, sn_dump_line *line, void *arg)
{
	const struct session *s = p->link.session;
	struct out o = { .len = 0 };
	add(&o, "client %s %s", s ? s->who.client_id : "-", sn_state_name((enum sn_state)p->state));
	add_route(&o, &p->route);
	if (s)
		add_session(&o, s);
	const struct sn_talk *talk = p->talk;
	enum sn_wait waiting = talk ? (enum sn_wait)talk->waiting : SN_WAIT_NOTHING;
	add(&o, ", waits for %s", wait_name(waiting));
	if (waiting)
		add(&o, " (id %u, repeated %u times)", talk->msg_id, talk->tries);
	add(&o, ", last trouble: %s", trouble_name((enum sn_trouble)p->trouble));
	if (s)
		add_drops(&o, s);
	line(arg, o.text);
}

static void dump_topic(
	const struct session *s, const struct sn_topic *t, sn_dump_line *line, void *arg)
{
	struct out o = { .len = 0 };
	struct span name = sn_topic_name(t);
	add(&o, "client %s topic %u %.*s, by %s", s->who.client_id, t->id, shown(name),
		(const char *)name.p, origin_name(t));
	if (t->as == SN_AS_PREDEFINED)
		add(&o, " %u", t->predefined_id);
	add(&o, ", %s", t->refused ? "refused" : t->announced ? "acknowledged" : "not registered");
	line(arg, o.text);
}

void sn_dump_client(const struct sn_peer *p, size_t topics, sn_dump_line *line, void *arg)
{
	const struct session *s = p->link.session;
	const struct sn_topics *t = s ? sn_topics_peek(s) : NULL;
	size_t n = t ? t->n : 0;
	dump_head(p, line, arg);
	for (size_t id = 1; id <= MIN(n, topics); id++)
		dump_topic(s, sn_topics_by_id(t, (uint16_t)id), line, arg);
	if (n > topics) {
		struct out o = { .len = 0 };
		add(&o, "client %s has %zu more topics", s->who.client_id, n - topics);
		line(arg, o.text);
	}
}

void sn_dump_clients(
	const struct sn_gateway *gw, size_t clients, size_t topics, sn_dump_line *line, void *arg)
{
	const struct list *pos;
	size_t n = 0;
	list_for_each(pos, &gw->clients) {
		if (n++ == clients)
			break;
		sn_dump_client(
			list_entry((struct list *)pos, struct sn_peer, node), topics, line, arg);
	}
	size_t all = gw->n_peers - gw->n_half_open;
	if (all > clients) {
		struct out o = { .len = 0 };
		add(&o, "%zu more clients", all - clients);
		line(arg, o.text);
	}
}
