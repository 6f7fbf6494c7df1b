#ifndef TIDEGATE_BASE_ADDR_H
#define TIDEGATE_BASE_ADDR_H

#include "gateway/base/span.h"
#include "gateway/base/wire.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* A socket address as canonical bytes: equal addresses have equal bytes, so it can be a hash key.
 * IPv4-mapped IPv6 addresses are stored as IPv4. All fields are always set; padding is zero. */
struct addr {
	uint8_t family; /* 0: none, 4, 6 */
	uint8_t zero;
	uint16_t port;  /* host order */
	uint32_t scope; /* IPv6 link-local interface index, else 0 */
	uint8_t ip[16]; /* IPv4 in the first four octets */
};

#define ADDR_TEXT_MAX 80

/* Returns 0, or -EAFNOSUPPORT. */
int addr_from_sockaddr(struct addr *a, const struct sockaddr *sa, socklen_t len);
/* `v6_socket`: an IPv4 address is written as IPv4-mapped for an AF_INET6 socket. Returns the
 * length. */
socklen_t addr_to_sockaddr(const struct addr *a, bool v6_socket, struct sockaddr_storage *ss);
bool addr_equal(const struct addr *a, const struct addr *b);
bool addr_same_ip(const struct addr *a, const struct addr *b); /* the port may differ */
bool addr_is_loopback(const struct addr *a);
bool addr_is_any(const struct addr *a);
bool addr_is_multicast(const struct addr *a);
uint64_t addr_hash(const struct addr *a);
/* "10.0.0.9:5321", "[fe80::1%2]:1884"; returns `buf`, which has ADDR_TEXT_MAX bytes. */
const char *addr_text(const struct addr *a, char *buf);

/* For storage: {family 1, port 2, scope 4, address 4 or 16 octets}; nothing behind family 0. What
 * is no address that somebody can be at is bad. */
#define ADDR_OCTETS_MAX 23
void addr_write(const struct addr *a, struct writer *w);
struct addr addr_read(struct reader *r);

/* A listener's or upstream's URI "scheme://host[:port]/path". `host` is without brackets; `port` 0
 * when absent. Returns 0 or -EINVAL (also for user info, over-long hosts, ports above 65535). */
struct uri {
	char scheme[16];
	char host[256];
	uint16_t port;
	char path[256]; /* with the leading '/', or empty */
};
int uri_parse(struct uri *u, const char *text);
/* Numeric hosts only ("127.0.0.1", "::1", "0.0.0.0"; "*" is "::", a dual-stack
 * socket; "fe80::1%eth0"). Never asks DNS. Returns 0 or -EINVAL. */
int addr_from_text(struct addr *a, const char *host, uint16_t port);

#endif
