/*
 * Octets of bulk are awaited in several tokens' worth, over TCP as it is: how many a read then
 * finds; that nothing waits longer than MODERATE_MS, nor small messages at all, nor the end; that
 * who sends no more, or waits for answers, is left alone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/turns.h"
#include "worker/moderate.h"
#include "worker/protected.h"

#define PIECE   60032 /* a message of 60,000 octets of data */
#define PIECES  16    /* that are on their way at most */
#define BULK_MS 30
#define TRIES   100 /* on a machine that has other things to do */

static struct loop *loop;
static struct {
	struct ev ev;
	struct moderate m;
	size_t octets, reads;
	uint64_t answered;
	bool ended, refused; /* 0, or an error, has been read */
} side;
static struct {
	struct deadline next;
	int fd;
	size_t sent, piece;
	uint64_t ms; /* between two pieces; 0: one a turn */
} sender;
static uint8_t buf[PROTECTED_READ];

/* Nothing is awaited for longer. */
static void
in_time(void)
{
	if (side.m.awaited == 0)
		return;
	assert_true(deadline_armed(&side.m.late));
	assert_true(side.m.late.at <= loop_now(loop) + MODERATE_MS);
}

static void
on_side(struct ev *e, uint32_t events)
{
	ssize_t n = recv(e->fd, buf, sizeof(buf), MSG_DONTWAIT);

	(void)events;
	ev_moved(e, EPOLLIN, n, sizeof(buf));
	if (n == -1 && errno == EAGAIN)
		return;
	if (n <= 0) {
		side.ended = n == 0;
		side.refused = n == -1;
		assert_int_equal(ev_set(loop, e, 0), 0);
		return;
	}
	side.octets += (size_t)n;
	side.reads++;
	moderate_read(&side.m, loop, e, (size_t)n, side.answered);
	in_time();
}

static void
send_piece(struct deadline *d)
{
	ssize_t n = 0;

	if (sender.sent - side.octets < PIECES * PIECE)
		n = send(sender.fd, buf, sender.piece, MSG_DONTWAIT | MSG_NOSIGNAL);
	sender.sent += n > 0 ? (size_t)n : 0;
	in_time();
	deadline_arm(loop, d, sender.ms);
}

/* Pieces for so long. */
static void
sends(size_t piece, uint64_t every, unsigned ms)
{
	sender.piece = piece;
	sender.ms = every;
	sender.next.cb = send_piece;
	deadline_arm(loop, &sender.next, 0);
	turns_run(loop, ms);
	deadline_disarm(&sender.next);
}

static int
awaits(void)
{
	int value = 0;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(side.ev.fd, SOL_SOCKET, SO_RCVLOWAT, &value, &len), 0);
	return value;
}

/* All that was sent is read. */
static void
arrives(void)
{
	for (unsigned i = 0; i < TRIES && side.octets < sender.sent; i++) {
		in_time();
		turns_run(loop, MODERATE_MS);
	}
	assert_int_equal(side.octets, sender.sent);
}

/* Until the sender's silence has been seen. */
static void
silence(void)
{
	for (unsigned i = 0; i < TRIES && side.m.awaited > 0; i++)
		turns_run(loop, MODERATE_MS);
	assert_int_equal(side.m.awaited, 0);
	assert_false(deadline_armed(&side.m.late));
	assert_int_equal(awaits(), 1);
}

static void
say(const char *what)
{
	assert_int_equal(send(sender.fd, what, strlen(what), MSG_NOSIGNAL), strlen(what));
	sender.sent += strlen(what);
}

static void
bulk(void)
{
	for (unsigned i = 0; i < TRIES && side.m.awaited == 0; i++)
		sends(PIECE, 0, BULK_MS);
	assert_true(side.m.awaited >= 2 * PIECE - 64);
	assert_int_equal(awaits(), side.m.awaited);
}

static int
setup(void **state)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int l = socket(AF_INET, SOCK_STREAM, 0), fd;

	(void)state;
	memset(&side, 0, sizeof(side));
	memset(&sender, 0, sizeof(sender));
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sender.fd = socket(AF_INET, SOCK_STREAM, 0);
	if ((loop = loop_new()) == NULL || bind(l, (struct sockaddr *)&sin, len) == -1 ||
	    listen(l, 1) == -1 || getsockname(l, (struct sockaddr *)&sin, &len) == -1 ||
	    connect(sender.fd, (struct sockaddr *)&sin, len) == -1 ||
	    (fd = accept(l, NULL, NULL)) == -1)
		return -1;
	close(l);
	side.ev.cb = on_side;
	return ev_add(loop, &side.ev, fd, EPOLLIN | EPOLLET);
}

