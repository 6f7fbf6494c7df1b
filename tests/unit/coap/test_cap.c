#include "tests/unit/coap/rig.h"

#include "adapters/coap/cap.h"
#include "gateway/core/props.h"

#include <errno.h>

static struct rig rig;
static struct listener listener;

static int setup(void **state)
{
	(void)state;
	rig_start(&rig, "");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	return 0;
}

/* ---- publish ---- */

static void put_is_retained_and_created_once(void **state)
{
	struct message *m;

	(void)state;
	listener_start(&listener, &rig, "#", false);
	assert_int_equal(rig_publish(&rig, PUT, 1, "/ps/a/b", NULL, "21.5"), CODE(201));
	assert_int_equal(listener.n, 1);
	assert_string_equal(listener.topic, "a/b");
	assert_memory_equal(listener.payload, "21.5", 4);
	assert_int_equal(listener.qos, 1);
	assert_true(listener.retain);
	m = router_retained(rig.router, span_str("a/b"));
	assert_non_null(m);
	assert_int_equal(rig_publish(&rig, PUT, 2, "/ps/a/b", NULL, "22"), CODE(204));
	assert_int_equal(rig_publish(&rig, PUT, 3, "/ps/a/c", "retain=false", "x"), CODE(204));
	assert_null(router_retained(rig.router, span_str("a/c")));
	router_leave(rig.router, &listener.sub);
}

static void post_is_an_event(void **state)
{
	(void)state;
	assert_int_equal(rig_publish(&rig, POST, 1, "/ps/e", NULL, "x"), CODE(204));
	assert_null(router_retained(rig.router, span_str("e")));
	assert_int_equal(rig_publish(&rig, POST, 2, "/ps/e", "r=1", "x"), CODE(204));
	assert_non_null(router_retained(rig.router, span_str("e")));
}

static void query_says_qos_and_expiry(void **state)
{
	struct packet p;
	struct answer a;

	(void)state;
	listener_start(&listener, &rig, "#", false);
	assert_int_equal(rig_publish(&rig, PUT, 1, "/ps/q", "qos=2", "x"), CODE(201));
	assert_int_equal(listener.qos, 2);
	assert_int_equal(rig_publish(&rig, PUT, 2, "/ps/q", "q=0", "x"), CODE(204));
	assert_int_equal(listener.qos, 0);
	assert_int_equal(rig_publish(&rig, PUT, 3, "/ps/q", "expiry=100", "x"), CODE(204));
	assert_in_range(listener.expires_ms, clock_ms() + 90000, clock_ms() + 100000);
	assert_int_equal(rig_get(&rig, 4, "/ps/q", &a), CODE(205));
	assert_in_range(answer_uint(&a, OPT_MAX_AGE), 90, 100);
	/* A message id of its own for each: NON is QoS 0 and is answered in a NON. */
	packet_init(&p, NON, PUT, 5, "n");
	packet_path(&p, "/ps/q");
	packet_payload(&p, "y", 1);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.type, NON);
	assert_int_equal(a.code, CODE(204));
	assert_int_equal(listener.qos, 0);
	packet_init(&p, NON, PUT, 6, "m");
	packet_path(&p, "/ps/q");
	packet_query(&p, "qos=1");
	packet_payload(&p, "z", 1);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.type, NON);
	assert_int_equal(a.code, CODE(204));
	assert_string_equal(a.token, "m");
	assert_int_equal(listener.qos, 1);
	assert_int_equal(listener.n, 5);
	router_leave(rig.router, &listener.sub);
}

static void bad_requests_are_told_why(void **state)
{
	struct answer a;

	(void)state;
	assert_int_equal(rig_publish(&rig, PUT, 1, "/ps/a", "qos=3", "x"), CODE(400));
	assert_int_equal(rig_publish(&rig, PUT, 2, "/ps/a", "retain=maybe", "x"), CODE(400));
	assert_int_equal(rig_publish(&rig, PUT, 3, "/ps/a", "expiry=0", "x"), CODE(400));
	assert_int_equal(rig_publish(&rig, PUT, 4, "/ps/+/a", NULL, "x"), CODE(400));
	assert_int_equal(rig_publish(&rig, PUT, 5, "/ps/#", NULL, "x"), CODE(400));
	assert_int_equal(rig_publish(&rig, PUT, 6, "/ps/\x01", NULL, "x"), CODE(400));
	assert_int_equal(rig_publish(&rig, PUT, 7, "/other", NULL, "x"), CODE(404));
	assert_int_equal(rig_publish(&rig, PUT, 8, "/ps", NULL, "x"), CODE(405));
	assert_int_equal(rig_publish(&rig, FETCH, 9, "/ps/a", NULL, "x"), CODE(405));
	assert_int_equal(rig_publish(&rig, DELETE, 10, "/ps/+", NULL, ""), CODE(400));
	assert_true(rig_publish(&rig, PUT, 11, "/ps/$SYS/x", NULL, "x") >= CODE(400));
	assert_int_equal(rig_publish(&rig, PUT, 12, "/ps/a", "other=thing", "x"), CODE(201));
	assert_int_equal(rig_get(&rig, 13, "/ps/none", &a), CODE(404));
	assert_int_equal(rig_get(&rig, 14, "/ps/a/#/b", &a), CODE(400));
}

