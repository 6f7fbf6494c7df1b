#include "adapters/mqttsn/sn_socket.h"
#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/util.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

/* Loopback never says that its buffers are full, so the test does. */
static bool jammed;

int sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
	unsigned i;
	if (jammed) {
		errno = EAGAIN;
		return -1;
	}
	for (i = 0; i < n; i++) {
		if (sendmsg(fd, &msgs[i].msg_hdr, flags) < 0)
			break;
	}
	return i ? (int)i : -1;
}

/* One of our sockets, and a plain one that talks to it. */
struct pair {
	struct event_base *base;
	struct sn_socket *s;
	struct addr at;   /* of ours */
	struct addr from; /* who sent last */
	unsigned n;
	unsigned n_writable;
	size_t len;
	uint8_t last[65536];
	int fd;
	struct addr peer; /* of fd */
};

static void on_receive(
	void *arg, struct sn_socket *s, const struct addr *from, struct span datagram)
{
	struct pair *p = arg;
	assert_ptr_equal(s, p->s);
	p->from = *from;
	p->len = datagram.len;
	memcpy(p->last, datagram.p, datagram.len);
	p->n++;
}

static void on_writable(void *arg, struct sn_socket *s)
{
	struct pair *p = arg;
	assert_ptr_equal(s, p->s);
	p->n_writable++;
}

