#include "adapters/coap/cap_map.h"

#include "gateway/base/util.h"
#include "gateway/core/props.h"
#include "gateway/core/topic.h"

#include <coap3/coap.h>

#include <errno.h>
#include <stdio.h>
#include <strings.h>

/* ---- Uri-Path ---- */

void cap_path_init(struct cap_path *p)
{
	p->target = CAP_NOWHERE;
	p->segments = 0;
	p->bad = p->well_known = false;
	p->len = 0;
}

static void add_level(struct cap_path *p, struct span segment)
{
	bool first = p->target == CAP_ROOT;
	size_t need = segment.len + (first ? 0 : 1);

	if (need > sizeof(p->topic) - p->len || memchr(segment.p, '/', segment.len)) {
		p->bad = true;
		return;
	}
	if (!first)
		p->topic[p->len++] = '/';
	memcpy(p->topic + p->len, segment.p, segment.len);
	p->len = (uint16_t)(p->len + segment.len);
	p->target = CAP_TOPIC;
}

void cap_path_add(struct cap_path *p, struct span segment)
{
	unsigned n = p->segments++;

	if (n == 0 && span_is(segment, "ps"))
		p->target = CAP_ROOT;
	else if (n == 0 && span_is(segment, ".well-known"))
		p->well_known = true;
	else if (n == 1 && p->well_known && span_is(segment, "core"))
		p->target = CAP_WELL_KNOWN;
	else if (p->target == CAP_ROOT || p->target == CAP_TOPIC)
		add_level(p, segment);
	else
		p->target = CAP_NOWHERE;
}

/* ---- Uri-Query ---- */

void cap_query_init(struct cap_query *q)
{
	*q = (struct cap_query){ .qos = -1, .retain = -1, .no_local = -1, .expiry_s = -1 };
}

static int parse_number(struct span v, int64_t max, int64_t *out)
{
	int64_t n = 0;

	if (v.len == 0 || v.len > 10)
		return -EINVAL;
	for (size_t i = 0; i < v.len; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return -EINVAL;
		n = n * 10 + (v.p[i] - '0');
	}
	if (n > max)
		return -EINVAL;
	*out = n;
	return 0;
}

static int parse_flag(struct span v, int *out)
{
	/* A bare "retain" means yes. */
	if (v.len == 0 || span_is(v, "1") || span_is(v, "true"))
		*out = 1;
	else if (span_is(v, "0") || span_is(v, "false"))
		*out = 0;
	else
		return -EINVAL;
	return 0;
}

static int parse_qos(struct span v, int *out)
{
	int64_t n;

	if (parse_number(v, 2, &n))
		return -EINVAL;
	*out = (int)n;
	return 0;
}

/* A message that is stale at once cannot be meant. */
static int parse_expiry(struct span v, int64_t *out)
{
	return parse_number(v, UINT32_MAX, out) || *out == 0 ? -EINVAL : 0;
}

static int parse_text(struct span v, struct span *out)
{
	if (!utf8_valid(v))
		return -EINVAL;
	*out = v;
	return 0;
}

int cap_query_add(struct cap_query *q, struct span item)
{
	const uint8_t *eq = item.len ? memchr(item.p, '=', item.len) : NULL;
	struct span name = span_of(item.p, eq ? (size_t)(eq - item.p) : item.len);
	struct span value = eq ? span_of(eq + 1, item.len - name.len - 1) : span_of("", 0);

	if (span_is(name, "qos") || span_is(name, "q"))
		return parse_qos(value, &q->qos);
	if (span_is(name, "retain") || span_is(name, "r"))
		return parse_flag(value, &q->retain);
	if (span_is(name, "expiry") || span_is(name, "e"))
		return parse_expiry(value, &q->expiry_s);
	if (span_is(name, "nl"))
		return parse_flag(value, &q->no_local);
	if (span_is(name, "clientid") || span_is(name, "c"))
		return parse_text(value, &q->client_id);
	if (span_is(name, "username") || span_is(name, "u"))
		return parse_text(value, &q->username);
	if (span_is(name, "password") || span_is(name, "p"))
		q->password = value;
	else if (span_is(name, "rt"))
		q->rt = value;
	else if (span_is(name, "href"))
		q->href = value;
	return 0;
}

/* ---- outcomes ---- */

static const struct {
	enum reason reason;
	uint16_t code;
} codes[] = {
	{ R_MALFORMED, COAP_RESPONSE_CODE(400) },
	{ R_PROTOCOL_ERROR, COAP_RESPONSE_CODE(400) },
	{ R_TOPIC_INVALID, COAP_RESPONSE_CODE(400) },
	{ R_FILTER_INVALID, COAP_RESPONSE_CODE(400) },
	{ R_PAYLOAD_FORMAT, COAP_RESPONSE_CODE(400) },
	{ R_CLIENT_ID, COAP_RESPONSE_CODE(401) },
	{ R_BAD_CREDENTIALS, COAP_RESPONSE_CODE(401) },
	{ R_BAD_AUTH_METHOD, COAP_RESPONSE_CODE(401) },
	{ R_NOT_AUTHORIZED, COAP_RESPONSE_CODE(403) },
	{ R_BANNED, COAP_RESPONSE_CODE(403) },
	{ R_TOO_LARGE, COAP_RESPONSE_CODE(413) },
	{ R_RATE, COAP_RESPONSE_CODE(429) },
	{ R_CONNECTION_RATE, COAP_RESPONSE_CODE(429) },
	{ R_RECEIVE_MAXIMUM, COAP_RESPONSE_CODE(429) },
	{ R_QUOTA, COAP_RESPONSE_CODE(503) },
	{ R_SERVER_UNAVAILABLE, COAP_RESPONSE_CODE(503) },
	{ R_BUSY, COAP_RESPONSE_CODE(503) },
	{ R_SHUTTING_DOWN, COAP_RESPONSE_CODE(503) },
	{ R_RETAIN_UNSUPPORTED, COAP_RESPONSE_CODE(501) },
	{ R_QOS_UNSUPPORTED, COAP_RESPONSE_CODE(501) },
	{ R_WILDCARD_UNSUPPORTED, COAP_RESPONSE_CODE(501) },
	{ R_SHARED_UNSUPPORTED, COAP_RESPONSE_CODE(501) },
};