static void slash_inside_a_segment_is_refused(void **state)
{
	struct packet p;
	struct answer a;

	(void)state;
	packet_init(&p, CON, PUT, 1, "");
	packet_option(&p, OPT_URI_PATH, "ps", 2);
	packet_option(&p, OPT_URI_PATH, "a/b", 3);
	packet_payload(&p, "x", 1);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(400));
}

static void critical_option_twice_is_bad_option(void **state)
{
	struct packet p;
	struct answer a;

	(void)state;
	packet_init(&p, CON, PUT, 1, "");
	packet_path(&p, "/ps/a");
	packet_uint(&p, OPT_BLOCK1, 0);
	packet_uint(&p, OPT_BLOCK1, 0);
	packet_payload(&p, "x", 1);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(402));
}

static void empty_levels_are_levels(void **state)
{
	(void)state;
	listener_start(&listener, &rig, "#", false);
	assert_int_equal(rig_publish(&rig, PUT, 1, "/ps//a//b", NULL, "x"), CODE(201));
	assert_string_equal(listener.topic, "/a//b");
	router_leave(rig.router, &listener.sub);
}

static void delete_clears(void **state)
{
	struct answer a;

	(void)state;
	rig_publish(&rig, PUT, 1, "/ps/d", NULL, "x");
	assert_int_equal(rig_publish(&rig, DELETE, 2, "/ps/d", NULL, ""), CODE(202));
	assert_int_equal(rig_get(&rig, 3, "/ps/d", &a), CODE(404));
	assert_null(router_retained(rig.router, span_str("d")));
}

static void repeated_message_id_publishes_once(void **state)
{
	struct packet p;
	struct answer a;

	(void)state;
	listener_start(&listener, &rig, "#", false);
	packet_init(&p, CON, PUT, 77, "t");
	packet_path(&p, "/ps/once");
	packet_payload(&p, "x", 1);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(201));
	rig_ask(&rig, &p, &a);
	/* The stored answer, not the one of a second publish. */
	assert_int_equal(a.code, CODE(201));
	assert_int_equal(a.type, ACK);
	assert_int_equal(a.mid, 77);
	assert_int_equal(listener.n, 1);
	router_leave(rig.router, &listener.sub);
}

static void preconditions(void **state)
{
	struct packet p;
	struct answer a;
	struct span etag;

	(void)state;
	rig_publish(&rig, PUT, 1, "/ps/p", NULL, "x");
	packet_init(&p, CON, PUT, 2, "");
	packet_option(&p, OPT_IF_NONE_MATCH, "", 0);
	packet_path(&p, "/ps/p");
	packet_payload(&p, "y", 1);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(412));
	rig_get(&rig, 3, "/ps/p", &a);
	etag = answer_option(&a, OPT_ETAG);
	assert_true(etag.len > 0);
	packet_init(&p, CON, PUT, 4, "");
	packet_option(&p, OPT_IF_MATCH, etag.p, etag.len);
	packet_path(&p, "/ps/p");
	packet_payload(&p, "y", 1);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(204));
	p.bytes[3] = 5; /* the same again: the value is another now */
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(412));
}

/* ---- the promise ---- */

static void answer_waits_for_the_receipt(void **state)
{
	struct packet p;
	struct answer a;

	(void)state;
	listener_start(&listener, &rig, "#", true);
	packet_init(&p, CON, PUT, 9, "t");
	packet_path(&p, "/ps/safe");
	packet_payload(&p, "x", 1);
	rig_send(&rig, &p);
	assert_int_equal(listener.n, 1);
	assert_false(rig_receive(&rig, &a));
	rig_send(&rig, &p); /* repeated meanwhile: neither published again nor answered */
	assert_int_equal(listener.n, 1);
	assert_false(rig_receive(&rig, &a));
	receipt_release(&listener.holds[0], R_SUCCESS);
	assert_true(rig_receive(&rig, &a));
	assert_int_equal(a.type, ACK);
	assert_int_equal(a.mid, 9);
	assert_int_equal(a.code, CODE(201));
	assert_string_equal(a.token, "t");
	router_leave(rig.router, &listener.sub);
}

