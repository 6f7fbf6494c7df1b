#include "gateway/upstream/uplink_paho.h"

/* Paho clients. One is made for each session at a server, at the first connection to it. */

/* Under Paho's limit of unsent commands too, which counts what a slow socket holds up. */
#define PAHO_BUFFERED 65000

static bool same_kind(const struct handle *h, const struct connect_job *job)
{
	return h->v5 == (job->target.version == 5) && h->tls == job->target.tls &&
	       h->session == job->session;
}

void paho_park(struct paho *p, int handle)
{
	struct handle *h = &p->handles[handle];

	paho_take_back(p, handle);
	h->client = NULL;
	h->poisoned = false;
	h->gen++;
	pthread_cond_broadcast(&paho_news);
}

/* Door held. The one for this job, or an unused place, or that of another session. */
static int find_place(struct paho *p, const struct connect_job *job)
{
	int free = -1;

	for (int i = 0; i < PAHO_HANDLES; i++) {
		if (p->handles[i].client && p->handles[i].poisoned)
			paho_park(p, i);
		if (p->handles[i].client && same_kind(&p->handles[i], job))
			return i;
		if (!p->handles[i].client && free < 0)
			free = i;
	}
	if (free >= 0)
		return free;
	free = p->active == 0 ? 1 : 0;
	paho_park(p, free);
	return free;
}

/* Door held. What was under way in this session, in an earlier handle or an earlier run. */
static void adopt(struct paho *p, int handle, uint64_t session)
{
	for (size_t i = 0; i < UPLINK_WINDOW_MAX; i++) {
		struct publish_slot *s = &p->slots[i];
		if (!s->owned || !s->by_id || s->handle != -1 || s->session != session)
			continue;
		s->handle = (int8_t)handle;
		s->begun = true;
	}
}

static int make_handle(struct paho *p, int place, const struct connect_job *job)
{
	const struct uplink_target *t = &job->target;
	struct handle *h = &p->handles[place];
	MQTTAsync_createOptions o = MQTTAsync_createOptions_initializer;
	MQTTAsync client = NULL;

	pthread_mutex_lock(&paho_door);
	h->gen = (uint16_t)(h->gen ? h->gen : 1); /* a context is never 0 */
	h->v5 = t->version == 5;
	h->tls = t->tls;
	h->session = job->session;
	adopt(p, place, job->session);
	p->restoring = job;
	p->last_id = 0;
	pthread_mutex_unlock(&paho_door);
	o.sendWhileDisconnected = 0;
	o.maxBufferedMessages = PAHO_BUFFERED;
	o.MQTTVersion = h->v5 ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
	o.persistQoS0 = 0;
	void *context = paho_context(p->index, h->gen, (unsigned)place);
	/* The address is only a form here: it says plain or TLS for good. */
	int rc =
		MQTTAsync_createWithOptions(&client, t->tls ? "ssl://127.0.0.1" : "tcp://127.0.0.1",
			t->client_id, MQTTCLIENT_PERSISTENCE_USER, paho_keep(context), &o);
	pthread_mutex_lock(&paho_door);
	p->restoring = NULL;
	if (rc == MQTTASYNC_SUCCESS)
		h->client = client;
	else
		paho_park(p, place);
	pthread_mutex_unlock(&paho_door);
	if (rc != MQTTASYNC_SUCCESS)
		return rc;
	MQTTAsync_setCallbacks(client, context, paho_on_lost, paho_on_message, paho_on_delivered);
	if (h->v5)
		MQTTAsync_setDisconnected(client, context, paho_on_goodbye);
	return MQTTASYNC_SUCCESS;
}

int paho_use_handle(struct paho *p, const struct connect_job *job)
{
	pthread_mutex_lock(&paho_door);
	int place = find_place(p, job);
	bool made = p->handles[place].client != NULL;
	pthread_mutex_unlock(&paho_door);
	int rc = made ? MQTTASYNC_SUCCESS : make_handle(p, place, job);
	if (rc != MQTTASYNC_SUCCESS) {
		p->active = -1;
		return rc;
	}
	pthread_mutex_lock(&paho_door);
	p->active = p->active_handle = place;
	p->active_gen = p->handles[place].gen;
	p->ask = job->target.ask;
	p->port = job->target.port;
	pthread_mutex_unlock(&paho_door);
	return MQTTASYNC_SUCCESS;
}
