#include "gateway/upstream/uplink_paho.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/core/message.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

pthread_mutex_t paho_door = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t paho_news = PTHREAD_COND_INITIALIZER;
static struct paho *uplinks[PAHO_UPLINKS]; /* door */

struct paho *paho_find(const void *context)
{
	return uplinks[context_uplink(context)];
}

void paho_slot_done(
	struct paho *p, struct publish_slot *s, enum uplink_outcome outcome, enum reason reason)
{
	if (!s->owned)
		return;
	s->owned = false;
	s->gen++;
	s->outcome = outcome;
	s->reason = reason;
	s->letter.run = paho_run_published;
	p->by_id -= s->by_id;
	mailbox_post(p->inbox, &s->letter.mail);
	if (!s->safe || !s->release_safe)
		pthread_cond_broadcast(&paho_news);
}

void paho_take_back(struct paho *p, int handle)
{
	for (size_t i = 0; i < UPLINK_WINDOW_MAX; i++) {
		struct publish_slot *s = &p->slots[i];
		if (!s->owned || s->handle != handle)
			continue;
		if (s->what.qos < 2 || s->packet_id == 0) {
			paho_slot_done(p, s, UPLINK_RETRY, R_UNSPECIFIED);
			continue;
		}
		s->handle = -1;
		p->by_id += !s->by_id;
		s->by_id = true;
	}
}

void paho_sort_out(struct paho *p, bool session_present)
{
	for (size_t i = 0; i < UPLINK_WINDOW_MAX; i++) {
		struct publish_slot *s = &p->slots[i];
		bool here = s->handle == p->active_handle;
		if (!s->owned || s->what.qos == 0 || (here && session_present) ||
			(!here && !s->what.msg))
			continue;
		/* What another one has it would send, much later, if it ever were up again. */
		if (!here && s->handle >= 0)
			p->handles[s->handle].poisoned = true;
		paho_slot_done(
			p, s, s->what.qos == 2 ? UPLINK_REPEAT : UPLINK_RETRY, R_UNSPECIFIED);
	}
	if (!session_present)
		p->last_id = 0;
}

bool paho_has_commands(const struct paho *p)
{
	for (size_t i = 0; i < UPLINK_WINDOW_MAX; i++) {
		const struct publish_slot *s = &p->slots[i];
		if (s->owned && s->what.qos > 0 && !s->begun && s->handle == p->active_handle)
			return true;
	}
	return false;
}

void paho_request_answer(struct paho *p, size_t index, uint8_t code)
{
	struct request *r = &p->request;

	if (!r->owned || index >= r->n || r->codes[index] != UPLINK_UNANSWERED)
		return;
	r->codes[index] = code;
	if (++r->answered == r->n)
		paho_request_done(p);
}

void paho_request_done(struct paho *p)
{
	if (!p->request.owned)
		return;
	p->request.owned = false;
	p->request.gen++;
	p->request.letter.run = paho_run_granted;
	mailbox_post(p->inbox, &p->request.letter.mail);
}

/* QoS 1 and 2 stay with Paho, which sends them again or gives them back after the next connect. Of
 * QoS 0 it forgets some without a word when the session goes on. */
static void lose_qos0(struct paho *p)
{
	for (size_t i = 0; i < UPLINK_WINDOW_MAX; i++)
		if (p->slots[i].owned && p->slots[i].what.qos == 0)
			paho_slot_done(p, &p->slots[i], UPLINK_LOST, R_UNSPECIFIED);
}

void paho_set_down(struct paho *p, enum reason reason, const char *text)
{
	if (p->state == PAHO_IDLE)
		return;
	p->state = PAHO_IDLE;
	p->fd = -1;
	p->down_reason = p->goodbye != R_SUCCESS ? p->goodbye : reason;
	if (!text && p->goodbye != R_SUCCESS)
		text = reason_name(p->goodbye);
	/* OpenSSL's own words say more than Paho's "TCP/TLS connect failure". */
	snprintf(p->down_text, sizeof(p->down_text), "%s",
		p->tls_text[0] ? p->tls_text
		: text         ? text
			       : "connection lost");
	lose_qos0(p);
	paho_request_done(p); /* the library forgets whom to tell */
	mailbox_post(p->inbox, &p->down_note.mail);
	pthread_cond_broadcast(&p->idle);
}

