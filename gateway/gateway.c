#include "gateway/gateway.h"

#include "adapters/adapter.h"
#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/base/reap.h"
#include "gateway/base/timer.h"
#include "gateway/core/autosub.h"
#include "gateway/core/keeper.h"
#include "gateway/core/limits.h"
#include "gateway/core/receipt.h"
#include "gateway/core/record.h"
#include "gateway/core/rewrite.h"
#include "gateway/core/router.h"
#include "gateway/core/session.h"
#include "gateway/core/session_claims.h"
#include "gateway/core/session_store.h"
#include "gateway/core/topic.h"
#include "gateway/ctl/sys.h"
#include "gateway/ctl/sys_store.h"
#include "gateway/gateway_conf.h"
#include "gateway/notify.h"
#include "gateway/store/journal.h"
#include "gateway/upstream/backlog.h"
#include "gateway/upstream/exchanges.h"
#include "gateway/upstream/interest_memory.h"
#include "gateway/upstream/upstream.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* TERM: as long as this for answers that are still due, then the end comes whatever is open. */
#define DRAIN_MS       2500
#define JOURNAL_END_MS 1000
#define STATUS_MS      1000 /* between two looks whether the status line has changed */
#define LATE_MS        1000 /* see run_timers() */
#define CATCH_UP_MS    500

static const struct adapter *const adapters[] = { &adapter_mqttsn, &adapter_coap, &adapter_mqtt };
#define N_ADAPTERS ARRAY_SIZE(adapters)

#define N_SIGNALS 4

struct gateway {
	struct event_base *base;
	struct event *wake; /* fires when a timer of ours is due */
	struct event *signals[N_SIGNALS];
	struct conf *conf; /* owned */
	const char *path;  /* borrowed */
	char id[GATEWAY_ID_MAX + 1];
	struct env env;
	struct router *router;
	struct sessions *sessions;
	struct session_store *session_store;
	struct autosub autosub;
	struct rewrite rewrite;
	struct journal *journal; /* NULL: memory only */
	struct keeper *keeper;
	struct backlog *backlog; /* NULL without an upstream, as are exchanges */
	struct exchanges *exchanges;
	struct interest_memory *interest_memory; /* the same */
	struct upstream *upstream;               /* NULL: the hub alone */
	struct sys *sys;
	void *adapters[N_ADAPTERS]; /* NULL: not started */
	struct timer drain_limit, status;
	char status_line[160]; /* as the service manager knows it */
	int64_t due_ms;        /* when the first timer was due, as we began to wait; or never */
	int64_t catch_up_ms;   /* timers rest until then; 0: they do not */
	bool stopping, stopped;
};

static void set_id(struct gateway *g)
{
	const struct gateway_conf *c = conf_section(g->conf, "gateway");
	if (c->id) {
		strncpy(g->id, c->id, sizeof(g->id) - 1);
		return;
	}
	if (gethostname(g->id, sizeof(g->id) - 1) != 0 || g->id[0] == '\0')
		strcpy(g->id, "tidegate");
}

static void get_limits(const struct conf *conf, struct router_limits *r, struct sessions_conf *s)
{
	const struct limits_conf *l = conf_section(conf, "limits");
	const struct gateway_conf *c = conf_section(conf, "gateway");

	*r = (struct router_limits){
		.max_retained = (uint32_t)l->retained_messages,
		.max_retained_bytes = l->retained_bytes,
		.max_retained_message = (uint32_t)l->retained_message_bytes,
		.max_subscriptions = (uint32_t)l->subscriptions,
		.max_delayed = (uint32_t)l->delayed_messages,
		.max_delayed_bytes = l->delayed_bytes,
		.share_strategy = (enum share_strategy)c->shared_strategy,
	};
	*s = (struct sessions_conf){
		.max_sessions = (uint32_t)l->sessions,
		.max_subscriptions = (uint32_t)l->subscriptions_per_client,
		.queue_messages = (uint32_t)l->queue_messages,
		.max_inbound = (uint32_t)l->inbound_messages,
		.max_inbound_qos2 = (uint32_t)l->inbound_qos2,
		.queue_bytes = l->queue_bytes,
		.window = (uint16_t)l->inflight,
		.max_expiry_s = (uint32_t)(l->session_expiry_ms / 1000),
	};
}

/* Before the journal is replayed: its messages are checked against the limits. */
static int set_message_limits(struct gateway *g)
{
	const struct limits_conf *l = conf_section(g->conf, "limits");

	topic_set_limits((size_t)l->topic_bytes, (unsigned)l->topic_levels);
	messages_set_budget((size_t)l->memory);
	return 0;
}

