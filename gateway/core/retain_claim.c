#include "gateway/base/util.h"
#include "gateway/core/keeper.h"
#include "gateway/core/router_parts.h"
#include "gateway/store/journal.h"

#include <errno.h>
#include <stdlib.h>

/* With storage a retained message is claimed there (keeper.h), which costs it nothing here: the
 * claim is found through the message.
 *
 * At QoS 0 nobody was promised anything, and what the upstream has retained as well is not lost
 * with us: such values are written lazily, when something else is. The value before stays on disk
 * until the new one is there, so that a crash finds an older one rather than none. */

static const struct claim retained_claim = { .kind = CLAIM_RETAINED };

/* A value that is not on disk yet, while the one before is. */
struct heir {
	struct message *msg; /* borrowed: the value; has the flag */
	struct kept *before; /* the claim of the other one */
	struct list node;    /* in router.heirs_safe when it has come there, or on no list */
};

static uint32_t message_hash(const struct message *m)
{
	return (uint32_t)((uint64_t)(uintptr_t)m * 0x9e3779b97f4a7c15u >> 32);
}

static uint32_t heir_hash(const void *entry)
{
	return message_hash(((const struct heir *)entry)->msg);
}

static bool is_heir(const void *entry, const void *key)
{
	return ((const struct heir *)entry)->msg == key;
}

static struct heir *heir_of(const struct router *r, const struct message *m)
{
	if (!m || !m->retained_heir)
		return NULL;
	return ptrtable_find(&r->heirs, message_hash(m), is_heir, m);
}

/* False: no memory. */
static bool heir_add(struct router *r, struct message *m, struct kept *before)
{
	struct heir *h = malloc(sizeof(*h));

	if (!h)
		return false;
	*h = (struct heir){ .msg = m, .before = before };
	list_init(&h->node);
	if (ptrtable_add(&r->heirs, h) < 0) {
		free(h);
		return false;
	}
	m->retained_heir = true;
	return true;
}

/* It is none any more: returns the claim of what was before. NULL: it was none. */
static struct kept *heir_take(struct router *r, struct message *m)
{
	struct heir *h = heir_of(r, m);
	struct kept *before = h ? h->before : NULL;

	if (!h)
		return NULL;
	ptrtable_remove(&r->heirs, h);
	m->retained_heir = false;
	list_remove(&h->node);
	free(h);
	return before;
}

static struct kept *claim_of(const struct message *m)
{
	return m && m->retained_claim ? kept_of(m) : NULL;
}

/* Comes from inside the keeper, where no claim may end. */
static void on_safe(struct claimant *who, struct kept *kept, const struct claim *c)
{
	struct router *r = container_of(who, struct router, retained);
	struct heir *h = heir_of(r, kept_loaded(kept));

	(void)c;
	if (h)
		list_append(&r->heirs_safe, &h->node);
}

void retain_claims_init(struct router *r)
{
	static const struct claimant_ops ops = { .safe = on_safe };

	r->retained.ops = &ops;
	list_init(&r->clears);
	list_init(&r->heirs_safe);
	ptrtable_init(&r->heirs, heir_hash);
}

enum reason retain_claim(struct router *r, struct message *m, bool elsewhere)
{
	enum claim_when when = m->qos == 0 || elsewhere ? CLAIM_LAZY : CLAIM_NOW;
	int err;

	if (!r->keeper || message_topic(m).p[0] == '$')
		return R_SUCCESS; /* what runs here or elsewhere says so itself when it starts */
	m->retained_claim =
		keeper_claim(r->keeper, m, &retained_claim, &r->retained, when, &err) != NULL;
	if (m->retained_claim || when == CLAIM_LAZY || err == -ENOTSUP)
		return R_SUCCESS;
	return R_QUOTA;
}

static void end_claim(struct kept *kept)
{
	if (kept)
		kept_end(kept, &retained_claim, R_SUCCESS);
}

static bool is_safe(const struct kept *kept)
{
	return kept && kept_safe(kept, &retained_claim);
}

void retain_unclaim(struct router *r, struct message *m, struct message *successor)
{
	struct kept *own = claim_of(m), *before = m ? heir_take(r, m) : NULL;
	struct kept *next = claim_of(successor);

	if (own)
		m->retained_claim = false;
	/* The newest that is on disk stays there as long as its successor is not. */
	struct kept *stays = is_safe(own) ? own : before;
	if (own != stays)
		end_claim(own);
	if (before != stays)
		end_claim(before);
	if (!stays || !next || is_safe(next) || !heir_add(r, successor, stays))
		end_claim(stays);
}

bool retain_is_stored(const struct router *r, const struct message *m)
{
	const struct kept *kept = claim_of(m);

	return heir_of(r, m) || (kept && kept_record(kept) != 0);
}

/* A publisher that waits until a value it has cleared can't come back. */
struct clearing {
	struct list node; /* router.clears, in the order of their marks */
	struct receipt_hold hold;
	uint64_t mark;
	bool marked;
};

static void clearing_end(struct clearing *c)
{
	receipt_release(&c->hold, R_SUCCESS);
	list_remove(&c->node);
	free(c);
}

int retain_wait(struct router *r, struct receipt *receipt)
{
	struct clearing *c = malloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->marked = false;
	receipt_hold(receipt, &c->hold);
	list_append(&r->clears, &c->node);
	return 0;
}

/* All values of a turn are cleared under one mark. */
static bool is_cleared(struct router *r, struct clearing *c)
{
	struct journal *j = keeper_journal(r->keeper);

	if (!c->marked)
		c->mark = journal_mark(j);
	c->marked = true;
	return journal_reached(j, c->mark);
}

static void end_clears(struct router *r)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, &r->clears) {
		struct clearing *c = list_entry(pos, struct clearing, node);
		if (is_cleared(r, c))
			clearing_end(c);
	}
}

void retain_turn(struct router *r)
{
	while (!list_empty(&r->heirs_safe))
		end_claim(heir_take(r, list_first(&r->heirs_safe, struct heir, node)->msg));
	end_clears(r);
}

void retain_leave(struct router *r, struct message *m)
{
	struct kept *own = claim_of(m), *before = heir_take(r, m);

	if (own)
		kept_leave(own, &retained_claim);
	if (before)
		kept_leave(before, &retained_claim);
}

void retain_claims_close(struct router *r)
{
	while (!list_empty(&r->clears))
		clearing_end(list_first(&r->clears, struct clearing, node));
	ptrtable_clear(&r->heirs);
}
