#include "gateway/base/addr.h"

#include "gateway/base/util.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

static void addr_set4(struct addr *a, const void *ip, uint16_t port)
{
	*a = (struct addr){ .family = 4, .port = port };
	memcpy(a->ip, ip, 4);
}

static void addr_set6(struct addr *a, const void *ip, uint16_t port, uint32_t scope)
{
	const struct in6_addr *in6 = ip;
	if (IN6_IS_ADDR_V4MAPPED(in6)) {
		addr_set4(a, in6->s6_addr + 12, port);
		return;
	}
	*a = (struct addr){ .family = 6, .port = port };
	memcpy(a->ip, ip, 16);
	if (IN6_IS_ADDR_LINKLOCAL(in6) || IN6_IS_ADDR_MC_LINKLOCAL(in6))
		a->scope = scope;
}

int addr_from_sockaddr(struct addr *a, const struct sockaddr *sa, socklen_t len)
{
	*a = (struct addr){ 0 };
	if (len >= sizeof(struct sockaddr_in) && sa->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof(in));
		addr_set4(a, &in.sin_addr, ntohs(in.sin_port));
		return 0;
	}
	if (len >= sizeof(struct sockaddr_in6) && sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof(in6));
		addr_set6(a, &in6.sin6_addr, ntohs(in6.sin6_port), in6.sin6_scope_id);
		return 0;
	}
	return -EAFNOSUPPORT;
}

static socklen_t to_sockaddr4(const struct addr *a, struct sockaddr_storage *ss)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(a->port) };
	memcpy(&in.sin_addr, a->ip, 4);
	memcpy(ss, &in, sizeof(in));
	return sizeof(in);
}

socklen_t addr_to_sockaddr(const struct addr *a, bool v6_socket, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (a->family == 4 && !v6_socket)
		return to_sockaddr4(a, ss);
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(a->port),
		.sin6_scope_id = a->scope,
	};
	if (a->family == 4) {
		memcpy(&in6.sin6_addr, mapped_prefix, sizeof(mapped_prefix));
		memcpy(in6.sin6_addr.s6_addr + 12, a->ip, 4);
	} else {
		memcpy(&in6.sin6_addr, a->ip, 16);
	}
	memcpy(ss, &in6, sizeof(in6));
	return sizeof(in6);
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool addr_same_ip(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && a->scope == b->scope && memcmp(a->ip, b->ip, 16) == 0;
}

bool addr_is_loopback(const struct addr *a)
{
	static const uint8_t one[16] = { [15] = 1 };
	if (a->family == 4)
		return a->ip[0] == 127;
	return a->family == 6 && memcmp(a->ip, one, 16) == 0;
}

bool addr_is_any(const struct addr *a)
{
	static const uint8_t zero[16];
	return a->family && memcmp(a->ip, zero, 16) == 0;
}

bool addr_is_multicast(const struct addr *a)
{
	if (a->family == 4)
		return (a->ip[0] & 0xf0) == 0xe0;
	return a->family == 6 && a->ip[0] == 0xff;
}

void addr_write(const struct addr *a, struct writer *w)
{
	wr_u8(w, a->family);
	if (!a->family)
		return;
	wr_u16(w, a->port);
	wr_u32(w, a->scope);
	wr_bytes(w, a->ip, a->family == 4 ? 4 : 16);
}

struct addr addr_read(struct reader *r)
{
	struct addr a = { .family = rd_u8(r) };
	if (!a.family)
		return a;
	a.port = rd_u16(r);
	a.scope = rd_u32(r);
	struct span ip = rd_span(r, a.family == 4 ? 4 : 16);
	memcpy(a.ip, ip.p ? ip.p : a.ip, ip.len);
	if ((a.family != 4 && a.family != 6) || !a.port || addr_is_any(&a) || addr_is_multicast(&a))
		r->bad = true;
	return r->bad ? (struct addr){ .family = 0 } : a;
}

uint64_t addr_hash(const struct addr *a)
{
	return hash_bytes(a, sizeof(*a));
}

