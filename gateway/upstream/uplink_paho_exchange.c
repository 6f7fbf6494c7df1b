#include "gateway/upstream/uplink_paho.h"

#include "gateway/base/count.h"
#include "gateway/core/message.h"

#include <errno.h>
#include <string.h>

/* QoS 2 exchanges, in the loop.
 *
 * The packet id of a message is stored before its PUBLISH leaves, but it is Paho that chooses it,
 * in a call after which the packet may leave at any moment. So it is foreseen: ids are given one
 * after the other to what asks for one. It is stored in the turn that hands the message over, in
 * one commit with whatever else there is, and only then the bridge gets the message; when Paho
 * chooses differently after all, the packet waits until that is stored. PUBREL waits for a commit
 * of its own, because Paho handles one PUBREC after the other. */

static struct count unprotected = COUNT("upstream.qos2_not_stored");

static uint16_t id_after(uint16_t id, size_t n)
{
	return (uint16_t)((id - 1u + n) % UINT16_MAX + 1);
}

void paho_count_ids(struct paho *p, size_t n)
{
	p->next_id = id_after(p->next_id, p->version == 5 ? 1 : n);
}

void paho_set_next_id(struct paho *p, uint16_t last_id)
{
	p->next_id = last_id ? id_after(last_id, 1) : 1;
}

bool paho_restored_first(struct paho *p)
{
	bool found = false;

	pthread_mutex_lock(&paho_door);
	for (size_t i = 0; p->by_id > 0 && i < UPLINK_WINDOW_MAX && !found; i++) {
		const struct publish_slot *s = &p->slots[i];
		found = s->owned && s->by_id && s->handle == p->active_handle;
	}
	pthread_mutex_unlock(&paho_door);
	return found;
}

/* To the bridge what may go, up to the first that may not: the order stays. */
static void hand_over(struct paho *p)
{
	while (!list_empty(&p->waiting)) {
		struct letter *l = list_first(&p->waiting, struct letter, mail.node);
		if (l->run == paho_run_publish &&
			container_of(l, struct publish_slot, letter)->storing)
			return;
		list_remove(&l->mail.node);
		workqueue_post(&p->jobs, &l->mail);
	}
}

void paho_post(struct paho *p, struct letter *l, void (*run)(struct paho *, struct letter *))
{
	l->run = run;
	list_append(&p->waiting, &l->mail.node);
	hand_over(p);
}

void paho_drop_waiting(struct paho *p)
{
	struct list dropped;

	list_init(&dropped);
	list_splice(&dropped, &p->waiting);
	while (!list_empty(&dropped)) {
		struct letter *l = list_first(&dropped, struct letter, mail.node);
		list_remove(&l->mail.node);
		if (l->run == paho_run_publish) {
			struct publish_slot *s = container_of(l, struct publish_slot, letter);
			s->outcome = UPLINK_RETRY;
			s->reason = R_UNSPECIFIED;
			paho_run_published(p, l);
		} else {
			memset(p->request.codes, UPLINK_UNANSWERED, sizeof(p->request.codes));
			paho_run_granted(p, l);
		}
	}
}

/* Door held. */
static void set_safe(struct publish_slot *s)
{
	s->safe = true;
	s->release_safe = s->released;
	pthread_cond_broadcast(&paho_news);
}

static void on_stored(struct exchange *x, int err)
{
	struct publish_slot *s = x->owner;

	if (err)
		count_one(&unprotected);
	pthread_mutex_lock(&paho_door);
	/* Unless what was stored is no longer how it is: then a note is on its way. */
	if (s->packet_id == 0 || s->packet_id == x->packet_id) {
		s->safe = true;
		s->release_safe = s->released && x->released;
		pthread_cond_broadcast(&paho_news);
	}
	pthread_mutex_unlock(&paho_door);
	s->storing = false;
	hand_over(s->paho);
}

static void run_note(struct paho *p, struct letter *l)
{
	struct publish_slot *s = container_of(l, struct publish_slot, note);

	pthread_mutex_lock(&paho_door);
	uint16_t id = s->packet_id;
	bool released = s->released, owned = s->owned;
	s->noted = false;
	pthread_mutex_unlock(&paho_door);
	if (!owned || !s->x)
		return;
	if (id != s->foreseen) {
		p->next_id = id_after(p->next_id, (size_t)(UINT16_MAX + id - s->foreseen));
		s->foreseen = id;
	}
	s->x->packet_id = id;
	s->x->released = released;
	if (exchange_store(s->x) == 0)
		return;
	/* The storage takes nothing: exactly-once now hangs on our staying alive, but neither the
	 * message nor the line waits for a disk to be repaired. */
	count_one(&unprotected);
	pthread_mutex_lock(&paho_door);
	set_safe(s);
	pthread_mutex_unlock(&paho_door);
}