static int start_hub(struct gateway *g)
{
	struct router_limits rl;
	struct sessions_conf sc;

	get_limits(g->conf, &rl, &sc);
	g->router = router_new(&policy_allow_all, &rl);
	g->sessions = sessions_new(g->router, &sc);
	g->session_store = session_store_new(g->sessions);
	autosub_load(&g->autosub, g->conf);
	sessions_set_autosub(g->sessions, &g->autosub);
	if (rewrite_load(&g->rewrite, g->conf) < 0)
		return -ENOMEM;
	g->env = (struct env){
		.base = g->base,
		.router = g->router,
		.sessions = g->sessions,
		.gateway_id = g->id,
		.rewrite = &g->rewrite,
	};
	return 0;
}

static int status_of(int err)
{
	switch (err) {
	case -EADDRINUSE:
	case -EADDRNOTAVAIL:
	case -EAGAIN:
		return EXIT_UNAVAILABLE;
	case -EACCES:
	case -EPERM:
		return EXIT_NOPERM;
	case -EINVAL:
		return EXIT_CONFIG;
	default:
		return EXIT_RUNTIME;
	}
}

static int open_journal(struct gateway *g, const struct store_conf *c,
	const struct journal_handler handlers[JOURNAL_TYPES], struct journal_report *report)
{
	char clock[PATH_MAX];

	snprintf(clock, sizeof(clock), "%s/clock", c->dir);
	clock_recall(clock);
	int err = journal_open(g->base, c, handlers, &g->journal, report);
	if (!err && clock_keep(clock) < 0)
		log_warn("store: %s can't be written: when the clock is set, what is stored ages",
			clock);
	return err;
}

static int start_store(struct gateway *g)
{
	const struct store_conf *c = conf_section(g->conf, "store");
	struct journal_handler handlers[JOURNAL_TYPES] = { { NULL, NULL } };
	struct journal_report report;

	if (!c || !c->dir) {
		if (g->backlog)
			log_warn("store: no [store] section: what waits for the upstream is kept "
				 "in memory only "
				 "and does not survive a restart");
		return 0;
	}
	keeper_handlers(g->keeper, handlers);
	session_store_handlers(g->session_store, handlers);
	if (g->backlog)
		backlog_handlers(g->backlog, handlers);
	if (g->backlog) {
		handlers[JR_UPLINK] = (struct journal_handler){ exchanges_replay, g->exchanges };
		handlers[JR_INTEREST] =
			(struct journal_handler){ interest_memory_replay, g->interest_memory };
	}
	int err = open_journal(g, c, handlers, &report);
	if (err)
		return err;
	log_info("store: %s: %llu records, %llu of them live, in %u segments", c->dir,
		(unsigned long long)report.records, (unsigned long long)report.live_records,
		report.segments);
	session_store_attach(g->session_store, g->journal, c->lazy_interval_ms);
	keeper_attach(g->keeper, g->journal);
	if (g->backlog) {
		exchanges_attach(g->exchanges, g->journal);
		interest_memory_attach(g->interest_memory, g->journal);
	}
	return 0;
}

static void set_keeper_conf(struct gateway *g, const struct conf *conf)
{
	const struct store_conf *store = conf_section(conf, "store");
	struct keeper_conf k = { .lazy_ms = store ? store->lazy_interval_ms : 0 };

	upstream_keeper_conf(conf, &k);
	keeper_set_conf(g->keeper, &k);
	session_store_set_interval(g->session_store, k.lazy_ms);
}

/* What the last run has left goes back to its owners. */
static int restore(struct gateway *g)
{
	set_keeper_conf(g, g->conf);
	if (g->backlog)
		backlog_attach(g->backlog, g->keeper);
	router_set_keeper(g->router, g->keeper);
	session_claims_restore(g->sessions, g->keeper);
	keeper_restore(g->keeper);
	session_store_restored(g->session_store);
	return 0;
}

static int start_adapters(struct gateway *g)
{
	g->env.stored = g->journal != NULL;
	for (size_t i = 0; i < N_ADAPTERS; i++) {
		if (!conf_section(g->conf, adapters[i]->name))
			continue;
		int err = adapters[i]->start(&g->env, g->conf, &g->adapters[i]);
		if (err) {
			g->adapters[i] = NULL;
			return err;
		}
	}
	return 0;
}

