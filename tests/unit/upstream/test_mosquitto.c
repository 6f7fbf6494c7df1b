#include "tests/unit/upstream/hub.h"

#include "gateway/upstream/uplink.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The whole bridge through Paho against a real broker: two gateways, one publishes, the other one
 * listens. Skipped where there is no mosquitto. */

struct broker {
	char dir[64];
	int port;
	pid_t pid;
	bool tls;
};

static const char *const programs[] = { "/usr/sbin/mosquitto", "/usr/bin/mosquitto" };

static const char *program(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
		if (access(programs[i], X_OK) == 0)
			return programs[i];
	return NULL;
}

static int free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	close(fd);
	return ntohs(a.sin_port);
}

static void broker_start(struct broker *b)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/mosquitto.conf", b->dir);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f,
		"listener %d 127.0.0.1\nallow_anonymous true\npersistence true\n"
		"persistence_location %s/\nuser root\nlog_dest none\nmax_queued_messages 0\n",
		b->port, b->dir);
	if (b->tls)
		fprintf(f, "certfile %s/server.pem\nkeyfile %s/server.key\n", b->dir, b->dir);
	fclose(f);
	b->pid = fork();
	assert_true(b->pid >= 0);
	if (b->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* not to outlive a test that failed */
		if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
			_exit(127);
		execl(program(), "mosquitto", "-c", path, (char *)NULL);
		_exit(127);
	}
}

static void broker_stop(struct broker *b, int sig)
{
	kill(b->pid, sig);
	waitpid(b->pid, NULL, 0);
	b->pid = 0;
}

struct pair {
	struct broker broker;
	struct hub a, b;
	struct client sender, listener;
};

static void turn_both(struct pair *t, int ms)
{
	hub_turn(&t->a, ms / 2);
	hub_turn(&t->b, ms / 2);
}

#define WAIT_FOR(t, condition, seconds)                                                            \
	do {                                                                                       \
		for (int64_t end = clock_ms() + (seconds)*1000; !(condition) && clock_ms() < end;) \
			turn_both((t), 10);                                                        \
		assert_true(condition);                                                            \
	} while (0)

static bool is_up(struct hub *h)
{
	struct upstream_status s;

	upstream_status(h->up, &s);
	return s.state == UPSTREAM_UP;
}

static bool is_idle(struct hub *h)
{
	struct upstream_status s;

	upstream_status(h->up, &s);
	return s.state == UPSTREAM_UP && s.queued == 0 && s.in_flight == 0;
}

static bool has_interest(struct hub *h, unsigned n)
{
	struct upstream_status s;

	upstream_status(h->up, &s);
	return s.interests == n;
}

static void hub_start(struct hub *h, const struct broker *b, const char *id, const char *more)
{
	char text[512];

	snprintf(text, sizeof(text),
		"[upstream]\nuri = %s:%d\nclient_id = %s\nkeepalive = 5s\n%s\n",
		b->tls ? "mqtts://localhost" : "mqtt://127.0.0.1", b->port, id, more);
	hub_open(h, text, uplink_paho_new);
}

static struct pair *pair_new(void)
{
	struct pair *t = calloc(1, sizeof(*t));

	snprintf(t->broker.dir, sizeof(t->broker.dir), "/tmp/tg-mo-XXXXXX");
	assert_non_null(mkdtemp(t->broker.dir));
	t->broker.port = free_port();
	return t;
}

static void pair_start(struct pair *t, const char *more)
{
	broker_start(&t->broker);
	hub_start(&t->a, &t->broker, "gw-a", more);
	hub_start(&t->b, &t->broker, "gw-b", more);
	client_init(&t->sender, "sender");
	client_init(&t->listener, "listener");
}

static struct pair *start(const char *more)
{
	struct pair *t = pair_new();

	pair_start(t, more);
	return t;
}

static void stop(struct pair *t)
{
	char command[128];

	client_leave(&t->sender);
	client_leave(&t->listener);
	hub_close(&t->a);
	hub_close(&t->b);
	hub_remove(&t->a);
	hub_remove(&t->b);
	if (t->broker.pid)
		broker_stop(&t->broker, SIGKILL);
	snprintf(command, sizeof(command), "rm -rf '%s'", t->broker.dir);
	assert_int_equal(system(command), 0);
	free(t);
}

static void skip_without_mosquitto(void)
{
	if (!program())
		skip();
}

static void carries(const char *more)
{
	struct publish p[3];
	char payload[16];

	skip_without_mosquitto();
	struct pair *t = start(more);
	client_subscribe(&t->b, &t->listener, "plant/#");
	WAIT_FOR(t, is_up(&t->a) && is_up(&t->b) && has_interest(&t->b, 1), 10);
	for (int i = 0; i < 3; i++) {
		snprintf(payload, sizeof(payload), "qos %d", i);
		publish(&t->a, &t->sender, &p[i], "plant/t", payload, (uint8_t)i, false);
	}
	WAIT_FOR(t, t->listener.n == 3 && is_idle(&t->a), 10);
	for (int i = 0; i < 3; i++) {
		snprintf(payload, sizeof(payload), "qos %d", i);
		assert_string_equal(t->listener.got[i], payload);
		assert_true(p[i].done);
		assert_int_equal(p[i].reason, R_SUCCESS);
	}
	stop(t);
}

