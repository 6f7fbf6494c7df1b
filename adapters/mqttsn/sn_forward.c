#include "adapters/mqttsn/sn_forward.h"

#include "adapters/mqttsn/sn_gateway.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"

#include <stdlib.h>
#include <string.h>

static struct count forwarded = COUNT("mqttsn.forwarded");
static struct count refused = COUNT("mqttsn.forward_refused");

struct sn_node *sn_node_copy(const struct sn_node *node)
{
	struct sn_node *copy = malloc(sizeof(*copy) + node->id.len);
	if (!copy)
		return NULL;
	memcpy(copy + 1, node->id.p, node->id.len);
	*copy = (struct sn_node){ .id = span_of(copy + 1, node->id.len), .ctrl = node->ctrl };
	return copy;
}

bool sn_node_equal(const struct sn_node *a, const struct sn_node *b)
{
	return a && b ? span_equal(a->id, b->id) : a == b;
}

size_t sn_node_header(const struct sn_node *node, uint8_t out[SN_FORWARD_MAX])
{
	struct sn_packet p = {
		.type = SN_ENCAPSULATED,
		.ctrl = node->ctrl,
		.data = node->id,
	};
	return (size_t)sn_encode(&p, out, SN_FORWARD_MAX);
}

static const char *fault(const struct sn_route *from, const struct sn_packet *p)
{
	if (!sn_group_forwards(from->socket->group, &from->addr))
		return "not one of our forwarders";
	if (!p->data.len)
		return "no wireless node id";
	if (p->data.len > SN_NODE_ID_MAX)
		return "wireless node id too long";
	return NULL;
}

bool sn_forward_open(const struct sn_route *from, const struct sn_packet *p, struct sn_node *node)
{
	static struct log_limit limit = LOG_LIMIT(5, 60000);
	char text[ADDR_TEXT_MAX];
	const char *why = fault(from, p);
	if (why) {
		count_one(&refused);
		log_limited(&limit, LOG_LEVEL_INFO, "%s mqttsn: encapsulated message dropped, %s",
			addr_text(&from->addr, text), why);
		return false;
	}
	count_one(&forwarded);
	*node = (struct sn_node){ .id = p->data, .ctrl = p->ctrl };
	return true;
}
