#include "gateway/core/session_claims.h"

#include "gateway/core/inbound.h"
#include "gateway/core/outqueue.h"
#include "gateway/core/registry.h"

/* PUBREL that is due is due also when the message has expired: its client has the packet id. */
static bool restore_mail(void *arg, struct kept *kept, const struct claim *c, struct message *m)
{
	struct sessions *all = arg;
	struct session *s = sessions_by_number(all, c->owner);

	if (!s)
		return false;
	if (message_expired(m) && !c->released) {
		session_drop(s, DROP_EXPIRED);
		return false;
	}
	if (!s->out)
		s->out = outqueue_new(s, sessions_conf(all));
	return s->out && outqueue_restore(s->out, kept, c, m);
}

static bool restore_exchange(void *arg, struct kept *kept, const struct claim *c, struct message *m)
{
	struct sessions *all = arg;
	struct session *s = sessions_by_number(all, c->owner);

	(void)m;
	if (!s)
		return false;
	if (!s->in)
		s->in = inbound_new(s, sessions_conf(all));
	return s->in && inbound_restore(s->in, kept, c);
}

void session_claims_restore(struct sessions *all, struct keeper *k)
{
	keeper_on_restore(k, CLAIM_MAIL, restore_mail, all);
	keeper_on_restore(k, CLAIM_EXCHANGE, restore_exchange, all);
}

void session_claims_leave(struct session *s)
{
	if (s->out)
		outqueue_leave(s->out);
	if (s->in)
		inbound_leave(s->in);
}