void paho_note(struct paho *p, struct publish_slot *s)
{
	if (s->noted)
		return;
	s->noted = true;
	s->note.run = run_note;
	mailbox_post(p->inbox, &s->note.mail);
}

struct publish_slot *paho_slot_by_id(struct paho *p, int handle, uint16_t packet_id)
{
	for (size_t i = 0; i < UPLINK_WINDOW_MAX; i++) {
		struct publish_slot *s = &p->slots[i];
		if (s->owned && s->packet_id == packet_id && s->handle == handle &&
			s->what.qos == 2)
			return s;
	}
	return NULL;
}

/* Door held. Whether an exchange of this session has the id: Paho passes over it. */
static bool id_in_use(const struct paho *p, uint16_t id)
{
	for (size_t i = 0; i < UPLINK_WINDOW_MAX; i++) {
		const struct publish_slot *s = &p->slots[i];
		if (s->owned && s->packet_id == id && s->session == p->session)
			return true;
	}
	return false;
}

static uint16_t foresee_id(struct paho *p)
{
	uint16_t id = p->next_id;

	pthread_mutex_lock(&paho_door);
	while (id_in_use(p, id))
		id = id_after(id, 1);
	pthread_mutex_unlock(&paho_door);
	p->next_id = id_after(id, 1);
	return id;
}

/* True: it is on its way to the disk. */
static bool begin_exchange(struct paho *p, struct publish_slot *s)
{
	struct exchange init = {
		.session = p->session,
		.what = s->what.record,
		.packet_id = foresee_id(p),
		.way = EXCHANGE_OUT,
		.stored = on_stored,
		.owner = s,
	};

	s->foreseen = init.packet_id;
	if (s->what.record == 0)
		return false;
	s->x = exchange_begin(p->exchanges, &init);
	int err = s->x ? exchange_store(s->x) : -ENOMEM;
	if (err == 0)
		return true;
	if (err != -ENOTSUP)
		count_one(&unprotected);
	if (s->x)
		exchange_end(s->x);
	s->x = NULL;
	return false;
}

void paho_reserve(struct paho *p, struct publish_slot *s)
{
	s->x = NULL;
	s->session = p->session;
	s->storing = s->what.qos == 2 && begin_exchange(p, s);
	if (s->what.qos == 1)
		p->next_id = id_after(p->next_id, 1);
	/* Nobody else knows the slot yet. */
	s->packet_id = 0;
	s->handle = -1;
	s->by_id = s->begun = s->released = s->release_safe = false;
	s->kept = s->storing;
	s->safe = !s->storing;
}

int paho_hold(struct paho *p, const struct uplink_publish *what, struct exchange *x)
{
	if (list_empty(&p->free_slots))
		return -EAGAIN;
	struct publish_slot *s = list_first(&p->free_slots, struct publish_slot, free);
	list_remove(&s->free);
	s->what = what ? *what : (struct uplink_publish){ .qos = 2 };
	if (s->what.msg)
		message_ref(s->what.msg);
	s->x = x;
	s->foreseen = x->packet_id;
	s->session = x->session;
	x->owner = s;
	x->stored = on_stored;
	pthread_mutex_lock(&paho_door);
	s->packet_id = x->packet_id;
	s->handle = -1;
	s->owned = s->by_id = s->begun = s->safe = s->kept = true;
	s->released = s->release_safe = x->released;
	p->by_id++;
	pthread_mutex_unlock(&paho_door);
	return 0;
}

void paho_end_exchange(
	struct paho *p, struct exchange *x, uint64_t session, enum uplink_outcome outcome)
{
	if (!x)
		return;
	/* Another server has the message now; the one that was given it first keeps its packet id
	 * occupied until it is told that this is over. */
	if (outcome == UPLINK_REPEAT && session != p->session) {
		x->what = 0;
		x->released = true;
		if (paho_hold(p, NULL, x) == 0)
			return;
	}
	exchange_end(x);
}