static void run_up(struct paho *p, struct letter *l)
{
	(void)l;
	pthread_mutex_lock(&paho_door);
	struct uplink_up up = p->up;
	uint16_t last_id = p->last_id;
	pthread_mutex_unlock(&paho_door);
	p->version = up.version;
	up.session = p->session;
	paho_set_next_id(p, last_id);
	if (p->events)
		p->events->up(p->arg, &up);
}

static void run_down(struct paho *p, struct letter *l)
{
	char text[UP_NOTE_TEXT];

	(void)l;
	pthread_mutex_lock(&paho_door);
	enum reason reason = p->down_reason;
	memcpy(text, p->down_text, sizeof(text));
	pthread_mutex_unlock(&paho_door);
	paho_drop_waiting(p);
	p->busy = false;
	if (p->events)
		p->events->down(p->arg, reason, text);
}

void paho_run_published(struct paho *p, struct letter *l)
{
	struct publish_slot *s = container_of(l, struct publish_slot, letter);
	struct uplink_publish what = s->what;
	struct exchange *x = s->x;
	uint64_t session = s->session;
	enum uplink_outcome outcome = s->outcome;

	/* The slot may be used again by whom we tell. */
	s->what.msg = NULL;
	s->x = NULL;
	list_prepend(&p->free_slots, &s->free);
	if (p->events && what.msg)
		p->events->published(p->arg, what.token, outcome, s->reason);
	if (x && p->events)
		paho_end_exchange(p, x, session, outcome);
	else if (x)
		exchange_leave(x);
	message_unref(what.msg);
}

static void free_filters(struct request *r)
{
	for (size_t i = 0; i < r->n; i++)
		free((char *)r->filters[i].filter);
	r->n = 0;
}

void paho_run_granted(struct paho *p, struct letter *l)
{
	struct request *r = container_of(l, struct request, letter);
	uint8_t codes[UPLINK_FILTERS_MAX];
	size_t n = r->n;

	memcpy(codes, r->codes, n);
	free_filters(r);
	r->busy = false;
	if (p->events)
		p->events->granted(p->arg, codes, n);
}

static void receive(struct mail *m, void *arg)
{
	struct letter *l = container_of(m, struct letter, mail);

	clock_tick();
	l->run(arg, l);
}

static void post(struct paho *p, struct letter *l, void (*run)(struct paho *, struct letter *))
{
	l->run = run;
	workqueue_post(&p->jobs, &l->mail);
}

static struct paho *paho_of(struct uplink *u)
{
	return container_of(u, struct paho, uplink);
}

void connect_job_free(struct connect_job *job)
{
	struct uplink_target *t = &job->target;

	free((char *)t->host);
	free((char *)t->address);
	free((char *)t->client_id);
	free((char *)t->username);
	free((char *)t->ca_file);
	free((char *)t->cert_file);
	free((char *)t->key_file);
	if (job->password)
		explicit_bzero(job->password, t->password.len);
	free(job->password);
	free(job->received);
	free(job);
}

static const char *copy(const char *s, bool *failed)
{
	char *c = s ? strdup(s) : NULL;

	if (s && !c)
		*failed = true;
	return c;
}

uint64_t uplink_session(const struct uplink_target *t)
{
	uint8_t numbers[] = { (uint8_t)t->version, (uint8_t)(t->port >> 8), (uint8_t)t->port };

	return exchange_digest((struct span[]){ span_str(t->host), span_str(t->client_id),
				       span_of(numbers, sizeof(numbers)) },
		3);
}

/* For a new handle: Paho must know them to tell us of PUBREL. */
static bool list_received(struct connect_job *job, struct exchanges *x)
{
	size_t n = 0;
	struct list *pos;

	list_for_each(pos, exchanges_list(x))
		n++;
	if (!(job->received = calloc(n + 1, sizeof(*job->received))))
		return false;
	list_for_each(pos, exchanges_list(x)) {
		const struct exchange *e = list_entry(pos, struct exchange, node);
		if (e->way == EXCHANGE_IN && e->session == job->session)
			job->received[job->n_received++] = e->packet_id;
	}
	return true;
}

