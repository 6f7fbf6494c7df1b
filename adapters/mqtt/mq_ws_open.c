#include "adapters/mqtt/mq_ws.h"

#include "gateway/base/util.h"

#include <openssl/evp.h>
#include <strings.h>

/* The opening handshake, RFC 6455, 4.2. */
#define GUID         "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define KEY_CHARS    24 /* 16 octets in base64 */
#define KEY_OCTETS   18 /* ... as EVP counts them, with the padding */
#define SHA1_OCTETS  20
#define ACCEPT_CHARS 28

struct request {
	struct span target; /* without a query */
	bool get, http11, upgrade, connection, version, mqtt;
	unsigned n_keys, n_origins;
	struct span host, key, origin;
};

static bool is_text(struct span s, const char *text)
{
	return s.len == strlen(text) && strncasecmp((const char *)s.p, text, s.len) == 0;
}

static struct span trim(struct span s)
{
	while (s.len && (*s.p == ' ' || *s.p == '\t'))
		s = span_of(s.p + 1, s.len - 1);
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* What stands before `end`, which is taken too; `s` goes on behind it. Without `end`: all. */
static struct span take_until(struct span *s, char end)
{
	const uint8_t *at = s->len ? memchr(s->p, end, s->len) : NULL;
	struct span before = at ? span_of(s->p, (size_t)(at - s->p)) : *s;
	size_t taken = before.len + (at != NULL);

	*s = span_of(s->p + taken, s->len - taken);
	return before;
}

static bool list_has(struct span list, const char *token)
{
	while (list.len)
		if (is_text(trim(take_until(&list, ',')), token))
			return true;
	return false;
}

static void take_host(struct request *q, struct span value)
{
	q->host = value;
}

static void take_origin(struct request *q, struct span value)
{
	q->origin = value;
	q->n_origins++;
}

static void take_upgrade(struct request *q, struct span value)
{
	q->upgrade |= list_has(value, "websocket");
}

static void take_connection(struct request *q, struct span value)
{
	q->connection |= list_has(value, "upgrade");
}

static void take_key(struct request *q, struct span value)
{
	q->key = value;
	q->n_keys++;
}

static void take_version(struct request *q, struct span value)
{
	q->version |= span_is(value, "13");
}

/* [MQTT-6.0.0-3] */
static void take_protocol(struct request *q, struct span value)
{
	q->mqtt |= list_has(value, "mqtt");
}

static const struct {
	const char *name;
	void (*take)(struct request *, struct span value);
} headers[] = {
	{ "Host", take_host },
	{ "Origin", take_origin },
	{ "Upgrade", take_upgrade },
	{ "Connection", take_connection },
	{ "Sec-WebSocket-Key", take_key },
	{ "Sec-WebSocket-Version", take_version },
	{ "Sec-WebSocket-Protocol", take_protocol },
};

/* "Name: value"; a line that goes on with white space is long forbidden (RFC 9112, 5.2). */
static bool take_header(struct request *q, struct span line)
{
	struct span rest = line, name = take_until(&rest, ':');

	if (name.len == 0 || name.len == line.len || trim(name).len != name.len)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(headers); i++)
		if (is_text(name, headers[i].name))
			headers[i].take(q, trim(rest));
	return true;
}

/* "GET /mqtt HTTP/1.1" */
static bool take_request_line(struct request *q, struct span line)
{
	q->get = span_is(take_until(&line, ' '), "GET");
	struct span target = take_until(&line, ' ');
	q->target = take_until(&target, '?');
	q->http11 = span_is(line, "HTTP/1.1");
	return q->http11 && q->target.len;
}

/* A line without its end; false: a control character is in it, or it ends in no CR LF. */
static bool take_line(struct span *in, struct span *line)
{
	size_t before = in->len;

	*line = take_until(in, '\n');
	if (line->len + in->len == before || line->len == 0 || line->p[line->len - 1] != '\r')
		return false;
	line->len--;
	for (size_t i = 0; i < line->len; i++)
		if ((line->p[i] < ' ' && line->p[i] != '\t') || line->p[i] == 0x7f)
			return false;
	return true;
}

static bool parse(struct request *q, struct span in)
{
	struct span line;

	*q = (struct request){ 0 };
	if (!take_line(&in, &line) || !take_request_line(q, line))
		return false;
	while (take_line(&in, &line)) {
		if (line.len == 0)
			return in.len == 0;
		if (!take_header(q, line))
			return false;
	}
	return false;
}

static bool valid_key(const struct request *q)
{
	uint8_t nonce[KEY_OCTETS];

	return q->n_keys == 1 && q->key.len == KEY_CHARS &&
	       memcmp(q->key.p + KEY_CHARS - 2, "==", 2) == 0 &&
	       EVP_DecodeBlock(nonce, q->key.p, KEY_CHARS) == KEY_OCTETS;
}