static void slow_receipt_has_a_separate_answer(void **state)
{
	struct packet p;
	struct answer a;

	(void)state;
	clock_freeze(1000000, 1700000000000);
	listener_start(&listener, &rig, "#", true);
	packet_init(&p, CON, PUT, 9, "t");
	packet_path(&p, "/ps/slow");
	packet_payload(&p, "x", 1);
	rig_send(&rig, &p);
	clock_advance(600);
	assert_true(rig_receive(&rig, &a));
	assert_int_equal(a.type, ACK);
	assert_int_equal(a.code, 0);
	assert_int_equal(a.mid, 9);
	assert_int_equal(a.len, 4);
	rig_send(&rig, &p); /* the acknowledgement got lost */
	assert_true(rig_receive(&rig, &a));
	assert_int_equal(a.code, 0);
	assert_false(rig_receive(&rig, &a));
	receipt_release(&listener.holds[0], R_SUCCESS);
	assert_true(rig_receive(&rig, &a));
	assert_int_equal(a.type, CON);
	assert_int_equal(a.code, CODE(201));
	assert_string_equal(a.token, "t");
	rig_empty(&rig, ACK, a.mid);
	assert_true(adapter_coap.drain(rig.self));
	router_leave(rig.router, &listener.sub);
}

static void failed_receipt_is_no_success(void **state)
{
	struct packet p;
	struct answer a;

	(void)state;
	listener_start(&listener, &rig, "#", true);
	packet_init(&p, CON, PUT, 9, "t");
	packet_path(&p, "/ps/full");
	packet_payload(&p, "x", 1);
	rig_send(&rig, &p);
	receipt_release(&listener.holds[0], R_QUOTA);
	assert_true(rig_receive(&rig, &a));
	assert_int_equal(a.code, CODE(503));
	assert_true(answer_uint(&a, OPT_MAX_AGE) > 0);
	router_leave(rig.router, &listener.sub);
}

static void no_response_is_only_acknowledged(void **state)
{
	struct packet p;
	struct answer a;

	(void)state;
	packet_init(&p, CON, PUT, 9, "t");
	packet_path(&p, "/ps/quiet");
	packet_uint(&p, OPT_NO_RESPONSE, 2);
	packet_payload(&p, "x", 1);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.type, ACK);
	assert_int_equal(a.code, 0);
	assert_int_equal(a.mid, 9);
	assert_non_null(router_retained(rig.router, span_str("quiet")));
}

static void draining_refuses(void **state)
{
	(void)state;
	assert_true(adapter_coap.drain(rig.self));
	assert_int_equal(rig_publish(&rig, PUT, 1, "/ps/a", NULL, "x"), CODE(503));
}

/* ---- read ---- */

static void get_tells_format_age_and_etag(void **state)
{
	struct packet p;
	struct answer a;
	uint8_t etag[8];
	size_t etag_len;

	(void)state;
	listener_start(&listener, &rig, "#", false);
	packet_init(&p, CON, PUT, 1, "");
	packet_path(&p, "/ps/v");
	packet_uint(&p, OPT_CONTENT_FORMAT, 50);
	packet_payload(&p, "{}", 2);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(201));
	assert_true(props_valid(span_of(listener.props, listener.props_len)));
	assert_int_equal(rig_get(&rig, 2, "/ps/v", &a), CODE(205));
	assert_payload(&a, "{}");
	assert_int_equal(answer_uint(&a, OPT_CONTENT_FORMAT), 50);
	assert_int_equal(answer_uint(&a, OPT_BLOCK2), -1);
	etag_len = answer_option(&a, OPT_ETAG).len;
	assert_in_range(etag_len, 1, 8);
	memcpy(etag, answer_option(&a, OPT_ETAG).p, etag_len);
	packet_init(&p, CON, GET, 3, "");
	packet_option(&p, OPT_ETAG, etag, etag_len);
	packet_path(&p, "/ps/v");
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(203));
	assert_int_equal(a.payload_len, 0);
	packet_init(&p, CON, GET, 4, "");
	packet_path(&p, "/ps/v");
	packet_uint(&p, OPT_ACCEPT, 60);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(406));
	router_leave(rig.router, &listener.sub);
}