static int start_upstream(struct gateway *g)
{
	if (!conf_section(g->conf, "upstream"))
		return 0;
	int err = upstream_new(g->base, g->router, g->journal, g->backlog, g->exchanges, g->conf,
		g->id, &g->upstream);
	if (!err)
		upstream_remember(g->upstream, g->interest_memory);
	return err;
}

static int64_t sys_interval_ms(const struct conf *conf)
{
	const struct gateway_conf *c = conf_section(conf, "gateway");
	return c->sys_interval_ms;
}

static int start_sys(struct gateway *g)
{
	struct sys_sources sources = {
		.gateway_id = g->id,
		.router = g->router,
		.sessions = g->sessions,
		.session_store = g->session_store,
		.journal = g->journal,
		.upstream = g->upstream,
	};
	g->sys = sys_new(&sources, sys_interval_ms(g->conf));
	return 0;
}

static void begin_stop(struct gateway *g, const char *why)
{
	if (g->stopping)
		return;
	g->stopping = true;
	log_notice("gateway: stopping (%s)", why);
	notify_stopping();
	timer_arm(&g->drain_limit, DRAIN_MS);
}

static void on_drain_limit(struct timer *t)
{
	struct gateway *g = container_of(t, struct gateway, drain_limit);
	log_warn("gateway: not everything could be answered in %d ms", DRAIN_MS);
	g->stopped = true;
}

static void on_term(evutil_socket_t sig, short what, void *arg)
{
	(void)what;
	clock_tick();
	begin_stop(arg, sig == SIGTERM ? "SIGTERM" : "SIGINT");
}

static void warn_restart(const char *section, const struct conf_row *row, void *arg)
{
	(void)arg;
	if (!row->reload)
		log_warn("gateway: [%s] %s has changed and needs a restart", section, row->key);
}

/* The new configuration has been checked whole; what a module refuses now keeps its old values, and
 * then the old configuration has to stay for it. */
static bool apply_conf(struct gateway *g, const struct conf *conf)
{
	struct router_limits rl;
	struct sessions_conf sc;
	bool all = true;

	for (size_t i = 0; i < N_ADAPTERS; i++)
		if (g->adapters[i] && conf_section(conf, adapters[i]->name) &&
			adapters[i]->reload(g->adapters[i], conf) != 0)
			all = false;
	if (g->upstream && conf_section(conf, "upstream") &&
		upstream_reload(g->upstream, conf) != 0)
		all = false;
	get_limits(conf, &rl, &sc);
	router_set_limits(g->router, &rl);
	sessions_set_conf(g->sessions, &sc);
	set_keeper_conf(g, conf);
	autosub_load(&g->autosub, conf);
	if (rewrite_load(&g->rewrite, conf) < 0)
		all = false;
	sys_set_interval(g->sys, sys_interval_ms(conf));
	gateway_apply_log_level(conf);
	return all;
}

static bool same_sections(const struct conf *a, const struct conf *b)
{
	for (size_t i = 0; gateway_sections[i]; i++) {
		const char *name = gateway_sections[i]->name;
		if (!conf_section(a, name) != !conf_section(b, name)) {
			log_warn("gateway: section [%s] has been added or removed and needs a "
				 "restart: nothing is reloaded",
				name);
			return false;
		}
	}
	return true;
}

static void on_hup(evutil_socket_t sig, short what, void *arg)
{
	struct gateway *g = arg;
	struct conf_error err;
	struct conf *conf;

	(void)sig;
	(void)what;
	clock_tick();
	notify_reloading();
	if (conf_load(gateway_sections, g->path, &conf, &err) != 0) {
		log_error("%s", err.text);
		log_error("gateway: configuration not reloaded, the old one stays");
	} else if (!same_sections(g->conf, conf)) {
		conf_free(conf);
	} else {
		conf_diff(g->conf, conf, warn_restart, NULL);
		if (apply_conf(g, conf)) {
			conf_free(g->conf);
			g->conf = conf;
			log_notice("gateway: configuration reloaded");
		} else {
			apply_conf(g, g->conf);
			conf_free(conf);
			log_error("gateway: configuration not reloaded, the old one stays");
		}
	}
	notify_ready();
}

static void describe(const struct gateway *g, char *line, size_t len)
{
	struct upstream_status u;
	int n = snprintf(line, len, "%zu clients", sessions_count(g->sessions, true));

	if (g->upstream) {
		upstream_status(g->upstream, &u);
		n += snprintf(line + n, len - (size_t)n, "; upstream %s, %llu messages waiting",
			upstream_state_name(u.state), (unsigned long long)(u.queued + u.in_flight));
	}
	if (g->journal) {
		enum store_state state = store_state(g->journal);
		snprintf(line + n, len - (size_t)n, "%s",
			state == STORE_FAILING ? "; the storage FAILS, QoS 1 and 2 are refused"
			: state == STORE_FULL  ? "; the storage is FULL, QoS 1 and 2 are refused"
					       : "");
	}
}

