/* The null of the UDP benchmarks: a bare echo server and its client in one program. `udp_echo
 * SOCKETS SECONDS` prints exchanges per second and the server's CPU per exchange; every socket has
 * one datagram under way. */
#define ECHO_SIZE 64

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/util.h"

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void serve(int fd)
{
	char buf[2048];
	struct sockaddr_in peer;
	struct sigaction sa = { .sa_handler = on_term }; /* no SA_RESTART: recvfrom ends */

	sigaction(SIGTERM, &sa, NULL);
	while (!stop) {
		socklen_t len = sizeof(peer);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&peer, &len);
		if (n > 0)
			sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&peer, len);
	}
	_exit(0);
}

static int server_socket(struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;
	socklen_t len = sizeof(*at);

	*at = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (fd == -1 || bind(fd, (struct sockaddr *)at, len) == -1 ||
		getsockname(fd, (struct sockaddr *)at, &len) == -1) {
		perror("udp_echo");
		exit(1);
	}
	return fd;
}

static uint64_t load(const struct sockaddr_in *at, unsigned sockets, double seconds)
{
	char buf[ECHO_SIZE] = { 0 };
	struct epoll_event ready[256];
	int ep = epoll_create1(0);
	uint64_t exchanges = 0;

	for (unsigned i = 0; i < sockets; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);
		struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
		if (fd == -1 || connect(fd, (const struct sockaddr *)at, sizeof(*at)) == -1) {
			perror("udp_echo");
			exit(1);
		}
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
		send(fd, buf, sizeof(buf), 0);
	}
	for (double end = now_s() + seconds; now_s() < end;) {
		int n = epoll_wait(ep, ready, ARRAY_SIZE(ready), 100);
		for (int i = 0; i < n; i++) {
			if (recv(ready[i].data.fd, buf, sizeof(buf), MSG_DONTWAIT) <= 0)
				continue;
			exchanges++;
			send(ready[i].data.fd, buf, sizeof(buf), 0);
		}
	}
	return exchanges;
}

int main(int argc, char **argv)
{
	unsigned sockets = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	double seconds = argc > 2 ? atof(argv[2]) : 2;
	struct sockaddr_in at;
	struct rusage used;
	int fd = server_socket(&at);
	pid_t pid = fork();

	if (pid == 0)
		serve(fd);
	uint64_t n = load(&at, sockets, seconds);
	kill(pid, SIGTERM);
	wait4(pid, NULL, 0, &used);
	double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		     (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
	printf("sockets=%u rate=%.0f cpu_us=%.2f\n", sockets, (double)n / seconds,
		cpu * 1e6 / (double)n);
	return 0;
}
