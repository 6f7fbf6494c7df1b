#include "gateway/upstream/reconnect.h"

#include "gateway/base/clock.h"
#include "gateway/base/reap.h"
#include "gateway/base/timer.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* Real sockets on loopback, a clock that only the test moves. */
static struct event_base *base;
static struct reconnect *r;
static struct server *attempted;
static char address[64], why[128];
static unsigned attempts, misses, preferred;

static void on_attempt(void *arg, struct server *s, const char *a)
{
	(void)arg;
	attempted = s;
	snprintf(address, sizeof(address), "%s", a);
	attempts++;
}

static void on_unreachable(void *arg, const struct server *s, const char *text)
{
	(void)arg;
	(void)s;
	snprintf(why, sizeof(why), "%s", text);
	misses++;
}

static void on_preferred(void *arg)
{
	(void)arg;
	preferred++;
}

static const struct reconnect_ops ops = { on_attempt, on_unreachable, on_preferred };

static int listener(uint16_t *port, bool listening)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	if (listening)
		assert_int_equal(listen(fd, 16), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static void set_servers(unsigned n, const char *host, const uint16_t *ports)
{
	char text[4][64];
	const char *items[4];

	for (unsigned i = 0; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "MQTT://%s:%u", host, ports[i]);
		items[i] = text[i];
	}
	struct conf_list list = { n, items };
	assert_int_equal(reconnect_set(r, &list, 5000), 0);
}

/* Until something has been reported; real time passes only in the socket calls. */
static void run(void)
{
	unsigned before = attempts + misses;

	for (int i = 0; i < 2000 && attempts + misses == before; i++) {
		struct timeval wait = { 0, 1000 };
		timers_run();
		event_base_loopexit(base, &wait);
		event_base_loop(base, EVLOOP_ONCE);
		reap();
	}
	assert_true(attempts + misses > before);
}

static int setup(void **state)
{
	(void)state;
	clock_freeze(1000000, 1700000000000);
	base = event_base_new();
	r = reconnect_new(base, &ops, NULL);
	attempts = misses = preferred = 0;
	attempted = NULL;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	reconnect_free(r);
	reap();
	event_base_free(base);
	return 0;
}

static void test_somebody_answers(void **state)
{
	uint16_t port;
	int fd = listener(&port, true);

	(void)state;
	set_servers(1, "127.0.0.1", &port);
	reconnect_start(r);
	run();
	assert_int_equal(attempts, 1);
	assert_string_equal(address, "127.0.0.1");
	assert_int_equal(attempted->uri.port, port);
	assert_string_equal(attempted->uri.scheme, "mqtt");
	close(fd);
}

static void test_name_from_hosts(void **state)
{
	uint16_t port;
	int fd = listener(&port, true);

	(void)state;
	set_servers(1, "localhost", &port);
	reconnect_start(r);
	run();
	assert_int_equal(attempts, 1);
	assert_string_equal(address, "127.0.0.1");
	close(fd);
}

/* Next door: a try a second, for as long as it takes. */
static void test_refused_nearby(void **state)
{
	uint16_t port;
	int fd = listener(&port, false);

	(void)state;
	set_servers(1, "127.0.0.1", &port);
	reconnect_start(r);
	for (int i = 0; i < 8; i++) {
		run();
		int64_t wait = reconnect_wait_ms(r);
		assert_in_range(wait, RECONNECT_FIRST_MS * 3 / 4, RECONNECT_FIRST_MS * 5 / 4);
		clock_advance(wait + 100);
	}
	assert_int_equal(attempts, 0);
	assert_int_equal(misses, 8);
	assert_int_equal(listen(fd, 4), 0);
	run();
	assert_int_equal(attempts, 1);
	close(fd);
}

/* Somebody is there and says no: longer and longer pauses, within limits. */
static void test_pause_doubles(void **state)
{
	uint16_t port;
	int fd = listener(&port, true);
	int64_t expected = RECONNECT_FIRST_MS;

	(void)state;
	set_servers(1, "127.0.0.1", &port);
	reconnect_start(r);
	for (int i = 0; i < 9; i++) {
		run();
		reconnect_refused(r);
		int64_t wait = reconnect_wait_ms(r);
		assert_in_range(wait, expected * 3 / 4, expected * 5 / 4);
		expected = MIN(expected * 2, RECONNECT_MAX_MS);
		clock_advance(wait + wait / 16 + 10);
	}
	assert_int_equal(expected, RECONNECT_MAX_MS);
	run(); /* a connection that lasts resets the pause */
	reconnect_up(r, false);
	clock_advance(RECONNECT_STABLE_MS);
	reconnect_lost(r, false);
	assert_in_range(reconnect_wait_ms(r), 0, RECONNECT_FIRST_MS * 5 / 4);
	close(fd);
}

