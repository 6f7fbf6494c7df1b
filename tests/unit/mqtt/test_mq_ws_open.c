#include "adapters/mqtt/mq_ws.h"

#include "gateway/base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define GET        "GET /mqtt HTTP/1.1\r\n"
#define HOST       "Host: gateway.example\r\n"
#define UPGRADE    "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define KEY        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION    "Sec-WebSocket-Version: 13\r\n"
#define PROTOCOL   "Sec-WebSocket-Protocol: mqtt\r\n"
#define END        "\r\n"

static const char *const origins[] = { "https://panel.example:8080", "null" };
static const struct mq_ws_rules rules = { "/mqtt", origins, ARRAY_SIZE(origins) };

static int answer(const char *request, char *text, size_t size)
{
	struct writer w = writer_of(text, size - 1);

	assert_int_equal(mq_ws_request_size(span_str(request)), strlen(request));
	int status = mq_ws_answer(span_str(request), &rules, &w);
	assert_false(w.bad);
	assert_true(w.len <= MQ_WS_ANSWER_MAX);
	text[w.len] = '\0';
	return status;
}

static void assert_status(const char *request, int status)
{
	char text[1024], line[32];

	assert_int_equal(answer(request, text, sizeof(text)), status);
	snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
	assert_memory_equal(text, line, strlen(line));
	assert_string_equal(text + strlen(text) - 4, "\r\n\r\n");
}

