#include "gateway/upstream/uplink_paho.h"

#include "gateway/base/log.h"
#include "gateway/core/message.h"
#include "gateway/core/props.h"
#include "gateway/core/topic.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The bridge: the one thread that calls Paho. It may wait for seconds inside a call (Paho's mutex
 * is held while names are resolved and TLS shakes hands); the loop never notices. */

#define GOODBYE_MS 900 /* for Paho to send DISCONNECT at the end */
/* Behind this many publishes of our own window Paho never has to queue. Its own limit would be
 * checked only once a second. */
#define PAHO_INFLIGHT 65535

/* Door held. QoS 2 goes on with the next handle. */
static void give_back(struct paho *p)
{
	for (size_t i = 0; i < UPLINK_WINDOW_MAX; i++)
		if (p->slots[i].owned && p->slots[i].what.qos < 2)
			paho_slot_done(p, &p->slots[i], UPLINK_RETRY, R_UNSPECIFIED);
}

static void set_tls(MQTTAsync_SSLOptions *ssl, const struct paho *p, const struct uplink_target *t)
{
	ssl->trustStore = t->ca_file;
	ssl->keyStore = t->cert_file;
	ssl->privateKey = t->key_file;
	ssl->enableServerCertAuth = t->verify;
	ssl->verify = t->verify;
	ssl->ssl_error_cb = paho_on_tls_error;
	ssl->ssl_error_context = paho_context(p->index, 0, 0);
}

/* A TLS peer is named by its host name (SNI, certificate); the resolver has just found it, so
 * Paho's own look-up does not take long. Plain TCP gets the address. */
static void write_uri(char *uri, size_t size, const struct uplink_target *t)
{
	const char *name = t->tls ? t->host : t->address;
	bool v6 = strchr(name, ':') != NULL;

	snprintf(uri, size, "%s://%s%s%s:%u", t->tls ? "ssl" : "tcp", v6 ? "[" : "", name,
		v6 ? "]" : "", t->port);
}

static void set_version(MQTTAsync_connectOptions *o, unsigned version, MQTTProperties *props)
{
	if (version == 5) {
		o->MQTTVersion = MQTTVERSION_5;
		o->cleanstart = 0;
		o->cleansession = 0;
		o->connectProperties = props;
		o->onSuccess5 = paho_on_connected5;
		o->onFailure5 = paho_on_refused5;
		return;
	}
	/* Explicit: with the default version Paho doesn't look at session present. */
	o->MQTTVersion = MQTTVERSION_3_1_1;
	o->cleansession = 0;
	o->onSuccess = paho_on_connected;
	o->onFailure = paho_on_refused;
}

static int call_connect(struct paho *p, const struct uplink_target *t, void *context)
{
	MQTTAsync_connectOptions o = MQTTAsync_connectOptions_initializer;
	MQTTAsync_SSLOptions ssl = MQTTAsync_SSLOptions_initializer;
	MQTTProperties props = MQTTProperties_initializer;
	MQTTProperty expiry = { .identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL };
	char uri[400];
	char *const uris[] = { uri };

	write_uri(uri, sizeof(uri), t);
	expiry.value.integer4 = t->session_expiry_s;
	if (t->version == 5 && MQTTProperties_add(&props, &expiry) != 0)
		return MQTTASYNC_FAILURE;
	set_version(&o, t->version, &props);
	set_tls(&ssl, p, t);
	o.ssl = t->tls ? &ssl : NULL;
	o.keepAliveInterval = t->keepalive_s;
	o.connectTimeout = t->connect_timeout_s;
	o.maxInflight = PAHO_INFLIGHT;
	o.automaticReconnect = 0;
	o.context = context;
	o.serverURIs = uris;
	o.serverURIcount = 1;
	o.username = t->username;
	if (t->password.len) {
		o.binarypwd.data = t->password.p;
		o.binarypwd.len = (int)t->password.len;
	}
	int rc = MQTTAsync_connect(paho_active(p)->client, &o);
	MQTTProperties_free(&props);
	return rc;
}

void paho_run_connect(struct paho *p, struct letter *l)
{
	struct connect_job *job = container_of(l, struct connect_job, letter);

	pthread_mutex_lock(&paho_door);
	void *context = paho_context(p->index, p->attempt, 0);
	pthread_mutex_unlock(&paho_door);
	int rc = paho_use_handle(p, job);
	if (rc == MQTTASYNC_SUCCESS)
		rc = call_connect(p, &job->target, context);
	if (rc != MQTTASYNC_SUCCESS) {
		pthread_mutex_lock(&paho_door);
		paho_set_down(p, R_UNSPECIFIED, MQTTAsync_strerror(rc));
		pthread_mutex_unlock(&paho_door);
	}
	connect_job_free(job);
}

static bool add_prop(MQTTProperties *to, const struct prop *p)
{
	MQTTProperty out = { .identifier = (enum MQTTPropertyCodes)p->id };
	MQTTLenString value = { (int)p->value.len, (char *)p->value.p };

	if (p->id == PROP_PAYLOAD_FORMAT)
		out.value.byte = p->byte;
	else if (p->id == PROP_USER) {
		out.value.data = (MQTTLenString){ (int)p->name.len, (char *)p->name.p };
		out.value.value = value;
	} else
		out.value.data = value;
	return MQTTProperties_add(to, &out) == 0;
}

