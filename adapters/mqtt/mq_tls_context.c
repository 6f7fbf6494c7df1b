#include "adapters/mqtt/mq_tls.h"

#include "gateway/base/util.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>

/* TLS 1.2: forward secrecy and AEAD, or a pre-shared key; TLS 1.3 has nothing else. OpenSSL leaves
 * out by itself what the context has no certificate or key for. */
#define CIPHERS_1_2                                                                                \
	"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AESCCM:PSK+AESGCM:PSK+CHACHA20:PSK+AESCCM:!aNULL:!"     \
	"RSAPSK"

static const char session_context[] = "tidegate mqtt";

static int fail(struct mq_tls_error *err, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int fail(struct mq_tls_error *err, const char *key, const char *fmt, ...)
{
	va_list args;

	err->key = key;
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return -EINVAL;
}

/* What OpenSSL says of its last failure. */
static const char *openssl_reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	return text ? text : "not usable";
}

/* Without it OpenSSL would ask at the terminal. */
static int no_pass_phrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static int load_certificate(SSL_CTX *ctx, const struct mq_tls_conf *conf, struct mq_tls_error *err)
{
	if (!conf->cert_file && !conf->key_file)
		return 0;
	if (!conf->cert_file)
		return fail(err, "cert_file", "not set; key_file needs its certificate");
	if (!conf->key_file)
		return fail(err, "key_file", "not set; cert_file needs its private key");
	if (SSL_CTX_use_certificate_chain_file(ctx, conf->cert_file) != 1)
		return fail(err, "cert_file", "%s: no good certificate in PEM form (%s)",
			conf->cert_file, openssl_reason());
	/* Loading refuses a key that does not match as well; the difference is worth a word. */
	bool loaded = SSL_CTX_use_PrivateKey_file(ctx, conf->key_file, SSL_FILETYPE_PEM) == 1;
	unsigned long e = ERR_peek_last_error();
	if (!loaded && ERR_GET_LIB(e) == ERR_LIB_X509)
		return fail(err, "key_file", "%s does not belong to the certificate in %s",
			conf->key_file, conf->cert_file);
	if (!loaded)
		return fail(err, "key_file",
			"%s: no good private key in PEM form without a pass phrase (%s)",
			conf->key_file, openssl_reason());
	if (SSL_CTX_check_private_key(ctx) != 1)
		return fail(err, "key_file", "%s does not belong to the certificate in %s",
			conf->key_file, conf->cert_file);
	return 0;
}

static int load_ca(SSL_CTX *ctx, const struct mq_tls_conf *conf, struct mq_tls_error *err)
{
	int mode = conf->require == MQ_TLS_REQUIRED
			   ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
			   : SSL_VERIFY_PEER;

	if (conf->require == MQ_TLS_NO)
		return 0;
	if (!conf->ca_file)
		return fail(err, "ca_file",
			"not set; require_certificate needs to know who may sign certificates");
	STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(conf->ca_file);
	if (!names || SSL_CTX_load_verify_locations(ctx, conf->ca_file, NULL) != 1) {
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		return fail(err, "ca_file", "%s: no good certificates in PEM form (%s)",
			conf->ca_file, openssl_reason());
	}
	SSL_CTX_set_client_CA_list(ctx, names);
	SSL_CTX_set_verify(ctx, mode, NULL);
	return 0;
}

/* The table of keys belongs to the context: streams of an old one still look there. */
static void psk_free(void *parent, void *psk, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent;
	(void)ad;
	(void)idx;
	(void)argl;
	(void)argp;
	mq_psk_free(psk);
}

static int psk_index(void)
{
	static int index = -1;

	if (index < 0)
		index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, psk_free);
	return index;
}

static unsigned on_psk(SSL *ssl, const char *identity, unsigned char *key, unsigned cap)
{
	const struct mq_psk *psk = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), psk_index());

	return psk && identity ? (unsigned)mq_psk_find(psk, identity, key, cap) : 0;
}

static int load_psk(SSL_CTX *ctx, const struct mq_tls_conf *conf, struct mq_tls_error *err)
{
	if (!conf->psk_file)
		return 0;
	if (conf->psk_hint && SSL_CTX_use_psk_identity_hint(ctx, conf->psk_hint) != 1)
		return fail(err, "psk_hint", "too long; at most 128 octets");
	struct mq_psk *psk = mq_psk_read(conf->psk_file, err);
	if (!psk)
		return -EINVAL;
	if (psk_index() < 0 || SSL_CTX_set_ex_data(ctx, psk_index(), psk) != 1) {
		mq_psk_free(psk);
		return fail(err, "psk_file", "out of memory");
	}
	SSL_CTX_set_psk_server_callback(ctx, on_psk);
	return 0;
}

static int set_up(SSL_CTX *ctx, const struct mq_tls_conf *conf, struct mq_tls_error *err)
{
	int version = conf->min_version == MQ_TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;

	/* A connection cut short is no danger: MQTT says itself when it ends. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
	/* mq_out moves on in its buffers; an idle client needs none of TLS's. */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1);
	/* Tickets hold what a resumption needs; nothing is remembered here. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_default_passwd_cb(ctx, no_pass_phrase);
	if (SSL_CTX_set_session_id_context(ctx, (const unsigned char *)session_context,
		    sizeof(session_context) - 1) != 1 ||
		SSL_CTX_set_min_proto_version(ctx, version) != 1 ||
		SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) != 1)
		return fail(err, "tls_min_version", "OpenSSL cannot do it (%s)", openssl_reason());
	int e = load_certificate(ctx, conf, err);
	if (!e)
		e = load_ca(ctx, conf, err);
	return e ? e : load_psk(ctx, conf, err);
}

int mq_tls_context_new(
	const struct mq_tls_conf *conf, struct ssl_ctx_st **out, struct mq_tls_error *err)
{
	ERR_clear_error();
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	int e = ctx ? set_up(ctx, conf, err) : fail(err, "listen", "OpenSSL has no TLS server");

	if (e) {
		SSL_CTX_free(ctx);
		ctx = NULL;
	}
	ERR_clear_error();
	*out = ctx;
	return e;
}

void mq_tls_context_free(struct ssl_ctx_st *ctx)
{
	SSL_CTX_free(ctx);
}
