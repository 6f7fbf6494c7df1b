#include "gateway/base/addr.h"

#include "gateway/base/util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct addr text_addr(const char *host, uint16_t port)
{
	struct addr a;
	assert_int_equal(addr_from_text(&a, host, port), 0);
	return a;
}

static struct addr v6_addr(const char *ip, uint16_t port, uint32_t scope)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
		.sin6_port = htons(port),
		.sin6_flowinfo = 77, /* not part of an identity */
		.sin6_scope_id = scope };
	struct addr a;
	assert_int_equal(inet_pton(AF_INET6, ip, &in6.sin6_addr), 1);
	assert_int_equal(addr_from_sockaddr(&a, (struct sockaddr *)&in6, sizeof(in6)), 0);
	return a;
}

static void mapped_ipv4_is_ipv4(void **state)
{
	struct addr v4 = text_addr("10.0.0.9", 5321);
	struct addr mapped = v6_addr("::ffff:10.0.0.9", 5321, 0);
	(void)state;
	assert_int_equal(mapped.family, 4);
	assert_true(addr_equal(&v4, &mapped));
	assert_true(addr_hash(&v4) == addr_hash(&mapped));
}

static void scope_counts_for_link_local_only(void **state)
{
	struct addr local1 = v6_addr("fe80::1", 1884, 1), local2 = v6_addr("fe80::1", 1884, 2);
	struct addr global1 = v6_addr("2001:db8::1", 1884, 1),
		    global2 = v6_addr("2001:db8::1", 1884, 2);
	(void)state;
	assert_false(addr_equal(&local1, &local2));
	assert_false(addr_same_ip(&local1, &local2));
	assert_true(addr_equal(&global1, &global2));
}

static void same_ip_ignores_the_port(void **state)
{
	struct addr a = text_addr("10.0.0.9", 1), b = text_addr("10.0.0.9", 2);
	struct addr c = text_addr("10.0.0.8", 1);
	(void)state;
	assert_true(addr_same_ip(&a, &b));
	assert_false(addr_equal(&a, &b));
	assert_false(addr_same_ip(&a, &c));
}

static void there_and_back(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "255.255.255.255", "::1", "fe80::1%3",
		"ff02::1%1" };
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		for (int v6_socket = 0; v6_socket < 2; v6_socket++) {
			struct sockaddr_storage ss;
			struct addr a = text_addr(hosts[i], 1884), b;
			socklen_t len = addr_to_sockaddr(&a, v6_socket, &ss);
			bool is_v4 = a.family == 4 && !v6_socket;
			assert_int_equal(ss.ss_family, is_v4 ? AF_INET : AF_INET6);
			assert_int_equal(addr_from_sockaddr(&b, (struct sockaddr *)&ss, len), 0);
			assert_true(addr_equal(&a, &b));
		}
	}
}

static void foreign_or_short_sockaddrs_are_refused(void **state)
{
	struct sockaddr_storage ss = { .ss_family = AF_UNIX };
	struct addr a;
	(void)state;
	assert_int_equal(addr_from_sockaddr(&a, (struct sockaddr *)&ss, sizeof(ss)), -EAFNOSUPPORT);
	ss.ss_family = AF_INET;
	assert_int_equal(addr_from_sockaddr(&a, (struct sockaddr *)&ss, 4), -EAFNOSUPPORT);
	ss.ss_family = AF_INET6;
	assert_int_equal(addr_from_sockaddr(&a, (struct sockaddr *)&ss, sizeof(struct sockaddr_in)),
		-EAFNOSUPPORT);
	assert_int_equal(a.family, 0);
}

static void kinds(void **state)
{
	struct addr loop4 = text_addr("127.9.9.9", 1), loop6 = text_addr("::1", 1);
	struct addr any4 = text_addr("0.0.0.0", 1), any6 = text_addr("*", 1);
	struct addr multi4 = text_addr("239.1.2.3", 1), multi6 = text_addr("ff02::1", 1);
	struct addr plain = text_addr("10.1.2.3", 1), none = { 0 };
	(void)state;
	assert_true(addr_is_loopback(&loop4) && addr_is_loopback(&loop6));
	assert_true(addr_is_any(&any4) && addr_is_any(&any6) && any6.family == 6);
	assert_true(addr_is_multicast(&multi4) && addr_is_multicast(&multi6));
	assert_false(addr_is_loopback(&plain) || addr_is_any(&plain) || addr_is_multicast(&plain));
	assert_false(addr_is_loopback(&none) || addr_is_any(&none) || addr_is_multicast(&none));
}