static void set_props(MQTTProperties *to, const struct uplink_publish *what)
{
	struct reader r = reader_of(message_props(what->msg));
	struct prop p;

	while (props_next(&r, &p))
		if (!add_prop(to, &p))
			return;
	if (what->expiry_s) {
		MQTTProperty expiry = { .identifier = MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL };
		expiry.value.integer4 = what->expiry_s;
		MQTTProperties_add(to, &expiry);
	}
}

static int call_publish(MQTTAsync client, bool v5, const struct uplink_publish *what, void *context)
{
	MQTTAsync_message m = MQTTAsync_message_initializer;
	MQTTAsync_responseOptions o = MQTTAsync_responseOptions_initializer;
	struct span topic = message_topic(what->msg), payload = message_payload(what->msg);
	char name[TOPIC_BYTES_MAX * 8 + 1];

	if (topic.len >= sizeof(name))
		return MQTTASYNC_BAD_UTF8_STRING;
	memcpy(name, topic.p, topic.len);
	name[topic.len] = '\0';
	m.payload = (void *)payload.p;
	m.payloadlen = (int)payload.len;
	m.qos = what->qos;
	m.retained = what->retain;
	o.context = context;
	if (v5) {
		o.onSuccess5 = paho_on_published5;
		o.onFailure5 = paho_on_unpublished5;
		set_props(&m.properties, what);
	} else {
		o.onSuccess = paho_on_published;
		o.onFailure = paho_on_unpublished;
	}
	int rc = MQTTAsync_sendMessage(client, name, &m, &o);
	MQTTProperties_free(&m.properties);
	return rc;
}

void paho_run_publish(struct paho *p, struct letter *l)
{
	struct publish_slot *s = container_of(l, struct publish_slot, letter);
	MQTTAsync client = NULL;

	pthread_mutex_lock(&paho_door);
	s->owned = true;
	s->handle = (int8_t)p->active;
	void *context = paho_context(p->index, s->gen, s->index);
	if (p->state == PAHO_UP && p->active >= 0)
		client = p->handles[p->active].client;
	pthread_mutex_unlock(&paho_door);
	p->sending = s->what.qos > 0 ? s : NULL;
	int rc = client ? call_publish(client, paho_active(p)->v5, &s->what, context)
			: MQTTASYNC_DISCONNECTED;
	p->sending = NULL;
	if (rc == MQTTASYNC_SUCCESS)
		return;
	pthread_mutex_lock(&paho_door);
	bool never = rc == MQTTASYNC_BAD_UTF8_STRING || rc == MQTTASYNC_BAD_QOS;
	paho_slot_done(p, s, never ? UPLINK_REFUSED : UPLINK_RETRY,
		never ? R_TOPIC_INVALID : R_UNSPECIFIED);
	pthread_mutex_unlock(&paho_door);
}

/* MQTT 5: one SUBSCRIBE for all. `index` past the filters: the answer is for all of them. */
static int call_many5(MQTTAsync client, const struct request *r, void *context)
{
	MQTTAsync_responseOptions o = MQTTAsync_responseOptions_initializer;
	MQTTSubscribe_options opts[UPLINK_FILTERS_MAX];
	char *filters[UPLINK_FILTERS_MAX];
	int qos[UPLINK_FILTERS_MAX];

	for (size_t i = 0; i < r->n; i++) {
		filters[i] = (char *)r->filters[i].filter;
		qos[i] = r->filters[i].qos;
		/* Nothing of ours comes back; retain flags arrive as published; an interest that
		 * is only renewed does not bring all retained messages again. */
		opts[i] = (MQTTSubscribe_options)MQTTSubscribe_options_initializer;
		opts[i].noLocal = 1;
		opts[i].retainAsPublished = 1;
		opts[i].retainHandling = 1;
	}
	o.context = context;
	o.onSuccess5 = paho_on_granted5;
	o.onFailure5 = paho_on_ungranted5;
	if (r->unsub)
		return MQTTAsync_unsubscribeMany(client, (int)r->n, filters, &o);
	o.subscribeOptions = opts[0];
	if (r->n > 1) {
		o.subscribeOptionsList = opts;
		o.subscribeOptionsCount = (int)r->n;
	}
	return MQTTAsync_subscribeMany(client, (int)r->n, filters, qos, &o);
}

/* MQTT 3.1.1: one packet per filter. For several, Paho hands the codes of SUBACK over without their
 * number, and a hostile server may send fewer than were asked for. */
static int call_one(MQTTAsync client, const struct request *r, size_t i, void *context)
{
	MQTTAsync_responseOptions o = MQTTAsync_responseOptions_initializer;

	o.context = context;
	o.onSuccess = paho_on_granted;
	o.onFailure = paho_on_ungranted;
	if (r->unsub)
		return MQTTAsync_unsubscribe(client, r->filters[i].filter, &o);
	return MQTTAsync_subscribe(client, r->filters[i].filter, r->filters[i].qos, &o);
}