static void test_carries_with_5(void **state)
{
	(void)state;
	carries("version = 5");
}

static void test_carries_with_311(void **state)
{
	(void)state;
	carries("version = 3.1.1");
}

/* A gateway that listens itself to what it sends gets it once. */
static void once(const char *more)
{
	skip_without_mosquitto();
	struct pair *t = start(more);
	client_subscribe(&t->a, &t->listener, "#");
	client_subscribe(&t->b, &t->sender, "#");
	WAIT_FOR(t, has_interest(&t->a, 1) && has_interest(&t->b, 1), 10);
	for (int i = 0; i < 20; i++)
		publish(&t->a, &t->sender, NULL, "room/light", i % 2 ? "on" : "off", 1, false);
	WAIT_FOR(t, is_idle(&t->a) && t->sender.n == 20 && t->listener.n >= 20, 10);
	for (int i = 0; i < 100; i++)
		turn_both(t, 10);
	assert_int_equal(t->listener.n, 20);
	assert_int_equal(t->sender.n, 20);
	for (size_t i = 0; i < 20; i++)
		assert_string_equal(t->listener.got[i], i % 2 ? "on" : "off");
	stop(t);
}

static void test_once_with_5(void **state)
{
	(void)state;
	once("version = 5");
}

static void test_once_with_311(void **state)
{
	(void)state;
	once("version = 3.1.1");
}

static void test_once_with_311_local(void **state)
{
	(void)state;
	once("version = 3.1.1\necho = local");
}

/* The broker goes and comes back with its sessions: everything arrives, in order, once. */
static void test_outage(void **state)
{
	enum { N = 600 };
	static struct publish p[N];
	char payload[16];

	(void)state;
	skip_without_mosquitto();
	struct pair *t = start("");
	client_subscribe(&t->b, &t->listener, "plant/#");
	WAIT_FOR(t, is_up(&t->a) && has_interest(&t->b, 1), 10);
	for (int i = 0; i < N; i++) {
		if (i == 100)
			broker_stop(&t->broker, SIGTERM);
		snprintf(payload, sizeof(payload), "%d", i);
		publish(&t->a, &t->sender, &p[i], "plant/t", payload, i % 2 ? 2 : 1, false);
		turn_both(t, 2);
	}
	for (int i = 0; i < N; i++)
		WAIT_FOR(t, p[i].done, 5);
	assert_false(is_up(&t->a));
	broker_start(&t->broker);
	WAIT_FOR(t, is_idle(&t->a) && t->listener.n >= N, 15);
	int next = 0;
	for (size_t i = 0; i < t->listener.n; i++) {
		int got = atoi(t->listener.got[i]);
		assert_true(got <= next); /* nothing missing; QoS 1 may come twice */
		if (got == next)
			next++;
	}
	assert_int_equal(next, N);
	stop(t);
}

/* The broker stands still without closing: publishers are answered from the journal. */
static void test_half_open(void **state)
{
	struct publish p;

	(void)state;
	skip_without_mosquitto();
	struct pair *t = start("ack_hold = 300ms");
	client_subscribe(&t->b, &t->listener, "plant/#");
	WAIT_FOR(t, is_up(&t->a) && has_interest(&t->b, 1), 10);
	kill(t->broker.pid, SIGSTOP);
	publish(&t->a, &t->sender, &p, "plant/t", "stalled", 2, false);
	WAIT_FOR(t, p.done, 2);
	publish(&t->a, &t->sender, &p, "plant/t", "stalled too", 1, false);
	assert_false(p.done);
	WAIT_FOR(t, p.done, 2);
	assert_int_equal(p.reason, R_SUCCESS);
	kill(t->broker.pid, SIGCONT);
	WAIT_FOR(t, t->listener.n == 2 && is_idle(&t->a), 10);
	assert_string_equal(t->listener.got[0], "stalled");
	assert_string_equal(t->listener.got[1], "stalled too");
	stop(t);
}

