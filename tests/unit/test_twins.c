/*
 * The master's part of twins (master/twins.h): what stands beside a worker's socket, and beside
 * what nothing does.
 */
#include <net/if.h>
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

static int
udp(const char *host, struct sockaddr_storage *at, socklen_t *len)
{
	struct addrport ap = { .port = 0 };

	assert_int_equal(addr_parse(host, &ap.a), 0);
	*len = addr_to_sockaddr(&ap, at);
	int fd = socket(at->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
	assert_int_equal(bind(fd, (struct sockaddr *)at, *len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)at, len), 0);
	return fd;
}

static int
option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, name, &value, &len), 0);
	return value;
}

static void
test_it_stands_beside(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "0.0.0.0", "::1", "::" };

	(void)state;
	for (unsigned i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct sockaddr_storage at, twin_at = { .ss_family = AF_UNSPEC };
		socklen_t len, twin_len = sizeof(twin_at);
		bool sane = false;
		int one = 1, of = udp(hosts[i], &at, &len), fd = twins_socket(of, &sane);

		assert_true(fd != -1 && sane);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&twin_at, &twin_len), 0);
		assert_int_equal(twin_len, len);
		assert_memory_equal(&twin_at, &at, len);
		assert_int_equal(option(of, SO_REUSEPORT), 0);
		assert_int_equal(option(fd, SO_REUSEPORT), 0);
		int third = socket(at.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
		setsockopt(third, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
		assert_int_equal(bind(third, (struct sockaddr *)&at, len), -1);
		close(third);
		/* One after another. */
		close(fd);
		assert_true((fd = twins_socket(of, &sane)) != -1);
		close(fd);
		close(of);
	}
}

static void
test_it_is_of_the_same_kind(void **state)
{
	struct sockaddr_storage at;
	socklen_t len;
	char device[IFNAMSIZ] = "";
	socklen_t device_len = sizeof(device);
	int mark = 7, of = udp("127.0.0.1", &at, &len), fd;
	struct stat st;
	bool sane;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(setsockopt(of, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
	assert_int_equal(setsockopt(of, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), 0);
	assert_int_equal(fchown(of, SOMEBODY, (gid_t)-1), 0);
	assert_true((fd = twins_socket(of, &sane)) != -1);
	assert_int_equal(option(fd, SO_MARK), mark);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &device_len), 0);
	assert_string_equal(device, "lo");
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_uid, SOMEBODY);
	close(fd);
	close(of);
}

static void
test_beside_what_there_is_none(void **state)
{
	struct sockaddr_storage at;
	socklen_t len;
	int fds[2], pair[2], beside = udp("127.0.0.1", &at, &len);
	const int no[] = {
		socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
		socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
		(assert_int_equal(pipe(fds), 0), fds[0]),
		(assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0), pair[0]),
	};
	int nowhere = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool sane = false;

	(void)state;
	assert_int_equal(twins_socket(nowhere, &sane), -1);
	assert_true(sane); /* it may not have got a port */
	close(nowhere);
	assert_int_equal(bind(no[0], (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(no[0], 1), 0);
	for (unsigned i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		sane = true;
		assert_int_equal(twins_socket(no[i], &sane), -1);
		assert_false(sane);
		close(no[i]);
	}
	close(fds[1]);
	close(pair[1]);
	close(beside);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_stands_beside),
		cmocka_unit_test(test_it_is_of_the_same_kind),
		cmocka_unit_test(test_beside_what_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
