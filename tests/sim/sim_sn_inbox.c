#include "tests/sim/sim_sn_inbox.h"

#include "gateway/base/util.h"

#include <stdlib.h>
#include <string.h>

void sn_inbox_reset(struct sn_inbox *in)
{
	in->open = 0;
	memset(in->done, 0, sizeof(in->done));
}

void sn_inbox_clear(struct sn_inbox *in)
{
	for (size_t i = 0; i < in->n_names; i++)
		free(in->names[i]);
	free(in->names);
	in->names = NULL;
	in->n_names = 0;
}

static void grow(struct sn_inbox *in, size_t n)
{
	char **names = must_calloc(n, sizeof(*names));
	if (in->n_names)
		memcpy(names, in->names, in->n_names * sizeof(*names));
	free(in->names);
	in->names = names;
	in->n_names = n;
}

void sn_inbox_name(struct sn_inbox *in, uint16_t topic_id, struct span name)
{
	if (topic_id == 0)
		return;
	if (topic_id >= in->n_names)
		grow(in, topic_id + 8u);
	free(in->names[topic_id]);
	in->names[topic_id] = must_printf("%.*s", SPAN_ARGS(name));
}

struct span sn_inbox_topic(const struct sn_inbox *in, const struct sn_packet *publish,
	struct span filter, uint8_t two[2])
{
	uint16_t id = publish->topic_id;

	switch (publish->topic_type) {
	case SN_TOPIC_SHORT:
		two[0] = (uint8_t)(id >> 8);
		two[1] = (uint8_t)id;
		return span_of(two, 2);
	case SN_TOPIC_PREDEFINED:
		return filter;
	default:
		return id < in->n_names && in->names[id] ? span_str(in->names[id])
							 : span_of(NULL, 0);
	}
}

static bool known(const struct sn_inbox *in, uint16_t msg_id)
{
	if (in->open == msg_id)
		return true;
	for (size_t i = 0; i < SN_INBOX_DONE; i++)
		if (in->done[i] == msg_id)
			return true;
	return false;
}

bool sn_inbox_take(struct sn_inbox *in, const struct sn_packet *publish)
{
	if (publish->qos < 2)
		return true;
	if (known(in, publish->msg_id))
		return false;
	in->open = publish->msg_id;
	return true;
}

void sn_inbox_release(struct sn_inbox *in, uint16_t msg_id)
{
	if (in->open != msg_id)
		return;
	in->open = 0;
	in->done[in->next_done++ % SN_INBOX_DONE] = msg_id;
}