static void lists(void **state)
{
	struct answer a;

	(void)state;
	rig_publish(&rig, PUT, 1, "/ps/l/a", NULL, "x");
	rig_publish(&rig, PUT, 2, "/ps/l/b c", NULL, "yy");
	rig_publish(&rig, PUT, 3, "/ps/other", NULL, "z");
	assert_int_equal(rig_get(&rig, 4, "/ps/l/+", &a), CODE(205));
	assert_int_equal(answer_uint(&a, OPT_CONTENT_FORMAT), 40);
	a.bytes[a.len] = 0;
	assert_non_null(strstr((const char *)a.payload, "</ps/l/a>;sz=1;obs"));
	assert_non_null(strstr((const char *)a.payload, "</ps/l/b%20c>;sz=2;obs"));
	assert_null(strstr((const char *)a.payload, "other"));
	assert_int_equal(rig_get(&rig, 5, "/ps", &a), CODE(205));
	a.bytes[a.len] = 0;
	assert_non_null(strstr((const char *)a.payload, "</ps/other>"));
	assert_int_equal(rig_get(&rig, 6, "/.well-known/core", &a), CODE(205));
	assert_payload(&a, "</ps>;rt=\"core.ps.coll\";ct=40");
	assert_int_equal(rig_get(&rig, 7, "/.well-known/other", &a), CODE(404));
}

/* ---- addresses ---- */

static void big_answers_need_a_proof(void **state)
{
	struct packet p;
	struct answer a;
	struct span echo;
	uint8_t value[40];
	char big[200];

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	assert_int_equal(rig_publish(&rig, PUT, 1, "/ps/big", NULL, big), CODE(201));
	assert_int_equal(rig_get(&rig, 2, "/ps/big", &a), CODE(401));
	echo = answer_option(&a, OPT_ECHO);
	assert_in_range(echo.len, 1, 40);
	assert_true(a.len <= 3 * 15);
	memcpy(value, echo.p, echo.len);
	value[0] ^= 1;
	packet_init(&p, CON, GET, 3, "");
	packet_path(&p, "/ps/big");
	packet_option(&p, OPT_ECHO, value, echo.len);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(401));
	value[0] ^= 1;
	packet_init(&p, CON, GET, 4, "");
	packet_path(&p, "/ps/big");
	packet_option(&p, OPT_ECHO, value, echo.len);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(205));
	assert_int_equal(rig_get(&rig, 5, "/ps/big", &a), CODE(205));
	assert_int_equal(a.payload_len, sizeof(big) - 1);
}

static int setup_prove(void **state)
{
	(void)state;
	rig_start(&rig, "prove_address = yes\n");
	return 0;
}

static int setup_few(void **state)
{
	(void)state;
	rig_start(&rig, "clients = 2\n");
	return 0;
}

static void clients_take_the_place_of_silent_ones(void **state)
{
	struct packet p;
	struct answer a;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		int fd = rig_device(&rig);

		packet_init(&p, CON, PUT, 1, "");
		packet_path(&p, "/ps/many");
		packet_payload(&p, "x", 1);
		rig_send_from(&rig, fd, p.bytes, p.len);
		assert_true(rig_receive_at(&rig, fd, &a));
		assert_int_equal(a.code, i ? CODE(204) : CODE(201));
		close(fd);
	}
}

static void full_table_is_told(void **state)
{
	struct packet p;
	struct answer a;
	int fd[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		fd[i] = rig_device(&rig);
		packet_init(&p, CON, GET, 1, "o");
		packet_uint(&p, OPT_OBSERVE, 0);
		packet_path(&p, "/ps/x");
		rig_send_from(&rig, fd[i], p.bytes, p.len);
		assert_true(rig_receive_at(&rig, fd[i], &a));
		assert_int_equal(a.code, i < 2 ? CODE(205) : CODE(503));
	}
	assert_true(answer_uint(&a, OPT_MAX_AGE) > 0);
	for (unsigned i = 0; i < 3; i++)
		close(fd[i]);
}

static void silent_clients_are_forgotten(void **state)
{
	struct cap *cap = rig.self;

	(void)state;
	clock_freeze(clock_ms(), clock_wall_ms());
	rig_publish(&rig, PUT, 1, "/ps/x", NULL, "x");
	assert_int_equal(cap->n_clients, 1);
	clock_advance(59000);
	rig_turn(&rig);
	assert_int_equal(cap->n_clients, 1);
	clock_advance(10000);
	rig_turn(&rig);
	assert_int_equal(cap->n_clients, 0);
}

/* ---- who ---- */

static enum reason strict_connect(
	struct policy *p, const struct identity *who, struct span password)
{
	(void)p;
	return who->username && strcmp(who->username, "me") == 0 && span_is(password, "secret")
		       ? R_SUCCESS
		       : R_BAD_CREDENTIALS;
}

