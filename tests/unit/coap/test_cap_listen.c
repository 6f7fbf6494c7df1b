#include "adapters/coap/cap_client.h"

#include "tests/unit/coap/rig.h"

#include <errno.h>
#include <fcntl.h>

static struct rig rig;

static int teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	rig_start(&rig, "");
	return 0;
}

static struct cap_listener *listener_of(const struct rig *r)
{
	struct cap *cap = r->self;

	return list_first(&cap->listeners, struct cap_listener, node);
}

static void addresses(void **state)
{
	struct addr a;

	(void)state;
	assert_int_equal(cap_listen_addr("coap://127.0.0.1", &a), 0);
	assert_int_equal(a.port, 5683);
	assert_int_equal(cap_listen_addr("coap://[::1]:1234", &a), 0);
	assert_int_equal(a.family, 6);
	assert_int_equal(a.port, 1234);
	assert_int_equal(cap_listen_addr("coap://host.example", &a), -EINVAL);
	assert_int_equal(cap_listen_addr("coaps://127.0.0.1", &a), -EINVAL);
	assert_int_equal(cap_listen_addr("coap://127.0.0.1/ps", &a), -EINVAL);
	assert_int_equal(cap_listen_addr("127.0.0.1:5683", &a), -EINVAL);
	assert_int_equal(cap_listen_addr("", &a), -EINVAL);
}

/* Whoever could bind our port too would get the datagrams. */
static void port_cannot_be_shared(void **state)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_port = htons(rig.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;

	(void)state;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), -1);
	assert_int_equal(errno, EADDRINUSE);
	close(fd);
	assert_true(fcntl(listener_of(&rig)->fd, F_GETFD) & FD_CLOEXEC);
}

/* Kernels without SO_PEEK_OFF for UDP: one datagram at a time. */
static void works_without_peeking_ahead(void **state)
{
	static struct listener publisher;
	struct packet p;
	struct answer a;

	(void)state;
	listener_of(&rig)->batch = 1;
	listener_start(&publisher, &rig, "unused", false);
	packet_init(&p, CON, GET, 1, "o");
	packet_uint(&p, OPT_OBSERVE, 0);
	packet_path(&p, "/ps/x");
	rig_ask(&rig, &p, &a);
	for (unsigned i = 0; i < 3; i++)
		listener_publish(&publisher, &rig, "x", "v", 1, false);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(rig_receive(&rig, &a));
		assert_int_equal(a.code, CODE(205));
		rig_empty(&rig, ACK, a.mid);
	}
	router_leave(rig.router, &publisher.sub);
}

/* More than one turn takes: all are answered, none is counted twice. */
static void bursts_are_taken_in_turns(void **state)
{
	static struct listener listener;
	struct packet p;
	struct answer a;

	(void)state;
	listener_start(&listener, &rig, "#", false);
	for (unsigned i = 0; i < 200; i++) {
		packet_init(&p, CON, POST, (uint16_t)i, "");
		packet_path(&p, "/ps/x");
		packet_payload(&p, "x", 1);
		assert_int_equal(send(rig.fd, p.bytes, p.len, 0), (ssize_t)p.len);
	}
	for (unsigned i = 0; i < 200; i++) {
		assert_true(rig_receive(&rig, &a));
		assert_int_equal(a.mid, i);
	}
	assert_int_equal(listener.n, 200);
	router_leave(rig.router, &listener.sub);
}

static void listeners_side_by_side(void **state)
{
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sin6);
	struct cap *cap = rig.self;
	struct packet p;
	struct answer a;
	char uri[64];

	(void)state;
	if (fd == -1 || bind(fd, (struct sockaddr *)&sin6, sizeof(sin6)) == -1)
		skip();
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin6, &len), 0);
	close(fd);
	snprintf(uri, sizeof(uri), "coap://[::1]:%u", ntohs(sin6.sin6_port));
	assert_int_equal(cap_listen(cap, uri), 0);
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sin6, sizeof(sin6)), 0);
	assert_int_equal(rig_publish(&rig, PUT, 1, "/ps/both", NULL, "x"), CODE(201));
	packet_init(&p, CON, GET, 1, "six");
	packet_path(&p, "/ps/both");
	rig_send_from(&rig, fd, p.bytes, p.len);
	assert_true(rig_receive_at(&rig, fd, &a));
	assert_payload(&a, "x");
	assert_int_equal(cap->n_clients, 2);
	close(fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),
		T(port_cannot_be_shared),
		T(works_without_peeking_ahead),
		T(bursts_are_taken_in_turns),
		T(listeners_side_by_side),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