static void on_status(struct timer *t)
{
	struct gateway *g = container_of(t, struct gateway, status);
	char line[sizeof(g->status_line)];

	describe(g, line, sizeof(line));
	if (strcmp(line, g->status_line) != 0) {
		memcpy(g->status_line, line, sizeof(line));
		notify_status("%s", line);
	}
	timer_arm(t, STATUS_MS);
}

static void dump_count(const struct count *c, void *arg)
{
	(void)arg;
	log_notice("count %s %llu", c->name, (unsigned long long)c->n);
}

static void dump_journal(const struct gateway *g)
{
	struct journal_status s;
	struct session_store_status sessions;
	if (!g->journal)
		return;
	journal_status(g->journal, &s);
	log_notice("store live=%llu live_bytes=%llu disk_bytes=%llu max_bytes=%llu segments=%u "
		   "written=%llu today=%llu per_day=%llu commits=%llu%s%s",
		(unsigned long long)s.live_records, (unsigned long long)s.live_bytes,
		(unsigned long long)s.disk_bytes, (unsigned long long)s.max_bytes, s.segments,
		(unsigned long long)s.written_bytes, (unsigned long long)s.written_last_day,
		(unsigned long long)s.written_per_day, (unsigned long long)s.commits,
		s.full ? " full" : "", s.error ? " failing" : "");
	session_store_status(g->session_store, &sessions);
	log_notice("store sessions=%llu records=%llu restored=%llu broken=%llu unwritten=%llu",
		(unsigned long long)sessions.sessions, (unsigned long long)sessions.records,
		(unsigned long long)sessions.restored, (unsigned long long)sessions.broken,
		(unsigned long long)sessions.changed);
}

static void on_usr1(evutil_socket_t sig, short what, void *arg)
{
	struct gateway *g = arg;
	struct router_stats s;

	(void)sig;
	(void)what;
	clock_tick();
	router_stats(g->router, &s);
	log_notice("gateway %s sessions=%zu attached=%zu subscriptions=%zu retained=%zu "
		   "queued_bytes=%zu published=%llu delivered=%llu",
		g->id, sessions_count(g->sessions, false), sessions_count(g->sessions, true),
		s.tree.leaves, s.tree.retained, messages_bytes(), (unsigned long long)s.published,
		(unsigned long long)s.delivered);
	dump_journal(g);
	keeper_dump(g->keeper);
	if (g->upstream)
		upstream_dump(g->upstream);
	for (size_t i = 0; i < N_ADAPTERS; i++)
		if (g->adapters[i])
			adapters[i]->dump(g->adapters[i]);
	counts_each(dump_count, NULL);
}

static const struct {
	int signal;
	void (*on)(evutil_socket_t, short, void *);
} signals[N_SIGNALS] = {
	{ SIGTERM, on_term },
	{ SIGINT, on_term },
	{ SIGHUP, on_hup },
	{ SIGUSR1, on_usr1 },
};

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	clock_tick();
}

static int start_loop(struct gateway *g)
{
	g->base = event_base_new();
	if (!g->base)
		return -ENOMEM;
	g->wake = evtimer_new(g->base, on_wake, g);
	if (!g->wake)
		return -ENOMEM;
	for (size_t i = 0; i < N_SIGNALS; i++) {
		g->signals[i] = evsignal_new(g->base, signals[i].signal, signals[i].on, g);
		if (!g->signals[i] || event_add(g->signals[i], NULL) != 0)
			return -ENOMEM;
	}
	timer_init(&g->drain_limit, on_drain_limit);
	timer_init(&g->status, on_status);
	return 0;
}

static int start_backlog(struct gateway *g)
{
	g->keeper = keeper_new();
	if (!conf_section(g->conf, "upstream"))
		return 0;
	g->backlog = backlog_new(g->conf);
	g->exchanges = exchanges_new();
	g->interest_memory = interest_memory_new();
	return g->backlog ? 0 : -ENOMEM;
}

