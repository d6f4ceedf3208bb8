/*
 * The master's choice for BIND: on which address and port a listener is made, and what the client
 * is told; for each refusal the same request with what it lacked, which is served.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "master/bind.h"

#define FIRST 22000 /* below those that the kernel hands out */

/* An image of one rule, as far as a listener needs it. */
static struct {
	struct image img;
	struct image_rule rule;
	struct addr egress[2], rule_egress[2], advertise[2];
	_Alignas(8) struct image_ports ports[2];
} I;

#define LIST(field, count) \
	((struct image_list){ .off = (uint32_t)((char *)(field) - (char *)&I), .n = (count) })

static struct addr
addr(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static int
setup(void **state)
{
	(void)state;
	memset(&I, 0, sizeof(I));
	return 0;
}

/* Two ports next to each other that nobody has. */
static uint16_t
two_ports(void)
{
	for (uint16_t p = FIRST; p < FIRST + 2000; p = (uint16_t)(p + 2)) {
		unsigned n = 0;

		for (unsigned i = 0; i < 2; i++) {
			struct sockaddr_in at = { .sin_family = AF_INET,
				.sin_port = htons((uint16_t)(p + i)) };
			int fd = socket(AF_INET, SOCK_STREAM, 0);
			n += bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0;
			close(fd);
		}
		if (n == 2)
			return p;
	}
	fail_msg("no two ports are free");
	return 0;
}

static enum reason
ask(const char *asked, const char *gateway, struct bind_listener *l, int *error)
{
	struct bind_request r = { .img = &I.img,
		.rule = &I.rule,
		.asked = { .a = addr(asked), .port = 7 },
		.gateway = { .a = addr(gateway), .port = 1080 } };

	return bind_listen(&r, l, error);
}

/* It listens at this address, and says so. */
static struct bind_listener
listens(const char *asked, const char *gateway, const char *at)
{
	struct bind_listener l;
	struct addr want = addr(at);
	socklen_t len = sizeof(int);
	int error, yes = 0;

	assert_int_equal(ask(asked, gateway, &l, &error), REASON_NONE);
	assert_int_equal(getsockopt(l.fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len), 0);
	assert_true(yes);
	assert_memory_equal(&l.bound.a, &want, sizeof(want));
	assert_int_not_equal(l.bound.port, 0);
	assert_int_equal(l.advertised.port, l.bound.port);
	return l;
}

static void
refused(const char *asked, const char *gateway, enum reason why, int want_error)
{
	struct bind_listener l;
	int error;

	assert_int_equal(ask(asked, gateway, &l, &error), why);
	assert_int_equal(error, want_error);
	assert_int_equal(l.fd, -1);
}

static void
once(const char *asked, const char *gateway, const char *at)
{
	close(listens(asked, gateway, at).fd);
}

/* Without an egress address: from where the peer is reached, or where the client came in. */
static void
test_address(void **state)
{
	(void)state;
	once("127.0.0.9", "127.0.0.4", "127.0.0.1");
	once("::1", "127.0.0.4", "::1");
	once("0.0.0.0", "127.0.0.4", "127.0.0.4");
	once("0.0.0.0", "::1", "::1");
	once("::", "::ffff:127.0.0.4", "127.0.0.4");
	/* A worker that claims a wildcard gets no more than loopback. */
	once("0.0.0.0", "0.0.0.0", "127.0.0.1");
	once("::", "::", "::1");
	/* Nor an address that is not this machine's. */
	refused("0.0.0.0", "198.51.100.77", REASON_EGRESS, EADDRNOTAVAIL);
}

/* The rule's list stands instead of the default's, by DST.ADDR's family. */
static void
test_egress(void **state)
{
	(void)state;
	I.egress[0] = addr("127.0.0.5");
	I.img.egress.from = LIST(I.egress, 1);
	once("127.0.0.9", "127.0.0.4", "127.0.0.5");
	once("0.0.0.0", "127.0.0.4", "127.0.0.5");
	refused("::1", "127.0.0.4", REASON_EGRESS, EADDRNOTAVAIL);
	refused("::", "::1", REASON_EGRESS, EADDRNOTAVAIL);
	I.egress[1] = addr("::1");
	I.img.egress.from = LIST(I.egress, 2);
	once("::", "127.0.0.4", "::1");
	I.rule_egress[0] = addr("127.0.0.6");
	I.rule.egress.from = LIST(I.rule_egress, 1);
	once("127.0.0.9", "127.0.0.4", "127.0.0.6");
	refused("::1", "127.0.0.4", REASON_EGRESS, EADDRNOTAVAIL);
	I.rule_egress[0] = addr("198.51.100.77");
	refused("127.0.0.9", "127.0.0.4", REASON_EGRESS, EADDRNOTAVAIL);
}

static void
test_ports(void **state)
{
	uint16_t first = two_ports();
	struct bind_listener l[2];

	(void)state;
	I.img.bind_ports = (struct image_ports){ first, (uint16_t)(first + 1) };
	for (unsigned i = 0; i < 2; i++)
		l[i] = listens("127.0.0.9", "127.0.0.1", "127.0.0.1");
	assert_int_equal(l[0].bound.port + l[1].bound.port, 2 * first + 1);
	refused("127.0.0.9", "127.0.0.1", REASON_BIND_PORTS, EADDRINUSE);
	close(l[0].fd);
	close(listens("127.0.0.9", "127.0.0.1", "127.0.0.1").fd);
	/* The rule's ports stand instead; all of its ranges are tried. */
	I.ports[0] = (struct image_ports){ l[1].bound.port, l[1].bound.port };
	I.rule.bind_ports = LIST(I.ports, 1);
	refused("127.0.0.9", "127.0.0.1", REASON_BIND_PORTS, EADDRINUSE);
	I.ports[1] = (struct image_ports){ l[0].bound.port, l[0].bound.port };
	I.rule.bind_ports = LIST(I.ports, 2);
	l[0] = listens("127.0.0.9", "127.0.0.1", "127.0.0.1");
	assert_int_equal(l[0].bound.port, I.ports[1].first);
	close(l[0].fd);
	close(l[1].fd);
}

/* Below 1024 only a rule's own ports lead. */
static void
test_low_ports(void **state)
{
	struct bind_listener l;

	(void)state;
	I.img.bind_ports = (struct image_ports){ 20, 21 };
	refused("127.0.0.9", "127.0.0.1", REASON_BIND_PORTS, EADDRINUSE);
	I.img.bind_ports = (struct image_ports){ 0, 1024 };
	l = listens("127.0.0.9", "127.0.0.1", "127.0.0.1");
	assert_int_equal(l.bound.port, 1024);
	close(l.fd);
	if (geteuid() != 0)
		return;
	I.img.bind_ports = (struct image_ports){ 0, 0 };
	I.ports[0] = (struct image_ports){ 20, 21 };
	I.rule.bind_ports = LIST(I.ports, 1);
	l = listens("127.0.0.9", "127.0.0.1", "127.0.0.1");
	assert_in_range(l.bound.port, 20, 21);
	close(l.fd);
}

static void
test_advertise(void **state)
{
	struct addr outside = addr("198.51.100.7");
	struct bind_listener l;

	(void)state;
	I.advertise[0] = outside;
	I.img.bind_advertise = LIST(I.advertise, 1);
	l = listens("127.0.0.9", "127.0.0.1", "127.0.0.1");
	assert_memory_equal(&l.advertised.a, &outside, sizeof(outside));
	close(l.fd);
	l = listens("::1", "127.0.0.1", "::1"); /* none of this family */
	assert_memory_equal(&l.advertised, &l.bound, sizeof(l.bound));
	close(l.fd);
}

/* Whoever else asks for the port does not get it while it listens; straight afterwards it is free,
 * also while a connection that came to it lives. */
static void
test_port_is_held(void **state)
{
	struct bind_listener l = listens("127.0.0.9", "127.0.0.1", "127.0.0.1");
	struct sockaddr_storage at;
	socklen_t len = addr_to_sockaddr(&l.bound, &at);
	static const int options[] = { SO_REUSEADDR, SO_REUSEPORT };
	int one = 1, peer, came;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(l.bound.port) };
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(fd, SOL_SOCKET, options[i % 2], &one, sizeof(one));
		if (i < 2)
			assert_int_equal(bind(fd, (struct sockaddr *)&at, len), -1);
		else
			assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any)), -1);
		close(fd);
	}
	peer = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(peer, (struct sockaddr *)&at, len), 0);
	came = accept(l.fd, NULL, NULL);
	assert_true(came != -1);
	close(l.fd);
	I.ports[0] = (struct image_ports){ l.bound.port, l.bound.port };
	I.rule.bind_ports = LIST(I.ports, 1);
	once("127.0.0.9", "127.0.0.1", "127.0.0.1");
	close(came);
	close(peer);
	once("127.0.0.9", "127.0.0.1", "127.0.0.1");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_address, setup),
		cmocka_unit_test_setup(test_egress, setup),
		cmocka_unit_test_setup(test_ports, setup),
		cmocka_unit_test_setup(test_low_ports, setup),
		cmocka_unit_test_setup(test_advertise, setup),
		cmocka_unit_test_setup(test_port_is_held, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