static void bind_plain(struct pair *p, const char *ip)
{
	struct sockaddr_storage ss;
	struct addr any;
	assert_int_equal(addr_from_text(&any, ip, 0), 0);
	socklen_t len = addr_to_sockaddr(&any, false, &ss);
	p->fd = socket(ss.ss_family, SOCK_DGRAM, 0);
	assert_true(p->fd >= 0);
	assert_int_equal(bind(p->fd, (struct sockaddr *)&ss, len), 0);
	len = sizeof(ss);
	assert_int_equal(getsockname(p->fd, (struct sockaddr *)&ss, &len), 0);
	assert_int_equal(addr_from_sockaddr(&p->peer, (struct sockaddr *)&ss, len), 0);
	struct timeval patience = { 5, 0 };
	assert_int_equal(
		setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
}

static struct pair *pair_new(const char *listen, bool dual, const char *plain)
{
	struct pair *p = calloc(1, sizeof(*p));
	struct sn_socket_user user = { on_receive, on_writable, p };
	struct addr at;
	p->base = event_base_new();
	assert_int_equal(addr_from_text(&at, listen, 0), 0);
	assert_int_equal(sn_udp_open(p->base, &at, dual, &user, &p->s), 0);
	p->at = p->s->at;
	assert_true(p->at.port > 0);
	bind_plain(p, plain);
	return p;
}

static void pair_free(struct pair *p)
{
	p->s->ops->close(p->s);
	event_base_free(p->base);
	close(p->fd);
	free(p);
}

static void send_plain(struct pair *p, const void *bytes, size_t len)
{
	struct sockaddr_storage ss;
	struct addr to = p->peer;
	to.port = p->at.port;
	socklen_t ss_len = addr_to_sockaddr(&to, false, &ss);
	assert_int_equal(sendto(p->fd, bytes, len, 0, (struct sockaddr *)&ss, ss_len), len);
}

static void turn(struct pair *p)
{
	event_base_loop(p->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	p->s->ops->flush(p->s);
}

static void exchange(struct pair *p)
{
	uint8_t back[16];
	send_plain(p, "hello", 5);
	turn(p);
	assert_int_equal(p->n, 1);
	assert_int_equal(p->len, 5);
	assert_memory_equal(p->last, "hello", 5);
	assert_true(addr_equal(&p->from, &p->peer));
	assert_int_equal(p->s->ops->send(p->s, &p->from, span_str("world!")), 0);
	assert_true(p->s->ops->pending(p->s));
	assert_int_equal(recv(p->fd, back, sizeof(back), MSG_DONTWAIT), -1); /* not yet */
	p->s->ops->flush(p->s);
	assert_false(p->s->ops->pending(p->s));
	assert_int_equal(recv(p->fd, back, sizeof(back), 0), 6);
	assert_memory_equal(back, "world!", 6);
}

static void test_ipv4(void **state)
{
	struct pair *p = pair_new("127.0.0.1", false, "127.0.0.1");
	(void)state;
	exchange(p);
	pair_free(p);
}

static bool has_ipv6(void)
{
	struct sockaddr_storage ss;
	struct addr one;
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	assert_int_equal(addr_from_text(&one, "::1", 0), 0);
	socklen_t len = addr_to_sockaddr(&one, true, &ss);
	bool can = fd >= 0 && bind(fd, (struct sockaddr *)&ss, len) == 0;
	if (fd >= 0)
		close(fd);
	return can;
}

static void test_ipv6(void **state)
{
	(void)state;
	if (!has_ipv6())
		skip();
	struct pair *p = pair_new("::1", false, "::1");
	exchange(p);
	pair_free(p);
}

static void test_dual_stack(void **state)
{
	(void)state;
	if (!has_ipv6())
		skip();
	struct pair *p = pair_new("::", true, "127.0.0.1");
	exchange(p);
	pair_free(p);
}

static void test_batches(void **state)
{
	struct pair *p = pair_new("127.0.0.1", false, "127.0.0.1");
	uint8_t back[8];
	(void)state;
	for (uint8_t i = 0; i < 200; i++)
		send_plain(p, &i, 1);
	turn(p);
	assert_int_equal(p->n, 64); /* a wake is bounded */
	for (int i = 0; i < 3; i++)
		turn(p);
	assert_int_equal(p->n, 200);
	assert_int_equal(p->last[0], 199);
	/* More than a batch in one turn leaves in order. */
	for (uint8_t i = 0; i < 200; i++)
		assert_int_equal(p->s->ops->send(p->s, &p->peer, span_of(&i, 1)), 0);
	p->s->ops->flush(p->s);
	for (uint8_t i = 0; i < 200; i++) {
		assert_int_equal(recv(p->fd, back, sizeof(back), 0), 1);
		assert_int_equal(back[0], i);
	}
	pair_free(p);
}

static void test_largest_and_empty(void **state)
{
	struct pair *p = pair_new("127.0.0.1", false, "127.0.0.1");
	static uint8_t big[65507], back[65536];
	(void)state;
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 13);
	send_plain(p, big, sizeof(big));
	turn(p);
	assert_int_equal(p->len, sizeof(big));
	assert_memory_equal(p->last, big, sizeof(big));
	send_plain(p, "", 0);
	turn(p);
	assert_int_equal(p->n, 2);
	assert_int_equal(p->len, 0);
	for (int i = 0; i < 5; i++) /* more than the output buffer holds */
		assert_int_equal(p->s->ops->send(p->s, &p->peer, span_of(big, sizeof(big))), 0);
	p->s->ops->flush(p->s);
	assert_int_equal(recv(p->fd, back, sizeof(back), 0), sizeof(big));
	assert_memory_equal(back, big, sizeof(big));
	pair_free(p);
}

/* What the kernel refuses for one address must not hold up the others. */
static void test_refused_datagram(void **state)
{
	struct pair *p = pair_new("127.0.0.1", false, "127.0.0.1");
	struct addr nowhere;
	uint8_t back[8];
	uint64_t before = count_value("mqttsn.send_failed");
	(void)state;
	assert_int_equal(addr_from_text(&nowhere, "8.8.8.8", 9), 0); /* not from loopback */
	assert_int_equal(p->s->ops->send(p->s, &nowhere, span_str("1")), 0);
	assert_int_equal(p->s->ops->send(p->s, &p->peer, span_str("2")), 0);
	p->s->ops->flush(p->s);
	assert_int_equal(recv(p->fd, back, sizeof(back), 0), 1);
	assert_int_equal(back[0], '2');
	assert_int_equal(count_value("mqttsn.send_failed"), before + 1);
	pair_free(p);
}

/* EAGAIN: what was taken is kept for later, no more is taken, and we are told when it has left. */
static void test_full(void **state)
{
	struct pair *p = pair_new("127.0.0.1", false, "127.0.0.1");
	uint8_t back[8];
	(void)state;
	jammed = true;
	for (uint8_t i = 0; i < 64; i++)
		assert_int_equal(p->s->ops->send(p->s, &p->peer, span_of(&i, 1)), 0);
	assert_int_equal(p->s->ops->send(p->s, &p->peer, span_str("x")), -EAGAIN);
	turn(p);
	assert_int_equal(p->n_writable, 0);
	assert_true(p->s->ops->pending(p->s));
	jammed = false;
	turn(p);
	assert_int_equal(p->n_writable, 1);
	assert_false(p->s->ops->pending(p->s));
	for (uint8_t i = 0; i < 64; i++) {
		assert_int_equal(recv(p->fd, back, sizeof(back), 0), 1);
		assert_int_equal(back[0], i);
	}
	turn(p);
	assert_int_equal(p->n_writable, 1);
	pair_free(p);
}

static void test_port_in_use(void **state)
{
	struct pair *p = pair_new("127.0.0.1", false, "127.0.0.1");
	struct sn_socket_user user = { on_receive, on_writable, NULL };
	struct sn_socket *s;
	struct addr elsewhere;
	(void)state;
	assert_int_equal(sn_udp_open(p->base, &p->at, false, &user, &s), -EADDRINUSE);
	assert_int_equal(addr_from_text(&elsewhere, "192.0.2.1", 9), 0);
	assert_int_equal(sn_udp_open(p->base, &elsewhere, false, &user, &s), -EADDRNOTAVAIL);
	pair_free(p);
}

/* The kernel's queue runs over: it is counted. */
static void test_kernel_drops(void **state)
{
	struct pair *p = pair_new("127.0.0.1", false, "127.0.0.1");
	static uint8_t big[60000];
	uint64_t before = count_value("mqttsn.kernel_drops");
	(void)state;
	for (int i = 0; i < 500; i++)
		send_plain(p, big, sizeof(big));
	for (int i = 0; i < 20; i++)
		turn(p);
	send_plain(p, "x", 1); /* carries the counter */
	turn(p);
	assert_true(p->n < 501);
	assert_int_equal(count_value("mqttsn.kernel_drops") - before, 501 - p->n);
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_dual_stack),
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_largest_and_empty),
		cmocka_unit_test(test_refused_datagram),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_port_in_use),
		cmocka_unit_test(test_kernel_drops),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
