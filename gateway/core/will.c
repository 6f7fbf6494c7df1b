#include "gateway/core/will.h"

#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/session_store.h"

#include <stdlib.h>

static struct count published = COUNT("will.published");
static struct count refused = COUNT("will.refused");

static void on_delay_over(struct timer *t)
{
	struct session *s = container_of(t, struct session_rare, will.delay)->session;
	will_publish(s, sessions_router(s->all));
	session_changed(s); /* it must not come again after a restart */
}

static void set_terms(struct session *s, uint32_t delay_s, int64_t life_ms)
{
	if (!s->rare && !delay_s && !life_ms)
		return;
	struct session_rare *rare = session_rare(s);
	if (!rare)
		return;
	rare->will.delay_s = delay_s;
	rare->will.life_ms = life_ms;
}

static void set(struct session *s, struct message *m, uint32_t delay_s, int64_t life_ms)
{
	if (m)
		message_ref(m);
	message_unref(s->will);
	s->will = m;
	set_terms(s, delay_s, life_ms);
}

static int64_t life_ms_of(const struct message *m)
{
	return m && m->expires_ms ? MAX(m->expires_ms - clock_ms(), 1) : 0;
}

void will_set(struct session *s, struct message *m, uint32_t delay_s)
{
	set(s, m, m ? delay_s : 0, life_ms_of(m));
}

void will_restore(struct session *s, struct message *m, uint32_t delay_s, int64_t life_ms)
{
	set(s, m, delay_s, life_ms);
}

bool will_same(const struct session *s, const struct message *m, uint32_t delay_s)
{
	const struct message *will = s->will;

	if (!m || !will)
		return !m && !will;
	return m->qos == will->qos && m->retain == will->retain &&
	       span_equal(message_topic(m), message_topic(will)) &&
	       span_equal(message_payload(m), message_payload(will)) &&
	       span_equal(message_props(m), message_props(will)) &&
	       delay_s == (s->rare ? s->rare->will.delay_s : 0) &&
	       life_ms_of(m) == (s->rare ? s->rare->will.life_ms : 0);
}

void will_free(struct session *s)
{
	message_unref(s->will);
}

int64_t will_delay_ms(const struct session *s)
{
	return s->rare ? (int64_t)s->rare->will.delay_s * 1000 : 0;
}

void will_wait(struct session *s, int64_t delay_ms)
{
	struct session_rare *rare = s->will ? session_rare(s) : NULL;

	if (!rare)
		return;
	timer_init(&rare->will.delay, on_delay_over);
	timer_arm(&rare->will.delay, delay_ms);
}

void will_lost(struct session *s, struct router *r)
{
	if (will_has_delay(s))
		will_wait(s, will_delay_ms(s));
	else
		will_publish(s, r);
}

void will_cancel(struct session *s)
{
	if (s->rare)
		timer_disarm(&s->rare->will.delay);
}

static int64_t expiry_from_now(const struct session *s)
{
	int64_t life_ms = s->rare ? s->rare->will.life_ms : 0;
	return life_ms ? clock_ms() + life_ms : 0;
}

/* A copy that arrives now: its place in the order, its time and its expiry are those of the
 * publication, not those of the CONNECT that brought it. */
static struct message *arriving(const struct session *s)
{
	const struct message *will = s->will;
	return message_new(&(struct message_init){
		.topic = message_topic(will),
		.payload = message_payload(will),
		.props = message_props(will),
		.qos = will->qos,
		.retain = will->retain,
		.origin = s->who.origin,
		.expires_ms = expiry_from_now(s),
	});
}

void will_publish(struct session *s, struct router *r)
{
	if (!s->will)
		return;
	struct message *m = arriving(s);
	if (!m) /* no memory for a copy is no reason to keep quiet about a lost client */
		m = message_ref(s->will);
	enum reason reason = router_publish(r, &s->who, m, NULL);
	message_unref(m);
	if (!reason_failed(reason)) {
		count_one(&published);
		return;
	}
	static struct log_limit limit = LOG_LIMIT(10, 10000);
	count_one(&refused);
	log_limited(&limit, LOG_LEVEL_INFO, "%s %s: will refused, %s", s->who.client_id,
		protocol_name(s->who.protocol), reason_name(reason));
}
