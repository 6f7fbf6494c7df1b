/* The null of the upstream rows: Paho alone, as the gateway uses it (MQTTAsync, a window of QoS 1
 * messages under way). `paho_null PORT QOS COUNT WINDOW SIZE` publishes to 127.0.0.1:PORT and
 * prints messages per second and this process's CPU per message. */
#include <MQTTAsync.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define TOPICS 100

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connected, failed;
static long acked;

static void on_connect(void *context, MQTTAsync_successData *data)
{
	(void)context;
	(void)data;
	pthread_mutex_lock(&lock);
	connected = 1;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

static void on_acked(void *context, MQTTAsync_successData *data)
{
	(void)context;
	(void)data;
	pthread_mutex_lock(&lock);
	acked++;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

static void on_failure(void *context, MQTTAsync_failureData *data)
{
	(void)context;
	(void)data;
	pthread_mutex_lock(&lock);
	failed = 1;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

/* Until at most `open` of `sent` messages are under way. */
static void wait_window(long sent, long open)
{
	pthread_mutex_lock(&lock);
	while (!failed && sent - acked > open)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static MQTTAsync connect_to(int port, int window)
{
	MQTTAsync client;
	MQTTAsync_connectOptions o = MQTTAsync_connectOptions_initializer;
	char uri[64];

	snprintf(uri, sizeof(uri), "tcp://127.0.0.1:%d", port);
	if (MQTTAsync_create(&client, uri, "paho-null", MQTTCLIENT_PERSISTENCE_NONE, NULL) != 0)
		return NULL;
	o.maxInflight = window * 2;
	o.onSuccess = on_connect;
	o.onFailure = on_failure;
	if (MQTTAsync_connect(client, &o) != 0)
		return NULL;
	pthread_mutex_lock(&lock);
	while (!connected && !failed)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	return failed ? NULL : client;
}

static int publish_all(MQTTAsync client, int qos, long count, int window, int size)
{
	MQTTAsync_responseOptions o = MQTTAsync_responseOptions_initializer;
	char payload[4096], topic[64];

	memset(payload, '.', sizeof(payload));
	o.onSuccess = on_acked;
	o.onFailure = on_failure;
	for (long i = 0; i < count && !failed; i++) {
		snprintf(topic, sizeof(topic), "b/paho-%ld", i % TOPICS);
		payload[snprintf(payload, sizeof(payload), "%ld ", i / TOPICS)] = '.';
		wait_window(i, window - 1);
		if (MQTTAsync_send(client, topic, size, payload, qos, 0, &o) != MQTTASYNC_SUCCESS)
			return -1;
	}
	wait_window(count, 0);
	return failed ? -1 : 0;
}

static double seconds_of(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
	struct timespec from, to;
	struct rusage used;

	if (argc != 6 || atoi(argv[5]) > 4096) {
		fputs("usage: paho_null PORT QOS COUNT WINDOW SIZE\n", stderr);
		return 64;
	}
	long count = atol(argv[3]);
	MQTTAsync client = connect_to(atoi(argv[1]), atoi(argv[4]));
	clock_gettime(CLOCK_MONOTONIC, &from);
	if (!client ||
		publish_all(client, atoi(argv[2]), count, atoi(argv[4]), atoi(argv[5])) != 0) {
		fputs("paho_null: failed\n", stderr);
		return 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	getrusage(RUSAGE_SELF, &used);
	double took = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
	double cpu = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
	printf("sent=%ld rate=%.0f cpu_us=%.2f\n", count, (double)count / took,
		cpu * 1e6 / (double)count);
	return 0;
}
