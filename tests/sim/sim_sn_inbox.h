#ifndef TIDEGATE_SIM_SN_INBOX_H
#define TIDEGATE_SIM_SN_INBOX_H

#include "adapters/mqttsn/sn_codec.h"

/* What an MQTT-SN device remembers of the messages it gets: names of topic ids, and the QoS 2
 * messages it has had, so that one that comes back late is known again. */
#define SN_INBOX_DONE 16
struct sn_inbox {
	uint16_t open;                /* message id of an unfinished QoS 2 message; 0: none */
	uint16_t done[SN_INBOX_DONE]; /* of the last finished ones */
	unsigned next_done;
	char **names; /* owned, as are its strings; by topic id */
	size_t n_names;
};

/* The gateway has forgotten us, and begins its message ids anew. */
void sn_inbox_reset(struct sn_inbox *in);
void sn_inbox_clear(struct sn_inbox *in); /* frees what it owns */
void sn_inbox_name(struct sn_inbox *in, uint16_t topic_id, struct span name);
/* The topic of a PUBLISH; `two` holds a short one, `filter` is what a predefined id stands for.
 * Empty: a normal id we know nothing of. */
struct span sn_inbox_topic(const struct sn_inbox *in, const struct sn_packet *publish,
	struct span filter, uint8_t two[2]);
/* Whether a PUBLISH is a new message; at QoS 2 it is known from now on. */
bool sn_inbox_take(struct sn_inbox *in, const struct sn_packet *publish);
void sn_inbox_release(struct sn_inbox *in, uint16_t msg_id); /* PUBREL */

#endif