static int send_request(struct paho *p, const struct request *r, MQTTAsync client, uint16_t gen)
{
	int rc = MQTTASYNC_SUCCESS;

	if (paho_active(p)->v5)
		return call_many5(client, r, paho_context(p->index, gen, UPLINK_FILTERS_MAX));
	for (size_t i = 0; i < r->n && rc == MQTTASYNC_SUCCESS; i++)
		rc = call_one(client, r, i, paho_context(p->index, gen, (unsigned)i));
	return rc;
}

void paho_run_request(struct paho *p, struct letter *l)
{
	struct request *r = container_of(l, struct request, letter);
	MQTTAsync client = NULL;
	struct request sent;

	pthread_mutex_lock(&paho_door);
	r->owned = true;
	r->answered = 0;
	memset(r->codes, UPLINK_UNANSWERED, sizeof(r->codes));
	uint16_t gen = r->gen;
	if (p->state == PAHO_UP && p->active >= 0)
		client = p->handles[p->active].client;
	/* The answers may come, and the loop free the strings, while we are still asking. */
	sent = *r;
	for (size_t i = 0; client && i < sent.n; i++)
		sent.filters[i].filter = strdup(r->filters[i].filter);
	pthread_mutex_unlock(&paho_door);

	bool whole = client != NULL;
	for (size_t i = 0; client && i < sent.n; i++)
		whole = whole && sent.filters[i].filter;
	if (!whole || send_request(p, &sent, client, gen) != MQTTASYNC_SUCCESS) {
		pthread_mutex_lock(&paho_door);
		if (r->gen == gen)
			paho_request_done(p);
		pthread_mutex_unlock(&paho_door);
	}
	for (size_t i = 0; client && i < sent.n; i++)
		free((char *)sent.filters[i].filter);
}

static void disconnect_active(struct paho *p)
{
	MQTTAsync_disconnectOptions o = MQTTAsync_disconnectOptions_initializer;
	struct handle *h = paho_active(p);

	if (h->v5)
		o = (MQTTAsync_disconnectOptions)MQTTAsync_disconnectOptions_initializer5;
	o.timeout = 0;
	o.context = paho_context(p->index, h->gen, (unsigned)p->active);
	if (h->v5)
		o.onSuccess5 = paho_on_disconnected5;
	else
		o.onSuccess = paho_on_disconnected;
	if (MQTTAsync_disconnect(h->client, &o) == MQTTASYNC_SUCCESS)
		return;
	pthread_mutex_lock(&paho_door);
	if (p->state == PAHO_UP)
		paho_set_down(p, R_SUCCESS, "closed");
	pthread_mutex_unlock(&paho_door);
}

void paho_run_disconnect(struct paho *p, struct letter *l)
{
	pthread_mutex_lock(&paho_door);
	bool up = p->state == PAHO_UP;
	pthread_mutex_unlock(&paho_door);
	if (up)
		disconnect_active(p);
	free(l);
}

void paho_run_abandon(struct paho *p, struct letter *l)
{
	MQTTAsync_disconnectOptions o = MQTTAsync_disconnectOptions_initializer;
	MQTTAsync client = p->active >= 0 ? p->handles[p->active].client : NULL;

	free(l);
	if (!client)
		return;
	pthread_mutex_lock(&paho_door);
	paho_park(p, p->active);
	p->active_handle = -1;
	p->attempt++;
	paho_set_down(p, R_UNSPECIFIED, "given up");
	give_back(p);
	pthread_mutex_unlock(&paho_door);
	p->active = -1;
	/* It may never get through to the socket; it costs nothing to ask. */
	MQTTAsync_disconnect(client, &o);
}

bool paho_await(struct paho *p, bool (*over)(const struct paho *), int wait_ms)
{
	struct timespec until;
	int failed = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)(wait_ms % 1000) * 1000000L;
	until.tv_sec += wait_ms / 1000 + until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&paho_door);
	while (!over(p) && !failed)
		failed = pthread_cond_timedwait(&p->idle, &paho_door, &until);
	bool done = over(p);
	pthread_mutex_unlock(&paho_door);
	return done;
}

static bool is_down(const struct paho *p)
{
	return p->state != PAHO_UP;
}

static void end(struct paho *p)
{
	pthread_mutex_lock(&paho_door);
	p->ended = true;
	pthread_cond_broadcast(&p->idle);
	pthread_mutex_unlock(&paho_door);
}

void *paho_bridge(void *arg)
{
	struct paho *p = arg;
	struct list letters;

	while (workqueue_take(&p->jobs, &letters, -1)) {
		while (!list_empty(&letters)) {
			struct letter *l = list_first(&letters, struct letter, mail.node);
			/* Off the list first: the answer may travel back before run() returns. */
			list_remove(&l->mail.node);
			l->run(p, l);
		}
	}
	/* The last words: until Paho has sent DISCONNECT, so that the server publishes no will and
	 * frees the session's connection at once. */
	paho_await(p, is_down, GOODBYE_MS);
	end(p);
	return NULL;
}