static bool strict_allows(
	struct policy *p, const struct identity *who, enum access access, struct span topic)
{
	(void)p;
	(void)who;
	(void)access;
	return !span_is(topic, "secret");
}

static struct policy strict = { .connect = strict_connect, .allows = strict_allows };

static void credentials_and_rights_are_asked(void **state)
{
	struct packet p;
	struct answer a;

	(void)state;
	assert_int_equal(rig_publish(&rig, PUT, 1, "/ps/x", NULL, "x"), CODE(401));
	assert_int_equal(rig_publish(&rig, PUT, 2, "/ps/x", "u=me", "x"), CODE(401));
	packet_init(&p, CON, PUT, 3, "");
	packet_path(&p, "/ps/x");
	packet_query(&p, "u=me");
	packet_query(&p, "p=secret");
	packet_payload(&p, "x", 1);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(201));
	/* The peer is known now. */
	assert_int_equal(rig_publish(&rig, PUT, 4, "/ps/x", NULL, "x"), CODE(204));
	assert_int_equal(rig_publish(&rig, PUT, 5, "/ps/secret", NULL, "x"), CODE(403));
	assert_int_equal(rig_get(&rig, 6, "/ps/secret", &a), CODE(403));
	packet_init(&p, CON, GET, 7, "");
	packet_uint(&p, OPT_OBSERVE, 0);
	packet_path(&p, "/ps/secret");
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(403));
}

static int setup_strict(void **state)
{
	(void)state;
	rig_start_with(&rig, "", &strict);
	return 0;
}

/* ---- configuration ---- */

static void configuration_is_checked(void **state)
{
	struct conf_error err = { .text = "" };
	struct env env = { .base = rig.base, .router = rig.router, .gateway_id = "t" };
	struct conf *conf;
	void *self = NULL;
	char text[128];

	(void)state;
	assert_null(rig_conf("[coap]\nlisten = coap://0.0.0.0:5683\n", &err));
	assert_non_null(strstr(err.text, "test.conf:2:"));
	assert_non_null(strstr(err.text, "allow_plain"));
	assert_null(rig_conf("[coap]\nlisten = http://127.0.0.1\n", &err));
	conf = rig_conf("[coap]\nlisten = coap://0.0.0.0:5683\nallow_plain = yes\n", &err);
	assert_non_null(conf);
	conf_free(conf);
	snprintf(text, sizeof(text), "[coap]\nlisten = coap://127.0.0.1:%u\n", rig.port);
	conf = rig_conf(text, &err);
	assert_int_equal(adapter_coap.start(&env, conf, &self), -EADDRINUSE);
	conf_free(conf);
}

static void reload_applies_limits(void **state)
{
	struct conf_error err = { .text = "" };
	struct conf *conf = rig_conf("[coap]\nmax_payload = 16B\n", &err);

	(void)state;
	assert_int_equal(rig_publish(&rig, PUT, 1, "/ps/x", NULL, "12345678901234567"), CODE(201));
	assert_non_null(conf);
	assert_int_equal(adapter_coap.reload(rig.self, conf), 0);
	conf_free(conf);
	assert_int_equal(rig_publish(&rig, PUT, 2, "/ps/x", NULL, "12345678901234567"), CODE(413));
	assert_int_equal(rig_publish(&rig, PUT, 3, "/ps/x", NULL, "1234567890123456"), CODE(204));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(put_is_retained_and_created_once),
		T(post_is_an_event),
		T(query_says_qos_and_expiry),
		T(bad_requests_are_told_why),
		T(slash_inside_a_segment_is_refused),
		T(critical_option_twice_is_bad_option),
		T(empty_levels_are_levels),
		T(delete_clears),
		T(repeated_message_id_publishes_once),
		T(preconditions),
		T(answer_waits_for_the_receipt),
		T(failed_receipt_is_no_success),
		T(no_response_is_only_acknowledged),
		T(draining_refuses),
		T(get_tells_format_age_and_etag),
		T(lists),
		cmocka_unit_test_setup_teardown(big_answers_need_a_proof, setup_prove, teardown),
		cmocka_unit_test_setup_teardown(
			clients_take_the_place_of_silent_ones, setup_few, teardown),
		T(configuration_is_checked),
		T(reload_applies_limits),
		cmocka_unit_test_setup_teardown(full_table_is_told, setup_few, teardown),
		cmocka_unit_test_setup_teardown(
			credentials_and_rights_are_asked, setup_strict, teardown),
		/* Last: they stop the clock. */
		T(silent_clients_are_forgotten),
		T(slow_receipt_has_a_separate_answer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
