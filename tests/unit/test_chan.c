/* Channels: what the table allows arrives whole and in order; everything else ends the channel. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/chan.h"

static struct loop *loop;
static struct chan master; /* the receiving side: the master of one worker */
static int worker;         /* the hostile side: a bare descriptor */
static unsigned got, ended, got_fds;
static enum chan_end end_why;
static unsigned refuse_from; /* the callback refuses the n-th message; 0: none */

static bool
on_msg(struct chan *c, struct msg *m)
{
	(void)c;
	got++;
	if (m->fd != -1)
		got_fds++;
	return refuse_from == 0 || got < refuse_from;
}

static void
on_end(struct chan *c, enum chan_end why)
{
	(void)c;
	ended++;
	end_why = why;
}

static void
on_last(struct deadline *d)
{
	(void)d;
	loop_stop(loop);
}

static void
run_for(uint64_t ms)
{
	struct deadline last = { .cb = on_last };

	deadline_arm(loop, &last, ms);
	assert_int_equal(loop_run(loop), 0);
}

static int
setup(void **state)
{
	int sv[2];

	(void)state;
	got = ended = got_fds = refuse_from = 0;
	loop = loop_new();
	memset(&master, 0, sizeof(master));
	master.on_msg = on_msg;
	master.on_end = on_end;
	assert_int_equal(chan_pair(sv), 0);
	assert_int_equal(chan_start(&master, loop, sv[0], ROLE_MASTER, ROLE_WORKER, 7), 0);
	worker = sv[1];
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	chan_stop(&master);
	if (worker != -1)
		close(worker);
	loop_free(loop);
	return 0;
}

/* A packet of n EARLY messages by hand. */
static size_t
early_packet(unsigned char *p, unsigned n)
{
	size_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		struct msg_head h = { .type = MSG_EARLY, .len = sizeof(struct msg_early) };
		struct msg_early e = { .reason = REASON_SOURCE };
		memcpy(p + at, &h, sizeof(h));
		memcpy(p + at + sizeof(h), &e, sizeof(e));
		at += sizeof(h) + (sizeof(e) + 7) / 8 * 8;
	}
	return at;
}