static void test_near_server_that_is_lost_often(void **state)
{
	uint16_t port;
	int fd = listener(&port, true);

	(void)state;
	set_servers(1, "127.0.0.1", &port);
	reconnect_start(r);
	for (int i = 0; i < 6; i++) {
		run();
		reconnect_up(r, false);
		clock_advance(100);
		reconnect_lost(r, false);
		assert_in_range(reconnect_wait_ms(r), 0, RECONNECT_FIRST_MS * 5 / 4);
		clock_advance(1500);
	}
	run(); /* but who is sent away keeps away */
	reconnect_up(r, false);
	reconnect_lost(r, true);
	assert_true(reconnect_wait_ms(r) > 10 * RECONNECT_FIRST_MS);
	close(fd);
}

static void test_next_in_the_list(void **state)
{
	uint16_t ports[2];
	int dead = listener(&ports[0], false), live = listener(&ports[1], true);

	(void)state;
	set_servers(2, "127.0.0.1", ports);
	reconnect_start(r);
	run();
	assert_int_equal(misses, 1);
	assert_non_null(strstr(why, "refused"));
	assert_int_equal(reconnect_wait_ms(r), 0); /* no pause within the list */
	run();
	assert_int_equal(attempts, 1);
	assert_int_equal(attempted->uri.port, ports[1]);
	close(dead);
	close(live);
}

static void test_fail_back(void **state)
{
	uint16_t ports[2];
	int first = listener(&ports[0], false), second = listener(&ports[1], true);

	(void)state;
	set_servers(2, "127.0.0.1", ports);
	reconnect_start(r);
	run();
	run();
	reconnect_up(r, true);
	assert_int_equal(listen(first, 4), 0);
	clock_advance(RECONNECT_FAIL_BACK_MS + 2000);
	for (int i = 0; i < 200 && !preferred; i++) {
		struct timeval wait = { 0, 1000 };
		timers_run();
		event_base_loopexit(base, &wait);
		event_base_loop(base, EVLOOP_ONCE);
	}
	assert_int_equal(preferred, 1);
	assert_int_equal(attempts, 1);
	reconnect_lost(r, false);
	clock_advance(5000);
	run();
	assert_int_equal(attempted->uri.port, ports[0]);
	close(first);
	close(second);
}

/* A full accept queue, or a host that is gone: the deadline ends it, the client library is not
 * bothered. */
static void test_no_answer(void **state)
{
	const char *items[] = { "mqtt://192.0.2.1:1883" }; /* RFC 5737: nobody */
	struct conf_list list = { 1, items };

	(void)state;
	reconnect_set(r, &list, 5000);
	reconnect_start(r);
	for (int i = 0; i < 20 && misses == 0; i++) {
		struct timeval wait = { 0, 1000 };
		timers_run();
		event_base_loopexit(base, &wait);
		event_base_loop(base, EVLOOP_ONCE);
	}
	clock_advance(6000);
	timers_run();
	assert_int_equal(misses, 1);
	assert_int_equal(attempts, 0);
}

static void test_stop(void **state)
{
	uint16_t port;
	int fd = listener(&port, true);

	(void)state;
	set_servers(1, "127.0.0.1", &port);
	reconnect_start(r);
	timers_run();
	reconnect_stop(r);
	clock_advance(100000);
	timers_run();
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(attempts + misses, 0);
	assert_int_equal(reconnect_wait_ms(r), -1);
	close(fd);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_somebody_answers),
		CASE(test_name_from_hosts),
		CASE(test_refused_nearby),
		CASE(test_pause_doubles),
		CASE(test_near_server_that_is_lost_often),
		CASE(test_next_in_the_list),
		CASE(test_fail_back),
		CASE(test_no_answer),
		CASE(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
