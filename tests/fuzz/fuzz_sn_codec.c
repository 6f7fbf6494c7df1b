/* Any octets: decoding is safe, and what was understood survives a round trip. */
#include "adapters/mqttsn/sn_codec.h"

#include <stdlib.h>

static uint8_t out[65535 + 16];

static void must(bool holds)
{
	if (!holds)
		abort();
}

static bool same(const struct sn_packet *a, const struct sn_packet *b)
{
	return a->type == b->type && a->qos == b->qos && a->topic_type == b->topic_type &&
	       a->dup == b->dup && a->retain == b->retain && a->will == b->will &&
	       a->clean == b->clean && a->present == b->present &&
	       a->return_code == b->return_code && a->gw_id == b->gw_id && a->radius == b->radius &&
	       a->protocol_id == b->protocol_id && a->ctrl == b->ctrl &&
	       a->topic_id == b->topic_id && a->msg_id == b->msg_id &&
	       a->duration_s == b->duration_s && span_equal(a->data, b->data) &&
	       span_equal(a->inner, b->inner);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sn_packet p, again;
	uint8_t answer[SN_V2_CONNACK_LEN];
	if (size > SN_DATAGRAM_MAX)
		return 0;
	if (sn_decode(&p, span_of(data, size)) < 0) {
		(void)sn_v2_connect(span_of(data, size), answer);
		return 0;
	}
	must(!sn_v2_connect(span_of(data, size), answer));
	int n = sn_encode(&p, out, sizeof(out));
	must(n > 0 && (size_t)n <= size);
	must(sn_decode(&again, span_of(out, (size_t)n)) == 0);
	must(same(&p, &again));
	return 0;
}