/* What the gateway had accepted before it was killed arrives after its restart. */
static void test_restart(void **state)
{
	struct publish p[50];
	char payload[16];

	(void)state;
	skip_without_mosquitto();
	struct pair *t = start("");
	client_subscribe(&t->b, &t->listener, "plant/#");
	WAIT_FOR(t, is_up(&t->a) && has_interest(&t->b, 1), 10);
	broker_stop(&t->broker, SIGTERM);
	for (int i = 0; i < 50; i++) {
		snprintf(payload, sizeof(payload), "%d", i);
		publish(&t->a, &t->sender, &p[i], "plant/t", payload, 1, false);
	}
	for (int i = 0; i < 50; i++)
		WAIT_FOR(t, p[i].done, 5);
	hub_close(&t->a);
	hub_start(&t->a, &t->broker, "gw-a", "");
	broker_start(&t->broker);
	WAIT_FOR(t, is_idle(&t->a) && t->listener.n >= 50, 15);
	for (int i = 0; i < 50; i++)
		assert_int_equal(atoi(t->listener.got[i]), i);
	assert_int_equal(t->listener.n, 50);
	stop(t);
}

/* Paho 1.3.12 stalls for a second whenever it has to queue: ours must never be that long. */
static void test_small_window_is_quick(void **state)
{
	(void)state;
	skip_without_mosquitto();
	struct pair *t = start("inflight = 10");
	WAIT_FOR(t, is_up(&t->a), 10);
	int64_t begin = clock_ms();
	for (int i = 0; i < 300; i++)
		publish(&t->a, &t->sender, NULL, "plant/t", "x", 1, false);
	while (!is_idle(&t->a) && clock_ms() < begin + 10000)
		hub_turn(&t->a, 5);
	assert_in_range(clock_ms() - begin, 0, 2000);
	stop(t);
}

/* The broker dies with its sessions while messages are in flight: they go up again. */
static void test_lost_session(void **state)
{
	static struct publish p[200];
	struct upstream_status s;

	(void)state;
	skip_without_mosquitto();
	struct pair *t = start("");
	WAIT_FOR(t, is_up(&t->a), 10);
	kill(t->broker.pid, SIGSTOP);
	for (int i = 0; i < 200; i++)
		publish(&t->a, &t->sender, &p[i], "plant/t", "x", 1, false);
	for (int i = 0; i < 20; i++)
		turn_both(t, 10);
	broker_stop(&t->broker, SIGKILL);
	for (int i = 0; i < 200; i++)
		WAIT_FOR(t, p[i].done, 5);
	broker_start(&t->broker);
	WAIT_FOR(t, is_idle(&t->a), 15);
	upstream_status(t->a.up, &s);
	assert_int_equal(s.sent, 200);
	assert_int_equal(s.journaled, 0);
	stop(t);
}

static bool make_certificate(const struct broker *b, const char *name)
{
	char command[512];

	snprintf(command, sizeof(command),
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
		"-subj /CN=%s -addext subjectAltName=DNS:%s -keyout %s/server.key "
		"-out %s/server.pem >/dev/null 2>&1",
		name, name, b->dir, b->dir);
	return system(command) == 0;
}

static struct pair *start_tls(const char *name, const char *more)
{
	struct pair *t = pair_new();
	char rows[256];

	t->broker.tls = true;
	if (!make_certificate(&t->broker, name)) {
		rmdir(t->broker.dir);
		free(t);
		skip();
	}
	snprintf(rows, sizeof(rows), "ca_file = %s/server.pem\n%s", t->broker.dir, more);
	pair_start(t, rows);
	return t;
}

static void test_tls(void **state)
{
	struct publish p;

	(void)state;
	skip_without_mosquitto();
	struct pair *t = start_tls("localhost", "");
	client_subscribe(&t->b, &t->listener, "plant/#");
	WAIT_FOR(t, is_up(&t->a) && has_interest(&t->b, 1), 10);
	publish(&t->a, &t->sender, &p, "plant/t", "secret", 1, false);
	WAIT_FOR(t, t->listener.n == 1 && p.done, 5);
	stop(t);
}

static bool has_failed(struct hub *h)
{
	struct upstream_status s;

	upstream_status(h->up, &s);
	return s.connects == 0 && strstr(s.last_error, "TLS") != NULL;
}

/* A certificate for somebody else is not good enough, unless we are told so. */
static void test_tls_wrong_name(void **state)
{
	(void)state;
	skip_without_mosquitto();
	struct pair *t = start_tls("elsewhere.example", "");
	WAIT_FOR(t, has_failed(&t->a), 10);
	assert_false(is_up(&t->a));
	stop(t);
	t = start_tls("elsewhere.example", "verify = no");
	WAIT_FOR(t, is_up(&t->a), 10);
	stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_carries_with_5),
		cmocka_unit_test(test_carries_with_311),
		cmocka_unit_test(test_once_with_5),
		cmocka_unit_test(test_once_with_311),
		cmocka_unit_test(test_once_with_311_local),
		cmocka_unit_test(test_outage),
		cmocka_unit_test(test_half_open),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_small_window_is_quick),
		cmocka_unit_test(test_lost_session),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_tls_wrong_name),
	};

	signal(SIGPIPE, SIG_IGN);
	log_init(getenv("VERBOSE") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
