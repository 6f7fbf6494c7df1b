#include "adapters/coap/cap_client.h"

#include "adapters/coap/cap_observe.h"
#include "adapters/coap/cap_request.h"
#include "gateway/base/clock.h"
#include "gateway/core/message.h"

#include <stdlib.h>

struct cap_answered {
	int64_t at_ms;
	uint16_t mid;
	uint8_t code; /* 0: free */
	int32_t block1;
};

/* ---- the table ---- */

static struct list *bucket_of(const struct cap_listener *l, const struct addr *peer)
{
	return &l->cap->buckets[addr_hash(peer) % CAP_BUCKETS];
}

struct cap_client *cap_client_find(const struct cap_listener *l, const struct addr *peer)
{
	struct list *bucket = bucket_of(l, peer), *e;

	list_for_each(e, bucket) {
		struct cap_client *c = list_entry(e, struct cap_client, chain);

		if (c->listener == l && addr_equal(&c->who.peer, peer))
			return c;
	}
	return NULL;
}

static bool client_idle(const struct cap_client *c)
{
	return !c->n_observes && !c->n_exchanges && !c->in_flight && list_empty(&c->queue);
}

/* The longest silent of those that would lose nothing but their memory of message ids. */
static bool make_room(struct cap *cap)
{
	struct list *e;

	if (cap->n_clients < (uint64_t)cap->conf.clients)
		return true;
	list_for_each(e, &cap->by_age) {
		struct cap_client *c = list_entry(e, struct cap_client, age);

		if (client_idle(c)) {
			cap_client_end(c);
			return true;
		}
	}
	return false;
}

static bool must_prove(const struct cap *cap, const struct addr *peer)
{
	if (cap->conf.prove_address == CAP_PROVE_AUTO)
		return !addr_is_loopback(peer);
	return cap->conf.prove_address == CAP_PROVE_YES;
}

static struct cap_client *client_new(struct cap_listener *l, const struct addr *peer)
{
	struct cap *cap = l->cap;
	struct cap_client *c = make_room(cap) ? calloc(1, sizeof(*c)) : NULL;

	if (!c)
		return NULL;
	c->cap = cap;
	c->listener = l;
	c->who = (struct identity){ .client_id = "", .protocol = PROTO_COAP, .peer = *peer };
	c->who.origin = identity_new_origin();
	c->proven = !must_prove(cap, peer);
	list_init(&c->observes);
	list_init(&c->exchanges);
	list_init(&c->ready);
	list_init(&c->queue);
	list_append(bucket_of(l, peer), &c->chain);
	list_append(&cap->by_age, &c->age);
	cap->n_clients++;
	return c;
}

struct cap_client *cap_client_get(struct cap_listener *l, coap_session_t *session)
{
	const coap_address_t *remote = coap_session_get_addr_remote(session);
	struct cap_client *c;
	struct addr peer;

	if (addr_from_sockaddr(&peer, &remote->addr.sa, remote->size))
		return NULL;
	c = cap_client_find(l, &peer);
	if (!c)
		c = client_new(l, &peer);
	if (!c || c->session == session)
		return c;
	/* New, or the same peer at another of our addresses: answers go where it was heard. */
	if (c->session)
		coap_session_release(c->session);
	c->session = coap_session_reference(session);
	return c;
}

void cap_client_heard(struct cap_client *c)
{
	c->heard_ms = clock_ms();
	list_remove(&c->age);
	list_append(&c->cap->by_age, &c->age);
}

static void client_free(struct reap *r)
{
	struct cap_client *c = container_of(r, struct cap_client, reap);

	free(c->answered);
	free(c->client_id);
	free(c->username);
	free(c);
}

void cap_client_end(struct cap_client *c)
{
	while (!list_empty(&c->exchanges))
		cap_exchange_end(list_first(&c->exchanges, struct cap_exchange, node));
	while (!list_empty(&c->observes))
		cap_observe_end(list_first(&c->observes, struct cap_observe, node));
	cap_uploads_forget(c->cap, c);
	cap_outbox_clear(c);
	for (unsigned i = 0; i < CAP_BODIES; i++)
		message_unref(c->bodies[i].message);
	coap_session_release(c->session);
	list_remove(&c->chain);
	list_remove(&c->age);
	list_remove(&c->ready);
	c->cap->n_clients--;
	reap_later(&c->reap, client_free);
}

void cap_clients_sweep(struct cap *cap)
{
	int64_t since_ms = clock_ms() - cap->conf.session_timeout_ms;
	struct list *e, *next;

	list_for_each_safe(e, next, &cap->by_age) {
		struct cap_client *c = list_entry(e, struct cap_client, age);

		if (c->heard_ms > since_ms)
			return;
		if (client_idle(c))
			cap_client_end(c);
	}
}

/* ---- who it is ---- */

static char *copy_text(struct span s)
{
	return s.p ? strndup((const char *)s.p, s.len) : NULL;
}