uint8_t cap_code_of(enum reason reason, uint8_t success)
{
	if (!reason_failed(reason))
		return success;
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].reason == reason)
			return (uint8_t)codes[i].code;
	return COAP_RESPONSE_CODE(500);
}

uint32_t cap_retry_after(uint8_t code)
{
	if (code == COAP_RESPONSE_CODE(503))
		return 5;
	return code == COAP_RESPONSE_CODE(429) ? 1 : 0;
}

/* ---- Content-Format ---- */

static const struct {
	uint16_t format;
	bool text; /* UTF-8 by definition */
	const char *type;
} formats[] = {
	{ 0, true, "text/plain;charset=utf-8" },
	{ CAP_FORMAT_LINK, true, "application/link-format" },
	{ 41, false, "application/xml" },
	{ 42, false, "application/octet-stream" },
	{ 50, true, "application/json" },
	{ 60, false, "application/cbor" },
	{ 110, true, "application/senml+json" },
	{ 112, false, "application/senml+cbor" },
};
static const char user_name[] = "coap-content-format";

static struct span without_parameters(struct span type)
{
	const uint8_t *semicolon = type.len ? memchr(type.p, ';', type.len) : NULL;
	size_t len = semicolon ? (size_t)(semicolon - type.p) : type.len;

	while (len && type.p[len - 1] == ' ')
		len--;
	return span_of(type.p, len);
}

static int format_of_type(struct span type)
{
	struct span bare = without_parameters(type);

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		struct span known = without_parameters(span_str(formats[i].type));

		if (bare.len == known.len &&
			strncasecmp((const char *)bare.p, (const char *)known.p, bare.len) == 0)
			return formats[i].format;
	}
	return CAP_FORMAT_NONE;
}

int cap_format_of(struct span props)
{
	struct reader r = reader_of(props);
	bool utf8 = false;
	struct prop p;
	int64_t number;

	while (props_next(&r, &p)) {
		if (p.id == PROP_CONTENT_TYPE && format_of_type(p.value) != CAP_FORMAT_NONE)
			return format_of_type(p.value);
		if (p.id == PROP_USER && span_is(p.name, user_name) &&
			parse_number(p.value, UINT16_MAX, &number) == 0)
			return (int)number;
		if (p.id == PROP_PAYLOAD_FORMAT)
			utf8 = p.byte == 1;
	}
	return utf8 ? 0 : CAP_FORMAT_NONE;
}

void cap_format_write(struct writer *w, int format, struct span payload)
{
	char number[16];

	if (format == CAP_FORMAT_NONE)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		if (formats[i].format != format)
			continue;
		if (formats[i].text && utf8_valid(payload))
			props_write(w, &(struct prop){ .id = PROP_PAYLOAD_FORMAT, .byte = 1 });
		props_write(w, &(struct prop){ .id = PROP_CONTENT_TYPE,
				       .value = span_str(formats[i].type) });
		return;
	}
	snprintf(number, sizeof(number), "%d", format);
	props_write(w,
		&(struct prop){
			.id = PROP_USER, .name = span_str(user_name), .value = span_str(number) });
}

/* ---- links ---- */

/* RFC 3986, 3.3: what a path segment may hold as it is; anything else is escaped. '>' and ',' would
 * end a link or its target for a careless reader. */
static bool path_char(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("-._~!$&'()*+;=:@/", c));
}

static void write_escaped(struct writer *w, struct span topic)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < topic.len; i++) {
		uint8_t c = topic.p[i];

		if (path_char(c)) {
			wr_u8(w, c);
			continue;
		}
		wr_u8(w, '%');
		wr_u8(w, (uint8_t)hex[c >> 4]);
		wr_u8(w, (uint8_t)hex[c & 15]);
	}
}

void cap_link_write(struct writer *w, struct span topic, int format, size_t size)
{
	char attributes[64];
	int n = 0;

	if (format != CAP_FORMAT_NONE)
		n = snprintf(attributes, sizeof(attributes), ";ct=%d", format);
	n += snprintf(attributes + n, sizeof(attributes) - (size_t)n, ";sz=%zu;obs", size);
	wr_span(w, span_str("</ps/"));
	write_escaped(w, topic);
	wr_u8(w, '>');
	wr_bytes(w, attributes, (size_t)n);
}
