#ifndef TIDEGATE_MQTT_MQ_TLS_H
#define TIDEGATE_MQTT_MQ_TLS_H

#include "adapters/mqtt/mq_stream.h"

struct ssl_ctx_st;

enum mq_tls_require { MQ_TLS_NO, MQ_TLS_OPTIONAL, MQ_TLS_REQUIRED };
enum mq_tls_version { MQ_TLS_1_2, MQ_TLS_1_3 };

/* As configured; paths and texts are borrowed, NULL when not set. */
struct mq_tls_conf {
	const char *cert_file, *key_file; /* PEM; the chain is in cert_file */
	const char *ca_file;              /* who may have signed clients' certificates */
	const char *psk_file, *psk_hint;
	int require;     /* enum mq_tls_require: a client's certificate */
	int min_version; /* enum mq_tls_version */
};

/* What is wrong: the configuration key and a sentence. */
struct mq_tls_error {
	const char *key;
	char text[256];
};

/* Reads all files. 0, or -EINVAL with *err filled; no context then. The context's streams keep what
 * they need of it. */
int mq_tls_context_new(
	const struct mq_tls_conf *conf, struct ssl_ctx_st **out, struct mq_tls_error *err);
void mq_tls_context_free(struct ssl_ctx_st *ctx); /* NULL is fine */

/* The server's side of TLS on a socket (borrowed), the handshake included. While it is not done
 * *half_open is one higher. NULL: no memory. */
struct mq_stream *mq_tls_stream_new(struct ssl_ctx_st *ctx, int fd, size_t *half_open);

/* mq_psk.c: identities and their keys from a file of lines "identity:key in hex", as mosquitto's.
 * NULL with *err filled (key "psk_file"). */
struct mq_psk;
struct mq_psk *mq_psk_read(const char *path, struct mq_tls_error *err);
/* The key's length; 0: nobody of that name, or `cap` is too small. */
size_t mq_psk_find(const struct mq_psk *psk, const char *identity, unsigned char *key, size_t cap);
void mq_psk_free(struct mq_psk *psk);

#endif
