#include "gateway/upstream/uplink_paho.h"

#include "gateway/base/wire.h"

#include <dirent.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Paho's socket, of which Paho tells nothing: found by the server's port. Nothing else of ours
 * talks to that port but a probe of the same server. */

#define PEEK_SIZE 1024

static uint16_t peer_port(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_storage room;
	} peer = { .room.ss_family = AF_UNSPEC };
	socklen_t len = sizeof(peer);

	if (getpeername(fd, &peer.any, &len) != 0)
		return 0;
	if (peer.any.sa_family == AF_INET)
		return ntohs(peer.v4.sin_port);
	return peer.any.sa_family == AF_INET6 ? ntohs(peer.v6.sin6_port) : 0;
}

/* Calls `each` for every socket to that port until it returns false. */
static void each_socket(uint16_t port, bool (*each)(int fd, void *arg), void *arg)
{
	DIR *fds = port ? opendir("/proc/self/fd") : NULL;
	const struct dirent *entry;
	bool more = true;

	while (fds && more && (entry = readdir(fds))) {
		int fd = atoi(entry->d_name);
		if (fd > 2 && peer_port(fd) == port)
			more = each(fd, arg);
	}
	if (fds)
		closedir(fds);
}

static bool take(int fd, void *arg)
{
	*(int *)arg = fd;
	return false;
}

int paho_socket(uint16_t port)
{
	int fd = -1;

	each_socket(port, take, &fd);
	return fd;
}

static bool shut(int fd, void *arg)
{
	(void)arg;
	shutdown(fd, SHUT_RDWR);
	return true;
}

void paho_shut(uint16_t port)
{
	each_socket(port, shut, NULL);
}

size_t paho_peek_pubrecs(int fd, uint16_t ids[], size_t max)
{
	uint8_t bytes[PEEK_SIZE];
	ssize_t got = fd < 0 ? 0 : recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
	struct reader r = reader_of(span_of(bytes, got > 0 ? (size_t)got : 0));
	size_t n = 0;

	while (n < max && r.left > 0) {
		uint8_t type = rd_u8(&r);
		struct span body = rd_span(&r, rd_varint(&r));
		if (r.bad)
			break;
		/* MQTT 5.0, 3.5: packet id, then the reason unless it is success. */
		if (type == 0x50 && body.len >= 2 && (body.len == 2 || body.p[2] < 0x80))
			ids[n++] = (uint16_t)(body.p[0] << 8 | body.p[1]);
	}
	return n;
}