/* RFC 6455, 1.3 and 4.2.2. */
static void the_example_of_the_standard(void **state)
{
	(void)state;
	char text[1024];
	assert_int_equal(answer(GET HOST UPGRADE CONNECTION KEY VERSION
				 "Sec-WebSocket-Protocol: chat, mqtt\r\n"
				 "Origin: http://gateway.example\r\n" END,
				 text, sizeof(text)),
		101);
	assert_non_null(strstr(text, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
	assert_non_null(strstr(text, "Sec-WebSocket-Protocol: mqtt\r\n"));
	assert_non_null(strstr(text, "Upgrade: websocket\r\n"));
	assert_non_null(strstr(text, "Connection: Upgrade\r\n"));
}

static void what_browsers_and_proxies_write(void **state)
{
	(void)state;
	assert_status("GET /mqtt?x=1 HTTP/1.1\r\n" HOST UPGRADE
		      "connection:\tkeep-alive , UPGRADE \r\n" KEY VERSION PROTOCOL END,
		101);
	assert_status(GET
		"HOST: x\r\nUPGRADE: h2c, WebSocket\r\nConnection: close\r\n" CONNECTION KEY VERSION
		"Sec-WebSocket-Protocol: mqttv3.1\r\n" PROTOCOL END,
		101);
}

static void what_is_missing_is_told(void **state)
{
	(void)state;
	assert_status(GET UPGRADE CONNECTION KEY VERSION PROTOCOL END, 400);  /* Host */
	assert_status(GET HOST CONNECTION KEY VERSION PROTOCOL END, 426);     /* Upgrade */
	assert_status(GET HOST UPGRADE KEY VERSION PROTOCOL END, 426);        /* Connection */
	assert_status(GET HOST UPGRADE CONNECTION VERSION PROTOCOL END, 400); /* key */
	assert_status(GET HOST UPGRADE CONNECTION KEY PROTOCOL END, 426);     /* version */
	assert_status(GET HOST UPGRADE CONNECTION KEY VERSION END, 400);      /* protocol */
	assert_status("GET /mqtt HTTP/1.1\r\n\r\n", 400);
}

static void what_is_wrong_is_told(void **state)
{
	(void)state;
#define REST HOST UPGRADE CONNECTION KEY VERSION PROTOCOL END
	assert_status("GET /other HTTP/1.1\r\n" REST, 404);
	assert_status("GET /mqtt/ HTTP/1.1\r\n" REST, 404);
	assert_status("GET /mqt HTTP/1.1\r\n" REST, 404);
	assert_status("POST /mqtt HTTP/1.1\r\n" REST, 405);
	assert_status("GET /mqtt HTTP/1.0\r\n" REST, 400);
	assert_status("GET /mqtt\r\n" REST, 400);
	assert_status("GET  HTTP/1.1\r\n" REST, 400);
	assert_status("\r\n\r\n", 400);
#undef REST
#define WITH(line) GET HOST UPGRADE CONNECTION line END
	char text[1024];
	assert_int_equal(
		answer(WITH(KEY "Sec-WebSocket-Version: 8\r\n" PROTOCOL), text, sizeof(text)), 426);
	assert_non_null(strstr(text, "Sec-WebSocket-Version: 13\r\n"));
	assert_status(WITH(VERSION PROTOCOL "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n"), 400);
	assert_status(
		WITH(VERSION PROTOCOL "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n"), 400);
	assert_status(
		WITH(VERSION PROTOCOL "Sec-WebSocket-Key: !!!lIHNhbXBsZSBub25jZQ==\r\n"), 400);
	assert_status(WITH(VERSION PROTOCOL KEY KEY), 400);
	assert_status(WITH(KEY VERSION "Sec-WebSocket-Protocol: mqtts, xmqtt\r\n"), 400);
}

static int from(const char *host, const char *origin)
{
	char request[512], text[1024];

	snprintf(request, sizeof(request),
		GET "Host: %s\r\n%s" UPGRADE CONNECTION KEY VERSION PROTOCOL END, host, origin);
	return answer(request, text, sizeof(text));
}

static void a_page_of_a_stranger_is_refused(void **state)
{
	(void)state;
	assert_int_equal(from("hub:8083", ""), 101);
	assert_int_equal(from("hub:8083", "Origin: http://hub\r\n"), 101);
	assert_int_equal(from("hub", "Origin: https://HUB:8080\r\n"), 101);
	assert_int_equal(from("[::1]:8083", "Origin: http://[::1]:80\r\n"), 101);
	assert_int_equal(from("hub", "Origin: https://panel.example:8080\r\n"), 101);
	assert_int_equal(from("hub", "Origin: null\r\n"), 101);
	assert_int_equal(from("hub", "Origin: https://panel.example\r\n"), 403);
	assert_int_equal(from("hub", "Origin: https://panel.example:80801\r\n"), 403);
	assert_int_equal(from("hub", "Origin: https://hub.evil.example\r\n"), 403);
	assert_int_equal(from("hub", "Origin: https://hu\r\n"), 403);
	assert_int_equal(from("hub", "Origin: https://evil:hub\r\n"), 403);
	assert_int_equal(from("[::1]", "Origin: http://[::1\r\n"), 403);
	assert_int_equal(from("hub", "Origin: hub\r\n"), 403);
	assert_int_equal(from("hub", "Origin:\r\n"), 403);
	assert_int_equal(from("hub", "Origin: http://hub\r\nOrigin: http://hub\r\n"), 403);
	assert_int_equal(from(":1", "Origin: http://\r\n"), 403);
}

static void a_malformed_request_is_refused(void **state)
{
	(void)state;
#define REST UPGRADE CONNECTION KEY VERSION PROTOCOL END
	assert_status(GET HOST "no colon\r\n" REST, 400);
	assert_status(GET HOST ": no name\r\n" REST, 400);
	assert_status(GET HOST "Host : space\r\n" REST, 400);
	assert_status(GET HOST " folded: line\r\n" REST, 400);
	assert_status(GET HOST "X: a\nY: b\r\n" REST, 400);
	assert_status(GET HOST "X: a\rb\r\n" REST, 400);
	assert_status(GET HOST "X: \x01\r\n" REST, 400);
	assert_status(GET HOST "X: \x7f\r\n" REST, 400);
#undef REST
}

static void every_beginning_of_a_request_is_no_request(void **state)
{
	(void)state;
	static const char request[] = GET HOST UPGRADE CONNECTION KEY VERSION PROTOCOL END;
	for (size_t n = 0; n < sizeof(request) - 1; n++) {
		char text[MQ_WS_ANSWER_MAX];
		struct writer w = writer_of(text, sizeof(text));
		assert_int_equal(mq_ws_request_size(span_of(request, n)), 0);
		assert_true(mq_ws_request_begins(span_of(request, n)));
		assert_int_not_equal(mq_ws_answer(span_of(request, n), &rules, &w), 101);
	}
	assert_false(mq_ws_request_begins(span_of("\x10\x0c", 2)));     /* MQTT */
	assert_false(mq_ws_request_begins(span_of("\x16\x03\x01", 3))); /* TLS */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_of_the_standard),
		cmocka_unit_test(what_browsers_and_proxies_write),
		cmocka_unit_test(what_is_missing_is_told),
		cmocka_unit_test(what_is_wrong_is_told),
		cmocka_unit_test(a_page_of_a_stranger_is_refused),
		cmocka_unit_test(a_malformed_request_is_refused),
		cmocka_unit_test(every_beginning_of_a_request_is_no_request),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
