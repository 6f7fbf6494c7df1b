#include "adapters/adapter.h"
#include "adapters/mqttsn/sn_gateway.h"
#include "gateway/base/clock.h"
#include "gateway/base/reap.h"
#include "gateway/core/receipt.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

/* The adapter as the daemon runs it: a real socket, and a device that is a plain one. */
struct fixture {
	struct env env;
	struct conf *conf;
	void *self;
	uint16_t port;
	int fd;
	uint8_t buf[64];
};

static const struct conf_section *const sections[] = { &mqttsn_conf_section, NULL };

/* A UDP port that was free a moment ago. */
static uint16_t free_port(void)
{
	struct sockaddr_storage ss;
	struct addr a;
	socklen_t len;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(addr_from_text(&a, "127.0.0.1", 0), 0);
	len = addr_to_sockaddr(&a, false, &ss);
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	len = sizeof(ss);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	assert_int_equal(addr_from_sockaddr(&a, (struct sockaddr *)&ss, len), 0);
	close(fd);
	return a.port;
}

static struct conf *configure(uint16_t port, const char *more)
{
	char text[256];
	struct conf_error err;
	struct conf *c;
	snprintf(text, sizeof(text), "[mqttsn]\nlisten = udp://127.0.0.1:%u\n%s", port, more);
	assert_int_equal(conf_parse(sections, "test.conf", text, strlen(text), &c, &err), 0);
	return c;
}