static void
send_fd(int sock, const void *p, size_t len, unsigned nfds)
{
	struct iovec iov = { (void *)(uintptr_t)p, len };
	char buf[CMSG_SPACE(4 * sizeof(int))] = { 0 };
	struct msghdr mh = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = buf,
		.msg_controllen = CMSG_SPACE(nfds * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
	int fds[4] = { 0, 0, 0, 0 };

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
	memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	assert_int_equal(sendmsg(sock, &mh, 0), len);
}

static unsigned
open_fds(void)
{
	unsigned n = 0;

	for (int i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) != -1;
	return n;
}

static void
test_good_messages_arrive(void **state)
{
	unsigned char p[1024] = { 0 };

	(void)state;
	assert_int_equal(send(worker, p, early_packet(p, 5), 0), early_packet(p, 5));
	run_for(5);
	assert_int_equal(got, 5);
	assert_int_equal(ended, 0);
}

/* Everything that was sent is read before the end is told. */
static void
test_close_after_messages(void **state)
{
	unsigned char p[1024] = { 0 };

	(void)state;
	chan_send(&master, MSG_STOP, NULL, 0, -1); /* unread at its end: ECONNRESET on our side */
	chan_flush(&master);
	for (int i = 0; i < 40; i++)
		send(worker, p, early_packet(p, 5), 0);
	close(worker);
	worker = -1;
	run_for(10);
	assert_int_equal(got, 200);
	assert_int_equal(ended, 1);
	assert_int_equal(end_why, CHAN_CLOSED);
}

static void
test_every_truncation_is_a_fault(void **state)
{
	unsigned char p[1024] = { 0 };
	size_t whole = early_packet(p, 1);

	(void)state;
	teardown(NULL);
	for (size_t len = 1; len < whole; len++) {
		setup(NULL);
		assert_int_equal(send(worker, p, len, 0), len);
		run_for(1);
		assert_int_equal(got, 0);
		assert_int_equal(ended, 1);
		assert_int_equal(end_why, CHAN_FAULT);
		teardown(NULL);
	}
	setup(NULL);
}

static void
expect_fault(const void *p, size_t len, unsigned before)
{
	got = 0;
	send(worker, p, len, 0);
	run_for(2);
	assert_int_equal(got, before);
	assert_int_equal(ended, 1);
	assert_int_equal(end_why, CHAN_FAULT);
	teardown(NULL);
	setup(NULL);
}

static void
test_forged_heads(void **state)
{
	struct {
		struct msg_head h;
		unsigned char body[600];
	} p;

	(void)state;
	/* Every type that a worker may not send to the master, at every plausible size. */
	for (unsigned t = 0; t < MSG_COUNT + 3; t++) {
		struct msg_head ok = { .type = (uint16_t)t, .len = 0 };
		for (unsigned len = 0; len < 600; len += 8) {
			ok.len = (uint16_t)len;
			if (msg_allowed(&ok, ROLE_WORKER, ROLE_MASTER, false))
				continue;
			if (len > 64 && len % 64 != 0)
				continue;
			memset(&p, 0, sizeof(p));
			p.h = ok;
			expect_fault(&p, sizeof(p.h) + len, 0);
		}
	}
	/* The reserved word, and a good message with a bad one behind it. */
	memset(&p, 0, sizeof(p));
	p.h = (struct msg_head){ .type = MSG_EARLY, .len = sizeof(struct msg_early), .zero = 1 };
	expect_fault(&p, sizeof(p.h) + sizeof(struct msg_early), 0);
	unsigned char two[1024] = { 0 };
	size_t at = early_packet(two, 1);
	two[at] = MSG_GRANT;
	two[at + 2] = sizeof(struct msg_grant);
	expect_fault(two, at + sizeof(struct msg_head) + sizeof(struct msg_grant), 1);
}

static void
test_oversized_packet(void **state)
{
	unsigned char *p = calloc(1, MSG_PACKET_MAX + 8);

	(void)state;
	size_t one = early_packet(p, 1);
	for (size_t at = 0; at + one <= MSG_PACKET_MAX; at += one)
		early_packet(p + at, 1);
	expect_fault(p, MSG_PACKET_MAX + 8, 0);
	free(p);
}

/* Descriptors where none belong are closed, however many, and end the channel. */
static void
test_unexpected_descriptors(void **state)
{
	unsigned char p[1024] = { 0 };
	size_t len = early_packet(p, 1);

	(void)state;
	for (unsigned n = 1; n <= 4; n++) {
		unsigned before = open_fds();
		send_fd(worker, p, len, n);
		run_for(2);
		assert_int_equal(got, 0);
		assert_int_equal(ended, 1);
		assert_int_equal(end_why, CHAN_FAULT);
		assert_int_equal(open_fds(), before - 1); /* the channel's own is closed too */
		teardown(NULL);
		setup(NULL);
	}
}

static void
test_callback_refuses(void **state)
{
	unsigned char p[1024] = { 0 };

	(void)state;
	refuse_from = 2;
	send(worker, p, early_packet(p, 5), 0);
	run_for(2);
	assert_int_equal(got, 2);
	assert_int_equal(end_why, CHAN_FAULT);
}

/* A peer that never reads: sends are taken up to the hard limit, then it is lost; its own messages
 * are not read meanwhile. */
static void
test_peer_that_never_reads(void **state)
{
	struct msg_grant g = { .sid = { 1, 1 } };
	unsigned char p[1024] = { 0 };
	unsigned long sent = 0;

	(void)state;
	while (!chan_full(&master)) {
		assert_int_equal(chan_send(&master, MSG_GRANT, &g, sizeof(g), -1), 0);
		sent++;
	}
	assert_true(sent * sizeof(g) > CHAN_QUEUE_SOFT / 2);
	run_for(2); /* the socket takes some; fill up again until nothing moves */
	do
		while (!chan_full(&master))
			assert_int_equal(chan_send(&master, MSG_GRANT, &g, sizeof(g), -1), 0);
	while ((chan_flush(&master), !chan_full(&master)));
	send(worker, p, early_packet(p, 1), 0);
	run_for(5);
	assert_int_equal(got, 0); /* not read: it must read first */
	while (chan_send(&master, MSG_GRANT, &g, sizeof(g), -1) == 0)
		sent++;
	assert_int_equal(errno, ENOBUFS);
	assert_int_equal(ended, 0); /* never from inside chan_send */
	run_for(2);
	assert_int_equal(ended, 1);
	assert_int_equal(end_why, CHAN_FAULT);
}

/* Positive control: it reads, and is read again. */
static void
test_peer_that_reads_again(void **state)
{
	struct msg_grant g = { .sid = { 1, 1 } };
	unsigned char p[1024] = { 0 };
	static unsigned char buf[MSG_PACKET_MAX];

	(void)state;
	do
		while (!chan_full(&master))
			assert_int_equal(chan_send(&master, MSG_GRANT, &g, sizeof(g), -1), 0);
	while ((chan_flush(&master), !chan_full(&master)));
	send(worker, p, early_packet(p, 1), 0);
	for (int i = 0; i < 200; i++) {
		while (recv(worker, buf, sizeof(buf), MSG_DONTWAIT) > 0)
			;
		run_for(0);
	}
	assert_int_equal(got, 1);
	assert_int_equal(ended, 0);
	assert_int_equal(chan_mark(&master), chan_sent(&master));
}

/* Turn after turn one small message for a peer that does not read: they are kept side by side, not
 * in a packet's room each, of which CHAN_QUEUE_SOFT would allow ten thousand. */
static void
test_few_octets_take_little_room(void **state)
{
	struct msg_grant g = { .sid = { 1, 1 } };
	unsigned turns = 0;

	(void)state;
	for (g.sid.slot = 0;
	     chan_send(&master, MSG_GRANT, &g, sizeof(g), -1) == 0 && !chan_full(&master);
	     g.sid.slot++) {
		chan_flush(&master);
		turns++;
	}
	uint64_t waiting = chan_mark(&master) - chan_sent(&master);
	assert_in_range(waiting, 2, 2 * CHAN_QUEUE_SOFT / MSG_PACKET_MAX);
	assert_true(turns > CHAN_QUEUE_SOFT / (2 * sizeof(g)));
	/* and they arrive: each once, in order */
	static unsigned char buf[MSG_PACKET_MAX];
	size_t octets = 0, len = sizeof(struct msg_head) + (sizeof(g) + 7) / 8 * 8;
	for (unsigned i = 0; i < 4 * turns && octets < (turns + 1) * len; i++) {
		ssize_t n = recv(worker, buf, sizeof(buf), MSG_DONTWAIT);
		if (n <= 0)
			chan_flush(&master);
		for (ssize_t at = 0; at < n; at += (ssize_t)len, octets += len) {
			memcpy(&g, buf + at + sizeof(struct msg_head), sizeof(g));
			assert_int_equal(g.sid.slot, octets / len);
		}
	}
	assert_int_equal(octets, (turns + 1) * len);
}

/* A message with a descriptor travels alone, and in room for itself. */
static void
test_descriptors_take_little_room(void **state)
{
	struct msg_policy m = { .version = 1 };
	size_t before = mallinfo2().uordblks; /* 0 under a sanitizer */
	unsigned n = 0;

	(void)state;
	for (; n < 100; n++) {
		int fd = dup(worker);
		assert_int_not_equal(fd, -1);
		assert_int_equal(chan_send(&master, MSG_POLICY, &m, sizeof(m), fd), 0);
		m.version++;
	}
	assert_true(mallinfo2().uordblks - before < n * 512);
}

#define CROWD_UID 64999 /* nobody's else: the kernel counts by user */
#define CROWD     10    /* descriptors of one message */
#define FEW       40    /* RLIMIT_NOFILE */

/* One message with CROWD descriptors to a socket that nobody reads. 0 or errno. */
static int
put_under_way(int sock)
{
	union {
		struct cmsghdr align;
		char octets[CMSG_SPACE(CROWD * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.octets,
		.msg_controllen = sizeof(control.octets) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(CROWD * sizeof(int));
	for (int i = 0; i < CROWD; i++)
		memcpy(CMSG_DATA(c) + i * (int)sizeof(int), &sock, sizeof(sock));
	return sendmsg(sock, &m, MSG_DONTWAIT) == -1 ? errno : 0;
}

/* The kernel lets a user have no more descriptors under way than open: other processes' count. A
 * channel waits for them to arrive, and loses nothing. 0, or the step that failed. */
static int
crowded(void)
{
	struct rlimit few = { FEW, FEW };
	struct msg_policy p = { .version = 1 };
	int crowd[2], error = 0;

	setup(NULL);
	if (setresuid(CROWD_UID, CROWD_UID, CROWD_UID) == -1 ||
	    setrlimit(RLIMIT_NOFILE, &few) == -1 ||
	    socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, crowd) == -1)
		return 1;
	for (int i = 0; i < FEW && error == 0; i++)
		error = put_under_way(crowd[0]);
	if (error != ETOOMANYREFS)
		return 2; /* else the test shows nothing */
	if (chan_send(&master, MSG_POLICY, &p, sizeof(p), dup(crowd[0])) == -1)
		return 3;
	run_for(2);
	if (chan_sent(&master) == chan_mark(&master) || ended != 0)
		return 4;
	close(crowd[0]);
	close(crowd[1]); /* what was under way is gone */
	run_for(50);
	if (chan_sent(&master) != chan_mark(&master) || ended != 0)
		return 5;
	unsigned char buf[1024];
	return recv(worker, buf, sizeof(buf), MSG_DONTWAIT) > (ssize_t)sizeof(p) ? 0 : 6;
}

static void
test_descriptors_under_way(void **state)
{
	int status;

	(void)state;
	if (getuid() != 0)
		skip();
	pid_t pid = fork();
	if (pid == 0)
		_exit(crowded());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* The slots of the grants in the next packet, as digits; "" where none has come. */
static const char *
grants_of_packet(void)
{
	static char slots[16];
	unsigned char p[MSG_PACKET_MAX];
	ssize_t n = recv(worker, p, sizeof(p), MSG_DONTWAIT);
	size_t each = sizeof(struct msg_head) + sizeof(struct msg_grant), count = 0;

	assert_int_equal(each % MSG_ALIGN, 0);
	for (size_t at = 0; n > 0 && at < (size_t)n; at += each) {
		struct msg_grant g;

		memcpy(&g, p + at + sizeof(struct msg_head), sizeof(g));
		slots[count++] = (char)('0' + g.sid.slot);
	}
	slots[count] = '\0';
	return slots;
}

static void
grant(uint32_t slot, bool late)
{
	struct msg_grant g = { .sid = { .slot = slot, .gen = 1 } };

	if (late)
		assert_int_equal(chan_send_late(&master, MSG_GRANT, &g, sizeof(g)), 0);
	else
		assert_int_equal(chan_send(&master, MSG_GRANT, &g, sizeof(g), -1), 0);
}

static void
test_late_messages_wait_for_others(void **state)
{
	(void)state;
	grant(1, true);
	run_for(0);
	assert_string_equal(grants_of_packet(), "");
	grant(2, true);
	grant(3, false);
	grant(4, true);
	run_for(0);
	assert_string_equal(grants_of_packet(), "1234");
	grant(5, true); /* again after a packet has left */
	run_for(0);
	assert_string_equal(grants_of_packet(), "");
	chan_flush(&master);
	assert_string_equal(grants_of_packet(), "5");
}

static void
test_late_messages_leave_by_themselves(void **state)
{
	(void)state;
	grant(1, true);
	run_for(CHAN_LATE_MS * 2 + 1);
	assert_string_equal(grants_of_packet(), "1");
	run_for(CHAN_LATE_MS * 2 + 1);
	assert_string_equal(grants_of_packet(), ""); /* once */
}

static void
test_lent_descriptors_stay(void **state)
{
	struct msg_listener l = { .index = 1 };
	unsigned char p[MSG_PACKET_MAX];
	struct msg_head h;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	unsigned lent = 0;

	(void)state;
	grant(1, false); /* which waits for the end of the turn */
	while (chan_lend(&master, MSG_LISTENER, &l, sizeof(l), null) == 0)
		lent++;
	assert_int_equal(errno, EAGAIN);
	assert_true(lent > 0 && fcntl(null, F_GETFD) != -1);
	for (; lent > 0; lent--) {
		ssize_t n = recv(worker, p, sizeof(p), MSG_DONTWAIT);
		assert_int_equal(n, sizeof(h) + (sizeof(l) + 7) / 8 * 8);
		memcpy(&h, p, sizeof(h));
		assert_int_equal(h.type, MSG_LISTENER);
	}
	assert_string_equal(grants_of_packet(), "");
	run_for(0);
	assert_string_equal(grants_of_packet(), "1");
	chan_stop(&master);
	assert_int_equal(chan_lend(&master, MSG_LISTENER, &l, sizeof(l), null), -1);
	assert_int_equal(errno, ENOTCONN);
	close(null);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_good_messages_arrive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lent_descriptors_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_close_after_messages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_truncation_is_a_fault, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forged_heads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_oversized_packet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unexpected_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_callback_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer_that_never_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer_that_reads_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_few_octets_take_little_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptors_take_little_room, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_late_messages_wait_for_others, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_late_messages_leave_by_themselves, setup, teardown),
		cmocka_unit_test(test_descriptors_under_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
