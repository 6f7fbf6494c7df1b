#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Preloaded into the daemon by test_qos2_crash.py: every TIDEGATE_FAIL_WRITES-th MQTT PUBLISH that
 * is written in several parts, as Paho writes it, meets a connection that has just ended. */
ssize_t writev(int fd, const struct iovec *parts, int n)
{
	static ssize_t (*real)(int, const struct iovec *, int);
	static unsigned long every, published;

	if (!real) {
		const char *text = getenv("TIDEGATE_FAIL_WRITES");
		every = text ? strtoul(text, NULL, 10) : 0;
		*(void **)&real = dlsym(RTLD_NEXT, "writev");
	}
	if (every && n >= 4 && parts[0].iov_len &&
		(*(const unsigned char *)parts[0].iov_base & 0xf0) == 0x30 &&
		++published % every == 0) {
		shutdown(fd, SHUT_RDWR);
		errno = EPIPE;
		return -1;
	}
	return real(fd, parts, n);
}