static struct connect_job *connect_job_new(struct paho *p, const struct uplink_target *t)
{
	struct connect_job *job = calloc(1, sizeof(*job));
	bool failed = false;

	if (!job)
		return NULL;
	job->target = *t;
	job->target.host = copy(t->host, &failed);
	job->target.address = copy(t->address, &failed);
	job->target.client_id = copy(t->client_id, &failed);
	job->target.username = copy(t->username, &failed);
	job->target.ca_file = copy(t->ca_file, &failed);
	job->target.cert_file = copy(t->cert_file, &failed);
	job->target.key_file = copy(t->key_file, &failed);
	job->password = malloc(t->password.len + 1);
	job->session = uplink_session(t);
	if (failed || !job->password || !list_received(job, p->exchanges)) {
		connect_job_free(job);
		return NULL;
	}
	if (t->password.len)
		memcpy(job->password, t->password.p, t->password.len);
	job->target.password.p = (uint8_t *)job->password;
	return job;
}

static int op_connect(struct uplink *u, const struct uplink_target *t)
{
	struct paho *p = paho_of(u);
	struct connect_job *job;

	if (p->busy)
		return -EBUSY;
	if (!(job = connect_job_new(p, t)))
		return -ENOMEM;
	p->busy = true;
	p->session = job->session;
	pthread_mutex_lock(&paho_door);
	p->state = PAHO_CONNECTING;
	p->attempt++;
	p->goodbye = R_SUCCESS;
	p->tls_text[0] = '\0';
	pthread_mutex_unlock(&paho_door);
	post(p, &job->letter, paho_run_connect);
	return 0;
}

static int op_publish(struct uplink *u, const struct uplink_publish *what)
{
	struct paho *p = paho_of(u);

	if (list_empty(&p->free_slots) || paho_restored_first(p))
		return -EAGAIN;
	struct publish_slot *s = list_first(&p->free_slots, struct publish_slot, free);
	list_remove(&s->free);
	s->what = *what;
	message_ref(s->what.msg);
	paho_reserve(p, s);
	paho_post(p, &s->letter, paho_run_publish);
	return 0;
}

static int op_hold(struct uplink *u, const struct uplink_publish *what, struct exchange *x)
{
	return paho_hold(paho_of(u), what, x);
}

static void op_acknowledge(struct uplink *u, uint32_t ticket, bool kept)
{
	struct paho *p = paho_of(u);

	pthread_mutex_lock(&paho_door);
	if (p->ticket == ticket && p->answer == ANSWER_DUE) {
		p->answer = kept ? ANSWER_KEPT : ANSWER_REFUSED;
		pthread_cond_broadcast(&paho_news);
	}
	pthread_mutex_unlock(&paho_door);
}

static int request(
	struct uplink *u, const struct uplink_filter *filters, size_t n, bool unsubscribe)
{
	struct paho *p = paho_of(u);
	struct request *r = &p->request;
	bool failed = false;

	if (r->busy)
		return -EBUSY;
	for (r->n = 0; r->n < n && r->n < UPLINK_FILTERS_MAX; r->n++) {
		r->filters[r->n].filter = copy(filters[r->n].filter, &failed);
		r->filters[r->n].qos = filters[r->n].qos;
	}
	if (failed) {
		free_filters(r);
		return -ENOMEM;
	}
	r->busy = true;
	r->unsub = unsubscribe;
	paho_count_ids(p, r->n);
	paho_post(p, &r->letter, paho_run_request);
	return 0;
}

static int op_subscribe(struct uplink *u, const struct uplink_filter *filters, size_t n)
{
	return request(u, filters, n, false);
}

static int op_unsubscribe(struct uplink *u, const struct uplink_filter *filters, size_t n)
{
	return request(u, filters, n, true);
}

/* Small jobs without an answer; when there is no memory for one, the caller's timers try again. */
static void simple_job(struct paho *p, void (*run)(struct paho *, struct letter *))
{
	struct letter *l = calloc(1, sizeof(*l));

	if (l)
		post(p, l, run);
}

static void op_disconnect(struct uplink *u)
{
	simple_job(paho_of(u), paho_run_disconnect);
}

static void op_abandon(struct uplink *u)
{
	simple_job(paho_of(u), paho_run_abandon);
}