static uint64_t credentials_of(const struct cap_query *q)
{
	uint64_t parts[3] = { hash_bytes(q->client_id.p, q->client_id.len),
		hash_bytes(q->username.p, q->username.len),
		hash_bytes(q->password.p, q->password.len) };

	return hash_bytes(parts, sizeof(parts)) | 1;
}

static enum reason admit_as(
	struct cap_client *c, char *client_id, char *username, struct span password)
{
	struct policy *policy = router_policy(c->cap->env.router);
	struct identity who = c->who;
	enum reason r;

	who.client_id = client_id ? client_id : "";
	who.username = username;
	r = policy->connect(policy, &who, password);
	if (reason_failed(r)) {
		free(client_id);
		free(username);
		return r;
	}
	/* What the peer observed under another name was granted to that name. */
	while (!list_empty(&c->observes))
		cap_observe_end(list_first(&c->observes, struct cap_observe, node));
	free(c->client_id);
	free(c->username);
	c->client_id = client_id;
	c->username = username;
	c->who = who;
	return R_SUCCESS;
}

enum reason cap_client_admit(struct cap_client *c, const struct cap_query *q)
{
	bool named = q->client_id.p || q->username.p || q->password.p;
	uint64_t credentials = credentials_of(q);
	char *client_id, *username;
	enum reason r;

	if (c->credentials && (!named || c->credentials == credentials))
		return R_SUCCESS;
	client_id = copy_text(q->client_id);
	username = copy_text(q->username);
	if ((q->client_id.p && !client_id) || (q->username.p && !username)) {
		free(client_id);
		free(username);
		return R_QUOTA;
	}
	r = admit_as(c, client_id, username, q->password);
	if (!reason_failed(r))
		c->credentials = credentials;
	return r;
}

bool cap_client_prove(struct cap_client *c, struct span echo)
{
	if (!c->challenged || !span_equal(echo, span_of(c->echo, sizeof(c->echo))))
		return false;
	c->proven = true;
	return true;
}

struct span cap_client_challenge(struct cap_client *c)
{
	/* One value for as long as the peer is unproven: a repeated request gets the same one. */
	if (!c->challenged)
		random_bytes(c->echo, sizeof(c->echo));
	c->challenged = true;
	count_one(&cap_counts.challenged);
	return span_of(c->echo, sizeof(c->echo));
}

/* ---- message ids ---- */

uint8_t cap_client_answered(const struct cap_client *c, uint16_t mid, int64_t *block1)
{
	for (unsigned i = 0; i < c->answered_cap; i++) {
		const struct cap_answered *a = &c->answered[i];

		if (a->mid != mid || !a->code || clock_ms() - a->at_ms >= CAP_EXCHANGE_MS)
			continue;
		*block1 = a->block1;
		return a->code;
	}
	return 0;
}

/* Doubles while the oldest entry could still be asked for. */
static void answered_grow(struct cap_client *c)
{
	unsigned old = c->answered_cap, cap = old ? old * 2 : 4;
	struct cap_answered *ring;

	if (old && clock_ms() - c->answered[c->answered_next].at_ms >= CAP_EXCHANGE_MS)
		return;
	if (cap > CAP_ANSWERED_MAX || !(ring = calloc(cap, sizeof(*ring))))
		return;
	for (unsigned i = 0; i < old; i++)
		ring[i] = c->answered[(c->answered_next + i) % old];
	free(c->answered);
	c->answered = ring;
	c->answered_cap = (uint16_t)cap;
	c->answered_next = (uint16_t)old;
}

void cap_client_remember(struct cap_client *c, uint16_t mid, uint8_t code, int64_t block1)
{
	if (!c->answered_cap || c->answered[c->answered_next].code)
		answered_grow(c);
	if (!c->answered_cap)
		return;
	c->answered[c->answered_next] =
		(struct cap_answered){ clock_ms(), mid, code, (int32_t)block1 };
	c->answered_next = (uint16_t)((c->answered_next + 1) % c->answered_cap);
}

/* ---- bodies ---- */

struct message *cap_client_body(struct cap_client *c, struct span path)
{
	uint64_t hash = hash_bytes(path.p, path.len);

	for (unsigned i = 0; i < CAP_BODIES; i++) {
		struct cap_body *b = &c->bodies[i];

		if (b->message && b->path == hash && clock_ms() - b->since_ms < CAP_BODY_MS)
			return b->message;
	}
	return NULL;
}

void cap_client_keep_body(struct cap_client *c, struct span path, struct message *m)
{
	uint64_t hash = hash_bytes(path.p, path.len);
	struct cap_body *slot = &c->bodies[0];

	for (unsigned i = 0; i < CAP_BODIES; i++) {
		struct cap_body *b = &c->bodies[i];

		if (b->message && b->path == hash) {
			slot = b;
			break;
		}
		if (!b->message || (slot->message && b->since_ms < slot->since_ms))
			slot = b;
	}
	message_ref(m);
	message_unref(slot->message);
	*slot = (struct cap_body){ hash, m, clock_ms() };
}
