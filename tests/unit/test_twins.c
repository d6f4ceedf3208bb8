/*
 * The master's part of twins (master/twins.h): what can be bound beside a worker's socket, and that
 * nothing else can.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* after those that it needs */
#include <cmocka.h>

#include "common/addr.h"
#include "master/twins.h"

#define SOMEBODY 4711 /* uid */

static struct sockaddr_storage at;
static socklen_t len;

static int
unbound(void)
{
	return socket(at.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
}

/* Bound to `at`. */
static int
bound(const char *host)
{
	struct addrport ap = { .port = 0 };

	assert_int_equal(addr_parse(host, &ap.a), 0);
	len = addr_to_sockaddr(&ap, &at);
	int fd = unbound();
	assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	return fd;
}

static int
shares_port(int fd)
{
	int value = -1;
	socklen_t size = sizeof(value);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, &size), 0);
	return value;
}

static void
test_it_stands_beside(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "0.0.0.0", "::1", "::" };

	(void)state;
	for (unsigned i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct sockaddr_storage there = { .ss_family = AF_UNSPEC };
		socklen_t there_len = sizeof(there);
		int one = 1, beside = bound(hosts[i]), fd = unbound(), third = unbound();

		assert_true(twins_bind(fd, beside));
		assert_int_equal(getsockname(fd, (struct sockaddr *)&there, &there_len), 0);
		assert_int_equal(there_len, len);
		assert_memory_equal(&there, &at, len);
		assert_true(shares_port(beside) == 0 && shares_port(fd) == 0);
		setsockopt(third, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
		assert_int_equal(bind(third, (struct sockaddr *)&at, len), -1);
		close(third);
		/* One after another. */
		close(fd);
		assert_true(twins_bind(fd = unbound(), beside));
		close(fd);
		close(beside);
	}
}

static void
test_what_cannot_be(void **state)
{
	int beside = bound("127.0.0.1"), nowhere = unbound(), fd = unbound();

	(void)state;
	assert_false(twins_bind(fd, nowhere)); /* it may not have got a port */
	assert_true(twins_bind(fd, beside));
	assert_false(twins_bind(fd, beside)); /* it is bound */
	close(fd);
	if (geteuid() == 0) {
		fd = unbound();
		assert_int_equal(fchown(fd, SOMEBODY, (gid_t)-1), 0);
		assert_false(twins_bind(fd, beside)); /* of another user */
		assert_true(shares_port(beside) == 0 && shares_port(fd) == 0);
		close(fd);
	}
	close(nowhere);
	close(beside);
}

/* What it asked for is no fault of one that has ended: what it sent after that counts. */
static void
test_a_worker_that_has_ended(void **state)
{
	struct loop *l = loop_new();
	struct child worker = { .role = ROLE_WORKER, .beside = -1 };
	struct msg_twin twin = { .side = 1 };
	struct msg m = { .type = MSG_BESIDE, .fd = bound("127.0.0.1") };
	int pair[2], beside = m.fd;

	(void)state;
	assert_int_equal(chan_pair(pair), 0);
	assert_int_equal(chan_start(&worker.chan, l, pair[0], ROLE_MASTER, ROLE_WORKER, 1), 0);
	chan_stop(&worker.chan);
	close(pair[1]);
	assert_true(twins_beside(&worker, &m));
	assert_int_equal(m.fd, -1);
	m = (struct msg){
		.type = MSG_TWIN, .payload = &twin, .len = sizeof(twin), .fd = unbound()
	};
	assert_true(twins_make(&worker, &m));
	assert_int_equal(worker.beside, -1);
	assert_int_equal(fcntl(beside, F_GETFD), -1);
	close(m.fd);
	loop_free(l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_stands_beside),
		cmocka_unit_test(test_what_cannot_be),
		cmocka_unit_test(test_a_worker_that_has_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