/* After the bridge has ended and the table has let go of us, nobody posts any more. */
static void paho_free(struct paho *p)
{
	mailbox_free(p->inbox);
	workqueue_destroy(&p->jobs);
	for (size_t i = 0; i < UPLINK_WINDOW_MAX; i++) {
		if (p->slots[i].x)
			exchange_leave(p->slots[i].x);
		message_unref(p->slots[i].what.msg);
	}
	free_filters(&p->request);
	pthread_cond_destroy(&p->idle);
	free(p->slots);
	free(p);
}

static bool has_ended(const struct paho *p)
{
	return p->ended;
}

static void op_stop(struct uplink *u, int wait_ms)
{
	struct paho *p = paho_of(u);

	p->events = NULL;
	pthread_mutex_lock(&paho_door);
	p->stopping = true;
	pthread_cond_broadcast(&paho_news);
	pthread_mutex_unlock(&paho_door);
	op_disconnect(u);
	workqueue_stop(&p->jobs);
	bool ended = paho_await(p, has_ended, wait_ms);
	if (ended)
		pthread_join(p->thread, NULL);
	pthread_mutex_lock(&paho_door);
	uplinks[p->index] = NULL;
	pthread_mutex_unlock(&paho_door);
	if (ended) {
		paho_free(p);
		return;
	}
	/* It sits inside Paho; its memory has to outlive it, and the process is about to end. */
	log_warn("upstream: the bridge did not end in %d ms", wait_ms);
	pthread_detach(p->thread);
}

static const struct uplink_ops paho_ops = {
	.connect = op_connect,
	.publish = op_publish,
	.hold = op_hold,
	.acknowledge = op_acknowledge,
	.subscribe = op_subscribe,
	.unsubscribe = op_unsubscribe,
	.disconnect = op_disconnect,
	.abandon = op_abandon,
	.stop = op_stop,
};

static bool take_index(struct paho *p)
{
	bool found = false;

	pthread_mutex_lock(&paho_door);
	for (unsigned i = 0; i < PAHO_UPLINKS && !found; i++) {
		if (uplinks[i])
			continue;
		uplinks[i] = p;
		p->index = i;
		found = true;
	}
	pthread_mutex_unlock(&paho_door);
	return found;
}

static void init_slots(struct paho *p)
{
	list_init(&p->free_slots);
	list_init(&p->waiting);
	for (uint16_t i = 0; i < UPLINK_WINDOW_MAX; i++) {
		p->slots[i].index = i;
		p->slots[i].paho = p;
		list_init(&p->slots[i].free);
		list_append(&p->free_slots, &p->slots[i].free);
	}
	p->up_note.run = run_up;
	p->down_note.run = run_down;
}

static void init_idle(struct paho *p)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->idle, &attr);
	pthread_condattr_destroy(&attr);
}

struct uplink *uplink_paho_new(struct event_base *base, struct exchanges *exchanges,
	const struct uplink_events *events, void *arg)
{
	struct paho *p = calloc(1, sizeof(*p));

	if (!p || !(p->slots = calloc(UPLINK_WINDOW_MAX, sizeof(*p->slots))))
		goto no_slots;
	p->uplink.ops = &paho_ops;
	p->events = events;
	p->arg = arg;
	p->exchanges = exchanges;
	p->active = p->active_handle = p->fd = -1;
	p->next_id = 1;
	init_slots(p);
	init_idle(p);
	workqueue_init(&p->jobs);
	if (!(p->inbox = mailbox_new(base, receive, p)))
		goto no_inbox;
	if (!take_index(p))
		goto no_index;
	/* Paho would obey them, and wait for a proxy with its lock held. */
	unsetenv("http_proxy");
	unsetenv("https_proxy");
	if (thread_start(&p->thread, "bridge", paho_bridge, p) != 0)
		goto no_thread;
	return &p->uplink;

no_thread:
	pthread_mutex_lock(&paho_door);
	uplinks[p->index] = NULL;
	pthread_mutex_unlock(&paho_door);
no_index:
	mailbox_free(p->inbox);
no_inbox:
	workqueue_destroy(&p->jobs);
	pthread_cond_destroy(&p->idle);
no_slots:
	if (p)
		free(p->slots);
	free(p);
	return NULL;
}