const char *addr_text(const struct addr *a, char *buf)
{
	char ip[INET6_ADDRSTRLEN] = "";
	if (a->family == 4) {
		inet_ntop(AF_INET, a->ip, ip, sizeof(ip));
		snprintf(buf, ADDR_TEXT_MAX, "%s:%u", ip, (unsigned)a->port);
	} else if (a->family == 6) {
		inet_ntop(AF_INET6, a->ip, ip, sizeof(ip));
		if (a->scope)
			snprintf(
				buf, ADDR_TEXT_MAX, "[%s%%%u]:%u", ip, a->scope, (unsigned)a->port);
		else
			snprintf(buf, ADDR_TEXT_MAX, "[%s]:%u", ip, (unsigned)a->port);
	} else {
		snprintf(buf, ADDR_TEXT_MAX, "-");
	}
	return buf;
}

/* A decimal number of digits only, at most `max`. */
static int parse_number(const char *text, uint32_t max, uint32_t *number)
{
	uint64_t n = 0;
	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		n = n * 10 + (uint64_t)(*text - '0');
		if (n > max)
			return -EINVAL;
	}
	*number = (uint32_t)n;
	return 0;
}

/* "eth0" or "2" behind the '%' of a link-local address. */
static int parse_scope(const char *text, uint32_t *scope)
{
	if (parse_number(text, UINT32_MAX, scope) < 0)
		*scope = if_nametoindex(text);
	return *scope ? 0 : -EINVAL;
}

int addr_from_text(struct addr *a, const char *host, uint16_t port)
{
	uint8_t ip[16] = { 0 };
	char bare[INET6_ADDRSTRLEN];
	uint32_t scope = 0;
	*a = (struct addr){ 0 };
	size_t len = strcspn(host, "%");
	if (len >= sizeof(bare) || (host[len] && parse_scope(host + len + 1, &scope) < 0))
		return -EINVAL;
	memcpy(bare, host, len);
	bare[len] = '\0';
	if (!host[len] && inet_pton(AF_INET, bare, ip) == 1)
		addr_set4(a, ip, port);
	else if (strcmp(host, "*") == 0 || inet_pton(AF_INET6, bare, ip) == 1)
		addr_set6(a, ip, port, scope);
	else
		return -EINVAL;
	return 0;
}

static bool is_printable(const char *text)
{
	for (; *text; text++) {
		if (*text <= ' ' || *text == 0x7f)
			return false;
	}
	return true;
}

/* Copies `len` octets when they fit and there is something to copy. */
static int copy_part(char *to, size_t size, const char *from, size_t len)
{
	if (len == 0 || len >= size)
		return -EINVAL;
	memcpy(to, from, len);
	to[len] = '\0';
	return 0;
}

static int parse_scheme(struct uri *u, const char *text, size_t len)
{
	if (copy_part(u->scheme, sizeof(u->scheme), text, len) < 0)
		return -EINVAL;
	for (char *c = u->scheme; *c; c++) {
		*c = (char)tolower((unsigned char)*c);
		if (!isalnum((unsigned char)*c) && !strchr("+-.", *c))
			return -EINVAL;
	}
	return 0;
}

/* "host", "host:port", "[v6]", "[v6]:port" up to `end`. */
static int parse_authority(struct uri *u, const char *text, size_t len)
{
	char all[sizeof(u->host) + 16];
	uint32_t port = 0;
	if (copy_part(all, sizeof(all), text, len) < 0 || strchr(all, '@'))
		return -EINVAL;
	bool bracketed = all[0] == '[';
	const char *host = all + bracketed;
	size_t host_len = strcspn(host, bracketed ? "]" : ":");
	const char *rest = host + host_len;
	if (bracketed && *rest++ != ']')
		return -EINVAL;
	if (copy_part(u->host, sizeof(u->host), host, host_len) < 0)
		return -EINVAL;
	if (!*rest)
		return 0;
	/* An explicit 0 would read as "absent" and open the scheme's default port. */
	if (*rest != ':' || parse_number(rest + 1, UINT16_MAX, &port) < 0 || port == 0)
		return -EINVAL;
	u->port = (uint16_t)port;
	return 0;
}

int uri_parse(struct uri *u, const char *text)
{
	*u = (struct uri){ .scheme = "" };
	const char *colon = strstr(text, "://");
	if (!colon || !is_printable(text))
		return -EINVAL;
	if (parse_scheme(u, text, (size_t)(colon - text)) < 0)
		return -EINVAL;
	const char *authority = colon + 3;
	size_t len = strcspn(authority, "/?#");
	if (parse_authority(u, authority, len) < 0)
		return -EINVAL;
	const char *path = authority + len;
	if (!*path)
		return 0;
	return *path == '/' ? copy_part(u->path, sizeof(u->path), path, strlen(path)) : -EINVAL;
}