static int setup(void **state)
{
	static const struct sessions_conf conf = { .max_sessions = 10, .window = 1 };
	static const struct router_limits limits = { 0 };
	struct fixture *f = calloc(1, sizeof(*f));
	struct sockaddr_storage ss;
	struct addr gw;
	f->env.base = event_base_new();
	f->env.router = router_new(&policy_allow_all, &limits);
	f->env.sessions = sessions_new(f->env.router, &conf);
	f->port = free_port();
	f->conf = configure(f->port, "");
	clock_tick();
	assert_int_equal(adapter_mqttsn.start(&f->env, f->conf, &f->self), 0);
	f->fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct timeval patience = { 5, 0 };
	assert_int_equal(
		setsockopt(f->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(addr_from_text(&gw, "127.0.0.1", f->port), 0);
	socklen_t len = addr_to_sockaddr(&gw, false, &ss);
	assert_int_equal(connect(f->fd, (struct sockaddr *)&ss, len), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	sessions_free(f->env.sessions);
	if (f->self)
		adapter_mqttsn.stop(f->self);
	reap();
	router_free(f->env.router);
	event_base_free(f->env.base);
	conf_free(f->conf);
	close(f->fd);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	event_base_loop(f->env.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	receipts_run();
	adapter_mqttsn.flush(f->self);
	reap();
}

static void say(struct fixture *f, struct sn_packet p)
{
	int n = sn_encode(&p, f->buf, sizeof(f->buf));
	assert_true(n > 0);
	assert_int_equal(send(f->fd, f->buf, (size_t)n, 0), n);
	turn(f);
}

static struct sn_packet hear(struct fixture *f)
{
	struct sn_packet p;
	ssize_t n = recv(f->fd, f->buf, sizeof(f->buf), 0);
	assert_true(n > 0);
	assert_int_equal(sn_decode(&p, span_of(f->buf, (size_t)n)), 0);
	return p;
}

static void connect_device(struct fixture *f)
{
	say(f, (struct sn_packet){ .type = SN_CONNECT, .protocol_id = 1, .data = span_str("dev") });
	struct sn_packet p = hear(f);
	assert_int_equal(p.type, SN_CONNACK);
	assert_int_equal(p.return_code, SN_ACCEPTED);
}

static void test_serves(void **state)
{
	struct fixture *f = *state;
	connect_device(f);
	say(f, (struct sn_packet){ .type = SN_PUBLISH,
		       .qos = 1,
		       .topic_type = SN_TOPIC_SHORT,
		       .topic_id = 0x6162,
		       .msg_id = 1 });
	assert_int_equal(hear(f).type, SN_PUBACK);
	adapter_mqttsn.dump(f->self);
}

static void test_port_in_use(void **state)
{
	struct fixture *f = *state;
	void *second;
	assert_int_equal(adapter_mqttsn.start(&f->env, f->conf, &second), -EADDRINUSE);
	connect_device(f); /* the first one is unharmed */
}

static void test_reload(void **state)
{
	struct fixture *f = *state;
	struct conf *c = configure(f->port, "gateway_id = 200\n");
	assert_int_equal(adapter_mqttsn.reload(f->self, c), 0);
	conf_free(c); /* nothing of it is borrowed */
	say(f, (struct sn_packet){ .type = SN_SEARCHGW });
	assert_int_equal(hear(f).gw_id, 200);
}

static void assert_own_gateway(struct fixture *f, const char *more, uint16_t port, int64_t retries)
{
	struct conf *c = configure(f->port, more);
	adapter_mqttsn.stop(f->self);
	f->self = NULL;
	assert_int_equal(adapter_mqttsn.start(&f->env, c, &f->self), 0);
	conf_free(c);
	const struct sn_gateway *gw = f->self;
	assert_int_equal(gw->n_sockets, 2);
	assert_int_equal(gw->sockets[1]->at.port, port);
	assert_int_equal(gw->sockets[1]->group->conf->retry_count, retries);
}

/* A further group has its own port and values; a reload changes them. */
static void test_groups(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	char more[128];
	static const char text[] =
		"retry_count = 5\n[mqttsn.x]\nlisten = udp://127.0.0.1:%u\nretry_count = %d\n";
	snprintf(more, sizeof(more), text, port, 2);
	assert_own_gateway(f, more, port, 2);
	connect_device(f);
	adapter_mqttsn.dump(f->self);
	snprintf(more, sizeof(more), text, port, 8);
	struct conf *c = configure(f->port, more);
	assert_int_equal(adapter_mqttsn.reload(f->self, c), 0);
	conf_free(c);
	const struct sn_gateway *gw = f->self;
	assert_int_equal(gw->conf.retry_count, 5);
	assert_int_equal(gw->sockets[1]->group->conf->retry_count, 8);
	/* One that cannot be had ends the start, and the others are closed. */
	adapter_mqttsn.stop(f->self);
	f->self = NULL;
	snprintf(more, sizeof(more), text, f->port, 2);
	c = configure(f->port, more);
	assert_int_equal(adapter_mqttsn.start(&f->env, c, &f->self), -EADDRINUSE);
	conf_free(c);
}

/* Groups that cannot be joined are no reason not to serve. */
static void test_without_multicast(void **state)
{
	struct fixture *f = *state;
	struct conf *c = configure(f->port,
		"multicast = 239.255.18.84, 239.255.18.85\nmulticast_interface = nonesuch0\n");
	adapter_mqttsn.stop(f->self);
	assert_int_equal(adapter_mqttsn.start(&f->env, c, &f->self), 0);
	conf_free(c);
	connect_device(f);
}

static void test_drain_and_stop(void **state)
{
	struct fixture *f = *state;
	connect_device(f);
	assert_true(adapter_mqttsn.drain(f->self));
	say(f, (struct sn_packet){ .type = SN_CONNECT, .protocol_id = 1, .data = span_str("dev") });
	assert_int_equal(hear(f).return_code, SN_CONGESTION);
	/* The hub ends the sessions, and what that says still leaves. */
	struct session *s = sessions_find(f->env.sessions, PROTO_MQTTSN, "dev");
	session_end(s, R_SHUTTING_DOWN, false);
	assert_false(adapter_mqttsn.drain(f->self));
	adapter_mqttsn.stop(f->self);
	f->self = NULL;
	assert_int_equal(hear(f).type, SN_DISCONNECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_serves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_port_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reload, setup, teardown),
		cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_multicast, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain_and_stop, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