static void as_text(void **state)
{
	char buf[ADDR_TEXT_MAX];
	struct addr v4 = text_addr("10.0.0.9", 5321), v6 = v6_addr("fe80::1", 1884, 2);
	struct addr global = text_addr("2001:db8::7", 0), none = { 0 };
	struct addr longest = v6_addr("fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, UINT32_MAX);
	(void)state;
	assert_string_equal(addr_text(&v4, buf), "10.0.0.9:5321");
	assert_string_equal(addr_text(&v6, buf), "[fe80::1%2]:1884");
	assert_string_equal(addr_text(&global, buf), "[2001:db8::7]:0");
	assert_string_equal(addr_text(&none, buf), "-");
	assert_string_equal(addr_text(&longest, buf),
		"[fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");
}

static void hosts_that_are_not_numeric(void **state)
{
	static const char *const hosts[] = { "", "localhost", "10.0.0", "10.0.0.256", "::g",
		"[::1]", "10.0.0.1%2", "fe80::1%", "fe80::1%0", "fe80::1%no-such-link", "**",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc" };
	struct addr a;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		assert_int_equal(addr_from_text(&a, hosts[i], 1), -EINVAL);
}

static void uri_parts(void **state)
{
	static const struct {
		const char *text, *scheme, *host;
		uint16_t port;
		const char *path;
	} rows[] = {
		{ "udp://0.0.0.0:1884", "udp", "0.0.0.0", 1884, "" },
		{ "MQTTS://broker.example:8883", "mqtts", "broker.example", 8883, "" },
		{ "mqtt://broker", "mqtt", "broker", 0, "" },
		{ "udp://[::]:1884", "udp", "::", 1884, "" },
		{ "coap://[fe80::1%eth0]", "coap", "fe80::1%eth0", 0, "" },
		{ "ws://h:80/mqtt?x=1", "ws", "h", 80, "/mqtt?x=1" },
		{ "http://*:65535/", "http", "*", 65535, "/" },
	};
	struct uri u;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(uri_parse(&u, rows[i].text), 0);
		assert_string_equal(u.scheme, rows[i].scheme);
		assert_string_equal(u.host, rows[i].host);
		assert_int_equal(u.port, rows[i].port);
		assert_string_equal(u.path, rows[i].path);
	}
}

static void bad_uris(void **state)
{
	static const char *const texts[] = { "", "udp", "udp:", "udp:/h", "://h", "udp://",
		"udp://:1", "udp://h:", "udp://h:0", "udp://h:65536",
		"udp://h:99999999999999999999", "udp://h:1x", "udp://h: 1", "udp://h:+1",
		"mqtt://user@h", "mqtt://user:pass@h:1", "udp://[::1", "udp://[]:1", "udp://[::1]x",
		"udp://::1:5", "u dp://h", "u_p://h", "averyveryverylong://h", "mqtt://h?x",
		"mqtt://h\n", "mqtt://h /x" };
	struct uri u;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(uri_parse(&u, texts[i]), -EINVAL);
}

static void over_long_uris(void **state)
{
	char text[700] = "mqtt://";
	struct uri u;
	(void)state;
	memset(text + 7, 'h', 255);
	assert_int_equal(uri_parse(&u, text), 0);
	assert_int_equal(strlen(u.host), 255);
	text[7 + 255] = 'h';
	assert_int_equal(uri_parse(&u, text), -EINVAL);
	memset(text + 8, '/', 255);
	assert_int_equal(uri_parse(&u, text), 0);
	assert_int_equal(strlen(u.path), 255);
	text[8 + 255] = '/';
	assert_int_equal(uri_parse(&u, text), -EINVAL);
}

static void stored_and_read_back(void **state)
{
	static const char *const hosts[] = { "10.0.0.9", "2001:db8::7", "fe80::1%lo" };
	uint8_t bytes[ADDR_OCTETS_MAX];
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct addr a;
		assert_int_equal(addr_from_text(&a, hosts[i], 1884), 0);
		struct writer w = writer_of(bytes, sizeof(bytes));
		addr_write(&a, &w);
		assert_false(w.bad);
		for (size_t len = 0; len <= w.len; len++) {
			struct reader r = reader_of(span_of(bytes, len));
			struct addr b = addr_read(&r);
			assert_int_equal(r.bad, len < w.len);
			assert_int_equal(addr_equal(&a, &b), len == w.len);
		}
	}
	struct addr none = { .family = 0 };
	struct writer w = writer_of(bytes, sizeof(bytes));
	addr_write(&none, &w);
	struct reader r = reader_of(span_of(bytes, w.len));
	assert_int_equal(addr_read(&r).family, 0);
	assert_false(r.bad);
}

static void stored_but_nobody_can_be_there(void **state)
{
	static const uint8_t bad[][ADDR_OCTETS_MAX] = {
		{ 4, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1 },       /* port 0 */
		{ 4, 7, 92, 0, 0, 0, 0, 0, 0, 0, 0 },       /* all addresses */
		{ 4, 7, 92, 0, 0, 0, 0, 224, 0, 0, 1 },     /* a group */
		{ 6, 7, 92, 0, 0, 0, 0, 0xFF, 2, 0, 0, 1 }, /* a group */
		{ 5, 7, 92, 0, 0, 0, 0, 10, 0, 0, 1 },      /* no family */
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct reader r = reader_of(span_of(bad[i], sizeof(bad[i])));
		assert_int_equal(addr_read(&r).family, 0);
		assert_true(r.bad);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mapped_ipv4_is_ipv4),
		cmocka_unit_test(scope_counts_for_link_local_only),
		cmocka_unit_test(same_ip_ignores_the_port),
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(foreign_or_short_sockaddrs_are_refused),
		cmocka_unit_test(kinds),
		cmocka_unit_test(as_text),
		cmocka_unit_test(hosts_that_are_not_numeric),
		cmocka_unit_test(uri_parts),
		cmocka_unit_test(bad_uris),
		cmocka_unit_test(over_long_uris),
		cmocka_unit_test(stored_and_read_back),
		cmocka_unit_test(stored_but_nobody_can_be_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