int gateway_new(struct conf *conf, const char *path, struct gateway **out)
{
	static int (*const steps[])(struct gateway *) = {
		start_loop,
		set_message_limits,
		start_hub,
		start_backlog,
		start_store,
		restore,
		start_adapters,
		start_upstream,
		start_sys,
	};
	struct gateway *g = must_calloc(1, sizeof(*g));
	uint64_t seed;

	random_bytes(&seed, sizeof(seed));
	hash_seed(seed);
	g->conf = conf;
	g->path = path;
	set_id(g);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int err = steps[i](g);
		if (err) {
			g->conf = NULL; /* stays the caller's */
			gateway_free(g);
			return status_of(err);
		}
	}
	log_notice("gateway: %s is up", g->id);
	notify_watchdog_start();
	notify_ready();
	timer_arm(&g->status, 0);
	*out = g;
	return 0;
}

static void wait_for_events(struct gateway *g, bool more)
{
	int64_t next = g->catch_up_ms ? MAX(g->catch_up_ms - clock_ms(), 0) : timers_next_ms();

	g->due_ms = next >= 0 ? clock_ms() + next : INT64_MAX;
	if (more || next == 0) {
		event_base_loop(g->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		return;
	}
	if (next > 0) {
		struct timeval tv = { next / 1000, (next % 1000) * 1000 };
		evtimer_add(g->wake, &tv);
	} else {
		evtimer_del(g->wake);
	}
	event_base_loop(g->base, EVLOOP_ONCE);
}

/* A timer that is late by so much was late because we were stopped, or the machine slept. What has
 * come meanwhile is read before timers judge who was silent; not for long, or a gateway that is
 * always late would never come to them. */
static void run_timers(struct gateway *g)
{
	if (!g->catch_up_ms && clock_ms() - g->due_ms > LATE_MS)
		g->catch_up_ms = clock_ms() + CATCH_UP_MS;
	if (clock_ms() < g->catch_up_ms)
		return;
	g->catch_up_ms = 0;
	timers_run();
}

/* All that happened is done before anything leaves: an acknowledgement never overtakes what it
 * promises. Returns whether there is more to do at once. */
static bool turn(struct gateway *g)
{
	clock_tick();
	run_timers(g);
	receipts_run();
	sys_turn(g->sys);
	bool more = router_turn(g->router);
	if (g->upstream)
		upstream_turn(g->upstream);
	session_store_turn(g->session_store);
	if (g->journal)
		journal_turn(g->journal);
	for (size_t i = 0; i < N_ADAPTERS; i++)
		if (g->adapters[i])
			adapters[i]->flush(g->adapters[i]);
	reap();
	return more || receipts_pending() || session_store_due(g->session_store);
}

static bool drained(struct gateway *g)
{
	bool idle = true;

	for (size_t i = 0; i < N_ADAPTERS; i++)
		if (g->adapters[i] && !adapters[i]->drain(g->adapters[i]))
			idle = false;
	if (g->upstream && !upstream_drain(g->upstream))
		idle = false;
	if (g->journal) {
		keeper_secure(g->keeper, CLAIM_KINDS);
		journal_hurry(g->journal);
	}
	return idle && keeper_quiet(g->keeper);
}

int gateway_run(struct gateway *g)
{
	bool more = true;

	while (!g->stopped) {
		wait_for_events(g, more);
		more = turn(g);
		if (g->stopping && drained(g))
			g->stopped = true;
	}
	return EXIT_SUCCESS;
}

static void stop_adapters(struct gateway *g)
{
	for (size_t i = 0; i < N_ADAPTERS; i++) {
		if (!g->adapters[i])
			continue;
		adapters[i]->flush(g->adapters[i]);
		adapters[i]->stop(g->adapters[i]);
	}
}

void gateway_free(struct gateway *g)
{
	notify_watchdog_stop();
	timer_disarm(&g->drain_limit);
	timer_disarm(&g->status);
	if (g->sys)
		sys_free(g->sys);
	if (g->session_store)
		session_store_close(g->session_store);
	if (g->sessions)
		sessions_free(g->sessions);
	session_store_free(g->session_store);
	stop_adapters(g);
	if (g->upstream)
		upstream_stop(g->upstream);
	if (g->backlog)
		backlog_free(g->backlog);
	exchanges_free(g->exchanges);
	interest_memory_free(g->interest_memory);
	reap();
	if (g->router)
		router_free(g->router);
	rewrite_clear(&g->rewrite);
	keeper_free(g->keeper);
	if (g->journal)
		journal_close(g->journal, JOURNAL_END_MS);
	for (size_t i = 0; i < N_SIGNALS; i++)
		if (g->signals[i])
			event_free(g->signals[i]);
	if (g->wake)
		event_free(g->wake);
	if (g->base)
		event_base_free(g->base);
	if (g->conf)
		conf_free(g->conf);
	free(g);
}
