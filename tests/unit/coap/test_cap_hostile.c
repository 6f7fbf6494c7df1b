#include "tests/unit/coap/rig.h"

/* Datagrams of strangers: whatever they hold, the adapter goes on serving and nothing piles up.
 * The sanitizers watch. */

#define ROUNDS 100000

static struct rig rig;
static uint64_t seed = 0x9e3779b97f4a7c15;

static uint32_t next(uint32_t limit)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32) % limit;
}

static int setup(void **state)
{
	(void)state;
	rig_start(&rig, "clients = 8\nuploads = 4\nobservers = 6\nmax_payload = 4KB\n");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	return 0;
}

/* A request as devices send them, with options drawn by lot in their order. */
static void draw_request(struct packet *p)
{
	static const char *const paths[] = { "/ps/a/b", "/ps/+", "/ps/#", "/ps", "/ps/a//",
		"/.well-known/core", "/x", "/ps/a/b/c/d/e/f" };
	static const char *const queries[] = { "qos=1", "qos=9", "retain", "expiry=1", "rt=*",
		"c=me" };
	char payload[64] = "0123456789012345678901234567890123456789";

	packet_init(p, next(4), 1 + next(8), (uint16_t)next(64), next(2) ? "t" : "token678");
	if (next(4) == 0)
		packet_option(p, OPT_IF_MATCH, payload, next(9));
	if (next(4) == 0)
		packet_option(p, OPT_ETAG, payload, 1 + next(8));
	if (next(3) == 0)
		packet_uint(p, OPT_OBSERVE, next(3));
	packet_path(p, paths[next(8)]);
	if (next(3) == 0)
		packet_uint(p, OPT_CONTENT_FORMAT, next(120));
	if (next(3) == 0)
		packet_query(p, queries[next(6)]);
	if (next(6) == 0)
		packet_uint(p, OPT_ACCEPT, next(60));
	if (next(4) == 0)
		packet_uint(p, OPT_BLOCK2, next(256));
	if (next(3) == 0)
		packet_uint(p, OPT_BLOCK1, next(64));
	if (next(8) == 0)
		packet_uint(p, OPT_SIZE1, next(0x7fffffff));
	if (next(8) == 0)
		packet_option(p, OPT_ECHO, payload, next(41));
	if (next(8) == 0)
		packet_uint(p, OPT_NO_RESPONSE, next(32));
	packet_payload(p, payload, next(sizeof(payload)));
}

static void spoil(struct packet *p)
{
	if (next(2))
		p->bytes[next((uint32_t)p->len)] = (uint8_t)next(256);
	if (next(3) == 0)
		p->len = next((uint32_t)p->len + 1);
}

static void drain_device(int fd)
{
	uint8_t buf[2048];

	while (recv(fd, buf, sizeof(buf), 0) >= 0)
		;
}

static void assert_serving(void)
{
	struct packet p;
	struct answer a;
	int fd = rig_device(&rig);

	packet_init(&p, CON, POST, 1, "ok");
	packet_path(&p, "/ps/still/here");
	packet_payload(&p, "x", 1);
	rig_send_from(&rig, fd, p.bytes, p.len);
	assert_true(rig_receive_at(&rig, fd, &a));
	assert_int_equal(a.code, CODE(204));
	close(fd);
}

/* Sends what `draw` makes from a few devices, a handful per turn. */
static void bombard(void (*draw)(struct packet *))
{
	int fd[12];
	struct packet p;

	for (unsigned i = 0; i < 12; i++)
		fd[i] = rig_device(&rig);
	for (unsigned i = 0; i < ROUNDS; i++) {
		int from = fd[next(12)];

		draw(&p);
		send(from, p.bytes, p.len, 0);
		if (i % 16 == 0) {
			rig_turn(&rig);
			drain_device(from);
		}
	}
	for (unsigned i = 0; i < 12; i++)
		close(fd[i]);
	for (unsigned i = 0; i < 40; i++)
		rig_turn(&rig);
}

static void draw_noise(struct packet *p)
{
	p->len = next(64);
	for (size_t i = 0; i < p->len; i++)
		p->bytes[i] = (uint8_t)next(256);
	if (p->len && next(2))
		p->bytes[0] = (uint8_t)(0x40 | (p->bytes[0] & 0x3f));
}

static void draw_spoilt(struct packet *p)
{
	draw_request(p);
	spoil(p);
}

static void noise(void **state)
{
	(void)state;
	bombard(draw_noise);
	assert_serving();
}

static void spoilt_requests(void **state)
{
	(void)state;
	bombard(draw_spoilt);
	/* Its observers keep their places until they fail to answer; a publisher is served. */
	adapter_coap.dump(rig.self);
}

static void every_truncation(void **state)
{
	struct packet p;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		size_t len;

		draw_request(&p);
		len = p.len;
		for (p.len = 0; p.len <= len; p.len++)
			send(rig.fd, p.bytes, p.len, 0);
		rig_turn(&rig);
		rig_turn(&rig);
		drain_device(rig.fd);
	}
	rig_publish(&rig, POST, 60000, "/ps/x", NULL, "x");
}

static void over_long_datagram_is_not_cut(void **state)
{
	struct packet p;

	(void)state;
	packet_init(&p, NON, PUT, 1, "");
	packet_path(&p, "/ps/long");
	memset(p.bytes + p.len, 'x', sizeof(p.bytes) - p.len);
	p.bytes[p.len] = 0xff;
	p.len = 2000;
	rig_send(&rig, &p);
	assert_null(router_retained(rig.router, span_str("long")));
	assert_serving();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(over_long_datagram_is_not_cut),
		T(every_truncation),
		T(noise),
		T(spoilt_requests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
