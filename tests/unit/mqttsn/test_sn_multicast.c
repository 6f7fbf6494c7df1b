#include "adapters/mqttsn/sn_multicast.h"
#include "gateway/base/clock.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

/* Groups on loopback: a listener, its ear, and a device that asks in the group. */
struct fixture {
	struct event_base *base;
	struct sn_socket *listener;
	struct list ears;
	unsigned interface;
	unsigned n, n_direct;
	struct addr from;
	uint8_t last[512];
	size_t len;
};

static void on_heard(void *arg, struct sn_socket *s, const struct addr *from, struct span datagram)
{
	struct fixture *f = arg;
	assert_ptr_equal(s, f->listener); /* as if it had come there */
	f->n++;
	f->from = *from;
	f->len = datagram.len;
	memcpy(f->last, datagram.p, datagram.len);
}

static void on_direct(void *arg, struct sn_socket *s, const struct addr *from, struct span datagram)
{
	struct fixture *f = arg;
	(void)s;
	(void)from;
	(void)datagram;
	f->n_direct++;
}

static struct addr addr_of(const char *ip, uint16_t port)
{
	struct addr a;
	assert_int_equal(addr_from_text(&a, ip, port), 0);
	return a;
}

/* An IPv6 address whose interface has multicast; loopback has none for IPv6. */
static bool find_ipv6(struct addr *a, unsigned *interface)
{
	struct ifaddrs *all;
	bool found = false;
	assert_int_equal(getifaddrs(&all), 0);
	for (const struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
		found = i->ifa_addr && i->ifa_addr->sa_family == AF_INET6 &&
			(i->ifa_flags & IFF_UP) && (i->ifa_flags & IFF_MULTICAST) &&
			addr_from_sockaddr(a, i->ifa_addr, sizeof(struct sockaddr_in6)) == 0;
		*interface = if_nametoindex(i->ifa_name);
	}
	freeifaddrs(all);
	return found;
}

static int listen_at(struct fixture *f, struct addr at, const char *group)
{
	struct sn_socket_user direct = { .receive = on_direct, .arg = f };
	struct sn_socket_user heard = { .receive = on_heard, .arg = f };
	struct addr in = addr_of(group, 0);
	assert_int_equal(sn_udp_open(f->base, &at, false, &direct, &f->listener), 0);
	sn_udp_share(f->listener);
	sn_udp_multicast(f->listener, f->interface, 1);
	assert_true(sn_ear_fits(f->listener, &in));
	return sn_ear_open(f->base, f->listener, &in, f->interface, &heard, &f->ears);
}

/* From a device's socket, by loopback. Returns the socket. */
static int ask(struct fixture *f, const char *group, const void *data, size_t len)
{
	struct sockaddr_storage ss;
	struct addr to = addr_of(group, f->listener->at.port);
	int interface = (int)f->interface;
	struct ip_mreqn by = { .imr_ifindex = interface };
	socklen_t ss_len = addr_to_sockaddr(&to, false, &ss);
	int fd = socket(ss.ss_family, SOCK_DGRAM, 0);
	assert_true(fd >= 0);
	if (to.family == 6)
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface,
					 sizeof(interface)),
			0);
	else
		assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof(by)), 0);
	assert_int_equal(sendto(fd, data, len, 0, (struct sockaddr *)&ss, ss_len), len);
	return fd;
}

static void run(struct fixture *f)
{
	for (int i = 0; i < 100 && !f->n; i++) {
		event_base_loop(f->base, EVLOOP_NONBLOCK);
		usleep(1000);
	}
	event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){ .base = event_base_new(), .interface = if_nametoindex("lo") };
	list_init(&f.ears);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	sn_ears_close(&f->ears);
	assert_true(list_empty(&f->ears));
	if (f->listener)
		f->listener->ops->close(f->listener);
	event_base_free(f->base);
	return 0;
}

static void hears(struct fixture *f, struct addr at, const char *group)
{
	static const uint8_t searchgw[] = { 3, 1, 0 };
	assert_int_equal(listen_at(f, at, group), 0);
	int fd = ask(f, group, searchgw, sizeof(searchgw));
	run(f);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->n_direct, 0); /* the listener does not hear it a second time */
	assert_int_equal(f->len, 3);
	assert_memory_equal(f->last, searchgw, 3);
	/* The answer comes from the listener. */
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct addr who;
	uint8_t buf[8];
	assert_int_equal(f->listener->ops->send(f->listener, &f->from, span_of("\3\2\7", 3)), 0);
	f->listener->ops->flush(f->listener);
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&ss, &len), 3);
	assert_int_equal(addr_from_sockaddr(&who, (struct sockaddr *)&ss, len), 0);
	assert_int_equal(who.port, f->listener->at.port);
	close(fd);
}

static void test_ipv4(void **state)
{
	hears(*state, addr_of("127.0.0.1", 0), "239.255.18.84");
}

static void test_ipv4_all_addresses(void **state)
{
	hears(*state, addr_of("0.0.0.0", 0), "239.255.18.84");
}

static void test_ipv6(void **state)
{
	struct fixture *f = *state;
	struct addr at;
	if (!find_ipv6(&at, &f->interface))
		skip();
	hears(f, at, "ff15::1884");
}

static void test_ipv6_all_addresses(void **state)
{
	struct fixture *f = *state;
	struct addr at;
	if (!find_ipv6(&at, &f->interface))
		skip();
	hears(f, addr_of("::", 0), "ff15::1884");
}

/* Nothing of ours is that long: dropped, and the next is heard. */
static void test_too_long(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[600] = { 0 };
	assert_int_equal(listen_at(f, addr_of("127.0.0.1", 0), "239.255.18.84"), 0);
	close(ask(f, "239.255.18.84", bytes, sizeof(bytes)));
	close(ask(f, "239.255.18.84", bytes, 512));
	run(f);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->len, 512);
}

static void test_no_such_interface(void **state)
{
	struct fixture *f = *state;
	struct sn_socket_user heard = { .receive = on_heard, .arg = f };
	struct addr at = addr_of("127.0.0.1", 0), in = addr_of("239.255.18.84", 0);
	assert_int_equal(sn_udp_open(f->base, &at, false, &heard, &f->listener), 0);
	assert_true(sn_ear_open(f->base, f->listener, &in, 9999, &heard, &f->ears) < 0);
	assert_true(list_empty(&f->ears));
}

static void test_fits(void **state)
{
	struct addr four = addr_of("239.1.2.3", 0), six = addr_of("ff05::1", 0);
	struct sn_socket s = { .at = addr_of("::", 1884) };
	(void)state;
	assert_false(sn_ear_fits(&s, &four));
	assert_true(sn_ear_fits(&s, &six));
	s.dual_stack = true;
	assert_true(sn_ear_fits(&s, &four));
}

static void test_interface_of(void **state)
{
	struct addr four = addr_of("127.0.0.1", 1), any = addr_of("0.0.0.0", 1);
	struct addr none = addr_of("192.0.2.1", 1);
	(void)state;
	assert_int_equal(sn_interface_of(&four), if_nametoindex("lo"));
	assert_int_equal(sn_interface_of(&any), 0);
	assert_int_equal(sn_interface_of(&none), 0);
}

int main(void)
{
#define RIG(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		RIG(test_ipv4),
		RIG(test_ipv4_all_addresses),
		RIG(test_ipv6),
		RIG(test_ipv6_all_addresses),
		RIG(test_too_long),
		RIG(test_no_such_interface),
		RIG(test_fits),
		RIG(test_interface_of),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