/* "panel.example:8080", "[::1]:80": without the port. */
static struct span host_of(struct span authority)
{
	const uint8_t *end = authority.len && authority.p[0] == '['
				     ? memchr(authority.p, ']', authority.len)
				     : NULL;

	if (end)
		return span_of(authority.p, (size_t)(end - authority.p) + 1);
	return take_until(&authority, ':');
}

static bool same_host(struct span origin, struct span host)
{
	const uint8_t *at = memmem(origin.p, origin.len, "://", 3);

	if (!at)
		return false;
	struct span a = host_of(span_of(at + 3, origin.len - (size_t)(at + 3 - origin.p)));
	struct span b = host_of(host);
	return a.len && a.len == b.len &&
	       strncasecmp((const char *)a.p, (const char *)b.p, a.len) == 0;
}

/* Without an Origin it is no browser, and nobody's web page. */
static bool origin_allowed(const struct request *q, const struct mq_ws_rules *rules)
{
	if (q->n_origins == 0)
		return true;
	for (size_t i = 0; i < rules->n_origins; i++)
		if (strcmp(rules->origins[i], "*") == 0 || is_text(q->origin, rules->origins[i]))
			return true;
	return q->n_origins == 1 && q->origin.len && same_host(q->origin, q->host);
}

static int status_of(const struct request *q, const struct mq_ws_rules *rules)
{
	if (!q->get)
		return 405;
	if (!span_is(q->target, rules->path))
		return 404;
	if (!q->host.len)
		return 400;
	if (!origin_allowed(q, rules))
		return 403;
	if (!q->upgrade || !q->connection || !q->version)
		return 426;
	return valid_key(q) && q->mqtt ? 101 : 400;
}

/* 4.2.2, 5.4: SHA-1 of the key and the GUID, in base64. False: OpenSSL has no SHA-1. */
static bool accept_key(struct span key, uint8_t out[ACCEPT_CHARS + 1])
{
	uint8_t text[KEY_CHARS + sizeof(GUID) - 1], hash[SHA1_OCTETS];

	memcpy(text, key.p, KEY_CHARS);
	memcpy(text + KEY_CHARS, GUID, sizeof(GUID) - 1);
	if (!EVP_Digest(text, sizeof(text), hash, NULL, EVP_sha1(), NULL))
		return false;
	return EVP_EncodeBlock(out, hash, sizeof(hash)) == ACCEPT_CHARS;
}

static void put(struct writer *w, const char *text)
{
	wr_span(w, span_str(text));
}

static const struct {
	int status;
	const char *line;
} refusals[] = {
	{ 400, "400 Bad Request\r\n" },
	{ 403, "403 Forbidden\r\n" },
	{ 404, "404 Not Found\r\n" },
	{ 405, "405 Method Not Allowed\r\nAllow: GET\r\n" },
	{ 426, "426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" },
	{ 431, "431 Request Header Fields Too Large\r\n" },
	{ 500, "500 Internal Server Error\r\n" },
};

int mq_ws_refuse(int status, struct writer *w)
{
	put(w, "HTTP/1.1 ");
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		if (refusals[i].status == status)
			put(w, refusals[i].line);
	put(w, status == 426 ? "Connection: Upgrade, close\r\n" : "Connection: close\r\n");
	put(w, "Content-Length: 0\r\n\r\n");
	return status;
}

int mq_ws_answer(struct span request, const struct mq_ws_rules *rules, struct writer *w)
{
	uint8_t accept[ACCEPT_CHARS + 1];
	struct request q;

	int status = parse(&q, request) ? status_of(&q, rules) : 400;
	if (status == 101 && !accept_key(q.key, accept))
		status = 500;
	if (status != 101)
		return mq_ws_refuse(status, w);
	put(w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	       "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: ");
	wr_bytes(w, accept, ACCEPT_CHARS);
	put(w, "\r\n\r\n");
	return status;
}

size_t mq_ws_request_size(struct span bytes)
{
	static const char end[] = "\r\n\r\n";
	const uint8_t *at = bytes.len ? memmem(bytes.p, bytes.len, end, sizeof(end) - 1) : NULL;

	return at ? (size_t)(at - bytes.p) + sizeof(end) - 1 : 0;
}

/* A method is a word of capitals: what speaks MQTT to this port is told so at once. */
bool mq_ws_request_begins(struct span bytes)
{
	return bytes.len == 0 || (bytes.p[0] >= 'A' && bytes.p[0] <= 'Z');
}