static int
teardown(void **state)
{
	(void)state;
	moderate_end(&side.m);
	ev_close(loop, &side.ev, side.ev.fd);
	close(sender.fd);
	loop_free(loop);
	return 0;
}

static void
test_bulk_is_read_in_several_tokens(void **state)
{
	size_t octets, reads, each = 0;

	(void)state;
	bulk();
	for (unsigned i = 0; i < TRIES && each < 4 * PIECE; i++) {
		octets = side.octets;
		reads = side.reads;
		sends(PIECE, 0, BULK_MS);
		each = side.reads > reads ? (side.octets - octets) / (side.reads - reads) : 0;
	}
	assert_true(each >= 4 * PIECE);
	arrives();
}

static void
test_the_last_octets_arrive(void **state)
{
	(void)state;
	bulk();
	arrives();
	say("the last");
	arrives();
	say("and more");
	arrives();
	silence();
	say("and one more"); /* is told in its turn */
	turns_run(loop, 0);
	turns_run(loop, 0);
	assert_int_equal(side.octets, sender.sent);
}

static void
test_small_messages_never_wait(void **state)
{
	(void)state;
	sends(100, 0, BULK_MS); /* as many as the loop has turns */
	assert_int_equal(side.m.awaited, 0);
	sends(40000, 1, 2 * BULK_MS);
	assert_int_equal(side.m.awaited, 0);
	sends(5 * PIECE, 20, 5 * 20); /* large ones, but few */
	assert_int_equal(side.m.awaited, 0);
	assert_int_equal(awaits(), 1);
	arrives();
}

/* The sender goes on once it has an answer, which may be one to what is awaited. */
static void
test_a_dialogue_is_left_alone(void **state)
{
	(void)state;
	bulk();
	side.answered = 10;
	sends(PIECE, 0, MODERATE_MS);
	bulk();
	arrives();
	silence();
	assert_true(side.m.resumes > 0);
	while (loop_now(loop) + MODERATE_MS < side.m.resumes) {
		sends(PIECE, 0, MODERATE_MS);
		if (loop_now(loop) < side.m.resumes)
			assert_int_equal(awaits(), 1);
	}
	bulk();
}

static void
test_a_pause_is_none(void **state)
{
	(void)state;
	bulk();
	arrives();
	silence();
	assert_int_equal(side.m.resumes, 0);
	bulk();
}

static void
test_the_end_is_told_at_once(void **state)
{
	(void)state;
	bulk();
	say("the last");
	shutdown(sender.fd, SHUT_WR);
	for (unsigned i = 0; i < TRIES && !side.ended; i++)
		turns_run(loop, 1);
	assert_true(side.ended);
	assert_int_equal(side.octets, sender.sent);
	silence();
}

static void
test_a_reset_is_told_at_once(void **state)
{
	struct linger now = { .l_onoff = 1 };

	(void)state;
	bulk();
	assert_int_equal(setsockopt(sender.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(sender.fd);
	sender.fd = -1;
	for (unsigned i = 0; i < TRIES && !side.refused; i++)
		turns_run(loop, 0);
	assert_true(side.refused);
}

static void
test_what_is_there_is_told_when_it_ends(void **state)
{
	(void)state;
	bulk();
	arrives();
	say("the last");
	moderate_end(&side.m);
	assert_int_equal(awaits(), 1);
	assert_false(deadline_armed(&side.m.late));
	turns_run(loop, 0);
	turns_run(loop, 0);
	assert_int_equal(side.octets, sender.sent);
}

int
main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH(test_bulk_is_read_in_several_tokens),
		WITH(test_the_last_octets_arrive),
		WITH(test_small_messages_never_wait),
		WITH(test_a_dialogue_is_left_alone),
		WITH(test_a_pause_is_none),
		WITH(test_the_end_is_told_at_once),
		WITH(test_a_reset_is_told_at_once),
		WITH(test_what_is_there_is_told_when_it_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
